"""Gives up batches that lie beyond a seal or a proof: rows are made anew from what the log still holds.

Rows are a pure function of the log (invariant 2), so nothing is undone; the rows that the given-up batches touch are
deleted, and every remaining batch that touches them is merged again. A note in META says what is going on, and a node
that was killed in the midst of it does it again when it opens, then for the whole space where it no longer knows which
rows. Nothing else runs meanwhile: it takes 20 us for each batch in the log of the space, and 10 us a change of those
that are merged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container
from itertools import islice
from typing import Final

import msgspec

from mycelium._core import merge
from mycelium._core.codec import Batch
from mycelium.database import feed, schema, voids
from mycelium.database.seals import Cut
from mycelium.database.store import Column, Store, after_prefix
from mycelium.database.vector import Origin, OriginLog
from mycelium.protocol.messages import MergeType

log = logging.getLogger(__name__)

_ROWS_AT_ONCE: Final = 10_000
_SIGNATURE_BYTES: Final = 64
_Note = tuple[str, bytes, int, list[bytes]]

SINGLE: Final = (MergeType.LWW, MergeType.OWN)
"""Merge types that have one row for a key."""

Logical = tuple[str, int, bytes]
"""Table, merge type and key: what changes name."""

Prefixes = Callable[[str, tuple[tuple[str, int], ...]], tuple[list[bytes], bytes]]


def begin(store: Store, cut: Cut) -> None:
    """Note what is to be given up; durable when it returns."""
    note: _Note = (cut.space, cut.origin.account, cut.origin.generation, list(cut.log_keys))
    write = store.batch()
    write.put(schema.META_REBUILD, msgspec.msgpack.encode(note), store.column(Column.META))
    store.commit(write)
    store.sync()


def pending(store: Store) -> Cut | None:
    """What was begun and not ended."""
    found = store.get(Column.META, schema.META_REBUILD)
    if found is None:
        return None
    space, account, generation, keys = msgspec.msgpack.decode(found, type=_Note)
    return Cut(space, Origin(account, generation), tuple(keys))


def carry_out(store: Store, cut: Cut, prefixes: Prefixes) -> OriginLog:
    """Do what was noted, from wherever it stopped; the origin's log as it is then."""
    log.warning(
        "%d batches of %s in %r lie beyond the seal or proof that ends its log: the rows of the space are made anew",
        len(cut.log_keys),
        cut.origin.account.hex()[:16],
        cut.space,
    )
    touched = _touched(store, cut)
    _forget(store, cut)
    start = schema.space_prefix(cut.space)
    for column in (Column.LIVE, Column.DEAD):
        if touched is None:
            _delete_rows(store, column, start)
        else:
            _delete_touched(store, column, cut.space, touched)
    index = merge.Index(1, bytes(16))
    for _, record in store.scan(Column.LOG, start, after_prefix(start)):
        batch = schema.batch_of(record)
        if touched is None or touches(batch, touched):
            merge_batch(store, index, batch, prefixes)
    vector_key = schema.vector_key(cut.space, cut.origin)
    held = store.get(Column.VECTOR, vector_key)
    old = OriginLog() if held is None else OriginLog.decode(held)
    kept = voids.respan(store, cut.space, cut.origin, old, {schema.log_seq(key) for key in cut.log_keys})
    write = store.batch()
    if kept.spans:
        write.put(vector_key, kept.encode(), store.column(Column.VECTOR))
    else:
        write.delete(vector_key, store.column(Column.VECTOR))
    write.delete(schema.META_REBUILD, store.column(Column.META))
    feed.mark_rewound(store, cut.space, write)
    store.commit(write)
    store.sync()
    return kept


def touches(batch: Batch, keys: Container[Logical]) -> bool:
    """Whether a batch changes one of these."""
    tables = batch.tables
    return any((*tables[number], key) in keys for number, _, key, _ in batch.changes())


def _touched(store: Store, cut: Cut) -> set[Logical] | None:
    """What the given-up batches changed; None where some of them are gone already."""
    found: set[Logical] = set()
    for record in store.get_many(Column.LOG, cut.log_keys):
        if record is None:
            return None
        batch = schema.batch_of(record)
        found |= {(*batch.tables[number], key) for number, _, key, _ in batch.changes()}
    return found


def _delete_touched(store: Store, column: Column, space: str, touched: set[Logical]) -> None:
    write = store.batch()
    for name, kind, key in touched:
        table = schema.table_prefix(space, name, kind)
        if kind in SINGLE:
            write.delete(table + key, store.column(column))
            continue
        prefix = table + merge.escape(key)
        for row_key, _ in store.scan(column, prefix, after_prefix(prefix)):
            write.delete(row_key, store.column(column))
    store.commit(write)


def _forget(store: Store, cut: Cut) -> None:
    """Take the batches out of the log, and note that the feed names them in vain."""
    write = store.batch()
    for key in cut.log_keys:
        write.delete(key, store.column(Column.LOG))
        write.put(schema.META_DROPPED + key, feed.GIVEN_UP, store.column(Column.META))
    store.commit(write)


def _delete_rows(store: Store, column: Column, prefix: bytes) -> None:
    while keys := [key for key, _ in islice(store.scan(column, prefix, after_prefix(prefix)), _ROWS_AT_ONCE)]:
        write = store.batch()
        for key in keys:
            write.delete(key, store.column(column))
        store.commit(write)


def merge_batch(store: Store, index: merge.Index, batch: Batch, prefixes: Prefixes) -> None:
    """Merge one batch into rows, without an index: the rows decide."""
    names, merges = prefixes(batch.space, batch.tables)
    # An index without room is never complete: every row is read, and the rows decide.
    index.clear()
    plan = merge.resolve(
        index,
        batch.raw,
        batch.spans,
        names,
        merges,
        batch.account,
        batch.generation,
        batch.seq_first,
        batch.hlc_first,
        lambda column, keys: store.get_many(Column(column), keys),
    )
    write = store.batch()
    plan.emit(write.put, write.delete, (store.column(Column.LIVE), store.column(Column.DEAD)))
    store.commit(write)
