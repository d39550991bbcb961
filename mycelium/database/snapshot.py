"""What a snapshot of a space is, and giving it out: the batches that are not superseded, by origin and number.

A *survey* finds them: one look at the rows says which numbers are the source of one, one look along the log which
batches have such a number, or are never superseded (`horizon`). All looks begin at one moment, with the vector of that
moment, and go on in slices. A survey keeps 8 bytes for each batch, and serves all who ask within an hour.

An asker walks it by origin and number, in *pages* of whole batches: what lies between two of them is a void. Everything
in a page is signed, the last batch of each span with it, so that nobody can be made to believe in numbers that do not
exist. What a server left out, it cannot know: comparing rows finds it, and `sources` gives what is missing by the rows'
own keys.

Reads the store; writes nothing, knows no peer.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from mycelium.config import FINGERPRINT_SLICE_ROWS
from mycelium.config.database import (
    SNAPSHOT_MARKS_MAX,
    SNAPSHOT_PAGE_BATCHES_MAX,
    SNAPSHOT_SURVEY_BATCHES_MAX,
)
from mycelium.database import horizon, schema, voids
from mycelium.database.engine import Engine
from mycelium.database.store import Column, Store, after_prefix
from mycelium.database.validity import Authority
from mycelium.database.vector import Origin, OriginLog, Vector
from mycelium.errors import Overloaded

SignedBatch = tuple[bytes, bytes]
"""Bytes and signature."""

_SIGNATURE_BYTES: Final = 64
_ORIGIN_BYTES: Final = 40
_SLICE_BATCHES: Final = 64
_READ_AT_ONCE: Final = 32
_Marks = dict[bytes, bytearray]
"""Origin and number, all but its last byte -> 256 bits: which of these numbers are the source of a row."""


class Survey(NamedTuple):
    """Of one space at one moment. batches: the first number of each batch to be given out, ascending."""

    space: str
    vector: Vector
    batches: dict[Origin, array[int]]
    changes: int

    @property
    def size(self) -> int:
        """How many batches it gives out."""
        return sum(len(one) for one in self.batches.values())


class Page(NamedTuple):
    """Part of a range. following: the number to go on with; 0 where the range has no more."""

    batches: list[SignedBatch]
    following: int


async def survey(
    store: Store,
    engine: Engine,
    authority: Authority,
    space: str,
    batches_max: int = SNAPSHOT_SURVEY_BATCHES_MAX,
) -> Survey:
    """Look through a space: 2 us a row and 6 us a batch, 2 ms at a time. Overloaded above `batches_max`. StoreError."""
    prefix = schema.space_prefix(space)
    stop = after_prefix(prefix)
    # All of one moment: a scan shows what was there when it began.
    vector = dict(engine.vector(space))
    logs = {origin: engine.log_of(space, origin) for origin in vector}
    rows = [store.scan(column, prefix, stop) for column in (Column.LIVE, Column.DEAD)]
    records = store.scan(Column.LOG, prefix, stop)
    marks: _Marks = {}
    for column in rows:
        await _mark(marks, column, SNAPSHOT_MARKS_MAX)
    found: dict[Origin, array[int]] = {}
    taken = changes = 0
    left_out: voids.Logged | None = None
    for number, (key, record) in enumerate(records, 1):
        one = voids.logged(key, record)
        origin = Origin(one.batch.account, one.batch.generation)
        if left_out is not None:
            # A batch under a quota is taken only behind its predecessor.
            if (
                left_out.key[:-8] == key[:-8]
                and left_out.last + 1 == one.first
                and horizon.counted(one.batch, authority)
            ):
                found.setdefault(origin, array("Q")).append(left_out.first)
                changes += left_out.batch.count
            left_out = None
        if _is_given(one, logs.get(origin), marks, authority):
            found.setdefault(origin, array("Q")).append(one.first)
            changes += one.batch.count
            taken += 1
            if taken > batches_max:
                raise Overloaded(f"the space {space!r} has too many batches for a snapshot")
        else:
            left_out = one
        if number % _SLICE_BATCHES == 0:
            await asyncio.sleep(0)
    return Survey(space, vector, found, changes)


async def _mark(marks: _Marks, rows: Iterable[tuple[bytes, bytes]], marks_max: int) -> None:
    for number, (_, row) in enumerate(rows, 1):
        chunk = marks.get(row[8:55])
        if chunk is None:
            if len(marks) >= marks_max:
                raise Overloaded("the rows are from batches too far apart for a snapshot")
            chunk = marks[row[8:55]] = bytearray(32)
        if len(row) >= schema.ROW_HEADER_BYTES:
            chunk[row[55] >> 3] |= 1 << (row[55] & 7)
        if number % FINGERPRINT_SLICE_ROWS == 0:
            await asyncio.sleep(0)


def _is_given(one: voids.Logged, log: OriginLog | None, marks: _Marks, authority: Authority) -> bool:
    batch = one.batch
    if log is None or not horizon.droppable_kind(batch) or horizon.at_an_end(log, one.first, one.last):
        return True
    return _any(marks, one.key[-_ORIGIN_BYTES - 8 : -8], one.first, one.last) or horizon.counted(
        batch, authority
    )


def _any(marks: _Marks, origin: bytes, first: int, last: int) -> bool:
    """Whether any number of first..last is marked."""
    for at in range(first >> 8, (last >> 8) + 1):
        chunk = marks.get(origin + at.to_bytes(7, "big"))
        if chunk is not None:
            low, high = max(first - (at << 8), 0), min(last - (at << 8), 255)
            bits = int.from_bytes(chunk, "little")
            if bits >> low & ((1 << (high - low + 1)) - 1):
                return True
    return False


def page(store: Store, found: Survey, origin: Origin, first: int, last: int, bytes_max: int) -> Page:
    """The batches that begin in first..last, as many as `bytes_max` takes and at least one. StoreError."""
    firsts = found.batches.get(origin, array("Q"))
    at, end = bisect_left(firsts, first), bisect_left(firsts, last + 1)
    batches: list[SignedBatch] = []
    size = 0
    while at < end and len(batches) < SNAPSHOT_PAGE_BATCHES_MAX:
        some = firsts[at : min(end, at + _READ_AT_ONCE)]
        keys = [schema.log_key(found.space, origin, seq) for seq in some]
        for record in store.get_many(Column.LOG, keys):
            # What was dropped since the survey is superseded since.
            if record is not None:
                if batches and size + len(record) > bytes_max:
                    return Page(batches, firsts[at])
                batches.append((record[_SIGNATURE_BYTES:], record[:_SIGNATURE_BYTES]))
                size += len(record)
            at += 1
    return Page(batches, firsts[at] if at < end else 0)


def sources(
    store: Store, space: str, row_keys: Sequence[bytes], bytes_max: int
) -> tuple[list[SignedBatch], int]:
    """The batches that the rows of these keys are from, each once, and for how many of the keys; at least for one.

    A counter's row names only the newest of its batches.
    """
    found: dict[bytes, SignedBatch] = {}
    size = 0
    for number, row_key in enumerate(row_keys):
        for one in _sources(store, space, row_key):
            if one.key in found:
                continue
            record = store.get(Column.LOG, one.key)
            if record is None:
                continue
            if found and size + len(record) > bytes_max:
                return list(found.values()), number
            found[one.key] = record[_SIGNATURE_BYTES:], record[:_SIGNATURE_BYTES]
            size += len(record)
    return list(found.values()), len(row_keys)


def _sources(store: Store, space: str, row_key: bytes) -> Iterator[voids.Logged]:
    for column in (Column.LIVE, Column.DEAD):
        row = store.get(column, row_key)
        if row is not None and len(row) >= schema.ROW_HEADER_BYTES:
            source = horizon.source(store, space, schema.row_header(row))
            if source is not None:
                yield source
