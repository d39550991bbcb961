"""Quotas: counted along the log, the same however batches arrive, and again after a restart."""

from __future__ import annotations

import kit
import pytest
from database.accesskit import EPOCH_MS, FIRST, Chain, Outcome, document, epoch, offer, publish, replica, rule
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelium.database.memory import MemoryStore
from mycelium.errors import QuotaExceeded

A, B = "ab"
ROLES = {A: "owner", B: "validator"}
NOW = kit.NOW_MS
ALL = (rule("owner", ["read", "put", "delete"], "*"), rule("validator", ["read", "put", "delete"], "*"))


def limited(**limits):
    ruling = document(*ALL, quotas=[{"who": "validator", "spaces": "main", **limits}])
    epochs = {FIRST + at: epoch(FIRST + at, ROLES, ruling) for at in range(4)}
    return ruling, Chain(epochs)


def world(name="reader", store=None, **limits):
    ruling, chain = limited(**limits)
    engine = replica(name, chain, store)
    published = publish(replica(A, Chain(chain.epochs)), ruling)
    offer(engine, published.batch.raw, published.signature)
    return engine


def log_of(counts):
    """Batches of b, with (changes, epoch)."""
    author = kit.engine(B)
    made = []
    for changes, at in counts:
        rows = [kit.put(f"k{len(made)}-{n}") for n in range(changes)]
        applied = author.originate("main", rows, NOW + at * EPOCH_MS)
        made.append((applied.batch.raw, applied.signature))
    return made


def test_a_writer_is_told_before_anything_is_written():
    engine = world(B, changes_per_epoch=3)
    engine.originate("main", [kit.put("1"), kit.put("2")], NOW)
    with pytest.raises(QuotaExceeded, match=r"may add 3 changes to 'main' in an epoch, and this makes 4"):
        engine.originate("main", [kit.put("3"), kit.put("4")], NOW)
    engine.originate("main", [kit.put("3")], NOW)
    engine.originate("main", [kit.put("4"), kit.put("5"), kit.put("6")], NOW + EPOCH_MS)
    assert engine.own_head("main") == 6


def test_bytes_count_as_they_travel():
    (raw, _), *_ = made = log_of([(1, 0)] * 3)
    engine = world(bytes_per_epoch=2 * len(raw))
    assert [offer(engine, *one) for one in made] == [Outcome.APPLIED, Outcome.APPLIED, "quota"]


def test_what_comes_before_its_predecessor_waits_for_it():
    first, second, third = log_of([(1, 0), (1, 0), (1, 0)])
    engine = world(changes_per_epoch=2)
    assert offer(engine, *second) is Outcome.LEFT
    assert [offer(engine, *one) for one in (first, second, third)] == [
        Outcome.APPLIED,
        Outcome.APPLIED,
        "quota",
    ]


def test_a_log_does_not_go_back_in_epochs():
    made = log_of([(1, 1), (1, 2)])
    author = kit.engine(B)
    author.originate("main", [kit.put("x")], NOW + 2 * EPOCH_MS)
    back = kit.forge(author, epoch=FIRST, ref_block=kit.FixedAuthority().anchor(NOW)[1])
    engine = world(changes_per_epoch=9)
    later = author._store
    del later, made
    first = next(iter(author.log_records("main", author.origin, 0, 2)))
    assert offer(engine, first[1], first[2], NOW + 2 * EPOCH_MS) is Outcome.APPLIED
    assert offer(engine, *back, NOW + 2 * EPOCH_MS) == "quota"


def test_a_quota_is_its_writers_fault_only_with_a_signature():
    first, second = log_of([(1, 0), (5, 0)])
    engine = world(changes_per_epoch=2)
    offer(engine, *first)
    assert offer(engine, second[0], bytes(64)) == "bad-signature"


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 1)), max_size=8).map(
        lambda rows: sorted(rows, key=lambda row: row[1])
    ),
    st.integers(0, 7),
    st.permutations(range(8)),
    st.integers(0, 8),
)
def test_against_counting_by_hand(counts, most, order, restart_at):
    made = log_of(counts)
    store = MemoryStore()
    engine = world(store=store, changes_per_epoch=most)
    for step, at in enumerate(place for place in order if place < len(made)):
        if step == restart_at:
            engine = world(store=store, changes_per_epoch=most)
        offer(engine, *made[at], NOW + 4 * EPOCH_MS)
    for _ in made:
        for one in made:
            offer(engine, *one, NOW + 4 * EPOCH_MS)
    spent, accepted = {}, 0
    for changes, at in counts:
        if spent.get(at, 0) + changes > most:
            break  # and what follows hangs on it
        spent[at] = spent.get(at, 0) + changes
        accepted += changes
    origin = kit.engine(B).origin
    heads = [held.head for held in engine.vector("main").values()]
    assert heads == ([accepted] if accepted else [])
    del origin
