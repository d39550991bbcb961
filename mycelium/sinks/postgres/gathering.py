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
from mycelium.sinks.source import Source, key_text

DOT_BYTES: Final = 48
ELEMENT_BYTES: Final = 16
_BIGINT_MAX: Final = 2**63 - 1
"""As a clock it is the year 6429."""


class Put(NamedTuple):
    """The change that a row comes from, and where in the feed it stands. origin: account and generation, as text."""

    payload: bytes
    hlc: int
    origin: str
    seq: int
    feed: int


def origin_text(account: bytes, generation: int) -> str:
    """The fields `_account` and `_generation` of a row."""
    return f"{accounts.format(account)}\t{generation:016x}"


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
        self.lines: list[str] | None = None
        """The rows as text, where they were written in advance."""

    def change(self, change: FeedChange, batch: FeedBatch, origin: str) -> None:
        """One change, in the order of the feed."""
        place, _, merge, op, key, payload, wins = change
        if not wins and merge is not MergeType.COUNTER:
            return
        feed = batch.cursor.index
        if op is Op.DELETE:
            self.deletes[key] = feed
            self.puts.pop(key, None)
            return
        if op is Op.REMOVE:
            for at in range(0, len(payload) - DOT_BYTES + 1, DOT_BYTES):
                dot = payload[at : at + DOT_BYTES]
                self.inserts.pop((key, dot), None)
                self.removes.add((key, dot))
            return
        seq = batch.seq_first + place
        put = Put(payload, batch.hlc_first + place, origin, seq, feed)
        if merge is MergeType.COUNTER:
            self._add(key, int.from_bytes(payload, "big", signed=True), put)
        elif merge is MergeType.APPEND:
            self.facts.append((key, put))
        elif merge is MergeType.SET:
            self.inserts[key, dot_of(batch.account, batch.generation, seq)] = put
        else:
            self.puts[key] = put
            if self.deletes:
                self.deletes.pop(key, None)

    def row(self, row: ExportRow, origin: str, feed: int) -> None:
        """One row of an export."""
        put = Put(row.value, row.hlc, origin, row.seq, feed)
        if row.merge is MergeType.COUNTER:
            self._add(row.key, int.from_bytes(row.value, "big", signed=True), put)
        elif row.merge is MergeType.APPEND:
            self.facts.append((row.key, put))
        elif row.merge is MergeType.SET:
            self.inserts[row.key, dot_of(row.account, row.generation, row.seq)] = put
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
            yield f"{escaped(key_text(key))}\t{amount}{_meta(put)}"
        for (key, dot), put in self.inserts.items():
            element = bytes_text(hashlib.blake2b(put.payload, digest_size=ELEMENT_BYTES).digest())
            shown = values(put.payload)
            yield f"{escaped(key_text(key))}\t{element}\t{shown}\t{bytes_text(dot)}{_meta(put)}"
        rows: Iterable[tuple[bytes, Put]] = self.facts or self.puts.items()
        for key, put in rows:
            yield f"{escaped(key_text(key))}\t{values(put.payload)}{_meta(put)}"


def dot_of(account: bytes, generation: int, seq: int) -> bytes:
    """The name of an insertion."""
    return account + generation.to_bytes(8, "big") + seq.to_bytes(8, "big")


def _meta(put: Put) -> str:
    """The last fields of a row."""
    _, hlc, origin, seq, feed = put
    if hlc > _BIGINT_MAX or seq > _BIGINT_MAX:
        hlc, seq = min(hlc, _BIGINT_MAX), min(seq, _BIGINT_MAX)
    return f"\t{hlc}\t{origin}\t{seq}\t{feed}\n"


def _hlc(put: Put) -> int:
    return put.hlc
