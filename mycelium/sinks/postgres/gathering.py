"""What batches and exported rows mean for each table: rows as text for COPY, keys and insertions that go. No database.

Of one transaction only what is left at its end is written: the last change of a key, the sum of its additions in each
batch, insertions that nothing removed. That is also what lets one statement take it all: none meets a key twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from mycelium.feed.batch import ExportRow, FeedBatch, FeedChange
from mycelium.identity import account as accounts
from mycelium.protocol.messages import MergeType, Op
from mycelium.sinks.postgres.copytext import ValueText, bytes_text, escaped
from mycelium.sinks.postgres.names import Source, key_text

DOT_BYTES: Final = 48
ELEMENT_BYTES: Final = 16
_HLC_MAX: Final = 2**63 - 1
"""What a bigint holds: until the year 6429."""


class Put(NamedTuple):
    """The change that a row comes from, and where in the feed it stands."""

    payload: bytes
    hlc: int
    account: bytes
    generation: int
    seq: int
    feed: int

    def meta(self) -> str:
        """The last fields of a row."""
        return (
            f"{min(self.hlc, _HLC_MAX)}\t{accounts.format(self.account)}\t{self.generation:016x}"
            f"\t{min(self.seq, _HLC_MAX)}\t{self.feed}\n"
        )

    @property
    def dot(self) -> bytes:
        return self.account + self.generation.to_bytes(8, "big") + self.seq.to_bytes(8, "big")


class TableChanges:
    """What a group of batches, or a part of an export, does to one table."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.merge = source.merge
        self.puts: dict[bytes, Put] = {}
        self.deletes: dict[bytes, int] = {}
        self.adds: dict[tuple[bytes, int], tuple[int, Put]] = {}
        self.inserts: dict[tuple[bytes, bytes], Put] = {}
        self.removes: set[tuple[bytes, bytes]] = set()
        self.facts: list[tuple[bytes, Put]] = []

    def change(self, change: FeedChange, batch: FeedBatch) -> None:
        """One change, in the order of the feed."""
        _, _, merge, op, key, payload, wins = change
        if merge is MergeType.COUNTER:
            self._add(key, int.from_bytes(payload, "big", signed=True), _put(change, batch))
        elif not wins:
            return
        elif merge is MergeType.LWW or merge is MergeType.OWN:
            if op is Op.PUT:
                self.puts[key] = _put(change, batch)
                self.deletes.pop(key, None)
            else:
                self.deletes[key] = batch.cursor.index
                self.puts.pop(key, None)
        elif merge is MergeType.APPEND:
            self.facts.append((key, _put(change, batch)))
        elif op is Op.INSERT:
            put = _put(change, batch)
            self.inserts[key, put.dot] = put
        else:
            for at in range(0, len(payload) - DOT_BYTES + 1, DOT_BYTES):
                dot = payload[at : at + DOT_BYTES]
                self.inserts.pop((key, dot), None)
                self.removes.add((key, dot))

    def row(self, row: ExportRow, feed: int) -> None:
        """One row of an export."""
        put = Put(row.value, row.hlc, row.account, row.generation, row.seq, feed)
        if row.merge is MergeType.COUNTER:
            self._add(row.key, int.from_bytes(row.value, "big", signed=True), put)
        elif row.merge is MergeType.APPEND:
            self.facts.append((row.key, put))
        elif row.merge is MergeType.SET:
            self.inserts[row.key, put.dot] = put
        else:
            self.puts[row.key] = put

    def _add(self, key: bytes, amount: int, put: Put) -> None:
        before = self.adds.get((key, put.feed))
        if before is None:
            self.adds[key, put.feed] = (amount, put)
        else:
            self.adds[key, put.feed] = (amount + before[0], max(put, before[1], key=_hlc))

    def payloads(self) -> Iterator[bytes]:
        """The values that are written, for a sample."""
        for put in self.puts.values():
            yield put.payload
        for put in self.inserts.values():
            yield put.payload
        for _, put in self.facts:
            yield put.payload

    @property
    def writes(self) -> bool:
        """Whether there is anything to put into the table, and not only to take out of it."""
        return bool(self.puts or self.adds or self.inserts or self.facts)

    def text(self, values: ValueText) -> Iterator[str]:
        """The rows as COPY reads them. SchemaConflict."""
        for (key, _), (amount, put) in self.adds.items():
            yield f"{escaped(key_text(key))}\t{amount}\t{put.meta()}"
        for (key, dot), put in self.inserts.items():
            element = bytes_text(hashlib.blake2b(put.payload, digest_size=ELEMENT_BYTES).digest())
            shown = values(put.payload)
            yield f"{escaped(key_text(key))}\t{element}\t{shown}\t{bytes_text(dot)}\t{put.meta()}"
        rows: Iterable[tuple[bytes, Put]] = self.facts or self.puts.items()
        for key, put in rows:
            yield f"{escaped(key_text(key))}\t{values(put.payload)}\t{put.meta()}"


def _put(change: FeedChange, batch: FeedBatch) -> Put:
    place = change.place
    return Put(
        change.value,
        batch.hlc_first + place,
        batch.account,
        batch.generation,
        batch.seq_first + place,
        batch.cursor.index,
    )


def _hlc(put: Put) -> int:
    return put.hlc
