"""Shared by the tests of sinks: a node made of the oracle of merging, that gives feeds and exports as a real one does."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reference import merge as oracle

from mycelium._core import merge as core
from mycelium.database.value import value_bytes, value_of
from mycelium.errors import FeedBehind, LinkClosed
from mycelium.feed.batch import ExportRow, FeedBatch, FeedChange
from mycelium.feed.cursor import Cursor
from mycelium.protocol.messages import MergeType, Op

LWW, COUNTER, SET, APPEND, OWN = MergeType
ACCOUNTS = [bytes([number]) * 32 for number in range(1, 5)]
T0_MS = 1_700_000_000_000
TABLES = {"scores": LWW, "hits": COUNTER, "tags": SET, "events": APPEND, "profile": OWN}


class FakeNode:
    """A node: what is put into it is in its feed, and its rows are what the oracle of `_core.merge` says."""

    def __init__(self, generation: int = 7) -> None:
        self.generation = generation
        self.replica = oracle.Replica()
        self.batches: list[FeedBatch] = []
        self.oldest = 1
        """Index of the oldest batch that is kept."""
        self.rewind: dict[int, Exception] = {}
        """Raised instead of the batch at an index, once."""
        self.fed: list[int] = []
        self.exports: list[object] = []
        self._seqs: dict[bytes, int] = {}
        self._hlc = T0_MS << 16
        self._grew = asyncio.Event()
        self.up = True
        self._readers: set[asyncio.Task] = set()

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.generation, len(self.batches))

    def put(self, *changes, space: str = "main", account: int = 0, at_ms: int | None = None) -> FeedBatch:
        """Apply one batch of (table, op, key, payload). at_ms: its clock, if not later than all before."""
        who = ACCOUNTS[account]
        self._hlc += 1000
        hlc = self._hlc if at_ms is None else at_ms << 16
        seq = self._seqs.get(who, 1)
        self._seqs[who] = seq + len(changes)
        names = list(dict.fromkeys(name for name, *_ in changes))
        merges = {name: TABLES.get(name, LWW) for name in names}
        prefixes = tuple(oracle.prefix_of(merges[name], name.encode(), space.encode()) for name in names)
        packed = tuple((names.index(name), int(op), key, payload) for name, op, key, payload in changes)
        wins = self.replica.apply(oracle.Batch(prefixes, who, 1, seq, hlc, packed))
        found = tuple(
            FeedChange(place, name, merges[name], Op(op), key, payload, wins[place])
            for place, (name, op, key, payload) in enumerate(changes)
        )
        index = len(self.batches) + 1
        name = hashlib.blake2b(repr((who, seq)).encode(), digest_size=32).digest()
        batch = FeedBatch(
            Cursor(self.generation, index), index, name, space, who, 1, seq, len(changes), 1, hlc, found
        )
        self.batches.append(batch)
        self._grew.set()
        return batch

    def set(self, table: str, key: str | bytes, value, **more) -> FeedBatch:
        return self.put((table, Op.PUT, _key(key), value_bytes(value)), **more)

    def delete(self, table: str, key: str | bytes, **more) -> FeedBatch:
        return self.put((table, Op.DELETE, _key(key), b""), **more)

    def add(self, table: str, key: str | bytes, amount: int, **more) -> FeedBatch:
        return self.put((table, Op.ADD, _key(key), amount.to_bytes(8, "big", signed=True)), **more)

    def insert(self, table: str, key: str | bytes, element, **more) -> FeedBatch:
        return self.put((table, Op.INSERT, _key(key), value_bytes(element)), **more)

    def remove(self, table: str, key: str | bytes, element, **more) -> FeedBatch:
        dots = b"".join(
            row.part
            for row in self.rows()
            if (row.table, row.key, row.value) == (table, _key(key), value_bytes(element))
        )
        return self.put((table, Op.REMOVE, _key(key), dots), **more)

    # --- what is there --------------------------------------------------------------------------------------

    def rows(self, spaces=None, tables=None) -> list[ExportRow]:
        """Every visible row, in the order of a store."""
        found = []
        for row_key, row in sorted(self.replica.live.items()):
            space, table, rest = row_key.split(b"\0", 2)
            merge = MergeType(rest[0])
            hlc, account, generation, seq = oracle.parse_header(row)
            if merge in (LWW, OWN):
                key, part = rest[1:], b""
            else:
                key, at = core.unescape(row_key, len(row_key) - len(rest) + 1)
                part = row_key[at:][8:] if merge is APPEND else row_key[at:]
            if spaces is not None and space.decode() not in spaces:
                continue
            if tables is not None and table.decode() not in tables:
                continue
            found.append(
                ExportRow(
                    space.decode(), table.decode(), merge, key, part, row[56:], hlc, account, generation, seq
                )
            )
        return found

    def state(self, spaces=None) -> dict[tuple[str, str], dict]:
        """(space, table): what people see of it: values, sums, elements of sets, lists of facts."""
        found: dict[tuple[str, str], dict] = {}
        for row in self.rows(spaces):
            table = found.setdefault((row.space, row.table), {})
            if row.merge is COUNTER:
                table[row.key] = table.get(row.key, 0) + int.from_bytes(row.value, "big", signed=True)
            elif row.merge is SET:
                elements = table.setdefault(row.key, [])
                if value_of(row.value) not in elements or row.value not in [
                    value_bytes(one) for one in elements
                ]:
                    elements.append(value_of(row.value))
            elif row.merge is APPEND:
                table.setdefault(row.key, []).append(value_of(row.value))
            else:
                table[row.key] = value_of(row.value)
        return found

    # --- as a node is asked ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def dial(self):
        if not self.up:
            raise LinkClosed("the node is down")
        yield self

    async def feed(self, after=None, spaces=None, tables=None) -> AsyncIterator[FeedBatch]:
        index = len(self.batches) if after is None else after.index
        if after is not None and (after.generation != self.generation or index + 1 < self.oldest):
            raise FeedBehind("the cursor is older than what is kept")
        while True:
            while index < len(self.batches):
                index += 1
                if index in self.rewind:
                    raise self.rewind.pop(index)
                batch = self.batches[index - 1]
                if spaces is not None and batch.space not in spaces:
                    continue
                changes = batch.changes
                if tables is not None:
                    changes = tuple(change for change in changes if change.table in tables)
                self.fed.append(index)
                yield _with(batch, newest=len(self.batches), changes=changes)
            self._grew.clear()
            await self._grew.wait()
            if not self.up:
                raise LinkClosed("the node went away")

    def export(self, spaces=None, tables=None) -> FakeExport:
        self.exports.append(spaces)
        return FakeExport(self.cursor, self.rows(spaces, tables))

    def go(self) -> None:
        """The node ends."""
        self.up = False
        self._grew.set()


class FakeExport:
    def __init__(self, cursor: Cursor, rows: list[ExportRow]) -> None:
        self.cursor = cursor
        self._rows = iter(rows)

    async def start(self) -> Cursor:
        return self.cursor

    def __aiter__(self):
        return self

    async def __anext__(self) -> ExportRow:
        for row in self._rows:
            return row
        raise StopAsyncIteration

    async def aclose(self) -> None:
        pass


def _with(batch: FeedBatch, **more) -> FeedBatch:
    import dataclasses

    return dataclasses.replace(batch, **more)


def _key(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else key


async def until(condition, seconds: float = 20) -> None:
    """Poll for what has no event."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
