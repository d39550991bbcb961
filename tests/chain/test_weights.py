"""Weights: the path is the chain's, a rule that refuses is named beforehand, and conversions keep what they promise."""

from __future__ import annotations

import math
import sys

import pytest
from chain.opskit import MINERS, NETUID, OWNER, PALLET, VALIDATORS, FakeConnection, failed, ss58
from hypothesis import given
from hypothesis import strategies as st

from mycelium.chain import weights
from mycelium.chain.refusals import invalid
from mycelium.chain.weights import set_weights
from mycelium.devnet.chain.runtime.timelock import Beacon
from mycelium.errors import (
    ChainRefused,
    ChainUnreachable,
    ConfigError,
    ExtrinsicFailed,
    ExtrinsicInvalid,
    UnknownToChain,
    UsageError,
)

ME = VALIDATORS[1]
SOME = {0: 1.0, 1: 3.0}
BEACON = {"BeaconConfig": Beacon(0).config({"public_key": "0x" + "00" * 96})}
SEALED = {"CommitRevealWeightsEnabled": True, "TimelockedWeightCommits": [], **BEACON}

# --- the path ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "values", "mechanism", "path", "names"),
    [
        ("set_weights set_mechanism_weights", {}, 0, "set_weights", {"dests", "weights"}),
        ("set_mechanism_weights", {}, 0, "set_mechanism_weights", {"mecid", "dests", "weights"}),
        (
            "set_weights set_mechanism_weights",
            {"MechanismCountCurrent": 2},
            1,
            "set_mechanism_weights",
            {"mecid"},
        ),
        (
            "commit_timelocked_weights commit_timelocked_mechanism_weights commit_weights",
            SEALED,
            0,
            "commit_timelocked_weights",
            {"commit", "reveal_round", "commit_reveal_version"},
        ),
        (
            "commit_timelocked_mechanism_weights commit_weights",
            SEALED,
            0,
            "commit_timelocked_mechanism_weights",
            {"mecid", "commit", "reveal_round", "commit_reveal_version"},
        ),
        (
            "commit_timelocked_weights commit_timelocked_mechanism_weights",
            {**SEALED, "MechanismCountCurrent": 2},
            1,
            "commit_timelocked_mechanism_weights",
            {"mecid"},
        ),
        ("commit_crv3_weights commit_weights", SEALED, 0, "commit_crv3_weights", {"commit", "reveal_round"}),
        ("commit_crv3_mechanism_weights", SEALED, 0, "commit_crv3_mechanism_weights", {"mecid", "commit"}),
        ("commit_weights", SEALED, 0, "commit_weights", {"commit_hash"}),
    ],
)
def test_the_path_is_read_from_the_chain(calls, values, mechanism, path, names):
    connection = FakeConnection(values, calls=calls.split())
    result = set_weights(connection, ME, NETUID, SOME, mechanism=mechanism)
    assert result.check() is result
    assert (result.path, result.call) == (path, f"{PALLET}.{path}")
    ((pallet, function, params, options),) = connection.submitted
    assert (pallet, function) == (PALLET, path)
    assert names <= set(params)
    assert ("commit_reveal_version" in params) == ("timelocked" in path)
    assert ("mecid" in params) == ("mechanism" in path)
    assert options["dry_run"] is False
    assert (result.uids, result.values) == ((0, 1), (21_845, 65_535))
    assert (result.reveal_round is not None) == ("timelocked" in path or "crv3" in path)
    assert bool(result.salt) == (path == "commit_weights")


def test_the_version_of_the_commit_is_the_chains():
    connection = FakeConnection(
        {**SEALED, "CommitRevealWeightsVersion": 7}, calls=["commit_timelocked_weights"]
    )
    set_weights(connection, ME, NETUID, SOME)
    assert connection.submitted[0][2]["commit_reveal_version"] == 7


def test_a_chain_without_a_call_for_it():
    with pytest.raises(UnknownToChain, match="committing weights of mechanism 0"):
        set_weights(FakeConnection(SEALED, calls=["set_weights"]), ME, NETUID, SOME)
    with pytest.raises(UnknownToChain, match="setting weights of mechanism 1"):
        set_weights(FakeConnection({"MechanismCountCurrent": 2}), ME, NETUID, SOME, mechanism=1)


def test_a_chain_of_an_older_runtime_needs_no_more_than_it_has():
    older = dict.fromkeys(
        ("MechanismCountCurrent", "LastEpochBlock", "PendingEpochAt", "SubnetEpochIndex", "LastStoredRound"),
        "absent",
    )
    assert set_weights(FakeConnection(older), ME, NETUID, SOME).success


def test_one_request_before_an_open_submission_and_two_before_a_sealed_one():
    connection = FakeConnection()
    set_weights(connection, ME, NETUID, SOME)
    assert connection.requests == 1
    connection = FakeConnection(SEALED, calls=["commit_timelocked_weights"])
    set_weights(connection, ME, NETUID, SOME)
    assert connection.requests == 2


def test_weights_committed_by_hash_are_revealed_with_their_salt():
    connection = FakeConnection(SEALED, calls=["commit_weights", "reveal_weights"])
    committed = set_weights(connection, ME, NETUID, SOME, version_key=3)
    assert committed.reveal_at_block == 105
    revealed = weights.reveal_weights(connection, ME, committed)
    assert revealed.path == "reveal_weights"
    assert connection.submitted[1][2] == {
        "netuid": NETUID,
        "uids": [0, 1],
        "values": [21_845, 65_535],
        "salt": list(committed.salt),
        "version_key": 3,
    }
    with pytest.raises(UsageError, match="set_weights needs no reveal"):
        weights.reveal_weights(connection, ME, set_weights(FakeConnection(), ME, NETUID, SOME))


# --- the rules --------------------------------------------------------------------------------------------

STATE = ("NeuronInfo", "get_subnet_state")


@pytest.mark.parametrize(
    ("values", "given", "rule", "block"),
    [
        ({"NetworksAdded": False}, SOME, "SubnetNotExists", None),
        ({"Uids": None}, SOME, "HotKeyNotRegisteredInSubNet", None),
        ({"StakeThreshold": 2001}, SOME, "NotEnoughStakeToSetWeights", None),
        ({"WeightsVersionKey": 4}, SOME, "IncorrectWeightVersionKey", None),
        ({"LastUpdate": [0, 90, 0, 0]}, SOME, "SettingWeightsTooFast", 110),
        ({"LastUpdate": [0, 82, 0, 0]}, SOME, "SettingWeightsTooFast", 102),
        ({"ValidatorPermit": [True, False]}, SOME, "NeuronNoValidatorPermit", 105),
        ({"ValidatorPermit": []}, SOME, "NeuronNoValidatorPermit", 105),
        ({}, {0: 1, 9: 1}, "UidVecContainInvalidOne", None),
        ({"MinAllowedWeights": 3}, SOME, "WeightVecLengthIsLow", None),
        ({}, {0: 0, 1: 0}, "WeightVecLengthIsLow", None),
        ({}, {}, "WeightVecLengthIsLow", None),
        ({"MaxWeightsLimit": 20_000}, SOME, "MaxWeightExceeded", None),
        (
            {**SEALED, "TimelockedWeightCommits": [(ss58(ME), 1, b"", 1)] * 10},
            SOME,
            "TooManyUnrevealedCommits",
            105,
        ),
        ({**SEALED, "LastUpdate": [0, 90, 0, 0]}, SOME, "CommittingWeightsTooFast", 110),
        ({"SubnetEpochConsensus": "Null", "ValidatorPermit": []}, {1: 1}, "NeuronNoValidatorPermit", 105),
        (
            {"SubnetEpochConsensus": {"Null": None}, "ValidatorPermit": []},
            {1: 1},
            "NeuronNoValidatorPermit",
            105,
        ),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_rule_is_named_before_anything_is_sent(values, given, rule, block, dry_run):
    apis = {"get_subnet_state": {"hotkeys": [ss58(OWNER), ss58(ME)], "total_stake": [9, 2000]}}
    connection = FakeConnection(
        values,
        apis=apis,
        constants={"SlotDuration": 12_000},
        calls=["set_weights", "commit_timelocked_weights"],
    )
    result = set_weights(connection, ME, NETUID, given, dry_run=dry_run)
    assert (result.success, bool(result), result.sent, result.rule) == (False, False, False, rule)
    assert (result.path, result.call) == ("", "")
    assert result.retry_at_block == block
    assert result.retry_in_s == (None if block is None else (block - 101) * 12)
    assert result.reason
    assert result.remedy
    assert connection.submitted == []
    assert [check.rule for check in result.checks if not check.ok] == [rule]
    with pytest.raises(ExtrinsicInvalid, match=rule):
        result.check()


@pytest.mark.parametrize(
    ("values", "given"),
    [
        ({"LastUpdate": [0, 81, 0, 0]}, SOME),
        ({"LastUpdate": [0, 0, 0, 0], "Number": 1}, SOME),
        ({"WeightsSetRateLimit": 0, "LastUpdate": [0, 100, 0, 0]}, SOME),
        ({"ValidatorPermit": [], "SubnetOwnerHotkey": ss58(ME)}, SOME),
        ({"StakeThreshold": 2001, "SubnetOwnerHotkey": ss58(ME)}, SOME),
        ({"StakeThreshold": 2000}, SOME),
        ({"ValidatorPermit": [], "MinAllowedWeights": 9, "MaxWeightsLimit": 1}, {1: 5.0, 3: 0}),
        ({"MinAllowedWeights": 1024}, {0: 1, 1: 1, 2: 1, 3: 1}),
        ({"MaxWeightsLimit": 32_768}, SOME),
        ({"SubnetEpochConsensus": "Yuma", "ValidatorPermit": []}, {1: 1}),
    ],
)
def test_what_the_chain_lets_pass_is_sent(values, given):
    apis = {"get_metagraph": {"hotkeys": [ss58(OWNER), ss58(ME)], "total_stake": [9, 2000]}}
    result = set_weights(FakeConnection(values, apis=apis), ME, NETUID, given)
    assert result.check().success


def test_the_root_subnet_has_no_weights():
    assert set_weights(FakeConnection(), ME, 0, SOME).rule == "CanNotSetRootNetworkWeights"


def test_a_mechanism_that_is_not_there():
    assert set_weights(FakeConnection(), ME, NETUID, SOME, mechanism=1).rule == "MechanismDoesNotExist"


def test_a_round_that_is_out_already_is_seen_beforehand(monkeypatch):
    from mycelium.chain import commit_reveal, timelock

    monkeypatch.setattr(commit_reveal.bittensor_drand, "get_encrypted_commit_v2", lambda **_: (b"x", 41))
    real = {"public_key": "0x" + timelock.QUICKNET.hex()}
    values = {**SEALED, "BeaconConfig": real, "LastStoredRound": 42}
    result = set_weights(FakeConnection(values, calls=["commit_timelocked_weights"]), ME, NETUID, SOME)
    assert (result.rule, result.sent) == ("InvalidRevealRound", False)
    assert "clock" in result.remedy


# --- what becomes of it -----------------------------------------------------------------------------------


def test_a_call_that_failed_in_its_block_is_explained():
    connection = FakeConnection(submit=lambda call, params: failed("SettingWeightsTooFast"))
    connection.values["LastUpdate"] = [0, 81, 0, 0]
    result = set_weights(connection, ME, NETUID, SOME)
    assert (result.success, result.sent, result.rule, result.retry_at_block) == (
        False,
        True,
        "SettingWeightsTooFast",
        101,
    )
    assert result.receipt.block_number == 101
    with pytest.raises(ExtrinsicFailed, match="SettingWeightsTooFast") as caught:
        result.check()
    assert (caught.value.pallet, caught.value.name) == (PALLET, "SettingWeightsTooFast")


def test_a_refusal_at_submission_is_explained():
    def refuse(call, params):
        raise invalid(ChainRefused("Invalid Transaction", code=1010, data="Custom error: 6"))

    connection = FakeConnection(submit=refuse)
    connection.values["LastUpdate"] = [0, 81, 0, 0]
    result = set_weights(connection, ME, NETUID, SOME)
    assert (result.success, result.sent, result.receipt) == (False, True, None)
    assert (result.rule, result.retry_at_block, result.retry_in_s) == ("SettingWeightsTooFast", 101, 0)


def test_what_is_no_rule_is_raised():
    def nobody(call, params):
        raise ChainUnreachable("nobody answers")

    with pytest.raises(ChainUnreachable):
        set_weights(FakeConnection(submit=nobody), ME, NETUID, SOME)


def test_options_reach_the_submission():
    connection = FakeConnection()
    set_weights(connection, ME, NETUID, SOME, wait="finalised", timeout_s=5, era_blocks=None, dry_run=True)
    options = connection.submitted[0][3]
    assert options == {"wait": "finalised", "timeout_s": 5, "era_blocks": None, "dry_run": True}


def test_a_dry_run_describes_itself():
    text = set_weights(FakeConnection(), ME, NETUID, SOME, dry_run=True).describe()
    assert text.startswith(f"{PALLET}.set_weights(netuid=1, dests=[0, 1]")
    assert "ok  NeuronNoValidatorPermit" in text
    assert text.endswith("would succeed")
    assert "nothing to send" in set_weights(FakeConnection({"Uids": None}), ME, NETUID, SOME).describe()


# --- what is given ----------------------------------------------------------------------------------------


def test_weights_by_hotkey():
    connection = FakeConnection()
    result = set_weights(connection, ME, NETUID, {ss58(ME): 2.0})
    assert (result.uids, result.values) == ((1,), (65_535,))


def test_hotkeys_that_are_strangers_are_named():
    connection = FakeConnection({"Uids": None})
    with pytest.raises(UsageError, match=f"{ss58(MINERS[0])} and 1 more"):
        set_weights(connection, ME, NETUID, {ss58(MINERS[0]): 1.0, ss58(MINERS[1]): 1.0})
    with pytest.raises(UsageError, match=f"{ss58(MINERS[0])} is not registered"):
        set_weights(connection, ME, NETUID, {ss58(MINERS[0]): 1.0})


@pytest.mark.parametrize(
    "wrong",
    [
        {"version_key": -1},
        {"version_key": 2**64},
        {"version_key": 1.0},
        {"mechanism": 256},
        {"mechanism": True},
    ],
)
def test_numbers_that_do_not_fit(wrong):
    with pytest.raises(UsageError, match="whole number"):
        set_weights(FakeConnection(), ME, NETUID, SOME, **wrong)


def test_what_is_no_keypair():
    with pytest.raises(UsageError, match="no keypair"):
        set_weights(FakeConnection(), "somebody", NETUID, SOME)


# --- conversions ------------------------------------------------------------------------------------------

NAMED = st.dictionaries(st.text(max_size=5), st.floats(0, 1e308), max_size=30)
UNIT = st.dictionaries(st.text(max_size=5), st.floats(0, 1), max_size=30)


@given(NAMED)
def test_normalised_weights_add_up_to_one(given):
    found = weights.normalize_weights(given)
    assert list(found) == list(given)
    total = math.fsum(found.values())
    assert total == (pytest.approx(1.0) if any(given.values()) else 0)


@given(UNIT)
def test_u16_and_back_loses_less_than_a_step(given):
    back = weights.convert_weights_from_u16(weights.convert_weights_to_u16(given))
    assert all(abs(back[name] - value) <= 0.5 / weights.U16_MAX + 1e-12 for name, value in given.items())


@given(st.dictionaries(st.text(max_size=5), st.integers(0, 65_535), max_size=30))
def test_from_u16_and_back_loses_nothing(given):
    assert weights.convert_weights_to_u16(weights.convert_weights_from_u16(given)) == given


@pytest.mark.parametrize("wrong", [1.5, -0.1, math.nan, "1", True, None])
def test_what_has_no_u16(wrong):
    with pytest.raises(UsageError):
        weights.convert_weights_to_u16({"a": wrong})


@pytest.mark.parametrize("wrong", [65_536, -1, 0.5, True, "1"])
def test_what_is_no_u16(wrong):
    with pytest.raises(UsageError):
        weights.convert_weights_from_u16({"a": wrong})


@pytest.mark.parametrize(
    ("given", "valid"),
    [
        ({"a": 0.5, "b": 0}, True),
        ({"a": 65_535}, True),
        ({}, False),
        ({"a": 0}, False),
        ({"a": -1, "b": 2}, False),
        ({"a": math.inf}, False),
        ({"a": math.nan}, False),
        ({"a": "1"}, False),
        ({"a": True}, False),
    ],
)
def test_whether_weights_are_valid(given, valid):
    assert weights.validate_weights(given) is valid


def test_the_matrix():
    matrix = weights.compute_weight_matrix({"a": {"b": 0.5, "x": 1}, "x": {"a": 1}, "b": {}}, ["a", "b"])
    assert matrix.tolist() == [[0, 0.5], [0, 0]]
    with pytest.raises(UsageError):
        weights.compute_weight_matrix({"a": {"b": math.nan}}, ["a", "b"])


def test_without_numpy_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ConfigError, match=r"mycelium-node\[numpy\]"):
        weights.compute_weight_matrix({}, [])
