"""Which batches the log may be without, and their dropping: bodies of superseded batches that are old enough.

A batch is *superseded* when another change stands in the row of every key that it wrote. Rows are then the same without
it: of `lww` and `own` only the greatest change counts, and a deletion leaves a tombstone for good. Never superseded:

- a batch with a counter, a set or an append table: each of its changes counts;
- of space `sys`, or with a reserved table (grants);
- at an end of a span: it is what vectors and their digests are made of;
- under a quota, or followed by one that is: quotas are counted along the log, and a batch under one is taken only
  behind its predecessor, so that no void can hide what was spent;
- whose rows were won by a batch that the log does not hold: rows must be made anew from what is left.

What is dropped is older than the operator's `log_keep_hours`, and so is what superseded it: a batch may still be given
up by a seal or a proof, and what it had overwritten then counts again. Afterwards a member that kept it can show it
(`node.fingerprinting`). Number, digest and place in the vector stay: the batch lies in a *void* (`voids`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from mycelium._core.codec import Batch
from mycelium.config.database import HORIZON_SLICE_MS, HORIZON_WRITE_BATCHES, LOG_KEEP_EPOCHS_MIN
from mycelium.database import feed, grants, schema, voids
from mycelium.database.access import SYS
from mycelium.database.clock import time_ms_of
from mycelium.database.engine import Engine
from mycelium.database.schema import ROW_HEADER_BYTES, RowHeader
from mycelium.database.store import Column, Store
from mycelium.database.validity import Authority
from mycelium.database.vector import Origin, OriginLog
from mycelium.protocol.messages import MergeType

SINGLE: Final = frozenset({int(MergeType.LWW), int(MergeType.OWN)})
_RESERVED: Final = grants.TABLE.split(".", 1)[0] + "."


def droppable_kind(batch: Batch) -> bool:
    """Whether batches of its kind can be superseded at all."""
    return batch.space != SYS and all(
        merge in SINGLE and not name.startswith(_RESERVED) for name, merge in batch.tables
    )


def at_an_end(log: OriginLog, first: int, last: int) -> bool:
    """Whether a batch is the last of a span, or a first one whose predecessor is not known."""
    return any(span.last == last or (span.first == first != 1) for span in log.spans)


def counted(batch: Batch, authority: Authority) -> bool:
    """Whether the batch is under a quota, or may be: the policy of its epoch is not known now."""
    rights = authority.rights(batch.epoch, batch.account, batch.space)
    return rights is None or bool(rights.quotas(batch.space))


def superseded(store: Store, batch: Batch, until_ms: int) -> bool:
    """Whether rows older than `until_ms`, whose batches are in the log, stand in the place of each of its changes."""
    prefixes = [schema.table_prefix(batch.space, name, merge) for name, merge in batch.tables]
    for place, (table, _, key, _) in enumerate(batch.changes()):
        row_key = prefixes[table] + key
        row = store.get(Column.LIVE, row_key) or store.get(Column.DEAD, row_key)
        if row is None or len(row) < ROW_HEADER_BYTES:
            return False  # a damaged row: what it must be is in this batch, perhaps
        head = schema.row_header(row)
        if (head.account, head.generation, head.seq) == (
            batch.account,
            batch.generation,
            batch.seq_first + place,
        ):
            return False
        if (head.hlc, head.account) < (batch.hlc_first + place, batch.account):
            return False
        if time_ms_of(head.hlc) >= until_ms:
            return False
        won = source(store, batch.space, head)
        if won is None or not _writes(won, head, batch.tables[table], key):
            return False
    return True


def source(store: Store, space: str, head: RowHeader) -> voids.Logged | None:
    """The batch of the log that a row says it is from."""
    found = voids.before(store, space, Origin(head.account, head.generation), head.seq)
    return found if found is not None and found.last >= head.seq else None


def _writes(one: voids.Logged, head: RowHeader, named: tuple[str, int], key: bytes) -> bool:
    """Whether the change that a row's header names is one of that key: a header can be damaged too."""
    place = head.seq - one.first
    table, _, changed, _ = one.batch.change(place)
    return (one.batch.hlc_first + place, one.batch.tables[table], changed) == (head.hlc, named, key)


class Trimmed(NamedTuple):
    """What one walk did."""

    looked: int
    dropped: int
    dropped_bytes: int


class Horizon:
    """Walks along the log of one store and drops. keep_ms: the operator's; None keeps everything."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        authority: Authority,
        keep_ms: int | None,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.keep_ms = keep_ms
        self.dropped = 0
        self.dropped_bytes = 0
        self._store = store
        self._engine = engine
        self._authority = authority
        self._clock_ns = clock_ns

    async def walk(self, now_ms: int) -> Trimmed:
        """Look at every batch, log by log, and drop what may go. StoreError.

        The loop goes on every HORIZON_SLICE_MS. A batch costs 10 us, one that is dropped 5 us more for each change.
        """
        if self.keep_ms is None:
            return Trimmed(0, 0, 0)
        until_ms = now_ms - self.keep_ms
        looked = dropped = size = 0
        going: list[tuple[bytes, Batch]] = []
        began_ns = self._clock_ns()
        for log_key, record in self._store.scan(Column.LOG, b"", None):
            looked += 1
            batch = schema.batch_of(record)
            if self._may_go(batch, until_ms):
                going.append((log_key, batch))
            late = self._clock_ns() - began_ns > HORIZON_SLICE_MS * 1e6
            if len(going) >= HORIZON_WRITE_BATCHES or (late and going):
                dropped += len(going)
                size += self._drop(going)
                going = []
            if late:
                await asyncio.sleep(0)
                began_ns = self._clock_ns()
        if going:
            dropped += len(going)
            size += self._drop(going)
        self.dropped += dropped
        self.dropped_bytes += size
        return Trimmed(looked, dropped, size)

    def _may_go(self, batch: Batch, until_ms: int) -> bool:
        if (
            not droppable_kind(batch)
            or batch.epoch + LOG_KEEP_EPOCHS_MIN > self._authority.present()
            or time_ms_of(batch.hlc_first + batch.count - 1) >= until_ms
        ):
            return False
        origin, last = Origin(batch.account, batch.generation), batch.seq_first + batch.count - 1
        log = self._engine.log_of(batch.space, origin)
        if not log.covers(batch.seq_first, last) or at_an_end(log, batch.seq_first, last):
            return False
        if not superseded(self._store, batch, until_ms) or counted(batch, self._authority):
            return False
        following = voids.after(self._store, batch.space, origin, last + 1)
        if following is None or following.first != last + 1:
            return True
        return not counted(following.batch, self._authority)

    def _drop(self, going: list[tuple[bytes, Batch]]) -> int:
        """Drop them in one write; how many bytes of the log that frees. There was no await since they were judged."""
        write = self._store.batch()
        size = 0
        for log_key, batch in going:
            write.delete(log_key, self._store.column(Column.LOG))
            write.put(schema.META_DROPPED + log_key, feed.SUPERSEDED, self._store.column(Column.META))
            self._engine.note_void(batch.space, write)
            size += len(batch.raw)
        self._store.commit(write)
        return size
