"""Everything that a space holds as of one place in the feed, for who begins, or must begin again.

Two kinds: visible rows, for what is derived from them, and signed batches, for who holds a copy and checks it. Both are
of exactly one moment, whatever is written meanwhile: from the cursor on the feed tells the rest. They hold iterators of
the store open, and nothing in memory. Reads the store; who may read what is its caller's to decide.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from itertools import islice
from typing import Final

from mycelium._core import merge
from mycelium.config.feed import EXPORT_SLICE_BATCHES, EXPORT_SLICE_ROWS
from mycelium.database import schema, snapshot
from mycelium.database.database import Database
from mycelium.database.horizon import SINGLE
from mycelium.database.ranges import EVERYTHING, Ranges
from mycelium.database.schema import ROW_HEADER_BYTES
from mycelium.database.store import Column, after_prefix
from mycelium.database.validity import Authority
from mycelium.database.vector import Origin
from mycelium.errors import StoreCorrupt
from mycelium.feed.batch import ExportRow, SignedRecord
from mycelium.feed.cursor import Cursor
from mycelium.protocol.messages import MergeType

Within = Callable[[str, str], Ranges]
"""The keys of a table (space, name) that an export may show."""
_SIGNATURE_BYTES: Final = 64


class Export:
    """The rows of some spaces as of `cursor`, in pages. Iterating raises NotDurable, StoreCorrupt, StoreClosed."""

    def __init__(
        self,
        database: Database,
        spaces: Collection[str],
        tables: Collection[str] | None = None,
        within: Within = lambda space, table: EVERYTHING,
    ) -> None:
        # All of one moment: a scan shows what was there when it began, and nothing else runs in between.
        self.cursor = Cursor(database.generation, database.engine.feed_last)
        self._scans = [
            (space, database.store.scan(Column.LIVE, prefix, after_prefix(prefix)))
            for space in sorted(set(spaces))
            for prefix in [schema.space_prefix(space)]
        ]
        self._tables = None if tables is None else frozenset(tables)
        self._within = within
        self._committer = database.committer

    async def start(self) -> Cursor:
        """The cursor, as of an export of another process."""
        return self.cursor

    async def aclose(self) -> None:
        """Let go of the store's iterators."""
        self._scans.clear()

    async def pages(self) -> AsyncIterator[list[ExportRow]]:
        """Up to EXPORT_SLICE_ROWS rows each, space by space, in the order of row keys. Not before they are durable."""
        await self._committer.wait(self.cursor.index)
        for space, scan in self._scans:
            tables: dict[bytes, tuple[str, MergeType, Ranges] | None] = {}
            while rows := list(islice(scan, EXPORT_SLICE_ROWS)):
                found = [row for raw in rows if (row := self._row(space, tables, *raw)) is not None]
                if found:
                    yield found
                await asyncio.sleep(0)

    def _row(
        self,
        space: str,
        tables: dict[bytes, tuple[str, MergeType, Ranges] | None],
        row_key: bytes,
        row: bytes,
    ) -> ExportRow | None:
        at = row_key.index(b"\0", len(space) + 1) + 2
        prefix = row_key[:at]
        if prefix not in tables:
            tables[prefix] = self._table(space, prefix[len(space) + 1 : -2].decode(), prefix[-1])
        known = tables[prefix]
        if known is None:
            return None
        name, kind, ranges = known
        if len(row) < ROW_HEADER_BYTES:
            raise StoreCorrupt(f"a row of {space}/{name} is damaged", "restore a backup")
        key, part = row_key[at:], b""
        if kind not in SINGLE:
            key, end = merge.unescape(row_key, at)
            part = row_key[end:]
        if not ranges.whole and key not in ranges:
            return None
        header = schema.row_header(row)
        return ExportRow(space, name, kind, key, part, row[ROW_HEADER_BYTES:], *header)

    def _table(self, space: str, name: str, kind: int) -> tuple[str, MergeType, Ranges] | None:
        if self._tables is not None and name not in self._tables:
            return None
        ranges = self._within(space, name)
        return (name, MergeType(kind), ranges) if ranges else None


class SignedExport:
    """The batches of a space as of `cursor` that are not superseded, log by log, each in order, with their voids.

    Whoever takes them in this order holds afterwards what this node holds. `prepare` first: it looks through the space,
    2 us a row and 6 us a batch. Raises Overloaded for a space of too many batches, StoreError.
    """

    def __init__(self, database: Database, authority: Authority, space: str) -> None:
        self._database = database
        self._authority = authority
        self.space = space
        self.cursor = Cursor(database.generation, 0)
        self.batches = 0
        self.changes = 0
        self._survey: snapshot.Survey | None = None

    async def prepare(self) -> None:
        """Find what is to be given; sets cursor, batches and changes."""
        database = self._database
        self.cursor = Cursor(database.generation, database.engine.feed_last)
        # It begins all its looks before it first waits: at the cursor's moment.
        survey = await snapshot.survey(database.store, database.engine, self._authority, self.space)
        await database.committer.wait(self.cursor.index)
        self._survey = survey
        self.batches, self.changes = survey.size, survey.changes

    async def pages(self) -> AsyncIterator[list[SignedRecord]]:
        """Up to EXPORT_SLICE_BATCHES batches each."""
        assert self._survey is not None, "prepare() comes first"
        for origin, firsts in sorted(self._survey.batches.items()):
            spans = self._survey.vector[origin].spans() if origin in self._survey.vector else []
            following = 1
            for at in range(0, len(firsts), EXPORT_SLICE_BATCHES):
                page = []
                for record in self._records(origin, firsts[at : at + EXPORT_SLICE_BATCHES]):
                    batch = schema.batch_of(record)
                    page.append(
                        SignedRecord(
                            _void(spans, following, batch.seq_first),
                            record[_SIGNATURE_BYTES:],
                            record[:_SIGNATURE_BYTES],
                        )
                    )
                    following = batch.seq_first + batch.count
                if page:
                    yield page
                await asyncio.sleep(0)

    def _records(self, origin: Origin, firsts: array[int]) -> Iterator[bytes]:
        assert self._survey is not None, "prepare() comes first"
        keys = [schema.log_key(self._survey.space, origin, first) for first in firsts]
        for record in self._database.store.get_many(Column.LOG, keys):
            # What was dropped since the survey is superseded since, and lies in a void like the rest.
            if record is not None:
                yield record


def _void(spans: list[tuple[int, int]], following: int, first: int) -> int:
    """The first number of the void before `first`, where `following` was to come; 0 where there is none."""
    for begin, end in spans:
        if begin <= first <= end:
            void = max(begin, following)
            return void if void < first else 0
    return 0
