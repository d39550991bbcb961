"""Shared by the tests of sinks: a node made of the oracle of merging, with feeds and exports as a real one has."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
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
        self.grew = asyncio.Event()
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
        self.grew.set()
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
        seen = set()
        for row in self.rows(spaces):
            table = found.setdefault((row.space, row.table), {})
            if row.merge is COUNTER:
                table[row.key] = table.get(row.key, 0) + int.from_bytes(row.value, "big", signed=True)
            elif row.merge is SET:
                elements = table.setdefault(row.key, [])
                if (row.space, row.table, row.key, row.value) not in seen:
                    seen.add((row.space, row.table, row.key, row.value))
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

    def feed(self, after=None, spaces=None, tables=None) -> FakeFeed:
        return FakeFeed(self, after, spaces, tables)

    def export(self, spaces=None, tables=None) -> FakeExport:
        self.exports.append(spaces)
        return FakeExport(self.cursor, self.rows(spaces, tables))

    def go(self) -> None:
        """The node ends."""
        self.up = False
        self.grew.set()


class FakeFeed:
    def __init__(self, node: FakeNode, after, spaces, tables) -> None:
        self._node = node
        self._after = after
        self._spaces = spaces
        self._tables = tables
        self._index = len(node.batches) if after is None else after.index

    @property
    def cursor(self) -> Cursor:
        return Cursor(self._node.generation, self._index)

    def __aiter__(self) -> FakeFeed:
        return self

    async def __anext__(self) -> FeedBatch:
        node = self._node
        after = self._after
        if after is not None and (after.generation != node.generation or self._index + 1 < node.oldest):
            raise FeedBehind("the cursor is older than what is kept")
        while True:
            while self._index < len(node.batches):
                self._index += 1
                if self._index in node.rewind:
                    raise node.rewind.pop(self._index)
                batch = node.batches[self._index - 1]
                if self._spaces is None or batch.space in self._spaces:
                    node.fed.append(self._index)
                    return self._shown(batch)
            if not node.up:
                raise LinkClosed("the node went away")
            node.grew.clear()
            await node.grew.wait()

    def _shown(self, batch: FeedBatch) -> FeedBatch:
        changes = tuple(
            change for change in batch.changes if self._tables is None or change.table in self._tables
        )
        fields = (batch.id, batch.space, batch.account, batch.generation, batch.seq_first, batch.count)
        return FeedBatch(batch.cursor, len(self._node.batches), *fields, 1, batch.hlc_first, changes)

    async def aclose(self) -> None:
        pass


class FakeExport:
    def __init__(self, cursor: Cursor, rows: list[ExportRow]) -> None:
        self.cursor = cursor
        self._rows = iter(rows)

    async def start(self) -> Cursor:
        return self.cursor

    async def pages(self) -> AsyncIterator[list[ExportRow]]:
        while page := list(itertools.islice(self._rows, 100)):
            yield page

    async def aclose(self) -> None:
        pass


def _key(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else key


async def until(condition, seconds: float = 20) -> None:
    """Poll for what has no event."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
