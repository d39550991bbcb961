"""The engine: what applies, what is refused and leaves nothing behind, and that order never matters."""

from __future__ import annotations

import random

import kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import forge

from mycelium.config import ANCHOR_SKEW_MS, BATCH_BYTES_MAX, GAPS_PER_ORIGIN_MAX
from mycelium.database import schema, value
from mycelium.database.engine import Outcome
from mycelium.database.memory import MemoryStore
from mycelium.database.originating import LocalChange
from mycelium.database.store import Column
from mycelium.errors import (
    BadSignature,
    Equivocation,
    MalformedMessage,
    OversizedMessage,
    StaleMessage,
    StoreError,
    StoreFull,
    Unauthorised,
    ValueRefused,
    WrongNetwork,
)
from mycelium.protocol.messages import MergeType, Op, Proof

NOW = kit.NOW_MS


ONE = [(0, int(Op.PUT), b"k", b"\0v")]


def untouched(store: MemoryStore) -> dict[Column, list[tuple[bytes, bytes]]]:
    return {column: kit.rows(store, column) for column in Column if column is not Column.EVIDENCE}


def refuse(
    batch: tuple[bytes, bytes], *errors: type[Exception], authority: kit.FixedAuthority | None = None
) -> None:
    store = MemoryStore()
    reader = kit.engine("reader", store, authority)
    before = untouched(store)
    with pytest.raises(errors):
        reader.receive(*batch, NOW)
    assert untouched(store) == before
    assert reader.vector("main") == {}
    assert reader.held == 0


def test_a_batch_arrives_and_arrives_again() -> None:
    writer, reader = kit.engine("a"), kit.engine("b")
    applied = kit.write(writer, kit.put("k"))
    assert reader.receive(applied.batch.raw, applied.signature, NOW) is Outcome.APPLIED
    assert reader.receive(applied.batch.raw, applied.signature, NOW) is Outcome.DUPLICATE
    assert writer.receive(applied.batch.raw, applied.signature, NOW) is Outcome.DUPLICATE
    assert kit.rows(reader._store) == kit.rows(writer._store) != []
    assert reader.vector_digest("main") == writer.vector_digest("main")
    assert reader.counts["changes"] == 1


def test_a_repeat_is_known_from_the_log_after_a_restart() -> None:
    store = MemoryStore()
    applied = kit.write(kit.engine("a", store), kit.put("k"))
    again = kit.engine("a", store)
    assert again.receive(applied.batch.raw, applied.signature, NOW) is Outcome.DUPLICATE
    assert again.feed_last == 1


def test_a_changed_byte_is_a_bad_signature_or_malformed() -> None:
    raw, signature = forge(kit.engine("a"), ONE)
    refuse((raw, signature[:-1] + bytes((signature[-1] ^ 1,))), BadSignature)
    refuse((raw, signature[:-1]), BadSignature)
    refuse((raw, b""), BadSignature)
    rng = random.Random(5)
    for _ in range(60):
        at = rng.randrange(len(raw))
        changed = raw[:at] + bytes((raw[at] ^ 1 << rng.randrange(8),)) + raw[at + 1 :]
        refuse(
            (changed, signature),
            BadSignature,
            MalformedMessage,
            WrongNetwork,
            StaleMessage,
            Unauthorised,
        )


def test_another_network() -> None:
    author = kit.engine("a")
    refuse(forge(author, ONE, netuid=8), WrongNetwork)
    refuse(forge(author, ONE, genesis=bytes(32)), WrongNetwork)


def test_a_stranger_and_a_member_of_another_epoch() -> None:
    author = kit.engine("a")
    refuse(forge(author, ONE), Unauthorised, authority=kit.FixedAuthority(writers={kit.keypair("c").account}))
    epoch, _ = kit.FixedAuthority().anchor(NOW)
    refuse(forge(author, ONE), Unauthorised, authority=kit.FixedAuthority(refused_epochs={epoch}))


def test_the_clock_is_bound_to_the_block_and_the_block_to_the_epoch() -> None:
    author = kit.engine("a")
    _, block = kit.FixedAuthority().anchor(NOW)
    anchor_ms = kit.GENESIS_MS + block * kit.BLOCK_MS
    for hlc_ms in (anchor_ms + ANCHOR_SKEW_MS + 1, anchor_ms - ANCHOR_SKEW_MS - 1):
        refuse(forge(author, ONE, hlc_first=hlc_ms << 16), StaleMessage)
    refuse(forge(author, ONE, ref_block=block - kit.TEMPO), StaleMessage)
    raw, signature = forge(author, ONE, hlc_first=(anchor_ms - ANCHOR_SKEW_MS) << 16)
    assert kit.engine("b").receive(raw, signature, NOW) is Outcome.APPLIED


def test_an_operation_that_the_merge_type_has_not() -> None:
    author = kit.engine("a")
    for merge, op in [
        (MergeType.LWW, Op.ADD),
        (MergeType.COUNTER, Op.PUT),
        (MergeType.SET, Op.DELETE),
        (MergeType.APPEND, Op.DELETE),
        (MergeType.OWN, Op.INSERT),
    ]:
        batch = forge(author, [(0, int(op), b"k", bytes(8))], tables=[("t", int(merge))])
        refuse(batch, MalformedMessage, Unauthorised)


def test_the_key_of_another_account() -> None:
    author, other = kit.engine("a"), kit.engine("b")
    from mycelium.identity.account import format as ss58

    own = ss58(author.origin.account).encode()
    foreign = ss58(other.origin.account).encode()
    tables = [("profile", int(MergeType.OWN))]
    put = int(Op.PUT)
    for key in (foreign, b"x", own + b"x", own[:-1]):
        refuse(forge(author, [(0, put, own, b"\0v"), (0, put, key, b"\0v")], tables=tables), Unauthorised)
    batch = forge(author, [(0, put, own, b"\0v"), (0, put, own + b"/port", b"\0v")], tables=tables)
    assert other.receive(*batch, NOW) is Outcome.APPLIED


def test_oversized() -> None:
    refuse((bytes(BATCH_BYTES_MAX + 1), bytes(64)), OversizedMessage)
    writer = kit.engine("a")
    big = [(kit.TABLES["scores"], Op.PUT, b"%d" % n, bytes(400_000)) for n in range(3)]
    with pytest.raises(ValueRefused, match="at most"):
        writer.originate("main", big, NOW)
    assert writer.own_head("main") == 0


def test_equivocation_is_refused_and_proved() -> None:
    author, store = kit.engine("a"), MemoryStore()
    reader = kit.engine("b", store)
    first, second = forge(author, ONE), forge(author, [(0, int(Op.PUT), b"k", b"\0other")])
    assert reader.receive(*first, NOW) is Outcome.APPLIED
    with pytest.raises(Equivocation):
        reader.receive(*second, NOW)
    assert kit.rows(store) == [], "neither is agreed"
    assert reader.receive(*second, NOW) is reader.receive(*first, NOW) is Outcome.LEFT
    ((_, proof),) = kit.rows(store, Column.EVIDENCE)
    assert Proof.decode(proof) == (first, second)


def test_a_chain_that_does_not_fit_is_an_equivocation() -> None:
    author, reader = kit.engine("a"), kit.engine("b")
    reader.receive(*forge(author, ONE), NOW)
    with pytest.raises(Equivocation):
        reader.receive(*forge(author, ONE, seq_first=2, prev_digest=b"x" * 32), NOW)
    assert reader.vector("main")[author.origin].head == 1


def test_ahead_of_the_clock_waits_until_it_is_due() -> None:
    writer, reader = kit.engine("a"), kit.engine("b")
    applied = kit.write(writer, kit.put("k"), now_ms=NOW + 10_000)
    for _ in range(2):
        assert reader.receive(applied.batch.raw, applied.signature, NOW) is Outcome.HELD
    assert reader.held == 1
    assert kit.rows(reader._store) == []
    assert reader.release(NOW + 7_000) == 0
    assert reader.release(NOW + 8_001) == 1
    assert kit.rows(reader._store) == kit.rows(writer._store)
    # A held batch never pulls this node's own clock forward.
    assert reader.clock.last >= writer.clock.last


def test_an_unknown_block_waits_and_is_never_rejected() -> None:
    authority = kit.FixedAuthority(blocks_known=5)
    writer, reader = kit.engine("a"), kit.engine("b", authority=authority)
    applied = kit.write(writer, kit.put("k"))
    assert reader.receive(applied.batch.raw, applied.signature, NOW) is Outcome.HELD
    assert reader.release(NOW + 60_000) == 0
    assert reader.held == 1
    authority.blocks_known = 2**62
    assert reader.release(NOW + 120_000) == 1


def test_what_was_held_may_turn_out_invalid() -> None:
    epoch, _ = kit.FixedAuthority().anchor(NOW)
    authority = kit.FixedAuthority(blocks_known=5)
    writer, reader = kit.engine("a"), kit.engine("b", authority=authority)
    applied = kit.write(writer, kit.put("k"))
    reader.receive(applied.batch.raw, applied.signature, NOW)
    authority.blocks_known = 2**62
    authority.refused_epochs = {epoch}
    assert reader.release(NOW + 60_000) == 0
    assert reader.held == 0
    assert reader.counts["refused-unauthorised"] == 1


def test_gaps_are_bounded_and_the_contiguous_part_always_gets_in() -> None:
    writer, reader = kit.engine("a"), kit.engine("b")
    made = [kit.write(writer, kit.put(f"k{n}")) for n in range(2 * GAPS_PER_ORIGIN_MAX + 4)]
    outcomes = [reader.receive(one.batch.raw, one.signature, NOW) for one in made[1::2]]
    assert outcomes[:GAPS_PER_ORIGIN_MAX] == [Outcome.APPLIED] * GAPS_PER_ORIGIN_MAX
    assert set(outcomes[GAPS_PER_ORIGIN_MAX:]) == {Outcome.LEFT}
    for one in made:
        reader.receive(one.batch.raw, one.signature, NOW)
    assert reader.vector("main") == writer.vector("main")


def test_a_full_disk_refuses_and_changes_nothing() -> None:
    writer, store = kit.engine("a"), MemoryStore()
    reader = kit.engine("b", store)
    kit.write(reader, kit.put("mine"))
    applied = kit.write(writer, kit.put("k"))
    before = untouched(store)
    store.full = True
    with pytest.raises(StoreFull):
        reader.receive(applied.batch.raw, applied.signature, NOW)
    with pytest.raises(StoreFull):
        kit.write(reader, kit.put("mine", "two"))
    assert untouched(store) == before
    store.full = False
    assert reader.receive(applied.batch.raw, applied.signature, NOW) is Outcome.APPLIED
    kit.write(reader, kit.put("mine", "three"))
    kit.exchange([writer, reader])
    assert kit.rows(store) == kit.rows(writer._store)


def test_not_a_writer() -> None:
    with pytest.raises(Unauthorised, match="this node"):
        kit.write(kit.engine("a", authority=kit.FixedAuthority(writers=set())), kit.put("k"))


def test_own_batches_that_the_store_lost_come_back_before_new_ones_are_signed() -> None:
    store = MemoryStore()
    writer, peer = kit.engine("a", store), kit.engine("b")
    store.sync()
    made = [kit.write(writer, kit.put(f"k{n}")) for n in range(3)]
    for one in made:
        peer.receive(one.batch.raw, one.signature, NOW)
    # The disk lied: everything since the last sync is gone, though peers have it.
    again = kit.engine("a", store.crash())
    assert again.own_head("main") == 0
    again.receive(made[1].batch.raw, made[1].signature, NOW)
    with pytest.raises(StoreError, match="missing here"):
        kit.write(again, kit.put("new"))
    kit.exchange([peer, again])
    assert kit.write(again, kit.put("new")).batch.seq_first == 4


def test_a_restart_continues_where_it_stopped() -> None:
    store = MemoryStore()
    writer = kit.engine("a", store)
    for n in range(5):
        kit.write(writer, kit.put(f"k{n}"), kit.put("again", str(n)))
    again = kit.engine("a", store)
    assert again.origin == writer.origin
    assert again.feed_last == 5
    assert again.clock.last == writer.clock.last
    applied = kit.write(again, kit.put("again", "last"), now_ms=NOW - 10_000)
    assert applied.batch.seq_first == 11
    assert applied.batch.hlc_first > writer.clock.last
    reader = kit.engine("b")
    kit.exchange([again, reader])
    assert kit.rows(reader._store) == kit.rows(store)


changes = st.one_of(
    st.builds(kit.put, st.sampled_from("abc"), st.sampled_from("xyz")),
    st.builds(lambda k: (kit.TABLES["scores"], Op.DELETE, k.encode(), b""), st.sampled_from("abc")),
    st.builds(
        lambda k, n: (kit.TABLES["hits"], Op.ADD, k.encode(), value.amount_bytes(n)),
        st.sampled_from("abc"),
        st.integers(-(2**63), 2**63 - 1),
    ),
    st.builds(
        lambda k, e: (kit.TABLES["tags"], Op.INSERT, k.encode(), b"\0" + e.encode()),
        st.sampled_from("ab"),
        st.sampled_from("xy"),
    ),
    st.builds(kit.put, st.sampled_from("ab"), st.sampled_from("xy"), st.just("events")),
)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.lists(changes, min_size=1, max_size=4), st.booleans()), max_size=14
    ),
    st.randoms(use_true_random=False),
)
def test_replicas_agree_to_the_byte_in_any_order_with_repeats(
    script: list[tuple[int, list[LocalChange], bool]], rng: random.Random
) -> None:
    """Invariant 2, with indexes that are whole, tiny and lost, over a partial exchange in the middle."""
    engines = [kit.engine(name, entries_max=size) for name, size in (("a", 10_000), ("b", 16), ("c", 16))]
    made = []
    for who, some, meet in script:
        made.append(kit.write(engines[who], *some, now_ms=NOW + rng.randrange(5)))
        if meet:
            kit.exchange(engines[:2])
    for engine in engines:
        arriving = made * 2
        rng.shuffle(arriving)
        for one in arriving:
            engine.receive(one.batch.raw, one.signature, NOW)
        if rng.random() < 0.3:
            engine._index.clear()
    first, *others = engines
    for other in others:
        assert kit.rows(other._store, Column.LIVE) == kit.rows(first._store, Column.LIVE)
        assert kit.rows(other._store, Column.DEAD) == kit.rows(first._store, Column.DEAD)
        assert other.vector("main") == first.vector("main")


def test_the_row_layout_is_the_documented_one() -> None:
    writer = kit.engine("a")
    applied = kit.write(writer, kit.put("key", "value"))
    ((key, row),) = kit.rows(writer._store)
    assert key == b"main\0scores\0\0key"
    header = schema.row_header(row)
    assert header == (applied.batch.hlc_first, writer.origin.account, writer.origin.generation, 1)
    assert row[schema.ROW_HEADER_BYTES :] == b"\0value"
