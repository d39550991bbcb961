"""Reading a feed: the batches of some spaces after a cursor, in the order in which the node applied them.

A reader is a cursor and nothing else: it reads the log, so that a slow one costs no memory, and one that comes back
after a crash goes on where it stopped. Only what is durable is shown. What is not kept any more it is told, and never
passed over. Who may read what is its caller's to decide (`node.feeding`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from typing import Final, NamedTuple

from mycelium.config.feed import FEED_PAGE_BYTES, FEED_PAGE_ENTRIES
from mycelium.database import feed
from mycelium.database.commit import Committer
from mycelium.database.store import Column, Store
from mycelium.errors import CursorForeign, FeedBehind, FeedRewound
from mycelium.feed.batch import FeedBatch
from mycelium.feed.cursor import Cursor

START: Final = "start"
"""In place of a cursor: before the first batch of all."""
_SIGNATURE_BYTES: Final = 64


class Entry(NamedTuple):
    """A batch as the log has it, and its place in the feed."""

    feed_index: int
    space: str
    winners: bytes
    raw: bytes
    signature: bytes


class Reader:
    """Pages of a feed. After FeedRewound it goes on behind what was made anew, if it is asked to.

    generation: of the data directory. after: None for now, START, a Cursor or its text.
    """

    def __init__(
        self,
        store: Store,
        committer: Committer,
        generation: int,
        spaces: Collection[str],
        after: Cursor | str | None,
    ) -> None:
        self._store = store
        self._committer = committer
        self._generation = generation
        self._spaces = frozenset(spaces)
        self.index = self._begin(after)
        """Everything up to it was given, or is of no concern to this reader."""

    def _begin(self, after: Cursor | str | None) -> int:
        if after is None:
            return self._committer.durable
        if after == START:
            return 0
        cursor = Cursor.parse(after) if isinstance(after, str) else after
        if cursor.generation != self._generation:
            raise CursorForeign(
                f"the cursor {cursor} is of another data directory than this node's: begin again with an export"
            )
        if cursor.index > self._committer.durable:
            raise CursorForeign(
                f"the cursor {cursor} is beyond this node's feed, which ends at {self.newest}: it is of another "
                "data directory, or of one that has lost what was not durable; begin again with an export"
            )
        return cursor.index

    @property
    def cursor(self) -> Cursor:
        """Where a reader that comes back goes on."""
        return Cursor(self._generation, self.index)

    @property
    def newest(self) -> int:
        """The index of the newest durable entry."""
        return self._committer.durable

    async def page(self) -> list[Entry]:
        """The next batches, up to FEED_PAGE_BYTES and at least one; [] where what there was is of no concern here.

        Waits while there is nothing new; that may be cancelled, and nothing is lost. Raises FeedBehind, FeedRewound,
        StoreCorrupt, StoreClosed.
        """
        while self.index >= self._committer.durable:
            await self._committer.advanced()
        # A long stretch of the feed may hold nothing for this reader: others must get their turn.
        await asyncio.sleep(0)
        return self._read()

    def _read(self) -> list[Entry]:
        pruned = feed.pruned_to(self._store)
        if self.index < pruned:
            raise FeedBehind(
                f"the feed is kept from {Cursor(self._generation, pruned)} on, and this reader stands at "
                f"{self.cursor}: begin again with an export (feed_keep_hours in [store] says how long it is kept)",
                str(Cursor(self._generation, pruned)),
            )
        last = min(self._committer.durable, self.index + FEED_PAGE_ENTRIES)
        wanted: list[feed.Named] = []
        rewound: feed.Named | None = None
        for entry in feed.scan(self._store, self.index + 1, last):
            if entry.rewound in self._spaces:
                rewound = entry
                break
            # A key of LOG begins with the space's name and a zero byte.
            if entry.log_key and entry.log_key.split(b"\0", 1)[0].decode() in self._spaces:
                wanted.append(entry)
        if rewound is not None:
            if not wanted:
                self.index = rewound.feed_index
                raise FeedRewound(
                    f"rows of the space {rewound.rewound!r} were made anew: export it again, then go on at "
                    f"{self.cursor}",
                    str(self.cursor),
                    rewound.rewound,
                )
            last = rewound.feed_index - 1
        found, self.index = self._logged(wanted, last)
        return found

    def _logged(self, wanted: list[feed.Named], last: int) -> tuple[list[Entry], int]:
        """The batches of these entries, as many as a page takes, and the index of the last entry that was looked at."""
        found: list[Entry] = []
        size = 0
        for entry in wanted:
            record = self._store.get(Column.LOG, entry.log_key)
            if record is None:
                if feed.why_missing(self._store, entry.log_key) == feed.SUPERSEDED:
                    if found:
                        return found, entry.feed_index - 1
                    raise FeedBehind(
                        f"what follows {self.cursor} was superseded and dropped from this node's log: begin again "
                        "with an export (log_keep_hours in [store] says how long it is kept)"
                    )
                continue
            if found and size + len(record) > FEED_PAGE_BYTES:
                return found, entry.feed_index - 1
            size += len(record)
            space = entry.log_key.split(b"\0", 1)[0].decode()
            found.append(
                Entry(
                    entry.feed_index,
                    space,
                    entry.winners,
                    record[_SIGNATURE_BYTES:],
                    record[:_SIGNATURE_BYTES],
                )
            )
        return found, last


class Feed:
    """An async iterator of a node's own feed, without end, for a program in the node's process.

    cursor: everything up to it was given, or is of no concern here: what a consumer keeps. It moves on while nothing
    comes, so that a consumer of a quiet space does not fall behind. Cancelling an `anext` loses nothing.
    """

    def __init__(self, reader: Reader, tables: Collection[str] | None = None) -> None:
        self._reader = reader
        self._tables = None if tables is None else frozenset(tables)
        self._ready: deque[Entry] = deque()
        self._given = reader.cursor

    @property
    def cursor(self) -> Cursor:
        return self._given if self._ready else self._reader.cursor

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> FeedBatch:
        while True:
            while not self._ready:
                self._ready.extend(await self._reader.page())
            found = self._next()
            if self._tables is None or found.changes:
                return found

    def _next(self) -> FeedBatch:
        entry = self._ready.popleft()
        self._given = Cursor(self._reader.cursor.generation, entry.feed_index)
        return FeedBatch.whole(
            self._given, self._reader.newest, entry.raw, entry.signature, entry.winners, self._tables
        )

    async def aclose(self) -> None:
        """End it; a feed of this process holds nothing that must be given back."""
        self._ready.clear()
