"""Weights on a development chain: set, committed and revealed, refused by each of its rules, and in its good time."""

from __future__ import annotations

import pytest
from chain.opskit import (
    MINERS,
    NETUID,
    PALLET,
    TAO,
    VALIDATORS,
    linked,
    running,
    spec,
    ss58,
    sudo,
)

from mycelium.chain import dispatch
from mycelium.chain.weights import set_weights
from mycelium.devnet.chain.thread import ThreadedChain
from mycelium.identity.keys import Keypair

OWNER, SECOND, THIRD = VALIDATORS
MINER = MINERS[0]
SOME = {0: 1, 1: 2, 3: 0.5}
KEPT = [(0, 32_768), (1, 65_535), (3, 16_384)]
SUBMITTED = {"wait": "submitted"}


@pytest.fixture
def plain():
    with running() as (chain, connection):
        chain.step(6)
        yield chain, connection


def kept(connection, uid, mechanism=0):
    return connection.read(PALLET, "Weights", [dispatch.index_of(NETUID, mechanism), uid])


def test_set_in_the_open(plain):
    _, connection = plain
    result = set_weights(connection, SECOND, NETUID, SOME).check()
    assert (result.path, result.fee_rao, result.reveal_round) == ("set_weights", 0, None)
    assert kept(connection, 1) == KEPT
    assert result.receipt.block_number == connection.head().number


def test_a_dry_run_changes_nothing(plain):
    chain, connection = plain
    root = chain.run(lambda core: core.chain.best.hash)
    result = set_weights(connection, SECOND, NETUID, SOME, dry_run=True)
    assert (result.success, result.sent, result.dry_run, result.fee_rao) == (True, False, True, 0)
    assert result.params["dests"] == [0, 1, 3]
    assert all(check.ok for check in result.checks)
    assert chain.run(lambda core: (core.chain.best.hash, core.pool.pending())) == (root, [])
    assert kept(connection, 1) == []


def test_too_fast_and_again_in_the_block_that_was_named(plain):
    chain, connection = plain
    set_weights(connection, SECOND, NETUID, SOME).check()
    refused = set_weights(connection, SECOND, NETUID, {0: 1})
    assert (refused.rule, refused.sent) == ("SettingWeightsTooFast", False)
    assert refused.retry_in_s == (refused.retry_at_block - connection.head().number - 1) * 0.25
    # One block too early the chain itself refuses it; then it does not.
    chain.step(refused.retry_at_block - connection.head().number - 2)
    forced = _forced(connection, SECOND)
    assert (forced.rule, forced.retry_at_block) == ("SettingWeightsTooFast", refused.retry_at_block)
    assert not set_weights(connection, SECOND, NETUID, {0: 1}).success
    chain.step()
    again = set_weights(connection, SECOND, NETUID, {0: 1}).check()
    assert again.receipt.block_number == refused.retry_at_block


def _forced(connection, keypair, params=None, call="set_weights"):
    """What the chain says to a call that no rule was looked at for."""
    from mycelium.chain.dispatch import Subject
    from mycelium.chain.outcome import Outcome, perform

    given = params or {"netuid": NETUID, "dests": [0], "weights": [1], "version_key": 0}
    return perform(Outcome, connection, keypair, Subject(call, ss58(keypair), NETUID), given, ())


@pytest.mark.parametrize(
    ("keypair", "params", "rule"),
    [
        (Keypair.development("//stranger"), {}, "HotKeyNotRegisteredInSubNet"),
        (MINER, {}, "NeuronNoValidatorPermit"),
        (SECOND, {"dests": [0, 0], "weights": [1, 1]}, "DuplicateUids"),
        (SECOND, {"dests": [9], "weights": [1]}, "UidVecContainInvalidOne"),
        (SECOND, {"dests": [0], "weights": [1, 2]}, "WeightVecNotEqualSize"),
        (SECOND, {"dests": list(range(9)), "weights": [1] * 9}, "UidsLengthExceedUidsInSubNet"),
    ],
)
def test_what_only_the_chain_looks_at_is_named_too(plain, keypair, params, rule):
    _, connection = plain
    given = {"netuid": NETUID, "dests": [0], "weights": [1], "version_key": 0, **params}
    result = _forced(connection, keypair, given)
    assert (result.success, result.rule) == (False, rule), result
    assert result.reason
    assert result.remedy


@pytest.mark.parametrize(
    ("hyperparameters", "keypair", "given", "rule"),
    [
        ({}, Keypair.development("//stranger"), SOME, "HotKeyNotRegisteredInSubNet"),
        ({}, MINER, SOME, "NeuronNoValidatorPermit"),
        ({"MinAllowedWeights": 5}, SECOND, SOME, "WeightVecLengthIsLow"),
        ({"MaxWeightsLimit": 10_000}, SECOND, SOME, "MaxWeightExceeded"),
        ({"WeightsVersionKey": 3}, SECOND, SOME, "IncorrectWeightVersionKey"),
        ({}, SECOND, {77: 1}, "UidVecContainInvalidOne"),
    ],
)
def test_the_chain_agrees_with_what_was_seen_beforehand(hyperparameters, keypair, given, rule):
    with running(**hyperparameters) as (chain, connection):
        chain.step(6)
        seen = set_weights(connection, keypair, NETUID, given)
        assert (seen.rule, seen.sent) == (rule, False)
        params = {
            "netuid": NETUID,
            "dests": list(given),
            "weights": [round(value * 100) for value in given.values()],
            "version_key": 0,
        }
        assert _forced(connection, keypair, params).rule == rule


def test_the_stake_that_the_chain_asks_for():
    with running() as (chain, connection):
        chain.step(6)
        sudo(connection, "AdminUtils", "sudo_set_stake_threshold", min_stake=1500 * TAO)
        refused = set_weights(connection, THIRD, NETUID, SOME)
        assert (refused.rule, refused.sent) == ("NotEnoughStakeToSetWeights", False)
        assert "stake weight 1000, of at least 1500 TAO" in refused.reason
        assert _forced(connection, THIRD).rule == "NotEnoughStakeToSetWeights"
        assert set_weights(connection, SECOND, NETUID, SOME).success
        sudo(connection, "AdminUtils", "sudo_set_stake_threshold", min_stake=10**6 * TAO)
        assert set_weights(connection, OWNER, NETUID, SOME).success  # the subnet's owner is excepted


def test_a_miner_may_weigh_itself(plain):
    _, connection = plain
    set_weights(connection, MINER, NETUID, {3: 1}).check()
    assert kept(connection, 3) == [(3, 65_535)]


def test_the_limit_of_one_weight_is_kept():
    with running(MaxWeightsLimit=30_000) as (chain, connection):
        chain.step(6)
        result = set_weights(connection, SECOND, NETUID, {0: 100, 1: 1, 2: 1, 3: 1}).check()
        values = [value for _, value in kept(connection, 1)]
        assert list(result.values) == values
        assert max(values) * 65_535 <= 30_000 * sum(values)


def test_a_permit_that_is_taken_meanwhile(plain):
    chain, connection = plain
    chain.faults.remove_permit(NETUID, 1)
    refused = set_weights(connection, SECOND, NETUID, SOME)
    assert refused.rule == "NeuronNoValidatorPermit"
    schedule_block = refused.retry_at_block
    assert schedule_block == 10  # the next epoch
    chain.faults.deregister(NETUID, 1)
    assert set_weights(connection, SECOND, NETUID, SOME).rule == "HotKeyNotRegisteredInSubNet"


@pytest.mark.parametrize("netuid_newtype", [False, True])
def test_mechanisms_have_weights_and_rates_of_their_own(netuid_newtype):
    with running(MechanismCountCurrent=2) as (chain, connection):
        chain.faults.upgrade(netuid_newtype=netuid_newtype)
        chain.step(6)
        first = set_weights(connection, SECOND, NETUID, SOME).check()
        second = set_weights(connection, SECOND, NETUID, {4: 1}, mechanism=1).check()
        assert (first.path, second.path) == ("set_weights", "set_mechanism_weights")
        assert (kept(connection, 1), kept(connection, 1, 1)) == (KEPT, [(4, 65_535)])
        assert set_weights(connection, SECOND, NETUID, {4: 1}, mechanism=1).rule == "SettingWeightsTooFast"
        assert set_weights(connection, SECOND, NETUID, {4: 1}, mechanism=2).rule == "MechanismDoesNotExist"


# --- committed first --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", [0, 1])
def test_committed_and_revealed_after_the_round(mechanism):
    with running("manual", commit_reveal=True, tempo=20, MechanismCountCurrent=2) as (chain, connection):
        chain.step(6)
        result = set_weights(connection, SECOND, NETUID, SOME, mechanism=mechanism, **SUBMITTED).check()
        chain.step()
        call = "commit_timelocked_mechanism_weights" if mechanism else "commit_timelocked_weights"
        assert result.path == call
        assert result.params["commit_reveal_version"] == 4
        events = [event["event"] for event in connection.read("System", "Events")]
        assert f"{result.reveal_round}" in str(events)
        number = connection.head().number
        assert result.reveal_at_block > number
        chain.step(result.reveal_at_block - number - 1)
        assert kept(connection, 1, mechanism) == []
        # In its epoch, as soon as its round is out.
        chain.step(19)
        assert connection.read("Drand", "LastStoredRound") >= result.reveal_round
        assert kept(connection, 1, mechanism) == KEPT


def test_commits_have_their_rate_limit_and_their_number():
    with running("manual", commit_reveal=True, tempo=40, WeightsSetRateLimit=2) as (chain, connection):
        chain.step(3)
        for _ in range(10):
            assert set_weights(connection, SECOND, NETUID, SOME, **SUBMITTED).success
            chain.step(2)
        full = set_weights(connection, SECOND, NETUID, SOME)
        assert (full.rule, full.sent, full.retry_at_block) == ("TooManyUnrevealedCommits", False, 40)
        chain.step(full.retry_at_block - connection.head().number - 1)
        assert set_weights(connection, SECOND, NETUID, SOME, **SUBMITTED).success
        chain.step()
        fast = set_weights(connection, SECOND, NETUID, SOME)
        assert (fast.rule, fast.retry_at_block) == ("CommittingWeightsTooFast", 42)


def test_a_dry_run_of_a_commit_changes_nothing():
    with running(commit_reveal=True) as (chain, connection):
        chain.step(6)
        result = set_weights(connection, SECOND, NETUID, SOME, dry_run=True)
        assert (result.success, result.path, result.sent) == (True, "commit_timelocked_weights", False)
        assert connection.read_map(PALLET, "TimelockedWeightCommits") == {}


def test_a_subnet_that_changes_its_mind_between_look_and_block():
    with running(commit_reveal=True) as (chain, connection):
        chain.step(6)
        assert _forced(connection, SECOND).rule == "CommitRevealEnabled"
    with running() as (chain, connection):
        chain.step(6)
        params = {"netuid": NETUID, "commit": b"x", "reveal_round": 2**40, "commit_reveal_version": 4}
        result = _forced(connection, SECOND, params, "commit_timelocked_weights")
        assert (result.rule, result.retry_in_s) == ("CommitRevealDisabled", 0)


def test_sealed_to_a_round_that_is_out():
    with running(commit_reveal=True) as (chain, connection):
        chain.step(6)
        params = {"netuid": NETUID, "commit": b"x", "reveal_round": 1, "commit_reveal_version": 4}
        assert _forced(connection, SECOND, params, "commit_timelocked_weights").rule == "InvalidRevealRound"
        params |= {"reveal_round": 2**40, "commit_reveal_version": 9}
        wrong = _forced(connection, SECOND, params, "commit_timelocked_weights")
        assert wrong.rule == "IncorrectCommitRevealVersion"


def test_over_a_runtime_upgrade():
    with ThreadedChain(spec()) as chain, linked(chain) as connection:
        chain.step(6)
        set_weights(connection, SECOND, NETUID, SOME).check()
        chain.faults.upgrade(netuid_newtype=True)
        chain.step(6)
        set_weights(connection, SECOND, NETUID, {0: 1}).check()
        assert kept(connection, 1) == [(0, 65_535)]
