"""A batch that is published before it is applied: made, and then applied or abandoned, or found in the stream."""

from __future__ import annotations

import kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import put

from mycelium.database.engine import Engine, Outcome
from mycelium.database.memory import MemoryStore
from mycelium.database.store import Column
from mycelium.errors import StoreError, StoreFull, ValueRefused
from mycelium.protocol.messages import Op

NOW = kit.NOW_MS


def member(name: str = "a", store: MemoryStore | None = None) -> Engine:
    found = kit.engine(name, store)
    found.stream_first = True
    return found


def test_a_made_batch_is_nowhere_until_it_is_applied() -> None:
    engine, seen = member(), []
    engine.on_applied.append(seen.append)
    own = engine.make("main", [put("k")], NOW)
    assert (engine.own_head("main"), engine.feed_last, seen) == (0, 0, [])
    assert kit.rows(engine._store) == kit.rows(engine._store, Column.LOG) == []
    applied = engine.apply_own(own)
    assert seen == [applied]
    assert (applied.own, applied.batch, applied.feed_index) == (True, own.batch, 1)
    assert engine.own_head("main") == 1


def test_an_abandoned_batch_spends_no_number_and_no_time() -> None:
    engine = member()
    kit.write(engine, put("before"))
    clock = engine.clock.last
    own = engine.make("main", [put("k"), put("l")], NOW)
    engine.abandon(own)
    assert engine.clock.last == clock
    again = engine.make("main", [put("m")], NOW)
    assert (again.batch.seq_first, again.batch.hlc_first) == (own.batch.seq_first, own.batch.hlc_first)
    engine.apply_own(again)
    reader = kit.engine("b")
    kit.exchange([engine, reader])
    assert kit.rows(reader._store) == kit.rows(engine._store)


def test_times_that_another_space_took_meanwhile_are_not_given_twice() -> None:
    engine = member()
    own = engine.make("main", [put("k")], NOW)
    other = engine.make("other", [put("k", table="aside")], NOW)
    engine.abandon(own)
    engine.apply_own(other)
    again = engine.apply_own(engine.make("main", [put("k")], NOW))
    assert again.batch.hlc_first > other.batch.hlc_first > own.batch.hlc_first


def test_a_second_batch_of_a_space_is_not_made_while_the_first_is_out() -> None:
    engine = member()
    own = engine.make("main", [put("k")], NOW)
    with pytest.raises(AssertionError, match="neither applied nor abandoned"):
        engine.make("main", [put("l")], NOW)
    engine.make("other", [put("k", table="aside")], NOW)
    engine.abandon(own)
    engine.make("main", [put("l")], NOW)


def test_a_refused_change_leaves_the_space_free() -> None:
    engine = member()
    big = [(kit.TABLES["scores"], int(Op.PUT), key, b"\0" + bytes(2**19 - 9)) for key in (b"k", b"l", b"m")]
    with pytest.raises(ValueRefused):
        engine.make("main", big, NOW)
    assert engine.make("main", [put("k")], NOW).batch.seq_first == 1


def test_a_batch_that_comes_back_first_is_applied_once_and_as_its_own() -> None:
    engine, seen = member(), []
    engine.on_applied.append(seen.append)
    own = engine.make("main", [(kit.TABLES["hits"], int(Op.ADD), b"k", (5).to_bytes(8, "big"))], NOW)
    assert engine.receive(own.batch.raw, own.signature, NOW) is Outcome.APPLIED
    rows = kit.rows(engine._store)
    applied = engine.apply_own(own)
    assert kit.rows(engine._store) == rows
    assert [one.own for one in seen] == [True]
    assert applied.feed_index == engine.feed_last == 1
    assert engine.receive(own.batch.raw, own.signature, NOW) is Outcome.DUPLICATE


def test_a_batch_that_a_kill_left_in_the_stream_goes_on_where_it_was() -> None:
    store = MemoryStore()
    engine = member(store=store)
    kit.write(engine, put("before"))
    own = engine.make("main", [put("k"), put("l")], NOW + 50)
    del engine

    again, seen = member(store=store), []
    again.on_applied.append(seen.append)
    assert again.receive(own.batch.raw, own.signature, NOW + 60) is Outcome.APPLIED
    assert [one.own for one in seen] == [True]
    assert again.clock.last == own.batch.hlc_first + 1
    following = again.make("main", [put("m")], NOW)
    assert (following.batch.seq_first, following.batch.prev_digest) == (4, own.digest)
    assert following.batch.hlc_first == own.batch.hlc_first + 2


def test_what_comes_from_a_peer_is_not_taken_for_its_own_without_a_stream() -> None:
    writer, seen = kit.engine("a"), []
    own = writer.make("main", [put("k")], NOW)
    writer.abandon(own)
    writer.on_applied.append(seen.append)
    writer.receive(own.batch.raw, own.signature, NOW)
    assert [one.own for one in seen] == [False]


def test_a_full_store_keeps_what_was_published_out_until_it_has_room() -> None:
    store = MemoryStore()
    engine = member(store=store)
    own = engine.make("main", [put("k")], NOW)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "commit", lambda batch: (_ for _ in ()).throw(StoreFull("no room")))
        with pytest.raises(StoreFull):
            engine.apply_own(own)
    assert engine.own_head("main") == 0
    assert engine.apply_own(own).batch.seq_first == 1


def test_nothing_is_applied_onto_a_log_that_was_cut_meanwhile() -> None:
    engine = member()
    own = engine.make("main", [put("k")], NOW)
    engine.own_log_cut = True
    with pytest.raises(StoreError, match="given up"):
        engine.apply_own(own)


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["apply", "abandon", "return", "return twice", "kill"]), max_size=12))
def test_whatever_becomes_of_each_the_log_has_every_published_one_once(fates: list[str]) -> None:
    """Of the published every one, in order, without a gap; of the abandoned none."""
    store = MemoryStore()
    engine, reader, published = member(store=store), kit.engine("reader"), []
    for at, fate in enumerate(fates):
        own = engine.make(
            "main", [put(f"k{at}"), (kit.TABLES["hits"], int(Op.ADD), b"n", (1).to_bytes(8, "big"))], NOW + at
        )
        if fate == "abandon":
            engine.abandon(own)
            continue
        published.append(own)
        if fate == "kill":
            engine = member(store=store)
        if fate != "apply":
            engine.receive(own.batch.raw, own.signature, NOW + 100)
        if fate == "return twice":
            engine.receive(own.batch.raw, own.signature, NOW + 100)
        if fate != "kill":
            engine.apply_own(own)
    assert engine.own_head("main") == 2 * len(published)
    for own in published:
        reader.receive(own.batch.raw, own.signature, NOW + 100)
    assert kit.rows(reader._store) == kit.rows(store)
    assert reader.vector("main") == engine.vector("main")
