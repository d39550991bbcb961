"""What the chain does beyond one call: hyperparameters, epochs, uids that change hands, accounts that end, proxies.

And that nothing an extrinsic says stops a block or breaks the accounts, whatever it is.
"""

from __future__ import annotations

import random

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
    refused,
    spec,
    ss58,
)

from mycelium.devnet.chain.pool import PoolRefusal
from mycelium.devnet.chain.runtime import yuma
from mycelium.devnet.chain.runtime.calls import CALLS
from mycelium.devnet.chain.runtime.state import as_bytes
from mycelium.devnet.chain.runtime.timelock import Beacon
from mycelium.identity.keys import Keypair

PALLET = "SubtensorModule"
WEIGHTS = {"netuid": NETUID, "dests": [3, 4], "weights": [1, 3], "version_key": 0}


@pytest.fixture
def bench():
    return Bench()


def free(bench, pair):
    return bench.read("System", "Account", ss58(pair))["data"]["free"]


# --- accounts ---------------------------------------------------------------------------------------------


def test_an_account_begins_with_its_first_balance_and_ends_with_its_last(bench):
    dest = {"dest": ss58(BOB)}
    assert bench.call(ALICE, "Balances", "transfer_allow_death", value=TAO, **dest) is None
    assert bench.event("NewAccount")["account"] == ss58(BOB)
    back = {"dest": ss58(ALICE), "keep_alive": False}
    kept = bench.call(
        BOB, "Balances", "transfer_keep_alive", dest=ss58(ALICE), value=free(bench, BOB) - 20_000
    )
    assert kept == "FundsUnavailable", "the fee was taken before"
    assert bench.call(BOB, "Balances", "transfer_all", **back) is None
    assert bench.event("KilledAccount")["account"] == ss58(BOB)
    assert not bench.state.has("System", "Account", ss58(BOB))
    issued = bench.read("Balances", "TotalIssuance")
    assert issued == sum(account["data"]["free"] for _, account in bench.state.map("System", "Account"))


def test_too_little_keeps_nobody_alive(bench):
    assert bench.call(ALICE, "Balances", "transfer_keep_alive", dest=ss58(COLD), value=5 * TAO) is None
    left = free(bench, ALICE) - bench.event("TransactionFeePaid")["actual_fee"] - 499
    near = bench.call(ALICE, "Balances", "transfer_keep_alive", dest=ss58(BOB), value=left)
    assert near == "NotExpendable"
    assert bench.call(ALICE, "Balances", "transfer_keep_alive", dest=ss58(ALICE), value=TAO) is None
    assert bench.call(ALICE, "Balances", "transfer_allow_death", dest=ss58(BOB), value=499) == "BelowMinimum"


def test_a_fee_must_leave_an_account_alive(bench):
    bench.sudo("Balances", "force_set_balance", who=ss58(BOB), new_free=100_400)
    said = "Inability to pay some fees (e.g. account balance too low)"
    assert refused(bench, BOB, "System", "remark", remark=b"x") == said
    assert free(bench, BOB) == 100_400


def test_free_calls_make_no_account(bench):
    assert bench.call(VALIDATORS[0], PALLET, "set_weights", **WEIGHTS) is None
    account = bench.read("System", "Account", ss58(VALIDATORS[0]))
    assert (account["nonce"], account["providers"]) == (1, 0)
    assert refused(bench, VALIDATORS[0], "System", "remark", remark=b"").startswith("Inability to pay")


# --- hyperparameters --------------------------------------------------------------------------------------


def admin(bench, who, name, **given):
    return bench.call(who, "AdminUtils", name, netuid=NETUID, **given)


def test_owners_and_root_set_hyperparameters():
    bench = Bench(spec(tempo=100))
    assert admin(bench, OWNER, "sudo_set_immunity_period", immunity_period=7) is None
    assert bench.subnet("ImmunityPeriod") == 7
    assert admin(bench, COLD, "sudo_set_immunity_period", immunity_period=8) == "BadOrigin"
    assert admin(bench, OWNER, "sudo_set_weights_set_rate_limit", weights_set_rate_limit=3) == "BadOrigin"
    given = {"netuid": NETUID, "weights_set_rate_limit": 3}
    assert bench.sudo("AdminUtils", "sudo_set_weights_set_rate_limit", **given) is None
    assert bench.subnet("WeightsSetRateLimit") == 3
    assert bench.sudo("AdminUtils", "sudo_set_stake_threshold", min_stake=5) is None
    assert bench.read(PALLET, "StakeThreshold") == 5
    unknown = {"netuid": 9, "weights_set_rate_limit": 3}
    assert bench.sudo("AdminUtils", "sudo_set_weights_set_rate_limit", **unknown) == "SubnetDoesNotExist"
    few = {"netuid": NETUID, "max_allowed_uids": 3}
    assert bench.sudo("AdminUtils", "sudo_set_max_allowed_uids", **few) == "MaxAllowedUIdsLessThanCurrentUIds"
    assert (
        admin(bench, OWNER, "sudo_set_commit_reveal_weights_interval", interval=0) == "RevealPeriodTooSmall"
    )
    assert bench.call(COLD, "Sudo", "sudo", call=bench.composed("System", "remark", {"remark": b""})) == (
        "RequireSudo"
    )


def test_nothing_changes_in_the_last_blocks_of_an_epoch():
    bench = Bench(spec(tempo=20))
    assert admin(bench, OWNER, "sudo_set_rho", rho=11) is None
    bench.to_block(15)
    late = admin(bench, OWNER, "sudo_set_rho", rho=12)
    assert late == "AdminActionProhibitedDuringWeightsWindow"


def test_a_new_tempo_begins_a_new_cycle():
    bench = Bench(spec(tempo=40))
    assert bench.call(OWNER, PALLET, "set_tempo", netuid=NETUID, tempo=20) == "TempoOutOfBounds"
    assert bench.call(OWNER, PALLET, "set_tempo", netuid=NETUID, tempo=360) is None
    assert bench.event("TempoSet") == (NETUID, 360)
    assert bench.api("SubnetInfoRuntimeApi_get_next_epoch_start_block", NETUID) == 362
    given = {"netuid": NETUID, "factor_milli": 2_000}
    assert bench.call(OWNER, PALLET, "set_activity_cutoff_factor", **given) is None
    assert bench.api("SubnetInfoRuntimeApi_get_metagraph", NETUID)["activity_cutoff"] == 720
    given["factor_milli"] = 1
    out = bench.call(OWNER, PALLET, "set_activity_cutoff_factor", **given)
    assert out == "ActivityCutoffFactorMilliOutOfBounds"


def test_an_epoch_that_its_owner_triggers():
    bench = Bench(spec(tempo=100))
    assert bench.call(COLD, PALLET, "trigger_epoch", netuid=NETUID) == "BadOrigin"
    assert bench.call(OWNER, PALLET, "trigger_epoch", netuid=NETUID) is None
    assert bench.event("EpochTriggered")["fires_at"] == 12
    assert bench.call(OWNER, PALLET, "trigger_epoch", netuid=NETUID) == "EpochTriggerAlreadyPending"
    assert bench.api("SubnetInfoRuntimeApi_get_next_epoch_start_block", NETUID) == 12
    bench.to_block(12)
    assert bench.subnet("SubnetEpochIndex") == 1
    assert bench.subnet("PendingEpochAt") == 0
    bench.to_block(105)
    assert bench.call(OWNER, PALLET, "trigger_epoch", netuid=NETUID) == "AutoEpochAlreadyImminent"
    bench.edit_item(PALLET, "CommitRevealWeightsEnabled", NETUID, value=True)
    assert bench.call(OWNER, PALLET, "trigger_epoch", netuid=NETUID) == "DynamicTempoBlockedByCommitReveal"


def test_more_epochs_than_a_block_can_hold_wait():
    bench = Bench(spec(tempo=10))
    for number in range(2):
        hotkey = Keypair.development(f"//new//{number}")
        assert bench.call(ALICE, PALLET, "register_network", hotkey=ss58(hotkey)) is None
    for netuid in (2, 3):
        bench.edit_item(PALLET, "Tempo", netuid, value=10)
    for netuid in (1, 2, 3):
        bench.edit_item(PALLET, "LastEpochBlock", netuid, value=5)
    bench.to_block(15)
    assert [bench.read(PALLET, "SubnetEpochIndex", netuid) for netuid in (1, 2, 3)] == [1, 1, 0]
    assert bench.event("EpochDeferred") == {"netuid": 3, "from_block": 15, "to_block": 16}
    bench.core.step()
    assert bench.read(PALLET, "SubnetEpochIndex", 3) == 1


# --- uids and permits -------------------------------------------------------------------------------------


def test_a_place_that_changes_hands_takes_nothing_over():
    bench = Bench(spec(WeightsSetRateLimit=0))
    for pair in VALIDATORS[:2]:
        assert bench.call(pair, PALLET, "set_weights", **WEIGHTS) is None
    bench.core.edit(lambda view: bench.runtime.deregister(view, NETUID, 3))
    stand_in = bench.read(PALLET, "Keys", NETUID, 3)
    assert stand_in != ss58(MINERS[0])
    assert bench.read(PALLET, "Uids", NETUID, stand_in) == 3
    assert bench.read(PALLET, "Uids", NETUID, ss58(MINERS[0])) is None
    assert bench.read(PALLET, "Weights", NETUID, 0) == [(3, 0), (4, 65_535)]
    bench.core.edit(lambda view: bench.runtime.deregister(view, NETUID, 1))
    assert bench.read(PALLET, "Weights", NETUID, 1) == []
    bench.to_block(30)
    assert bench.subnet("ValidatorPermit")[:3] == [True, False, True], "the stake went with the hotkey"
    graph = bench.api("SubnetInfoRuntimeApi_get_metagraph", NETUID)
    assert ss58(VALIDATORS[1]) not in graph["hotkeys"]
    assert len(set(graph["hotkeys"])) == 6
    assert graph["total_stake"][1] == 0
    unknown = bench.call(VALIDATORS[1], PALLET, "set_weights", **WEIGHTS)
    assert unknown == "HotKeyNotRegisteredInSubNet"


def test_a_new_neuron_waits_before_its_first_weights():
    bench = Bench(spec(WeightsSetRateLimit=4))
    fresh = Keypair.development("//fresh")
    assert bench.call(ALICE, PALLET, "burned_register", netuid=NETUID, hotkey=ss58(fresh)) is None
    own = {"netuid": NETUID, "dests": [6], "weights": [1], "version_key": 0}
    assert refused(bench, fresh, PALLET, "set_weights", **own) == "Custom error: 6"
    bench.core.step(3)
    assert bench.call(fresh, PALLET, "set_weights", **own) is None, "a weight for oneself needs no permit"


def test_a_subnet_with_nobody_to_replace_is_full():
    bench = Bench(spec(MaxAllowedUids=6, MinNonImmuneUids=9, ImmunityPeriod=0))
    fresh = ss58(Keypair.development("//fresh"))
    assert bench.call(ALICE, PALLET, "burned_register", netuid=NETUID, hotkey=fresh) == "NoNeuronIdAvailable"
    assert bench.call(ALICE, PALLET, "burned_register", netuid=0, hotkey=fresh) == (
        "RegistrationNotPermittedOnRootSubnet"
    )
    bench.edit_item(PALLET, "NetworkRegistrationAllowed", NETUID, value=False)
    assert bench.call(ALICE, PALLET, "burned_register", netuid=NETUID, hotkey=fresh) == (
        "SubNetRegistrationDisabled"
    )


def test_registering_costs_more_each_time_and_less_with_time():
    bench = Bench(spec(BurnHalfLife=10))
    first = bench.subnet("Burn")
    hotkeys = [ss58(Keypair.development(f"//r//{number}")) for number in range(3)]
    assert bench.call(ALICE, PALLET, "burned_register", netuid=NETUID, hotkey=hotkeys[0]) is None
    raised = bench.subnet("Burn")
    assert raised == pytest.approx(first * 1.26, rel=0.01)
    bench.core.step(10)
    assert bench.subnet("Burn") == pytest.approx(raised / 2, rel=0.01)
    poor = Keypair.development("//poor")
    bench.sudo("Balances", "force_set_balance", who=ss58(poor), new_free=TAO // 1000)
    assert bench.call(poor, PALLET, "burned_register", netuid=NETUID, hotkey=hotkeys[1]) == (
        "NotEnoughBalanceToStake"
    )
    theirs = ss58(VALIDATORS[0])
    assert bench.call(ALICE, PALLET, "register_network", hotkey=theirs) == "NonAssociatedColdKey"
    assert bench.call(poor, PALLET, "register_network", hotkey=hotkeys[2]) == "CannotAffordLockCost"


def test_stake_on_a_new_network_waits_for_its_start(bench):
    assert bench.call(ALICE, PALLET, "register_network", hotkey=ss58(ALICE)) is None
    stake = {"hotkey": ss58(ALICE), "netuid": 2, "amount_staked": TAO}
    assert bench.call(ALICE, PALLET, "add_stake", **stake) == "SubtokenDisabled"
    assert bench.call(ALICE, PALLET, "start_call", netuid=2) is None
    assert bench.call(ALICE, PALLET, "start_call", netuid=2) == "FirstEmissionBlockNumberAlreadySet"
    for amount, error in ((1, "AmountTooLow"), (10**6 * TAO, "NotEnoughBalanceToStake"), (TAO, None)):
        assert bench.call(ALICE, PALLET, "add_stake", **(stake | {"amount_staked": amount})) == error
    nobody = stake | {"hotkey": ss58(BOB)}
    assert bench.call(ALICE, PALLET, "add_stake", **nobody) == "HotKeyAccountNotExists"
    assert bench.call(ALICE, PALLET, "unstake_all", hotkey=ss58(ALICE)) is None
    assert bench.api("StakeInfoRuntimeApi_get_stake_info_for_coldkey", ss58(ALICE)) == []


# --- what weights add up to -------------------------------------------------------------------------------


def test_a_minority_does_not_move_the_consensus():
    rows = {0: [(2, 1)], 1: [(3, 1)]}
    found = yuma.terms(4, {0: 60, 1: 40}, rows, 0.5)
    assert found.consensus == [0, 0, 1, 0]
    assert found.incentive == [0, 0, 1, 0]
    assert found.dividends == [1, 0, 0, 0]
    assert found.trust == [1, 0, 0, 0]


def test_half_of_the_stake_is_enough_and_nothing_is_something():
    found = yuma.terms(3, {0: 1, 1: 1}, {0: [(2, 5)], 1: [(2, 1), (1, 3)]}, 0.5)
    assert found.consensus[2] == 1.0
    assert found.incentive == [0, 0, 1.0] or sum(found.incentive) == pytest.approx(1)
    for empty in (yuma.terms(2, {}, {}, 0.5), yuma.terms(2, {0: 7}, {}, 0.5), yuma.terms(0, {}, {}, 0.5)):
        assert sum(empty.incentive) == sum(empty.dividends) == 0


def test_who_is_inactive_or_votes_for_itself_does_not_count():
    bench = Bench(spec(tempo=10, ActivityCutoffFactorMilli=1_000))
    itself = WEIGHTS | {"dests": [1], "weights": [1]}
    assert bench.call(VALIDATORS[1], PALLET, "set_weights", **itself) is None
    assert bench.call(VALIDATORS[0], PALLET, "set_weights", **WEIGHTS) is None
    bench.to_block(10)
    assert bench.subnet("Incentive")[1] == 0
    assert bench.subnet("Active")[:2] == [True, True]
    assert bench.subnet("Dividends")[0] == 65_535
    bench.to_block(20)
    assert bench.subnet("Active")[0] is False
    assert sum(bench.subnet("Incentive")) == 0
    assert bench.subnet("Emission")[0] > bench.subnet("Emission")[2] > 0, "by stake, without weights"


# --- calls in calls ---------------------------------------------------------------------------------------


def proxied(bench, module, function, **params):
    made = {"real": ss58(COLD), "force_proxy_type": None, "call": bench.composed(module, function, params)}
    assert bench.call(ALICE, "Proxy", "proxy", **made) is None
    return bench.failure(bench.event("ProxyExecuted")["result"])


@pytest.mark.parametrize(
    ("kind", "transfer", "stake"),
    [("NonTransfer", "CallFiltered", None), ("Transfer", None, "CallFiltered"), ("Any", None, None),
     ("Staking", "CallFiltered", None), ("Registration", "CallFiltered", "CallFiltered"),
     ("Owner", "CallFiltered", "CallFiltered"), ("NonCritical", None, None)],
)  # fmt: skip
def test_a_proxy_makes_the_calls_of_its_kind(bench, kind, transfer, stake):
    named = {"delegate": ss58(ALICE), "proxy_type": kind, "delay": 0}
    assert bench.call(COLD, "Proxy", "add_proxy", **named) is None
    assert proxied(bench, "Balances", "transfer_keep_alive", dest=ss58(BOB), value=TAO) == transfer
    added = {"hotkey": ss58(VALIDATORS[0]), "netuid": NETUID, "amount_staked": TAO}
    assert proxied(bench, PALLET, "add_stake", **added) == stake
    assert bench.call(COLD, "Proxy", "remove_proxy", **named) is None
    assert bench.call(COLD, "Proxy", "remove_proxy", **named) == "NotFound"


def test_a_call_in_a_batch_is_looked_at_as_one_by_itself(bench):
    served = {"netuid": NETUID, "version": 1, "ip": 1, "port": 0, "ip_type": 4, "protocol": 4}
    call = bench.composed(PALLET, "serve_axon", served | {"placeholder1": 0, "placeholder2": 0})
    assert bench.call(ALICE, "Utility", "batch_all", calls=[call]) == "HotKeyNotRegisteredInNetwork"
    delayed = {"delegate": ss58(ALICE), "proxy_type": "Any", "delay": 3}
    assert bench.call(COLD, "Proxy", "add_proxy", **delayed) is None
    made = {"real": ss58(COLD), "force_proxy_type": None, "call": call}
    assert bench.call(ALICE, "Proxy", "proxy", **made) == "Unannounced"


def test_commitments_take_no_more_than_their_space(bench):
    digest = bytes(range(48))
    info = {"fields": [{"Raw48": digest}]}
    miner = MINERS[0]
    assert bench.call(miner, "Commitments", "set_commitment", netuid=NETUID, info=info) is None
    held = bench.read("Commitments", "CommitmentOf", NETUID, ss58(miner))
    assert as_bytes(held["info"]["fields"][0]["Raw48"]) == digest
    assert bench.call(ALICE, "Commitments", "set_commitment", netuid=NETUID, info=info) == (
        "AccountNotAllowedCommit"
    )
    many = {"fields": [{"Raw48": digest}] * 4}
    assert bench.call(miner, "Commitments", "set_commitment", netuid=NETUID, info=many) == (
        "TooManyFieldsInCommitmentInfo"
    )
    bench.edit_item("Commitments", "MaxSpace", value=150)
    full = bench.call(miner, "Commitments", "set_commitment", netuid=NETUID, info=info)
    assert full == "SpaceLimitExceeded"
    bench.to_block(10)
    assert bench.call(miner, "Commitments", "set_commitment", netuid=NETUID, info=info) is None
    # Two places behind the last item of `Metagraph` (71): the commitments.
    fields = bench.runtime.shapes.fields(
        bench.runtime.shapes.item(
            bench.runtime.codec.runtime_api_map()["SubnetInfoRuntimeApi"]["get_selective_metagraph"]["output"]
        )
    )
    place = list(fields).index("commitments")
    graph = bench.api("SubnetInfoRuntimeApi_get_selective_metagraph", NETUID, [place])
    ((who, data),) = graph["commitments"]
    assert (who, bytes(data[-48:])) == (ss58(miner), digest), "what is kept of it, encoded"


# --- anything at all --------------------------------------------------------------------------------------

PAIRS = [ALICE, BOB, COLD, OWNER, *VALIDATORS, *MINERS]
AMOUNTS = [0, 1, 499, 500, 2_000_000, TAO, 50 * TAO, 2**64 - 1]


def anything(draw, kind, name):
    """A value of a type, likely enough to mean something."""
    account = ss58(draw.choice(PAIRS))
    if kind.startswith("Vec<Vec<"):
        pairs = kind.startswith("Vec<Vec<(")
        return [[(1, 2)] if pairs else [draw.randrange(7)] for _ in range(draw.randrange(3))]
    if kind.startswith("Vec<"):
        if kind == "Vec<u8>":
            return bytes(draw.randrange(256) for _ in range(draw.randrange(70)))
        inner = kind[4:-1]
        return [anything(draw, inner, name) for _ in range(draw.choice([0, 1, 2, 7]))]
    if kind.startswith("Option<"):
        return draw.choice([None, anything(draw, kind[7:-1], name)])
    small = {
        "u8": [0, 1, 4, 6, 255],
        "u16": [0, 1, 1, 1, 2, 3, 4, 65_535],
        "u32": [0, 1, 5_000, 2**32 - 1],
        "u128": [0, 1, 0x0A000001, 0x7F000001, 2**128 - 1],
    }
    bare = kind.removeprefix("Compact<").removesuffix(">")
    if bare in small:
        return draw.choice(small[bare])
    choices = {
        "u64": [*AMOUNTS, 50_000_000],
        "bool": [True, False],
        "AccountId32": [account],
        "MultiAddress": [account],
        "H256": ["0x" + "ab" * 32],
        "BoundedVec": [b"", b"\xff\x00", Beacon(0).public_key * 9],
        "ProxyType": ["Any", "Transfer", "RootClaim"],
        "MultiSignature": [None],
        "CommitmentInfo": [{"fields": [draw.choice(["None", "ResetBondsFlag", {"Raw3": b"abc"}])]}],
    }
    return draw.choice(choices[bare])


def call_of(draw, bench, declared, depth=0):
    (module, function), arguments = draw.choice(declared)
    given = {}
    for argument in arguments:
        kind = argument["type_ident"]
        if "RuntimeCall" in kind:
            if depth > 2:
                return call_of(draw, bench, declared, depth)
            inner = [call_of(draw, bench, declared, depth + 1) for _ in range(draw.choice([1, 2]))]
            given[argument["name"]] = inner if kind.startswith("Vec") else inner[0]
        elif kind == "PulsesPayload":
            pulse = {"round": 5, "randomness": b"", "signature": b"\1"}
            given[kind] = None
            given = {
                "pulses_payload": {"block_number": 0, "pulses": [pulse], "public": {"Sr25519": bytes(32)}}
            }
        elif kind == "Option<MultiSignature>":
            given[argument["name"]] = None
        else:
            given[argument["name"]] = anything(draw, kind, argument["name"])
    return bench.composed(module, function, given)


def check_accounts(bench):
    state = bench.state
    assert bench.read("Balances", "TotalIssuance") == sum(
        account["data"]["free"] for _, account in state.map("System", "Account")
    )
    for netuid in (netuid for netuid, added in state.map(PALLET, "NetworksAdded") if added and netuid):
        size = bench.read(PALLET, "SubnetworkN", netuid)
        keys = dict(state.map(PALLET, "Keys", netuid))
        assert sorted(keys) == list(range(size))
        assert dict(state.map(PALLET, "Uids", netuid)) == {hotkey: uid for uid, hotkey in keys.items()}
        for item in ("Active", "ValidatorPermit", "Dividends", "LastUpdate", "Incentive", "Emission"):
            assert len(bench.read(PALLET, item, netuid)) == size
        assert bench.api("SubnetInfoRuntimeApi_get_metagraph", netuid)["num_uids"] == size
    staked = {}
    for (hotkey, _, netuid), held in state.map(PALLET, "Alpha"):
        staked[hotkey, netuid] = staked.get((hotkey, netuid), 0) + (held["bits"] >> 64)
    totals = {keys: total for keys, total in state.map(PALLET, "TotalHotkeyAlpha") if total}
    assert totals == staked


@pytest.mark.parametrize("seed", range(4))
def test_no_extrinsic_stops_a_block(seed):
    draw = random.Random(seed)
    bench = Bench(spec(tempo=5, WeightsSetRateLimit=0, ServingRateLimit=0, commit_reveal=bool(seed % 2)))
    calls = {
        (pallet["name"], one["name"]): one["args"]
        for pallet in bench.runtime.codec.metadata_ir()["pallets"]
        for one in pallet["calls"] or ()
    }
    declared = [(names, calls[names]) for names in CALLS]
    outcomes = set()
    for _ in range(60):
        for pair in PAIRS:
            raw = call_of(draw, bench, declared)
            try:
                bench.submit_raw(pair, raw)
            except PoolRefusal as refusal:
                outcomes.add(refusal.data)
        bench.core.step()
        outcomes |= {event["event_id"] for event in bench.events()}
    check_accounts(bench)
    assert {"ExtrinsicSuccess", "ExtrinsicFailed", "TransactionFeePaid"} < outcomes


def test_the_calls_that_are_carried_out_are_declared():
    bench = Bench()
    declared = {
        (pallet["name"], one["name"]): [argument["name"] for argument in one["args"]]
        for pallet in bench.runtime.codec.metadata_ir()["pallets"]
        for one in pallet["calls"] or ()
    }
    assert set(CALLS) <= set(declared)
    assert len(CALLS) >= 80
