"""Version vectors with gaps: spans against sets of numbers, chains and forks, and what one side lacks."""

from __future__ import annotations

import random

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from mycelium.database.vector import (
    ZERO_DIGEST,
    ForkError,
    Held,
    Origin,
    OriginLog,
    Span,
    lacking,
    vector_digest,
    vector_from_wire,
    vector_to_wire,
)
from mycelium.protocol.messages import OriginVersion

A, B = Origin(b"a" * 32, 1), Origin(b"b" * 32, 7)


def chain(sizes: list[int]) -> list[Span]:
    """The spans of one honest origin's batches of these sizes."""
    spans, seq, previous = [], 1, ZERO_DIGEST
    for number, size in enumerate(sizes):
        digest = blake3(number.to_bytes(4, "big")).digest()
        spans.append(Span(seq, seq + size - 1, previous, digest))
        seq, previous = seq + size, digest
    return spans


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.randoms(use_true_random=False), st.data())
def test_any_order_of_batches_holds_exactly_their_numbers(
    sizes: list[int], rng: random.Random, data: st.DataObject
) -> None:
    spans = chain(sizes)
    kept = data.draw(st.lists(st.sampled_from(spans), unique=True))
    rng.shuffle(kept)
    log = OriginLog()
    for span in kept:
        log = OriginLog(log.added(span))
    numbers = {seq for span in kept for seq in range(span.first, span.last + 1)}
    held = log.held()
    assert {seq for seq in range(1, sum(sizes) + 2) if seq in held} == numbers
    head = 0
    while head + 1 in numbers:
        head += 1
    assert log.head == held.head == head
    assert OriginLog.decode(log.encode()).spans == log.spans
    for span in spans:
        assert log.covers(span.first, span.last) == (span.first in numbers)


def test_what_is_whole_is_one_span_with_the_last_digest() -> None:
    spans = chain([3, 2, 4])
    log = OriginLog()
    for span in reversed(spans):
        log = OriginLog(log.added(span))
    assert log.spans == [Span(1, 9, ZERO_DIGEST, spans[-1].digest)]
    assert log.head_digest == spans[-1].digest
    assert log.gaps == 0


@pytest.mark.parametrize("new", [Span(1, 1, ZERO_DIGEST, b"x"), Span(3, 4, b"", b"x"), Span(2, 9, b"", b"x")])
def test_an_overlap_is_a_fork(new: Span) -> None:
    log = OriginLog([Span(1, 3, ZERO_DIGEST, b"d" * 32)])
    with pytest.raises(ForkError):
        log.added(new)
    assert log.spans == [Span(1, 3, ZERO_DIGEST, b"d" * 32)]


def test_an_overlap_from_the_left_is_a_fork() -> None:
    with pytest.raises(ForkError) as fork:
        OriginLog([Span(5, 6, b"p", b"d")]).added(Span(3, 5, b"q", b"e"))
    assert fork.value.seq == 5


def test_a_batch_that_does_not_chain_is_a_fork() -> None:
    first, second, third = chain([1, 1, 1])
    log = OriginLog([first])
    with pytest.raises(ForkError):
        log.added(second._replace(prev_digest=b"other" * 8))
    later = OriginLog([third])
    with pytest.raises(ForkError):
        later.added(second._replace(digest=b"other" * 8))
    with pytest.raises(ForkError):
        OriginLog().added(first._replace(prev_digest=b"\1" * 32))


held = st.builds(
    lambda marks: as_held({number + 1 for number, mark in enumerate(marks) if mark}),
    st.lists(st.booleans(), max_size=24),
)


def as_held(numbers: set[int]) -> Held:
    """Ranges of a set of numbers, the slow way."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    if runs and runs[0][0] == 1:
        return Held(runs[0][1], tuple((a, b) for a, b in runs[1:]))
    return Held(0, tuple((a, b) for a, b in runs))


def numbers_of(vector: dict[Origin, Held]) -> set[tuple[Origin, int]]:
    return {(origin, seq) for origin, held in vector.items() for seq in range(1, 40) if seq in held}


@given(st.dictionaries(st.sampled_from([A, B]), held), st.dictionaries(st.sampled_from([A, B]), held))
def test_lacking_is_the_set_difference(mine: dict[Origin, Held], theirs: dict[Origin, Held]) -> None:
    found = [(origin, seq) for origin, first, last in lacking(mine, theirs) for seq in range(first, last + 1)]
    assert len(found) == len(set(found))
    assert set(found) == numbers_of(mine) - numbers_of(theirs)
    assert found == sorted(found)


@given(st.dictionaries(st.sampled_from([A, B]), held))
def test_vectors_travel(vector: dict[Origin, Held]) -> None:
    assert vector_from_wire(vector_to_wire(vector)) == vector


logs = st.dictionaries(
    st.sampled_from([A, B]),
    st.builds(
        lambda sizes, kept: some_of(sizes, kept),
        st.lists(st.integers(1, 3), max_size=4),
        st.lists(st.booleans(), min_size=4, max_size=4),
    ),
)


def some_of(sizes: list[int], kept: list[bool]) -> OriginLog:
    log = OriginLog()
    for span, keep in zip(chain(sizes), kept, strict=False):
        if keep:
            log = OriginLog(log.added(span))
    return log


@given(logs, logs)
def test_digests_are_equal_when_the_batches_are(
    mine: dict[Origin, OriginLog], theirs: dict[Origin, OriginLog]
) -> None:
    def batches(logs: dict[Origin, OriginLog]) -> dict[Origin, list[Span]]:
        return {origin: log.spans for origin, log in logs.items() if log.spans}

    assert (vector_digest(mine) == vector_digest(theirs)) == (batches(mine) == batches(theirs))
    assert len(vector_digest(mine)) == 16


def test_a_nonsense_vector_from_the_wire_only_asks_for_more() -> None:
    theirs = vector_from_wire(
        [OriginVersion(A.account, A.generation, 2, [(9, 3), (5, 6), (4, 5), (2**63, 2**64 - 1)])]
    )
    mine = {A: Held(8, ())}
    assert list(lacking(mine, theirs)) == [(A, 3, 3), (A, 7, 8)]
