"""The feed and the exports of a running node, as another process reads them. Owns no connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection

from mycelium.errors import (
    CursorForeign,
    FeedBehind,
    FeedError,
    FeedRewound,
    LinkClosed,
    MalformedMessage,
    ProtocolError,
)
from mycelium.feed.batch import ExportRow, FeedBatch, FeedChange, SignedRecord
from mycelium.feed.cursor import Cursor
from mycelium.node import calls, feedcalls
from mycelium.node.calls import RECORD_BYTES_MAX
from mycelium.node.recordstream import RecordStream
from mycelium.node.remotewatch import Messages
from mycelium.protocol.messages import MergeType, Op


class RemoteFeed:
    """An async iterator of batches. It begins with the first `anext`, or with `await feed.start()`.

    cursor: everything up to it was given, or is of no concern here: what a consumer keeps. It moves on while nothing
    comes. Cancelling an `anext` (a timeout around it) loses nothing: the next one goes on. Raises FeedBehind,
    FeedRewound, and LinkClosed when the connection is lost: a new feed after `cursor` goes on.
    """

    def __init__(
        self,
        messages: Messages,
        after: Cursor | str | None = None,
        spaces: Collection[str] | None = None,
        tables: Collection[str] | None = None,
    ) -> None:
        asked = feedcalls.Feed("" if after is None else str(after), _listed(spaces), _listed(tables))
        self._records = RecordStream(messages(feedcalls.FEED, calls.request(asked)), RECORD_BYTES_MAX)
        self._tables = None if tables is None else frozenset(tables)
        self._started: feedcalls.Started | None = None
        self._cursor: Cursor | None = None
        self.newest = 0
        """The index of the node's newest durable batch when it last said so."""

    @property
    def cursor(self) -> Cursor | None:
        """None before the feed has begun."""
        return self._cursor

    @property
    def spaces(self) -> list[str]:
        """Those that it tells of, once it has begun."""
        return [] if self._started is None else list(self._started.spaces)

    async def start(self) -> Cursor:
        """Wait until the node tells us its feed; the cursor from which it does."""
        if self._started is None:
            first = await self._record()
            if not isinstance(first, feedcalls.Started):
                raise MalformedMessage("a feed that does not say where it begins")
            self._started, self.newest = first, first.newest
            self._cursor = Cursor(first.generation, first.index)
        assert self._cursor is not None, "it is set with what started"
        return self._cursor

    def __aiter__(self) -> RemoteFeed:
        return self

    async def __anext__(self) -> FeedBatch:
        await self.start()
        while True:
            record = await self._record()
            if isinstance(record, feedcalls.Whole):
                cursor = self._moved(record.index, record.newest)
                return FeedBatch.whole(
                    cursor, record.newest, record.raw, record.signature, record.winners, self._tables
                )
            if isinstance(record, feedcalls.Part):
                return _part(self._moved(record.index, record.newest), record)
            if not isinstance(record, feedcalls.Progress):
                raise MalformedMessage(f"a feed with a record {type(record).__name__}")
            self._moved(record.index, record.newest)

    async def aclose(self) -> None:
        """Tell the node to stop."""
        await self._records.aclose()

    def _moved(self, index: int, newest: int) -> Cursor:
        assert self._started is not None, "only what has started moves"
        self.newest = newest
        self._cursor = Cursor(self._started.generation, index)
        return self._cursor

    async def _record(self) -> feedcalls.Record:
        try:
            found: feedcalls.Record = calls.decode(await self._records.next(), feedcalls.RECORD)
        except StopAsyncIteration:
            raise LinkClosed("the node ended the feed") from None
        if isinstance(found, feedcalls.Ended):
            raise _error(found)
        return found


class RemoteExport:
    """The rows of some spaces as of `cursor`, which is set by `start`. `pages` ends when all were given."""

    def __init__(
        self,
        messages: Messages,
        spaces: Collection[str] | None = None,
        tables: Collection[str] | None = None,
    ) -> None:
        asked = feedcalls.Export(_listed(spaces), _listed(tables))
        self._finite = _Finite(messages(feedcalls.EXPORT, calls.request(asked)))

    async def start(self) -> Cursor:
        """Wait until the node begins; the cursor of the export."""
        started = await self._finite.start()
        return Cursor(started.generation, started.index)

    @property
    def cursor(self) -> Cursor:
        return self._finite.cursor

    async def pages(self) -> AsyncIterator[list[ExportRow]]:
        """See `feed.export.Export.pages`. MalformedMessage where some are missing, LinkClosed."""
        async for record in self._finite.records():
            if not isinstance(record, feedcalls.Rows):
                raise MalformedMessage(f"an export with a record {type(record).__name__}")
            self._finite.count += len(record.rows)
            yield [ExportRow(row[0], row[1], _merge(row[2]), *row[3:10]) for row in record.rows]

    async def aclose(self) -> None:
        """Tell the node to stop."""
        await self._finite.aclose()


class RemoteSignedExport:
    """The batches of a space as of `cursor`; see `feed.export.SignedExport`."""

    def __init__(self, messages: Messages, space: str) -> None:
        self.space = space
        self.batches = 0
        self.changes = 0
        asked = calls.request(feedcalls.SignedExport(space))
        self._finite = _Finite(messages(feedcalls.SIGNED_EXPORT, asked))

    async def prepare(self) -> None:
        """Let the node look through the space; sets cursor, batches and changes."""
        started = await self._finite.start()
        self.batches, self.changes = started.batches, started.changes

    @property
    def cursor(self) -> Cursor:
        return self._finite.cursor

    async def pages(self) -> AsyncIterator[list[SignedRecord]]:
        """See `feed.export.SignedExport.pages`. MalformedMessage where some are missing, LinkClosed."""
        async for record in self._finite.records():
            if not isinstance(record, feedcalls.Signed):
                raise MalformedMessage(f"a signed export with a record {type(record).__name__}")
            self._finite.count += len(record.batches)
            yield [SignedRecord(*one) for one in record.batches]

    async def aclose(self) -> None:
        """Tell the node to stop."""
        await self._finite.aclose()


class _Finite:
    """A stream of records that begins with Started and ends with how many things it gave."""

    def __init__(self, messages: AsyncGenerator[bytes, None]) -> None:
        self._records = RecordStream(messages, RECORD_BYTES_MAX)
        self._started: feedcalls.Started | None = None
        self.count = 0

    @property
    def cursor(self) -> Cursor:
        assert self._started is not None, "start() comes first"
        return Cursor(self._started.generation, self._started.index)

    async def start(self) -> feedcalls.Started:
        if self._started is None:
            first = await self._next()
            if not isinstance(first, feedcalls.Started):
                raise MalformedMessage("an export that does not say of when it is")
            self._started = first
        return self._started

    async def records(self) -> AsyncIterator[feedcalls.Record]:
        await self.start()
        while True:
            record = await self._next()
            if isinstance(record, feedcalls.Ended):
                if record.count != self.count:
                    raise MalformedMessage(f"an export of {record.count} of which {self.count} came")
                return
            yield record

    async def _next(self) -> feedcalls.Record:
        try:
            found: feedcalls.Record = calls.decode(await self._records.next(), feedcalls.RECORD)
        except StopAsyncIteration:
            raise LinkClosed("the node ended the export before its end") from None
        return found

    async def aclose(self) -> None:
        await self._records.aclose()


def _part(cursor: Cursor, record: feedcalls.Part) -> FeedBatch:
    changes = tuple(
        FeedChange(place, table, _merge(merge), _op(op), key, value, wins)
        for place, table, merge, op, key, value, wins in record.changes
    )
    return FeedBatch(
        cursor,
        record.newest,
        record.id,
        record.space,
        record.account,
        record.generation,
        record.seq_first,
        record.count,
        record.epoch,
        record.hlc_first,
        changes,
    )


def _merge(number: int) -> MergeType:
    try:
        return MergeType(number)
    except ValueError:
        raise MalformedMessage(f"a table of the unknown merge type {number}") from None


def _op(number: int) -> Op:
    try:
        return Op(number)
    except ValueError:
        raise MalformedMessage(f"a change of the unknown kind {number}") from None


def _error(ended: feedcalls.Ended) -> FeedError | ProtocolError:
    if ended.kind == feedcalls.REWOUND:
        return FeedRewound(ended.text, ended.cursor, ended.space)
    if ended.kind == feedcalls.FOREIGN:
        return CursorForeign(ended.text, ended.cursor)
    if ended.kind == feedcalls.BEHIND:
        return FeedBehind(ended.text, ended.cursor)
    return MalformedMessage(f"a feed that ended, as it says, by {ended.kind!r:.100}")


def _listed(names: Collection[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)
