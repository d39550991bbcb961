"""Fingerprints of the materialised rows of a space: equal ranges have equal ones, and unequal ones are halved until the
rows that differ are found. What version vectors cannot see - bit rot, a merge that went wrong - shows here.

As in range-based set reconciliation (Meyer, 2023): a range's fingerprint is its count of rows and the sum, modulo
2^128, of a digest of each, LIVE and DEAD; a range that differs is cut into FINGERPRINT_PARTS of about as many rows.
Rows younger than a cutoff are left out, as they may be on their way. Reads the store, slice by slice; writes nothing.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Iterator
from typing import Final, NamedTuple

from blake3 import blake3

from mycelium.config import FINGERPRINT_PARTS, FINGERPRINT_ROWS_MAX, FINGERPRINT_SLICE_ROWS
from mycelium.database.clock import time_ms_of
from mycelium.database.schema import ROW_HEADER_BYTES
from mycelium.database.store import Column, Store

DIGEST_BYTES: Final = 16
_MASK: Final = 2 ** (8 * DIGEST_BYTES) - 1


class Range(NamedTuple):
    """Rows from `low` to before `high` (None: to the end of the space). total: the sum of their digests, 16 bytes."""

    low: bytes
    high: bytes | None
    rows: int
    total: bytes


class RowMark(NamedTuple):
    """A row by its digest."""

    key: bytes
    column: int
    digest: bytes


def digest_of(key: bytes, column: int, row: bytes) -> bytes:
    """Of one row: 16 bytes."""
    return blake3(b"%c%b%b%b" % (column, len(key).to_bytes(4, "big"), key, row)).digest(DIGEST_BYTES)


def _rows(store: Store, low: bytes, high: bytes | None, cutoff_ms: int) -> Iterator[tuple[bytes, int, bytes]]:
    live = ((key, int(Column.LIVE), row) for key, row in store.scan(Column.LIVE, low, high))
    dead = ((key, int(Column.DEAD), row) for key, row in store.scan(Column.DEAD, low, high))
    for key, column, row in heapq.merge(live, dead):
        # A row too short for a header is damaged: it counts, whatever its age.
        if len(row) < ROW_HEADER_BYTES or time_ms_of(int.from_bytes(row[:8], "big")) < cutoff_ms:
            yield key, column, row


async def marks(
    store: Store, low: bytes, high: bytes | None, cutoff_ms: int
) -> AsyncIterator[tuple[bytes, int, bytes]]:
    """(key, column, digest) of each row in the range, in order; the loop goes on between slices."""
    for number, (key, column, row) in enumerate(_rows(store, low, high, cutoff_ms), 1):
        yield key, column, digest_of(key, column, row)
        if number % FINGERPRINT_SLICE_ROWS == 0:
            await asyncio.sleep(0)


async def fold(store: Store, low: bytes, high: bytes | None, cutoff_ms: int) -> Range:
    """The fingerprint of one range."""
    count = total = 0
    async for _, _, digest in marks(store, low, high, cutoff_ms):
        count += 1
        total += int.from_bytes(digest, "big")
    return Range(low, high, count, (total & _MASK).to_bytes(DIGEST_BYTES, "big"))


async def split(
    store: Store, low: bytes, high: bytes | None, count: int, cutoff_ms: int
) -> list[Range] | list[RowMark]:
    """What is in a range of some `count` rows: the rows themselves where they are few, else FINGERPRINT_PARTS parts."""
    if count <= FINGERPRINT_ROWS_MAX:
        found = [RowMark(*one) async for one in marks(store, low, high, cutoff_ms)]
        return found[: 2 * FINGERPRINT_ROWS_MAX]
    share = -(-count // FINGERPRINT_PARTS)
    parts: list[Range] = []
    start, size, total, last = low, 0, 0, b""
    async for key, _, digest in marks(store, low, high, cutoff_ms):
        # A key with a row in both columns is not cut in two.
        if size >= share and key != last and len(parts) < FINGERPRINT_PARTS - 1:
            parts.append(Range(start, key, size, (total & _MASK).to_bytes(DIGEST_BYTES, "big")))
            start, size, total = key, 0, 0
        size += 1
        total += int.from_bytes(digest, "big")
        last = key
    parts.append(Range(start, high, size, (total & _MASK).to_bytes(DIGEST_BYTES, "big")))
    return parts


def differing(ours: list[RowMark], theirs: list[RowMark]) -> set[bytes]:
    """Keys of the rows that only one side has, or has otherwise."""
    return {mark.key for mark in set(ours) ^ set(theirs)}
