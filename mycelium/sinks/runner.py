"""Keeps a sink filled from a node's feed: fill, follow, and begin again where the feed cannot go on. For ever.

Owns when what is called; knows neither the node's wire nor the sink's database. Everything that passes by itself is
said once in one line, and tried again after a wait that grows; what an operator must mend is raised.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from mycelium.config.sinks import (
    SINK_BACKOFF_MAX_MS,
    SINK_BACKOFF_MIN_MS,
    SINK_FILL_ROWS,
    SINK_GROUP_BYTES_MAX,
    SINK_IDLE_S,
)
from mycelium.database.access import SYS
from mycelium.errors import (
    FeedBehind,
    FeedRewound,
    LinkClosed,
    LinkError,
    MyceliumError,
    NotDurable,
    ProtocolError,
    SinkUnreachable,
    StoreClosed,
)
from mycelium.feed.batch import ExportRow, FeedBatch
from mycelium.feed.cursor import Cursor
from mycelium.sinks.interface import Position, Sink


class Feed(Protocol):
    """An iterator of batches without end. cursor: everything up to it was given, or is of no concern here."""

    @property
    def cursor(self) -> Cursor | None: ...

    def __aiter__(self) -> AsyncIterator[FeedBatch]: ...

    async def aclose(self) -> None: ...


class Export(Protocol):
    """All rows as of a cursor, in pages."""

    async def start(self) -> Cursor: ...

    def pages(self) -> AsyncIterator[list[ExportRow]]: ...

    async def aclose(self) -> None: ...


class Feeds(Protocol):
    """What is asked of a node: `Node` and what `mycelium.connect` gives have it."""

    def feed(
        self,
        after: Cursor | None = None,
        spaces: Sequence[str] | None = None,
        tables: Sequence[str] | None = None,
    ) -> Feed:
        """Batches after a cursor; ends with FeedBehind or FeedRewound where it cannot go on."""
        ...

    def export(self, spaces: Sequence[str] | None = None, tables: Sequence[str] | None = None) -> Export:
        """All rows as of now."""
        ...


Dial = Callable[[], AbstractAsyncContextManager[Feeds]]


@dataclass(slots=True)
class Progress:
    """What a runner has done so far. lag: batches that the node had and the sink had not, when it last wrote."""

    phase: str = "starting"
    rows: int = 0
    changes: int = 0
    batches: int = 0
    fills: int = 0
    lag: int = 0
    position: Position | None = None
    waits_for: str = ""
    """Why it waits now; "" while it works."""


class Gather:
    """Batches on their way to the sink: as many as one transaction takes, at once when nothing else comes. Bounded.

    One task puts, another takes. wait_s: how long `take` may wait for more.
    """

    def __init__(
        self, changes_max: int, bytes_max: int, wait_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._changes_max = changes_max
        self._bytes_max = bytes_max
        self._wait_s = wait_s
        self._clock = clock
        self._batches: list[FeedBatch] = []
        self._changes = 0
        self._bytes = 0
        self._first_s = 0.0
        self._ended: BaseException | None = None
        self._some = asyncio.Event()
        self._full = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, batch: FeedBatch) -> None:
        """One more, once there is room."""
        await self._room.wait()
        if not self._batches:
            self._first_s = self._clock()
        self._batches.append(batch)
        self._changes += batch.count
        self._bytes += len(batch.raw) if batch.raw is not None else _size(batch)
        if self._changes >= self._changes_max or self._bytes >= self._bytes_max:
            self._room.clear()
            self._full.set()
        self._some.set()

    def end(self, error: BaseException) -> None:
        """No more come, for this reason."""
        self._ended = error
        self._some.set()
        self._full.set()

    async def full_before(self, task: asyncio.Task[None]) -> bool:
        """Wait until no more fit, or the task is done: whether that is the case."""
        full = asyncio.ensure_future(self._full.wait())
        try:
            await asyncio.wait({full, task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            full.cancel()
        return task.done()

    async def take(self, idle_s: float) -> list[FeedBatch]:
        """What is there, once there is something; [] after a time with nothing. Raises what ended it, after the last.

        When it gives [], nothing lies between the feed and its taker.
        """
        if not await _set_within(self._some, idle_s):
            return []
        if self._batches and self._wait_s > 0:
            await _set_within(self._full, self._first_s + self._wait_s - self._clock())
        taken, self._batches = self._batches, []
        self._changes = self._bytes = 0
        self._room.set()
        if self._ended is None:
            self._some.clear()
            self._full.clear()
        elif not taken:
            raise self._ended
        return taken


@dataclass(slots=True)
class Backoff:
    """Waits that double from one failure to the next, with a random half; from the start again after a success."""

    rng: random.Random = field(default_factory=random.Random)
    failures: int = 0

    def next_s(self) -> float:
        """Seconds to wait now."""
        ceiling_ms = min(SINK_BACKOFF_MAX_MS, SINK_BACKOFF_MIN_MS * 2 ** min(self.failures, 16))
        self.failures += 1
        return float(ceiling_ms * (0.5 + self.rng.random() / 2) / 1000)


_PASSING: Final = (SinkUnreachable, LinkError, StoreClosed, NotDurable)
_QUIET_S: Final = 1.0
_AGAIN_S: Final = 60.0
"""A wait is said once, and then once a minute, with the reason that it has by then."""


class Runner:
    """dial: connects to the node. spaces, tables: what of it; None is everything that it lets read, without `sys`.

    say: is told what an operator should know, one line each. on_progress: is called after each step.
    """

    def __init__(
        self,
        dial: Dial,
        sink: Sink,
        spaces: Sequence[str] | None = None,
        tables: Sequence[str] | None = None,
        *,
        say: Callable[[str], None] = lambda _: None,
        on_progress: Callable[[Progress], None] = lambda _: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._dial = dial
        self._sink = sink
        self._spaces = None if spaces is None else list(spaces)
        self._tables = None if tables is None else list(tables)
        self._say = say
        self._on_progress = on_progress
        self._sleep = sleep
        self._clock = clock
        self._backoff = Backoff(rng or random.Random())  # noqa: S311 - spreads attempts, guards nothing
        self._said_s = 0.0
        self._written = -1
        self._met = False
        self.progress = Progress()

    async def run(self) -> None:
        """For ever. SchemaConflict, ConfigError, Unauthorised and their like: what somebody must mend."""
        try:
            while True:
                try:
                    await self._session()
                except _PASSING as error:
                    await self._wait(error)
                except ProtocolError as error:
                    # At the first meeting it is a mistake of somebody's; later the node may be starting.
                    if not self._met:
                        raise
                    await self._wait(error)
        finally:
            await self._sink.close()

    async def _session(self) -> None:
        """From the opening of the sink until something fails."""
        position = await self._sink.open()
        async with self._dial() as node:
            while True:
                if position is None:
                    position = await self._fill(node)
                self._met = True
                self.progress.position = position
                if not self.progress.waits_for:
                    self._working("live", position)
                try:
                    await self._follow(node, position)
                except FeedBehind as error:
                    self._say(f"the feed does not go on from here, so all rows are read again: {error}")
                    position = None
                    if self.progress.batches == self._written:
                        # A fill that takes longer than the node keeps its feed must not be all that it does.
                        await self._sleep(self._backoff.next_s())
                    self._written = self.progress.batches
                except FeedRewound as error:
                    position = await self._rewound(node, error)

    async def _follow(self, node: Feeds, first: Position) -> None:
        """Write batch after batch. Raises what ends the feed, after everything before it was written."""
        gather = Gather(self._sink.gather_changes, self._sink.gather_bytes, self._sink.gather_s, self._clock)
        feed = node.feed(after=first.cursor, spaces=self._spaces, tables=self._tables)
        reader = asyncio.create_task(_read(feed, first, gather))
        applying: asyncio.Task[None] | None = None
        position = first
        try:
            while True:
                if applying is not None and await gather.full_before(applying):
                    await applying
                    applying = None
                # After a wait it counts as going on when something is written, or nothing is to be.
                group = await gather.take(_QUIET_S if self.progress.waits_for else SINK_IDLE_S)
                if not group and self.progress.waits_for:
                    self._working("live", position)
                if group:
                    cursor, lag = group[-1].cursor, group[-1].newest - group[-1].cursor.index
                elif feed.cursor is not None and feed.cursor > position.cursor:
                    # What the node applied meanwhile is of no concern here, and all that came is written.
                    cursor, lag = feed.cursor, 0
                else:
                    self._on_progress(self.progress)
                    continue
                wanted = [batch for batch in group if self._wants(batch) and not first.has(batch)]
                position = position.at(cursor)
                # The next group is prepared while the database works on this one.
                prepared = await self._sink.prepare(wanted)
                if applying is not None:
                    await applying
                applying = asyncio.create_task(self._apply(prepared, position, wanted, lag))
        except (MyceliumError, OSError):
            if applying is not None:
                await applying
            raise
        finally:
            tasks = [reader] if applying is None else [reader, applying]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _apply(self, prepared: Any, position: Position, wanted: list[FeedBatch], lag: int) -> None:
        await self._sink.apply(prepared, position)
        self.progress.batches += len(wanted)
        self.progress.changes += sum([len(batch.changes) for batch in wanted])
        self.progress.lag = max(0, lag)
        self._working("live", position)

    def _wants(self, batch: FeedBatch) -> bool:
        """`sys` holds policies and seals, which are nobody's data unless they are asked for."""
        return self._spaces is not None or batch.space != SYS

    async def _fill(self, node: Feeds) -> Position:
        """All rows as of one cursor."""
        async with aclosing(node.export(spaces=self._spaces, tables=self._tables)) as export:
            cursor = await export.start()
            position = Position(cursor)
            await self._stage(export, None, cursor)
        await self._sink.finish(position)
        self.progress.fills += 1
        return position

    async def _rewound(self, node: Feeds, error: FeedRewound) -> Position | None:
        """The rows of one space anew; the others go on where they were. None: everything is to be filled."""
        self._say(f"rows of the space {error.space} were made anew, so they are read again: {error}")
        if not error.cursor or not error.space:
            return None
        after = Cursor.parse(error.cursor)
        async with aclosing(node.export(spaces=[error.space], tables=self._tables)) as export:
            cursor = await export.start()
            if after.generation != cursor.generation:
                return None
            before = self.progress.position or Position(after)
            # What the export has of the space is ahead of the feed, where other spaces go on.
            position = Position(after, {**before.at(after).floors, error.space: cursor.index})
            await self._stage(export, [error.space], cursor)
        await self._sink.finish(position)
        self.progress.fills += 1
        return position

    async def _stage(self, export: Export, spaces: list[str] | None, cursor: Cursor) -> None:
        self.progress.rows = 0
        await self._sink.begin(spaces, cursor)
        await self._give(export)

    async def _give(self, export: Export) -> None:
        rows: list[ExportRow] = []
        size = 0
        async for page in export.pages():
            found = [row for row in page if self._spaces is not None or row.space != SYS]
            rows += found
            size += sum([len(row.key) + len(row.value) for row in found])
            if len(rows) >= SINK_FILL_ROWS or size >= SINK_GROUP_BYTES_MAX:
                await self._sink.fill(rows)
                self._filled(len(rows))
                rows, size = [], 0
        if rows:
            await self._sink.fill(rows)
            self._filled(len(rows))

    def _filled(self, rows: int) -> None:
        self.progress.phase = "filling"
        self.progress.rows += rows
        self._on_progress(self.progress)

    def _working(self, phase: str, position: Position | None) -> None:
        if self.progress.waits_for:
            self._say(f"it goes on: {phase}")
        self._backoff.failures = 0
        self.progress.phase, self.progress.position, self.progress.waits_for = phase, position, ""
        self._on_progress(self.progress)

    async def _wait(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        now_s = self._clock()
        if not self.progress.waits_for or now_s - self._said_s >= _AGAIN_S:
            self._said_s = now_s
            self._say(f"waiting: {text}")
        self.progress.phase, self.progress.waits_for = "waiting", text
        self._on_progress(self.progress)
        await self._sink.close()
        await self._sleep(self._backoff.next_s())


async def _read(feed: Feed, first: Position, gather: Gather) -> None:
    """Put what the feed gives into `gather`, and how it ended."""
    try:
        async with aclosing(feed):
            async for batch in feed:
                if batch.cursor > first.cursor:
                    await gather.put(batch)
        gather.end(LinkClosed("the node's feed ended"))
    except Exception as error:  # noqa: BLE001 - whatever it is, `take` raises it in the other task
        gather.end(error)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, no longer than that; whether it is set."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _size(batch: FeedBatch) -> int:
    return sum([len(change.key) + len(change.value) for change in batch.changes])
