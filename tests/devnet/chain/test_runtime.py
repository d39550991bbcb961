"""What blocks of the development chain do: balances, nonces, registration, serving, weights, stake, epochs."""

from __future__ import annotations

import dataclasses
import time

import pytest
from devnet.chain.chainkit import (
    ALICE,
    BOB,
    COLD,
    MINERS,
    NETUID,
    OWNER,
    TAO,
    VALIDATORS,
    Bench,
    spec,
    ss58,
)

from mycelium.devnet.chain.metadata import GROWN_FIELD, RuntimeSpec
from mycelium.devnet.chain.pool import PoolRefusal
from mycelium.devnet.chain.spec import Neuron
from mycelium.devnet.chain.validity import UnknownRuntimeApi
from mycelium.identity.keys import Keypair

WEIGHTS = {"netuid": NETUID, "dests": [3, 4], "weights": [1, 3], "version_key": 0}
AXON = {"netuid": NETUID, "version": 7, "ip": 0x0A000001, "port": 9090, "ip_type": 4, "protocol": 4}
AXON |= {"placeholder1": 0, "placeholder2": 0}


@pytest.fixture
def bench():
    return Bench()


def free(bench, pair):
    return bench.read("System", "Account", ss58(pair))["data"]["free"]


# --- the basics -------------------------------------------------------------------------------------------


def test_a_transfer_moves_money_and_burns_its_fee(bench):
    assert bench.call(ALICE, "Balances", "transfer_keep_alive", dest=ss58(BOB), value=TAO) is None
    assert free(bench, BOB) == TAO
    fee = bench.event("TransactionFeePaid")["actual_fee"]
    assert 0 < fee < TAO // 100
    assert free(bench, ALICE) == 9_999 * TAO - fee
    assert bench.read("System", "Account", ss58(ALICE))["nonce"] == 1


def test_a_failed_transfer_costs_its_fee_and_does_nothing_else(bench):
    error = bench.call(ALICE, "Balances", "transfer_keep_alive", dest=ss58(BOB), value=10**6 * TAO)
    assert error == "FundsUnavailable"
    assert free(bench, BOB) == 0
    assert 9_999 * TAO < free(bench, ALICE) < 10_000 * TAO
    assert bench.call(ALICE, "Balances", "transfer_keep_alive", dest=ss58(BOB), value=1) == "BelowMinimum"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nonce": 0}, "Transaction is outdated"),
        ({"genesis": bytes(32)}, "Transaction has a bad signature"),
        ({"era": {"period": 4, "current": 0}}, "Transaction has a bad signature"),
    ],
)
def test_what_is_not_signed_for_this_chain_and_moment_is_refused(bench, change, said):
    bench.call(ALICE, "System", "remark", remark=b"x")
    bench.core.step(5)
    before = bench.read("System", "Account", ss58(ALICE))
    with pytest.raises(PoolRefusal, match="Invalid Transaction") as refused:
        bench.submit(ALICE, "System", "remark", remark=b"y", **change)
    assert (refused.value.code, refused.value.data) == (1010, said)
    bench.core.step()
    assert bench.read("System", "Account", ss58(ALICE)) == before


def test_a_mortal_extrinsic_is_taken_in_its_era(bench):
    bench.core.step(3)
    era = {"period": 8, "current": 3}
    assert bench.call(ALICE, "System", "remark", remark=b"x", era=era) is None


def test_changed_bytes_are_refused(bench):
    raw = bytearray(bench.extrinsic(ALICE, "Balances", "transfer_keep_alive", dest=ss58(BOB), value=TAO))
    for at in range(len(raw)):
        changed = bytes(raw[:at]) + bytes((raw[at] ^ 1,)) + bytes(raw[at + 1 :])
        with pytest.raises(PoolRefusal):
            bench.core.submit(changed)
    assert free(bench, BOB) == 0


def test_two_in_one_block_and_one_ahead(bench):
    for nonce in (1, 0):
        bench.submit(ALICE, "System", "remark", remark=b"x", nonce=nonce)
    bench.core.step()
    assert bench.read("System", "Account", ss58(ALICE))["nonce"] == 2
    bench.submit(ALICE, "System", "remark", remark=b"x", nonce=5)
    bench.core.step()
    assert bench.read("System", "Account", ss58(ALICE))["nonce"] == 2


def test_who_has_nothing_may_only_make_calls_that_cost_nothing(bench):
    with pytest.raises(PoolRefusal) as refused:
        bench.submit(BOB, "System", "remark", remark=b"x")
    assert refused.value.data.startswith("Inability to pay some fees")
    assert bench.call(VALIDATORS[0], "SubtensorModule", "set_weights", **WEIGHTS) is None


def test_batches_and_root(bench):
    codec = bench.runtime.codec
    good = codec.compose_call("Balances", "transfer_keep_alive", {"dest": ss58(BOB), "value": TAO})
    bad = codec.compose_call("Balances", "transfer_keep_alive", {"dest": ss58(BOB), "value": 10**6 * TAO})
    assert bench.call(ALICE, "Utility", "batch_all", calls=[good, bad]) == "FundsUnavailable"
    assert free(bench, BOB) == 0
    assert bench.call(ALICE, "Utility", "batch", calls=[good, bad, good]) is None
    assert bench.event("BatchInterrupted")["index"] == 1
    assert bench.call(ALICE, "Utility", "force_batch", calls=[bad, good]) is None
    assert free(bench, BOB) == 2 * TAO
    assert bench.call(COLD, "Sudo", "sudo", call=good) == "RequireSudo"
    assert bench.call(ALICE, "Sudo", "sudo", call=good) is None
    assert bench.event("Sudid") == {"sudo_result": {"Err": "BadOrigin"}}


def test_a_proxy_signs_for_another(bench):
    codec = bench.runtime.codec
    call = codec.compose_call("Balances", "transfer_keep_alive", {"dest": ss58(BOB), "value": TAO})
    asked = {"real": ss58(COLD), "force_proxy_type": None, "call": call}
    assert bench.call(ALICE, "Proxy", "proxy", **asked) == "NotProxy"
    added = {"delegate": ss58(ALICE), "proxy_type": "Any", "delay": 0}
    assert bench.call(COLD, "Proxy", "add_proxy", **added) is None
    assert bench.call(COLD, "Proxy", "add_proxy", **added) == "Duplicate"
    assert bench.call(ALICE, "Proxy", "proxy", **asked) is None
    assert free(bench, BOB) == TAO


# --- neurons ----------------------------------------------------------------------------------------------


def test_registration(bench):
    fresh = Keypair.development("//fresh")
    assert (
        bench.call(ALICE, "SubtensorModule", "burned_register", netuid=9, hotkey=ss58(fresh))
        == "SubnetNotExists"
    )
    register = {"netuid": NETUID, "hotkey": ss58(fresh)}
    assert bench.call(ALICE, "SubtensorModule", "burned_register", **register) is None
    assert bench.event("NeuronRegistered") == (NETUID, 6, ss58(fresh))
    assert 9_999 * TAO - TAO // 10 < free(bench, ALICE) < 10_000 * TAO - TAO // 10
    assert bench.subnet("Burn") > 125_000_000, "the next one costs a quarter more"
    again = bench.call(ALICE, "SubtensorModule", "burned_register", **register)
    assert again == "HotKeyAlreadyRegisteredInSubNet"
    other = ss58(MINERS[0].development("//x"))
    limit = bench.call(ALICE, "SubtensorModule", "register_limit", netuid=NETUID, hotkey=other, limit_price=1)
    assert limit == "RegistrationPriceLimitExceeded"


def test_a_full_subnet_gives_the_least_useful_place_away():
    bench = Bench(spec(MaxAllowedUids=6, ImmunityPeriod=0))
    fresh = Keypair.development("//fresh")
    assert bench.call(ALICE, "SubtensorModule", "burned_register", netuid=NETUID, hotkey=ss58(fresh)) is None
    assert bench.subnet("SubnetworkN") == 6
    _, uid, _ = bench.event("NeuronRegistered")
    assert uid != 0, "the owner keeps its place"
    assert bench.read("SubtensorModule", "Keys", NETUID, uid) == ss58(fresh)
    assert bench.subnet("ValidatorPermit")[uid] is False


def test_a_new_network(bench):
    assert bench.call(ALICE, "SubtensorModule", "register_network", hotkey=ss58(ALICE)) is None
    assert bench.event("NetworkAdded") == (2, 0)
    assert bench.read("SubtensorModule", "SubnetOwnerHotkey", 2) == ss58(ALICE)
    assert bench.call(COLD, "SubtensorModule", "start_call", netuid=2) == "BadOrigin"
    assert bench.call(ALICE, "SubtensorModule", "start_call", netuid=2) is None


@pytest.mark.parametrize(
    ("change", "custom"),
    [({"ip": 0x7F000001}, 11), ({"ip": 0xFFFFFFFF}, 11), ({"port": 0}, 13), ({"netuid": 3}, 10)],
)
def test_an_axon_that_cannot_be_is_refused_at_submission(bench, change, custom):
    with pytest.raises(PoolRefusal) as refused:
        bench.submit(MINERS[0], "SubtensorModule", "serve_axon", **(AXON | change))
    assert refused.value.data == f"Custom error: {custom}"


def test_serving_and_its_rate_limit():
    bench = Bench(spec(ServingRateLimit=4))
    assert bench.call(MINERS[0], "SubtensorModule", "serve_axon", **AXON) is None
    served = bench.read("SubtensorModule", "Axons", NETUID, ss58(MINERS[0]))
    assert (served["ip"], served["port"], served["version"], served["block"]) == (0x0A000001, 9090, 7, 1)
    with pytest.raises(PoolRefusal, match="Invalid Transaction") as refused:
        bench.submit(MINERS[0], "SubtensorModule", "serve_axon", **AXON)
    assert refused.value.data == "Custom error: 12"
    bench.core.step(4)
    tls = bench.call(MINERS[0], "SubtensorModule", "serve_axon_tls", certificate=b"\x04" + b"k" * 64, **AXON)
    assert tls is None
    held = bench.read("SubtensorModule", "NeuronCertificates", NETUID, ss58(MINERS[0]))
    assert held["algorithm"] == 4
    prometheus = {"netuid": NETUID, "version": 1, "ip": 0, "port": 9, "ip_type": 4}
    with pytest.raises(PoolRefusal) as refused:
        bench.submit(MINERS[0], "SubtensorModule", "serve_prometheus", **prometheus)
    assert refused.value.data == "Custom error: 11"
    assert bench.call(MINERS[0], "SubtensorModule", "serve_prometheus", **(prometheus | {"ip": 5})) is None


# --- weights ----------------------------------------------------------------------------------------------


def test_weights_are_scaled_and_kept(bench):
    assert bench.call(VALIDATORS[0], "SubtensorModule", "set_weights", **WEIGHTS) is None
    assert bench.read("SubtensorModule", "Weights", NETUID, 0) == [(3, 21_845), (4, 65_535)]
    assert bench.subnet("LastUpdate")[0] == 1


@pytest.mark.parametrize(
    ("who", "change", "error"),
    [
        (MINERS[0], {}, "NeuronNoValidatorPermit"),
        (ALICE, {}, "HotKeyNotRegisteredInSubNet"),
        (VALIDATORS[1], {"weights": [1]}, "WeightVecNotEqualSize"),
        (VALIDATORS[1], {"dests": [3, 3]}, "DuplicateUids"),
        (VALIDATORS[1], {"dests": [3, 77]}, "UidVecContainInvalidOne"),
        (VALIDATORS[1], {"dests": list(range(7)), "weights": [1] * 7}, "UidsLengthExceedUidsInSubNet"),
    ],
)
def test_each_rule_of_weights_has_its_error(bench, who, change, error):
    assert bench.call(who, "SubtensorModule", "set_weights", **(WEIGHTS | change)) == error


def test_rules_that_hyperparameters_set():
    bench = Bench(spec(MinAllowedWeights=3, WeightsVersionKey=5, MaxWeightsLimit=40_000))
    set_weights = ("SubtensorModule", "set_weights")
    assert bench.call(VALIDATORS[0], *set_weights, **WEIGHTS) == "IncorrectWeightVersionKey"
    given = WEIGHTS | {"version_key": 5}
    assert bench.call(VALIDATORS[0], *set_weights, **given) == "WeightVecLengthIsLow"
    given |= {"dests": [3, 4, 5], "weights": [1, 1, 98]}
    assert bench.call(VALIDATORS[0], *set_weights, **given) == "MaxWeightExceeded"
    assert bench.call(VALIDATORS[0], *set_weights, **(given | {"weights": [30, 35, 35]})) is None
    with pytest.raises(PoolRefusal) as refused:
        bench.submit(VALIDATORS[0], *set_weights, **(given | {"weights": [30, 35, 35]}))
    assert refused.value.data == "Custom error: 6", "the rate limit is looked at before a block already"
    bench.core.step(5)
    assert bench.call(VALIDATORS[0], *set_weights, **(given | {"weights": [30, 35, 35]})) is None


def test_stake_below_the_threshold_is_refused_at_submission(bench):
    bench.core.edit(
        lambda view: bench.runtime.state(view).put("SubtensorModule", "StakeThreshold", value=1500 * TAO)
    )
    with pytest.raises(PoolRefusal) as refused:
        bench.submit(VALIDATORS[2], "SubtensorModule", "set_weights", **WEIGHTS)
    assert refused.value.data == "Custom error: 1"
    assert bench.call(VALIDATORS[1], "SubtensorModule", "set_weights", **WEIGHTS) is None


def test_mechanisms(bench):
    given = WEIGHTS | {"mecid": 1}
    with pytest.raises(PoolRefusal) as refused:
        bench.submit(VALIDATORS[0], "SubtensorModule", "set_mechanism_weights", **given)
    assert refused.value.data == "Custom error: 6", "no rate limit lets an unknown mechanism pass"
    bench.core.edit(
        lambda view: bench.runtime.state(view).put(
            "SubtensorModule", "MechanismCountCurrent", NETUID, value=2
        )
    )
    assert bench.call(VALIDATORS[0], "SubtensorModule", "set_mechanism_weights", **given) is None
    assert bench.read("SubtensorModule", "Weights", NETUID + 4096, 0) == [(3, 21_845), (4, 65_535)]
    assert bench.read("SubtensorModule", "Weights", NETUID, 0) == []


# --- stake ------------------------------------------------------------------------------------------------


def test_stake_added_and_removed(bench):
    stake = {"hotkey": ss58(VALIDATORS[0]), "netuid": NETUID}
    assert bench.call(ALICE, "SubtensorModule", "add_stake", amount_staked=5 * TAO, **stake) is None
    info = bench.api("StakeInfoRuntimeApi_get_stake_info_for_coldkey", ss58(ALICE))
    assert [(one["hotkey"], one["stake"]) for one in info] == [(ss58(VALIDATORS[0]), 5 * TAO)]
    assert bench.read("SubtensorModule", "TotalHotkeyAlpha", ss58(VALIDATORS[0]), NETUID) == 3005 * TAO
    assert bench.call(ALICE, "SubtensorModule", "remove_stake", amount_unstaked=1, **stake) == "AmountTooLow"
    other = {"hotkey": ss58(MINERS[0]), "netuid": NETUID, "amount_unstaked": TAO}
    assert bench.call(ALICE, "SubtensorModule", "remove_stake", **other) == "AmountTooLow", "there is none"
    limit = {"limit_price": TAO // 2, "allow_partial": False}
    low = bench.call(ALICE, "SubtensorModule", "add_stake_limit", amount_staked=TAO, **stake, **limit)
    assert low == "SlippageTooHigh"
    ok = bench.call(ALICE, "SubtensorModule", "remove_stake_limit", amount_unstaked=5 * TAO, **stake, **limit)
    assert ok is None
    assert bench.api("StakeInfoRuntimeApi_get_stake_info_for_coldkey", ss58(ALICE)) == []


# --- epochs -----------------------------------------------------------------------------------------------


def test_permits_go_to_the_most_staked_and_to_the_owner():
    bench = Bench(spec(MaxAllowedValidators=2, tempo=5))
    bench.core.step(6)
    assert bench.subnet("ValidatorPermit") == [True, True, False, False, False, False]
    assert bench.subnet("SubnetEpochIndex") == 1
    stake = {"hotkey": ss58(VALIDATORS[2]), "netuid": NETUID}
    assert bench.call(COLD, "SubtensorModule", "add_stake", amount_staked=3000 * TAO, **stake) is None
    bench.core.step(6)
    assert bench.subnet("ValidatorPermit")[:3] == [True, False, True]


def test_consensus_and_incentive_follow_the_weights(bench):
    for pair in VALIDATORS:
        assert bench.call(pair, "SubtensorModule", "set_weights", **WEIGHTS) is None
    bench.core.step(10)
    incentive = bench.subnet("Incentive")
    assert incentive == [0, 0, 0, 16_383, 49_151, 0], "shares of one, as u16"
    assert bench.subnet("Consensus")[5] == 0
    assert bench.subnet("Emission")[4] > 0
    assert bench.subnet("Dividends")[0] > bench.subnet("Dividends")[2] > 0


def test_what_an_operator_takes_stays_taken(bench):
    bench.core.edit(lambda view: bench.runtime.remove_permit(view, NETUID, 1))
    assert bench.subnet("ValidatorPermit")[:3] == [True, False, True]
    bench.core.step(25)
    assert bench.subnet("ValidatorPermit")[:3] == [True, False, True]
    bench.core.edit(lambda view: bench.runtime.give_permit(view, NETUID, 1))
    bench.core.step(25)
    assert bench.subnet("ValidatorPermit")[:3] == [True, True, True]
    bench.core.edit(lambda view: bench.runtime.deregister(view, NETUID, 2))
    assert bench.read("SubtensorModule", "Uids", NETUID, ss58(VALIDATORS[2])) is None
    with pytest.raises(KeyError, match="no uid 99"):
        bench.core.edit(lambda view: bench.runtime.deregister(view, NETUID, 99)) or bench.core.step()


# --- runtime APIs -----------------------------------------------------------------------------------------


def test_the_metagraph_in_every_shape(bench):
    bench.call(MINERS[0], "SubtensorModule", "serve_axon", **AXON)
    graph = bench.api("SubnetInfoRuntimeApi_get_metagraph", NETUID)
    assert graph["hotkeys"] == [ss58(pair) for pair in (*VALIDATORS, *MINERS)]
    assert graph["total_stake"][:3] == [3000 * TAO, 2000 * TAO, 1000 * TAO]
    assert graph["validator_permit"][:4] == [True, True, True, False]
    assert graph["axons"][3]["port"] == 9090
    assert (graph["trust"], graph["rank"]) == ([], [])
    assert graph["tempo"] == 10
    lite = bench.api("NeuronInfoRuntimeApi_get_neurons_lite", NETUID)
    assert [neuron["uid"] for neuron in lite] == list(range(6))
    assert lite[1]["stake"] == [(ss58(COLD), 2000 * TAO)]
    some = bench.api("SubnetInfoRuntimeApi_get_selective_metagraph", NETUID, [0, 5, 52, 72, 73])
    assert some["owner_hotkey"] == ss58(VALIDATORS[0])
    assert some["tempo"] is None
    assert bench.api("SubnetInfoRuntimeApi_get_metagraph", 9) is None
    assert [one["netuid"] for one in bench.api("SubnetInfoRuntimeApi_get_all_metagraphs")] == [0, NETUID]
    assert bench.api("SubnetInfoRuntimeApi_get_subnet_hyperparams", NETUID)["weights_rate_limit"] == 5
    assert bench.api("SubnetInfoRuntimeApi_get_next_epoch_start_block", NETUID) == 10


@pytest.mark.parametrize("spec_of", [RuntimeSpec(), RuntimeSpec(430, netuid_newtype=True, grown=True)])
def test_every_declared_function_is_answered(spec_of):
    """With arguments that are zero. The fees of extrinsics have a test of their own."""
    bench = Bench(dataclasses.replace(spec(), runtime=spec_of))
    for name, functions in bench.runtime.codec.runtime_api_map().items():
        for function, known in functions.items():
            if any("uxt" in argument for argument, _ in known["inputs"]):
                continue
            zero = [bench.runtime.shapes.zero(kind) for _, kind in known["inputs"]]
            bench.api(f"{name}_{function}", *zero)


def test_the_fee_that_is_asked_is_the_fee_that_is_paid(bench):
    raw = bench.extrinsic(ALICE, "Balances", "transfer_keep_alive", dest=ss58(BOB), value=TAO)
    free_of_charge = bench.extrinsic(VALIDATORS[0], "SubtensorModule", "set_weights", **WEIGHTS)
    assert price(bench, free_of_charge)["partial_fee"] == 0
    asked = price(bench, raw)["partial_fee"]
    bench.core.submit(raw)
    bench.core.step()
    assert bench.event("TransactionFeePaid")["actual_fee"] == asked
    details = price(bench, raw, "query_fee_details")["inclusion_fee"]
    assert sum(details.values()) == asked
    for bad in (raw, raw[:-1], b"", raw[:-1] + b"\0\0\0\0"):
        with pytest.raises(ValueError):
            bench.runtime.call(bench.core.chain.storage, "TransactionPaymentApi_query_info", bad)


def price(bench, raw, function="query_info"):
    data = bench.runtime.call(
        bench.core.chain.storage, f"TransactionPaymentApi_{function}", raw + len(raw).to_bytes(4, "little")
    )
    codec = bench.runtime.codec
    return codec.decode(codec.runtime_api_map()["TransactionPaymentApi"][function]["output"], data)


def test_bad_arguments(bench):
    storage = bench.core.chain.storage
    with pytest.raises(UnknownRuntimeApi):
        bench.runtime.call(storage, "SubnetInfoRuntimeApi_get_nothing", b"")
    for data in (b"", b"\1", b"\1\0\0"):
        with pytest.raises(ValueError):
            bench.runtime.call(storage, "SubnetInfoRuntimeApi_get_metagraph", data)


@pytest.mark.parametrize("newtype", [False, True])
def test_an_upgrade_adds_a_field_and_keeps_the_state(bench, newtype):
    bench.call(VALIDATORS[0], "SubtensorModule", "set_weights", **WEIGHTS)
    bench.core.upgrade(RuntimeSpec(spec_version=431, grown=True, netuid_newtype=newtype))
    bench.core.step()
    assert bench.runtime.version["specVersion"] == 431
    assert bench.read("System", "LastRuntimeUpgrade")["spec_version"] == 431
    assert bench.api("SubnetInfoRuntimeApi_get_metagraph", NETUID)[GROWN_FIELD] == 0
    assert bench.read("SubtensorModule", "Weights", NETUID, 0) == [(3, 21_845), (4, 65_535)]
    bench.core.step(5)
    assert bench.call(VALIDATORS[0], "SubtensorModule", "set_weights", **WEIGHTS) is None


def test_a_metagraph_of_256_is_quick():
    whole = spec()
    neurons = [Neuron(Keypair.development(f"//n//{at}").account, COLD.account, at * TAO) for at in range(256)]
    subnet = dataclasses.replace(whole.subnets[0], neurons=tuple(neurons))
    bench = Bench(dataclasses.replace(whole, subnets=(subnet,)))
    began = time.perf_counter()
    assert len(bench.api("SubnetInfoRuntimeApi_get_metagraph", NETUID)["hotkeys"]) == 256
    assert time.perf_counter() - began < 5, "not a measurement: a quadratic loop would take minutes"


def test_the_same_spec_gives_the_same_chain():
    one, other = Bench(), Bench()
    for bench in (one, other):
        bench.core.step(3)
    assert one.core.chain.best.hash == other.core.chain.best.hash
    different = Bench(dataclasses.replace(spec(), seed=1))
    assert different.core.chain.genesis != one.core.chain.genesis
    assert OWNER.account != COLD.account
