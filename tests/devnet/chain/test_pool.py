"""The pool: order, replacement, limits, bans, and the statuses a watcher sees."""

from __future__ import annotations

import pytest
from devnet.chain.fakechain import ALICE, BOB, FakeRuntime, FakeRuntimeSpec, extrinsic
from hypothesis import given
from hypothesis import strategies as st

from mycelium.config import DEVCHAIN_BAN_MS, DEVCHAIN_BANNED_MAX
from mycelium.devnet.chain import pool as pool_module
from mycelium.devnet.chain.blocks import digest
from mycelium.devnet.chain.pool import Pool, PoolRefusal, Status

RUNTIME = FakeRuntime(FakeRuntimeSpec())
BLOCK, OTHER = b"\x0b" * 32, b"\x0c" * 32


def put(pool, account=ALICE, nonce=0, *, number=0, known=0, **keywords):
    """Submit one that is judged against a state where the account's nonce is `known`; (hash, statuses)."""
    raw = extrinsic(account, nonce, **keywords)
    state = {b"n:" + account: known.to_bytes(4, "little")}
    validity = RUNTIME.validate(state, raw, None)
    return digest(raw), [(status.hash, status.what) for status in pool.submit(raw, validity, number)]


def names(statuses):
    return [(status.hash, status.what) for status in statuses]


def test_what_follows_on_the_state_is_ready():
    pool = Pool()
    txid, statuses = put(pool)
    assert statuses == [(txid, "ready")]
    assert pool.pending() == [extrinsic()]
    assert txid in pool
    assert len(pool) == 1


def test_a_gap_before_the_nonce_waits_until_it_is_filled():
    pool = Pool()
    third, statuses = put(pool, nonce=2)
    assert statuses == [(third, "future")]
    second, _ = put(pool, nonce=1)
    assert pool.pending() == []
    first, statuses = put(pool, nonce=0)
    assert statuses == [(first, "ready"), (second, "ready"), (third, "ready")]
    assert [tx.nonce for tx in pool.ready()] == [0, 1, 2]


def test_nonces_that_wait_are_counted():
    pool = Pool()
    assert pool.next_nonce(ALICE, 5) == 5
    put(pool, nonce=5, known=5)
    put(pool, nonce=6, known=5)
    put(pool, nonce=9, known=5)
    put(pool, BOB, nonce=7, known=7)
    assert pool.next_nonce(ALICE, 5) == 7


def test_higher_priority_goes_first_but_never_before_what_it_needs():
    pool = Pool()
    low, _ = put(pool, text="low=1", priority=1)
    after, _ = put(pool, nonce=1, text="after=1", priority=9)
    bob, _ = put(pool, BOB, text="bob=1", priority=5)
    assert [tx.hash for tx in pool.ready()] == [bob, low, after]


def test_the_same_nonce_needs_a_higher_priority():
    pool = Pool()
    first, _ = put(pool, text="a=1", priority=3)
    with pytest.raises(PoolRefusal, match=r"Priority is too low: \(3 vs 3\)") as refused:
        put(pool, text="a=2", priority=3)
    assert refused.value.code == 1014
    assert "too low priority to replace" in refused.value.data
    second, statuses = put(pool, text="a=3", priority=4)
    assert statuses == [(second, "ready"), (first, "usurped")]
    assert [tx.hash for tx in pool.ready()] == [second]


def test_a_replacement_keeps_its_successors():
    pool = Pool()
    put(pool)
    successor, _ = put(pool, nonce=1)
    second, _ = put(pool, text="b=1", priority=2)
    assert [tx.hash for tx in pool.ready()] == [second, successor]


def test_a_waiting_one_can_be_replaced_too():
    pool = Pool()
    first, _ = put(pool, nonce=3)
    with pytest.raises(PoolRefusal, match="too low"):
        put(pool, nonce=3, text="b=1")
    second, statuses = put(pool, nonce=3, text="c=1", priority=1)
    assert statuses == [(second, "future"), (first, "usurped")]


def test_what_is_here_or_was_refused_is_not_judged_again():
    pool = Pool()
    txid, _ = put(pool)
    with pytest.raises(PoolRefusal, match="Transaction Already Imported") as refused:
        pool.check(txid, 0)
    assert (refused.value.code, refused.value.data) == (1013, f"0x{txid.hex()}")
    pool.ban([OTHER], 1000)
    with pytest.raises(PoolRefusal, match="temporarily banned") as refused:
        pool.check(OTHER, 1000 + DEVCHAIN_BAN_MS - 1)
    assert refused.value.code == 1012
    pool.check(OTHER, 1000 + DEVCHAIN_BAN_MS)


def test_bans_are_bounded():
    pool = Pool()
    pool.ban((number.to_bytes(4, "little") for number in range(DEVCHAIN_BANNED_MAX + 1)), 0)
    pool.check(bytes(4), 0)
    with pytest.raises(PoolRefusal):
        pool.check((1).to_bytes(4, "little"), 0)


def test_the_way_through_a_block():
    pool = Pool()
    first, _ = put(pool)
    second, _ = put(pool, nonce=1)
    assert names(pool.included(BLOCK, [first], 0)) == [(first, "inBlock")]
    assert [tx.hash for tx in pool.ready()] == [second]
    with pytest.raises(PoolRefusal, match="banned"):
        pool.check(first, 0)
    assert pool.finalised(BLOCK) == [Status(first, "finalized", BLOCK)]
    assert pool.finalised(BLOCK) == []


def test_what_a_reorganisation_takes_back_may_come_again():
    pool = Pool()
    txid, _ = put(pool)
    pool.included(BLOCK, [txid], 0)
    assert pool.retracted(BLOCK) == [Status(txid, "retracted", BLOCK)]
    pool.check(txid, 0)
    assert pool.finalised(BLOCK) == []


def test_refused_in_a_block_takes_its_successors_with_it():
    pool = Pool()
    first, _ = put(pool)
    second, _ = put(pool, nonce=1)
    assert names(pool.refused([first], 0)) == [(first, "invalid"), (second, "invalid")]
    assert len(pool) == 0


def test_an_era_ends():
    pool = Pool()
    mortal, _ = put(pool, number=10, longevity=4)
    immortal, _ = put(pool, BOB)
    assert pool.expire(14) == []
    assert names(pool.expire(15)) == [(mortal, "invalid")]
    assert [tx.hash for tx in pool.ready()] == [immortal]


def test_a_full_pool_drops_the_least():
    pool = Pool(ready_max=2, future_max=1)
    low, _ = put(pool, ALICE, text="a=1", priority=1)
    put(pool, BOB, text="a=1", priority=2)
    carol, dave = b"\3" * 32, b"\4" * 32
    with pytest.raises(PoolRefusal, match="Immediately Dropped") as refused:
        put(pool, carol, text="a=1", priority=1)
    assert refused.value.code == 1016
    high, statuses = put(pool, dave, text="a=1", priority=9)
    assert statuses == [(high, "ready"), (low, "dropped")]
    waits, _ = put(pool, carol, nonce=1)
    with pytest.raises(PoolRefusal, match="Immediately Dropped"):
        put(pool, dave, nonce=5)
    assert waits in pool


def test_bytes_are_limited_and_others_are_told():
    pool = Pool(bytes_max=400)
    small, _ = put(pool, ALICE, text="a=1", priority=1)
    large = "x" * 300
    with pytest.raises(PoolRefusal, match="Immediately") as refused:
        put(pool, BOB, text=f"{large}={large}", priority=5)
    assert names(refused.value.others) == [(small, "dropped")]
    assert len(pool) == 0


def test_a_block_that_is_never_final_is_given_up(monkeypatch):
    monkeypatch.setattr(pool_module, "FINALITY_BLOCKS_MAX", 1)
    pool = Pool()
    first, _ = put(pool)
    second, _ = put(pool, BOB)
    pool.included(BLOCK, [first], 0)
    statuses = pool.included(OTHER, [second], 0)
    assert Status(first, "finalityTimeout", BLOCK) in statuses
    assert pool.finalised(BLOCK) == []


def test_statuses_are_what_the_real_node_says():
    assert Status(b"", "ready").json() == "ready"
    assert Status(b"", "inBlock", BLOCK).json() == {"inBlock": "0x" + "0b" * 32}
    assert Status(b"", "usurped", OTHER).last
    assert not Status(b"", "retracted", OTHER).last


def test_everything_can_be_taken_out():
    pool = Pool()
    ready, _ = put(pool)
    waiting, _ = put(pool, nonce=4)
    assert pool.take_all() == [(ready, extrinsic(), True), (waiting, extrinsic(nonce=4), False)]
    assert len(pool) == 0
    put(pool)


submissions = st.lists(
    st.tuples(st.sampled_from([ALICE, BOB]), st.integers(0, 4), st.integers(0, 3), st.sampled_from("ab")),
    max_size=25,
)


@given(submissions, st.integers(1, 6), st.integers(1, 4))
def test_the_ready_ones_are_always_an_order_that_works(wanted, ready_max, future_max):
    pool = Pool(ready_max=ready_max, future_max=future_max)
    for account, nonce, priority, letter in wanted:
        raw = extrinsic(account, nonce, text=f"{letter}=1", priority=priority)
        try:
            pool.check(digest(raw), 0)
            pool.submit(raw, RUNTIME.validate({}, raw, None), 0)
        except PoolRefusal:
            continue
    ordered = pool.ready()
    for account in (ALICE, BOB):
        nonces = [tx.nonce for tx in ordered if tx.account == account]
        assert nonces == list(range(len(nonces))), "each account's from its nonce on, without gaps, each once"
    assert len(ordered) <= ready_max
    assert len(pool) - len(ordered) <= future_max
    if ordered:
        pool.included(BLOCK, [ordered[0].hash], 0)
        assert ordered[0].hash not in pool
        assert {tx.hash for tx in ordered[1:]} <= {tx.hash for tx in pool.ready()}, "the others stay ready"
