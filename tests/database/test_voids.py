"""Voids: what is held and not in the log, against sets of numbers; bodies that come for them, and those that lie."""

from __future__ import annotations

import itertools

import kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from snapshotkit import LATER_MS, engine, history, logged, rows, trim

from mycelium.database import voids
from mycelium.database.engine import Outcome
from mycelium.database.schema import log_key
from mycelium.database.store import Column
from mycelium.database.vector import ZERO_DIGEST, OriginLog, Span
from mycelium.errors import Equivocation
from mycelium.identity.keys import digest
from mycelium.protocol.messages import MergeType, Op


def signed(one, origin):
    """Every batch of an origin: (raw, signature), in order."""
    held = one.vector("main")[origin]
    return [(raw, sig) for _, raw, sig in one.log_records("main", origin, 1, held.head)]


def lone(seed: int, batches: int = 12):
    """A writer whose keys are overwritten, its batches, and the engine."""
    author = history(seed, batches, writers=1)[0]
    return author, signed(author, author.origin)


def numbers(one, origin) -> tuple[set[int], set[int]]:
    """(held by spans, in the log)."""
    held = {n for span in one.log_of("main", origin).spans for n in range(span.first, span.last + 1)}
    start = log_key("main", origin, 0)
    found = set()
    for key, record in one._store.scan(Column.LOG, start, start[:-8] + b"\xff" * 8):
        batch = voids.logged(key, record)
        found |= set(range(batch.first, batch.last + 1))
    return held, found


# --- arithmetic -------------------------------------------------------------------------------------------

CUTS = st.lists(st.integers(1, 4), min_size=1, max_size=14)


def chain(sizes) -> list[Span]:
    """Batches of these sizes as spans, chained by digests that are their numbers."""
    found, at, known = [], 1, ZERO_DIGEST
    for size in sizes:
        own = digest(at.to_bytes(8, "big"))
        found.append(Span(at, at + size - 1, known, own))
        at, known = at + size, own
    return found


@settings(deadline=None)
@given(CUTS, st.randoms(use_true_random=False), st.integers(0, 40), st.integers(0, 40))
def test_a_bridge_closes_the_gaps_that_lie_within_it_and_no_others(sizes, rng, first, last):
    batches = chain(sizes)
    log = OriginLog()
    for one in batches:
        if rng.random() < 0.5:
            log = OriginLog(log.added(one))
    held = {n for span in log.spans for n in range(span.first, span.last + 1)}
    top = max(held, default=0)
    wanted, at = set(held), 1
    while at <= top:
        end = at
        while end <= top and end not in held:
            end += 1
        if end > at and first <= at and end - 1 <= last:
            wanted |= set(range(at, end))
        at = end + 1 if end > at else at + 1
    grown, added = voids.bridge(log, first, last)
    assert {n for span in grown.spans for n in range(span.first, span.last + 1)} == wanted
    assert added == len(wanted - held)
    assert all(left.last + 1 < right.first for left, right in zip(grown.spans, grown.spans[1:], strict=False))
    if grown.spans:
        assert grown.spans[-1].digest == log.spans[-1].digest


@settings(deadline=None)
@given(CUTS, st.randoms(use_true_random=False), st.integers(-1, 30))
def test_a_batch_takes_the_void_before_it_only_where_that_is_said_to_reach_what_is_held(sizes, rng, said):
    batches = chain(sizes)
    new = rng.choice(batches)
    log = OriginLog()
    for one in batches:
        if one is not new and rng.random() < 0.4:
            log = OriginLog(log.added(one))
    below = [span for span in log.spans if span.last < new.first]
    at = below[-1].last + 1 if below else 1
    found = voids.joined(log, new, said)
    if 0 < said <= at < new.first:
        assert found == Span(at, new.last, below[-1].digest if below else ZERO_DIGEST, new.digest)
    else:
        assert found == new
    grown = OriginLog(log.added(found))
    assert grown.covers(found.first, found.last)


# --- what is a void ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 20), st.randoms(use_true_random=False))
def test_voids_are_what_spans_cover_and_the_log_has_not(seed, batches, rng):
    authors = history(seed, batches)
    one = authors[0]
    trim(one)
    for origin in one.vector("main"):
        held, found = numbers(one, origin)
        assert found <= held
        first, last = sorted((rng.randrange(60), rng.randrange(60)))
        said = [
            n
            for low, high in voids.ranges(one._store, "main", origin, one.log_of("main", origin), first, last)
            for n in range(low, high + 1)
        ]
        assert said == sorted((held - found) & set(range(first, last + 1)))
    missing = {origin for origin in one.vector("main") if numbers(one, origin)[0] != numbers(one, origin)[1]}
    assert bool(missing) == ("main" in one.voided)
    assert engine("a", one._store.copy() if not missing else None).voided == set()


def test_what_is_noted_survives():
    one = history(3, 20)[0]
    assert trim(one).dropped
    one._store.sync()
    assert engine("a", one._store.copy()).voided == {"main"}


@pytest.mark.parametrize("seed", range(8))
def test_a_body_that_comes_for_a_void_is_taken_and_changes_no_row(seed):
    one, batches = lone(seed, 20)
    whole, vector = logged(one), one.vector_digest("main")
    state = rows(one)
    dropped = trim(one).dropped
    assert dropped
    one = engine("a", one._store)  # nothing is remembered of what was seen
    taken = [one.receive(raw, sig, LATER_MS) for raw, sig in batches]
    assert taken.count(Outcome.APPLIED) == dropped
    assert taken.count(Outcome.DUPLICATE) == len(batches) - dropped
    assert logged(one) == whole
    assert (rows(one), one.vector_digest("main")) == (state, vector)
    assert {one.receive(raw, sig, LATER_MS) for raw, sig in batches} == {Outcome.DUPLICATE}


def test_a_batch_that_was_withheld_is_merged_when_it_comes():
    author, batches = lone(5, 12)
    for left_out in range(len(batches) - 1):
        joiner = engine("joiner")
        for number, (raw, sig) in enumerate(batches):
            if number != left_out:
                joiner.receive(raw, sig, LATER_MS, 1)
        assert joiner.vector_digest("main") == author.vector_digest("main")
        assert joiner.voided == {"main"}
        assert joiner.receive(*batches[left_out], LATER_MS) is Outcome.APPLIED
        assert rows(joiner) == rows(author)


def test_a_void_is_not_taken_before_a_batch_whose_void_is_not_said_to_reach_what_is_held():
    author, batches = lone(5, 6)
    joiner = engine("joiner")
    joiner.receive(*batches[0], LATER_MS, 1)
    first = author.log_of("main", author.origin).spans[0].last
    assert joiner.receive(*batches[4], LATER_MS, first) is Outcome.APPLIED
    assert joiner.log_of("main", author.origin).gaps == 1
    assert not joiner.voided


# --- who contradicts --------------------------------------------------------------------------------------


def voided():
    """A joiner that holds the first and the last two of an author's ten batches of two changes, and the batches."""
    author = engine("author")
    for number in range(10):
        kit.write(author, kit.put("k", str(number)), kit.put("l", str(number)))
    batches = signed(author, author.origin)
    joiner = engine("joiner")
    for number in (0, 8, 9):
        joiner.receive(*batches[number], LATER_MS, 3 if number == 8 else 0)
    assert joiner.log_of("main", author.origin).spans[0].last == 20
    return author, joiner, batches


def other(author, first, count, prev):
    changes = [(0, int(Op.PUT), b"k", b"\0other%d" % n) for n in range(count)]
    return kit.forge(
        author, changes, seq_first=first, prev_digest=prev, tables=[("scores", int(MergeType.LWW))]
    )


@pytest.mark.parametrize(
    ("first", "count", "prev"),
    [
        (3, 2, bytes(32)),
        (15, 2, bytes(32)),
        (16, 2, bytes(32)),
        (17, 2, bytes(32)),
        (2, 3, bytes(32)),
        (1, 20, bytes(32)),
        (19, 4, bytes(32)),
    ],
    ids=["after", "before", "into", "same", "over", "all", "beyond"],
)
def test_another_history_in_a_void_is_an_equivocation_where_it_meets_what_is_held(first, count, prev):
    author, joiner, _ = voided()
    with pytest.raises(Equivocation):
        joiner.receive(*other(author, first, count, prev), LATER_MS)
    assert joiner.frozen.get("main", author.origin) is not None
    held, found = numbers(joiner, author.origin)
    assert not joiner.frozen.reaches("main", author.origin, max(held, default=0))
    assert max(found, default=0) == max(held, default=0), "the newest batch that is held is in the log"


def test_another_history_that_meets_nothing_is_taken_and_found_out_by_the_right_one():
    author, joiner, batches = voided()
    assert joiner.receive(*other(author, 7, 2, bytes(32)), LATER_MS) is Outcome.APPLIED
    assert joiner.receive(*batches[1], LATER_MS) is Outcome.APPLIED
    with pytest.raises(Equivocation):
        joiner.receive(*batches[2], LATER_MS)  # it ends where the other one begins, which does not name it
    assert joiner.frozen.get("main", author.origin).at == 7


def test_a_proof_ends_a_log_before_its_void():
    author, joiner, batches = voided()
    whole = engine("whole")
    for raw, sig in batches:
        whole.receive(raw, sig, LATER_MS)
    fork = other(author, 11, 2, bytes(32))
    with pytest.raises(Equivocation):
        whole.receive(*fork, LATER_MS)
    joiner.frozen.convict(joiner.frozen.judge(whole.frozen.get("main", author.origin).raw))
    assert whole.vector("main")[author.origin].head == 10
    assert joiner.vector("main")[author.origin].head == 2, "where the void is cut is not known"
    kit.exchange([whole, joiner], LATER_MS)
    assert joiner.vector_digest("main") == whole.vector_digest("main")
    assert rows(joiner) == rows(whole)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_what_is_left_after_some_is_given_up(seed, rng):
    one = history(seed, 14, writers=1)[0]
    origin = one.origin
    whole = {b.first: b for b in batches_of(one, origin)}
    trim(one)
    old = one.log_of("main", origin)
    kept = batches_of(one, origin)
    gone = {b.first for b in kept if rng.random() < 0.4}
    write = one._store.batch()
    for b in kept:
        if b.first in gone:
            write.delete(b.key, one._store.column(Column.LOG))
    one._store.commit(write)
    found = voids.respan(one._store, "main", origin, old, gone)
    left = [b for b in kept if b.first not in gone]
    # Oracle: a number is held if it is in a batch that is left, or in a void between two of these, or before the first.
    wanted = set()
    ends = [(0, 0), *((b.first, b.last) for b in left)]
    for (_, end), (first, last) in itertools.pairwise(ends):
        wanted |= set(range(first, last + 1))
        if not any(end < seq < first for seq in gone):
            wanted |= set(range(end + 1, first))
    assert {n for span in found.spans for n in range(span.first, span.last + 1)} == wanted
    for span in found.spans:
        assert any(b.last == span.last and digest(b.batch.raw) == span.digest for b in left)
        if span.first in whole:
            assert whole[span.first].batch.prev_digest == span.prev_digest


def batches_of(one, origin):
    start = log_key("main", origin, 0)
    return [voids.logged(*row) for row in one._store.scan(Column.LOG, start, start[:-8] + b"\xff" * 8)]
