"""Voids: numbers of an origin that are held by its spans, and whose batches are not in the log any more.

A batch may be absent when it is superseded (`horizon`). Each batch names the digest of the one before it, so a run of
batches with a void in its midst has the same ends, and the same place in vectors and their digests, as the whole run:
a node without the bodies asks nobody for them, and is asked by nobody.

Nothing is written down about a void: what a span covers and no record of LOG has is one. Only that a space has any is
noted (META_VOIDS), in the write that made the first. The first and the last batch of every span are always in the log,
but for a first whose number is 1, whose predecessor is known to be none.

Reads the store; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mycelium._core.codec import Batch
from mycelium.database import schema
from mycelium.database.store import Column, Store, after_prefix
from mycelium.database.vector import ZERO_DIGEST, Origin, OriginLog, Span
from mycelium.identity.keys import digest

_SIGNATURE_BYTES = 64


class Logged(NamedTuple):
    """A batch of the log: its key, its numbers, and itself."""

    key: bytes
    first: int
    last: int
    batch: Batch


def noted(store: Store) -> set[str]:
    """The spaces that have a void."""
    prefix = schema.META_VOIDS
    return {key[len(prefix) :].decode() for key, _ in store.scan(Column.META, prefix, after_prefix(prefix))}


def before(store: Store, space: str, origin: Origin, seq: int) -> Logged | None:
    """The newest batch in the log of those that begin at `seq` or before."""
    start, stop = schema.log_key(space, origin, 0), schema.log_key(space, origin, seq) + b"\0"
    return _first(store.scan(Column.LOG, start, stop, reverse=True))


def after(store: Store, space: str, origin: Origin, seq: int) -> Logged | None:
    """The oldest batch in the log of those that begin at `seq` or later."""
    stop = after_prefix(schema.vector_key(space, origin))
    return _first(store.scan(Column.LOG, schema.log_key(space, origin, seq), stop))


def _first(rows: Iterator[tuple[bytes, bytes]]) -> Logged | None:
    row = next(rows, None)
    return None if row is None else logged(*row)


def logged(key: bytes, record: bytes) -> Logged:
    """A row of LOG."""
    batch = schema.batch_of(record)
    return Logged(key, batch.seq_first, batch.seq_first + batch.count - 1, batch)


def conflict(store: Store, batch: Batch, own_digest: bytes) -> int | None:
    """Of a batch whose numbers a span covers: a number of a logged batch that contradicts it; None where none does.

    None means that all its numbers lie in a void, and that its neighbours chain to it as far as they are here.
    """
    origin = Origin(batch.account, batch.generation)
    last = batch.seq_first + batch.count - 1
    held = before(store, batch.space, origin, last)
    if held is not None and held.last >= batch.seq_first:
        return max(held.first, batch.seq_first)
    if held is not None and held.last + 1 == batch.seq_first and batch.prev_digest != digest(held.batch.raw):
        return held.last
    if batch.seq_first == 1 and batch.prev_digest != ZERO_DIGEST:
        return 1
    following = after(store, batch.space, origin, last + 1)
    if following is not None and following.first == last + 1 and following.batch.prev_digest != own_digest:
        return following.first
    return None


def joined(log: OriginLog, new: Span, void_first: int) -> Span:
    """`new` with the void before it, where that is said to begin at `void_first`; `new` itself where none may be taken.

    It is taken where it reaches down to what is held, or to the first number of all.
    """
    left = next((span for span in reversed(log.spans) if span.first < new.first), None)
    at, known = (1, ZERO_DIGEST) if left is None else (left.last + 1, left.digest)
    if not 0 < void_first <= at < new.first:
        return new
    return Span(at, new.last, known, new.digest)


def bridge(log: OriginLog, first: int, last: int) -> tuple[OriginLog, int]:
    """Take the gaps that lie within first..last for voids: the log then, and how many numbers that adds."""
    spans: list[Span] = []
    added = 0
    for span in log.spans:
        at, known = (spans[-1].last + 1, spans[-1].digest) if spans else (1, ZERO_DIGEST)
        if at < span.first and first <= at and span.first - 1 <= last:
            added += span.first - at
            span = Span(at, span.last, known, span.digest)
        if spans and spans[-1].last + 1 == span.first:
            if spans[-1].digest != span.prev_digest:
                return log, 0  # histories that do not fit: what comes next will show whose
            span = Span(spans[-1].first, span.last, spans[-1].prev_digest, span.digest)
            spans.pop()
        spans.append(span)
    return OriginLog(spans), added


def ranges(
    store: Store, space: str, origin: Origin, log: OriginLog, first: int, last: int
) -> Iterator[tuple[int, int]]:
    """The voids (first, last) that touch first..last, ascending. Reads the log between."""
    for span in log.spans:
        low, high = max(span.first, first), min(span.last, last)
        if low > high:
            continue
        held = before(store, space, origin, low)
        at = low if held is None else max(low, held.last + 1)
        begin = held.key + b"\0" if held is not None else schema.log_key(space, origin, low)
        for key, record in store.scan(Column.LOG, begin, schema.log_key(space, origin, high) + b"\0"):
            one = logged(key, record)
            if one.first > at:
                yield at, one.first - 1
            at = one.last + 1
        if at <= high:
            yield at, high


def respan(store: Store, space: str, origin: Origin, old: OriginLog, gone: set[int]) -> OriginLog:
    """The spans of what is left of an origin's log, of which the batches that began at `gone` were given up.

    Two batches of one span with nothing that was given up between them are still joined by their void.
    """
    kept: list[Span] = []
    lost = sorted(gone)
    records = store.scan(
        Column.LOG, schema.log_key(space, origin, 0), after_prefix(schema.vector_key(space, origin))
    )
    for key, record in records:
        first, last, batch = logged(key, record)[1:]
        within = next((span for span in old.spans if span.first <= first <= span.last), None)
        own = Span(first, last, batch.prev_digest, digest(batch.raw))
        left = kept[-1] if kept and within is not None and kept[-1].last >= within.first else None
        at, known = (1, ZERO_DIGEST) if left is None else (left.last + 1, left.digest)
        whole = within is not None and (left is not None or within.first == 1)
        if whole and not any(at <= seq < first for seq in lost):
            own = Span(at, last, known, own.digest)
        kept = OriginLog(kept).added(own)
    return OriginLog(kept)
