"""Setting weights under Fiber's names: by whatever path the chain has in force, and True only when it was taken."""

from __future__ import annotations

import pytest
import substrateinterface
from chain.opskit import MINERS, NETUID, PALLET, VALIDATORS, FakeConnection, failed, running, ss58
from hypothesis import given
from hypothesis import strategies as st

from mycelium.chain import chain_utils, node_weights, weights, weights_state
from mycelium.chain.commit_reveal import sealed_commit
from mycelium.chain.connection import Connection
from mycelium.errors import ChainError, ChainUnreachable, UnknownToChain, UsageError

SECOND, MINER = VALIDATORS[1], MINERS[0]
IDS, WEIGHTS = [0, 1, 3], [1.0, 2.0, 0.5]
KEPT = [(0, 32_768), (1, 65_535), (3, 16_384)]
INCLUDED = {"wait_for_inclusion": True}


@pytest.fixture
def plain():
    with running() as (chain, connection):
        chain.step(6)
        yield chain, connection


@pytest.fixture
def sealed():
    with running("manual", commit_reveal=True, tempo=20) as (chain, connection):
        chain.step(6)
        yield chain, connection


def kept(connection, uid=1):
    return connection.read(PALLET, "Weights", [NETUID, uid])


# --- the arithmetic ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "given_", "found"),
    [
        (IDS, WEIGHTS, ([0, 1, 3], [32_768, 65_535, 16_384])),
        ([1, 2], [0.0, 0.0], ([], [])),
        ([], [], ([], [])),
        ([5, 6, 7], [0, 3, 0], ([6], [65_535])),
        ([5, 6], [1e-9, 1.0], ([5, 6], [0, 65_535])),
        ([5, 5], [1, 1], ([5, 5], [65_535, 65_535])),
        ([5, 6], [0.5, 1.0], ([5, 6], [32_768, 65_535])),
        ([5, 6], [5e-324, 0.0], ([5], [65_535])),
    ],
)
def test_quantised(ids, given_, found):
    assert weights._normalize_and_quantize_weights(ids, given_) == found


@pytest.mark.parametrize(
    ("ids", "given_"), [([1], []), ([1], [-1.0]), ([1, 2], [1.0, float("nan")]), ([1], [float("inf")])]
)
def test_what_are_no_weights(ids, given_):
    with pytest.raises(ValueError, match="Invalid input"):
        weights._normalize_and_quantize_weights(ids, given_)
    with pytest.raises(ValueError, match="Invalid input"):
        weights.set_node_weights(None, SECOND, ids, given_, NETUID, 1)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_quantised_weights_keep_their_order(given_):
    ids, values = weights._normalize_and_quantize_weights(list(range(len(given_))), given_)
    assert ids == [uid for uid, weight in enumerate(given_) if weight > 0]
    ranked = sorted(zip((given_[uid] for uid in ids), values, strict=True))
    assert [value for _, value in ranked] == sorted(values)
    assert not values or max(values) == 65_535


# --- set --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waits", [{}, INCLUDED, {"wait_for_finalization": True}])
def test_in_the_open(plain, waits):
    _, connection = plain
    assert weights.set_node_weights(connection, SECOND, IDS, WEIGHTS, NETUID, 1, 0, **waits) is True
    assert kept(connection) == KEPT
    assert not connection.access.rpc.closed


def test_no_other_connection_is_opened(plain, monkeypatch):
    _, connection = plain

    def opened(*_, **__):
        raise AssertionError("another connection was opened")

    monkeypatch.setattr(Connection, "__init__", opened)
    monkeypatch.setattr(Connection, "close", opened)
    assert weights.can_set_weights(connection, NETUID, 1)
    assert weights.set_node_weights(connection, SECOND, IDS, WEIGHTS, NETUID, 1, **INCLUDED)
    monkeypatch.undo()
    assert kept(connection) == KEPT


def test_by_position(plain):
    _, connection = plain
    theirs = substrateinterface.Keypair.create_from_uri("//validator//1")
    assert weights.set_node_weights(connection, theirs, IDS, WEIGHTS, NETUID, 1, 7, True, False)
    assert kept(connection) == KEPT


def test_sealed(sealed):
    chain, connection = sealed
    assert weights.set_node_weights(connection, SECOND, IDS, WEIGHTS, NETUID, 1) is True
    chain.step(45)
    assert kept(connection) == KEPT


def test_max_attempts_is_nothing_any_more(plain):
    _, connection = plain
    with pytest.warns(DeprecationWarning, match="max_attempts"):
        assert weights.set_node_weights(connection, SECOND, IDS, WEIGHTS, NETUID, 1, max_attempts=3)


def test_refused(plain, caplog):
    _, connection = plain
    set_ = weights.set_node_weights
    assert set_(connection, MINER, IDS, WEIGHTS, NETUID, 3, **INCLUDED) is False
    assert "NeuronNoValidatorPermit" in caplog.text
    assert set_(connection, SECOND, [77], [1], NETUID, 1) is False
    assert "UidVecContainInvalidOne" in caplog.text
    assert set_(connection, SECOND, [1, 1], [1, 1], NETUID, 1) is False
    assert "a uid is named twice" in caplog.text
    assert set_(connection, SECOND, IDS, [0, 0, 0], NETUID, 1) is False
    assert set_(connection, SECOND, IDS, WEIGHTS, NETUID, 1, **INCLUDED)
    assert set_(connection, SECOND, IDS, WEIGHTS, NETUID, 1) is False
    assert "SettingWeightsTooFast" in caplog.text


def test_what_is_no_connection_and_no_keypair(plain):
    with pytest.raises(UsageError, match="no connection"):
        weights.set_node_weights(None, SECOND, IDS, WEIGHTS, NETUID, 1)
    with pytest.raises(UsageError, match="no keypair"):
        weights.set_node_weights(plain[1], "//validator//1", IDS, WEIGHTS, NETUID, 1)


def test_nobody_answers():
    with (
        Connection("ws://127.0.0.1:1", cache_dir=None, timeout_s=0.2) as dead,
        pytest.raises(ChainUnreachable),
    ):
        weights.set_node_weights(dead, SECOND, IDS, WEIGHTS, NETUID, 1)


def test_over_another_librarys_connection(plain):
    chain, connection = plain
    theirs = substrateinterface.SubstrateInterface(url=chain.url)
    assert weights.set_node_weights(theirs, SECOND, IDS, WEIGHTS, NETUID, 1, **INCLUDED)
    assert theirs.websocket.connected
    assert kept(connection) == KEPT
    theirs.close()


# --- when -------------------------------------------------------------------------------------------------


def test_when(plain, caplog):
    chain, connection = plain
    assert weights.min_interval_to_set_weights(connection, NETUID) == 5
    assert weights.blocks_since_last_update(connection, NETUID, 1) == 6
    assert weights.can_set_weights(connection, NETUID, 1)
    weights.set_node_weights(connection, SECOND, IDS, WEIGHTS, NETUID, 1, **INCLUDED)
    chain.step(2)
    assert weights.blocks_since_last_update(substrate=connection, netuid=NETUID, node_id=1) == 2
    assert not weights.can_set_weights(connection, NETUID, 1)
    assert "It is too soon to set weights!" in caplog.text
    with pytest.raises(IndexError, match="no 99"):
        weights.blocks_since_last_update(connection, NETUID, 99)


def test_a_programs_own_query_is_asked(monkeypatch):
    values = {"Number": 100, "LastUpdate": [90, 70], "WeightsSetRateLimit": 20}
    monkeypatch.setattr(chain_utils, "query_substrate", lambda given_, _, item, *__: (given_, values[item]))
    assert weights.blocks_since_last_update("s", NETUID, 1) == 30
    assert weights.can_set_weights("s", NETUID, 1)
    assert not weights.can_set_weights("s", NETUID, 0)


# --- by one path ------------------------------------------------------------------------------------------


def test_sent_in_the_open(plain):
    _, connection = plain
    send = weights._send_weights_to_chain
    assert send(connection, SECOND, [0, 1], [32_768.0, 65_535], NETUID, 0, True) == (True, None)
    assert kept(connection) == [(0, 32_768), (1, 65_535)]
    success, error = send(connection, SECOND, [0], [1], NETUID, 0, True)
    assert not success
    assert error.startswith("substrate returned `SettingWeightsTooFast (Module)` error. Description: `")
    for wrong in (0.5, -1, 70_000, float("nan")):
        with pytest.raises(UsageError, match="quantise them first"):
            send(connection, SECOND, [0], [wrong], NETUID)


def test_set_by_one_path(plain, caplog):
    _, connection = plain
    in_the_open, committed = (
        weights._set_weights_without_commit_reveal,
        weights._set_weights_with_commit_reveal,
    )
    assert in_the_open(connection, SECOND, [0, 1], [1, 2], NETUID, 0, True, False) is True
    assert kept(connection) == [(0, 32_768), (1, 65_535)]
    assert committed(connection, VALIDATORS[2], [0], [1], NETUID, **INCLUDED) is False
    assert "CommitRevealDisabled" in caplog.text


def test_committed_by_one_path(sealed):
    chain, connection = sealed
    ids, values = weights._normalize_and_quantize_weights(IDS, WEIGHTS)
    assert weights._set_weights_with_commit_reveal(connection, SECOND, ids, values, NETUID)
    chain.step(45)
    assert kept(connection) == KEPT


def test_in_the_open_where_they_must_be_committed(caplog):
    with running(commit_reveal=True) as (chain, connection):
        chain.step(6)
        in_the_open = weights._set_weights_without_commit_reveal
        assert not in_the_open(connection, SECOND, [0], [65_535], NETUID, **INCLUDED)
    assert "CommitRevealEnabled" in caplog.text


def test_a_commit_of_ones_own(sealed):
    chain, connection = sealed
    state = weights_state.read(connection, NETUID, ss58(SECOND))
    commit, reveal_round = sealed_commit(state, SECOND.account, [0], [65_535], 0)
    send = weights._send_commit_reveal_weights_to_chain
    assert send(connection, SECOND, commit, reveal_round, NETUID) == (True, None)
    success, error = send(connection, VALIDATORS[2], commit, 1, NETUID)
    assert (success, "InvalidRevealRound" in error) == (False, True)
    chain.step(45)
    assert kept(connection) == [(0, 65_535)]


def test_a_chain_that_takes_other_commits(monkeypatch):
    monkeypatch.setattr(node_weights, "as_connection", lambda given_: given_)
    older = FakeConnection(calls=("commit_crv3_weights",))
    send = weights._send_commit_reveal_weights_to_chain
    assert send(older, SECOND, b"x", 5, NETUID) == (True, None)
    assert older.submitted[0][2] == {"netuid": NETUID, "commit": b"x", "reveal_round": 5}
    mechanism = FakeConnection(calls=("commit_timelocked_mechanism_weights",))
    assert send(mechanism, SECOND, b"x", 5, NETUID)[0]
    assert mechanism.submitted[0][2]["mecid"] == 0
    assert mechanism.submitted[0][2]["commit_reveal_version"] == 4
    with pytest.raises(UnknownToChain, match="no sealed weights, but commit_weights"):
        send(FakeConnection(calls=("commit_weights",)), SECOND, b"x", 5, NETUID)


def test_a_call_that_failed_in_its_block(monkeypatch):
    monkeypatch.setattr(node_weights, "as_connection", lambda given_: given_)
    connection = FakeConnection(submit=lambda call, params: failed("SettingWeightsTooFast"))
    success, error = weights._send_weights_to_chain(connection, SECOND, [1], [1], NETUID)
    assert (success, "SettingWeightsTooFast (Module)" in error) == (False, True)
    with pytest.raises(ChainError, match="did not say why"):
        node_weights._as_module_error(None)


def test_errors_are_logged_on_their_way(caplog):
    @weights._log_and_reraise
    def fails(value):
        """What it does."""
        if value:
            raise ChainError("no")
        return "done"

    assert (fails(0), fails.__name__, fails.__doc__) == ("done", "fails", "What it does.")
    with pytest.raises(ChainError, match="no"):
        fails(1)
    assert "fails failed" in caplog.text
