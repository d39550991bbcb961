"""Rows made anew from the log: what a row must be is decided by the signed batches, and by nobody's word.

Rows are a pure function of the log (invariant 2). For keys under suspicion all batches that touch them are merged once
more into an empty store in memory, and what is there in the end replaces what is here. A row that was right stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from mycelium._core import merge
from mycelium.config import FINGERPRINT_SLICE_BATCHES
from mycelium.database import feed, rebuild, schema
from mycelium.database.memory import MemoryStore
from mycelium.database.rebuild import SINGLE, Logical, Prefixes
from mycelium.database.store import Column, Store, after_prefix
from mycelium.errors import StoreCorrupt
from mycelium.protocol.messages import MergeType

_COLUMNS: Final = (Column.LIVE, Column.DEAD)


def logical(row_key: bytes) -> tuple[Logical, bytes] | None:
    """(what a row key is of, the prefix of all rows of it); None for bytes that are no row key."""
    parts = row_key.split(b"\0", 2)
    if len(parts) < 3 or len(parts[2]) < 2:
        return None
    space, table, rest = parts
    kind = rest[0]
    at = len(space) + len(table) + 3
    try:
        name = table.decode("ascii")
        if MergeType(kind) in SINGLE:
            return (name, kind, row_key[at:]), row_key
        key, _ = merge.unescape(row_key, at)
    except (ValueError, StoreCorrupt):
        return None
    return (name, kind, key), row_key[:at] + merge.escape(key)


async def rederive(store: Store, space: str, row_keys: Collection[bytes], prefixes: Prefixes) -> int:
    """Make the rows of these keys anew; how many rows were not what they must be. StoreFull, StoreClosed, StoreCorrupt.

    The whole log of the space is read, slice by slice: 20 us a batch, and 10 us a change of the batches that count.
    """
    suspects: dict[Logical, bytes] = {}
    strange: list[bytes] = []
    for row_key in row_keys:
        found = logical(row_key)
        if found is None:
            strange.append(row_key)
        else:
            suspects[found[0]] = found[1]
    made, index = MemoryStore(), merge.Index(1, bytes(16))
    start = schema.space_prefix(space)
    begun = feed.last_index(store)
    for number, (_, record) in enumerate(store.scan(Column.LOG, start, after_prefix(start)), 1):
        batch = schema.batch_of(record)
        if rebuild.touches(batch, suspects):
            rebuild.merge_batch(made, index, batch, prefixes)
        if number % FINGERPRINT_SLICE_BATCHES == 0:
            await asyncio.sleep(0)
    # What was applied meanwhile is in the rows here, and not in what was just read. Nothing is applied from here on.
    for entry in feed.entries(store, begun + 1, feed.last_index(store)):
        if entry.batch.space == space and rebuild.touches(entry.batch, suspects):
            rebuild.merge_batch(made, index, entry.batch, prefixes)
    return _replace(store, made, suspects, strange)


def _replace(store: Store, made: MemoryStore, suspects: dict[Logical, bytes], strange: list[bytes]) -> int:
    write, wrong = store.batch(), 0
    for row_key in strange:
        for column in _COLUMNS:
            if store.get(column, row_key) is not None:
                write.delete(row_key, store.column(column))
                wrong += 1
    for (_, kind, _), prefix in suspects.items():
        for column in _COLUMNS:
            ours, right = (_of(one, column, kind, prefix) for one in (store, made))
            for row_key in ours.keys() - right.keys():
                write.delete(row_key, store.column(column))
            for row_key, row in right.items():
                if ours.get(row_key) != row:
                    write.put(row_key, row, store.column(column))
            wrong += sum(ours.get(row_key) != right.get(row_key) for row_key in ours.keys() | right.keys())
    if wrong:
        store.commit(write)
    return wrong


def _of(store: Store, column: Column, kind: int, prefix: bytes) -> dict[bytes, bytes]:
    if kind in SINGLE:
        row = store.get(column, prefix)
        return {} if row is None else {prefix: row}
    return dict(store.scan(column, prefix, after_prefix(prefix)))
