"""Following the feed: changes as they become durable, without a miss or a repeat.

A watcher is a cursor and nothing else: it reads the log, so a slow one costs no memory, and one that comes back after
a crash continues where it stopped. Only durable batches are shown; an unsynced one may be gone after a crash, and its
feed index would then name another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from mycelium.database import feed, value
from mycelium.database.commit import Committer
from mycelium.database.schema import TableSpec
from mycelium.database.store import Store
from mycelium.errors import FeedBehind, UsageError
from mycelium.protocol.messages import MergeType, Op

_ENTRIES_AT_ONCE = 16
_LAST_PLACE = 0xFFFF


class Change(NamedTuple):
    """One change that became visible. `cursor` resumes after it; `value` is None for a delete or a remove."""

    cursor: int
    table: str
    key: str | bytes
    op: str
    value: Any
    account: bytes
    hlc: int


class Watch:
    """An async iterator over the changes of `table` after a cursor whose key is `wanted`, without end.

    Waiting for the next change may be cancelled, by a timeout say, and taken up again. StoreClosed ends it, and
    FeedBehind where what comes next is kept no more.
    """

    def __init__(
        self,
        store: Store,
        committer: Committer,
        table: TableSpec,
        after: int,
        wanted: Callable[[bytes], bool],
    ) -> None:
        self.cursor = after
        """Of the change given last: a watch from here shows exactly the rest."""
        self._store = store
        self._committer = committer
        self._table = table
        self._wanted = wanted
        self._read_to = after
        self._ready: deque[Change] = deque()

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Change:
        while not self._ready:
            if feed.place_of(self._read_to)[0] < self._committer.durable or not _whole(self._read_to):
                self._read()
                # A long stretch of the feed may hold nothing for this watcher: others must get their turn.
                await asyncio.sleep(0)
            else:
                await self._committer.advanced()
        change = self._ready.popleft()
        self.cursor = change.cursor
        return change

    def _read(self) -> None:
        """The next entries of the feed."""
        index, place = feed.place_of(self._read_to)
        pruned = feed.pruned_to(self._store)
        if pruned and (index < pruned or (index == pruned and not _whole(self._read_to))):
            raise FeedBehind(
                f"the feed is kept from {cursor_at(pruned)} on, and this watch stands at {self.cursor}: read the "
                "table with scan, and watch from now (feed_keep_hours in [store] says how long it is kept)",
                str(cursor_at(pruned)),
            )
        named = (self._table.name, int(self._table.merge))
        last = min(self._committer.durable, index + _ENTRIES_AT_ONCE)
        for entry in feed.entries(self._store, index, last):
            skip = place if entry.feed_index == index else -1
            if entry.batch.space == self._table.space and named in entry.batch.tables:
                self._ready += _changes(entry, self._table, named, skip, self._wanted)
        self._read_to = cursor_at(last)


def _whole(cursor: int) -> bool:
    """The cursor stands behind all of its batch."""
    return feed.place_of(cursor)[1] == _LAST_PLACE


def _changes(
    entry: feed.FeedEntry,
    table: TableSpec,
    named: tuple[str, int],
    skip: int,
    wanted: Callable[[bytes], bool],
) -> list[Change]:
    batch = entry.batch
    numbers = {number for number, table_named in enumerate(batch.tables) if table_named == named}
    found = []
    for place, (table_index, op, key, payload) in enumerate(batch.changes()):
        if (
            table_index not in numbers
            or place <= skip
            or not wanted(key)
            or not feed.visible(entry.winners, place)
        ):
            continue
        shown = shown_value(table.merge, op, payload)
        cursor = feed.cursor_of(entry.feed_index, place)
        found.append(
            Change(
                cursor,
                table.name,
                value.key_of(key),
                Op(op).name.lower(),
                shown,
                batch.account,
                batch.hlc_first + place,
            )
        )
    return found


def shown_value(merge: MergeType, op: int, payload: bytes) -> Any:
    """What a change put, as people see it; None where it took something away."""
    if op in (Op.DELETE, Op.REMOVE):
        return None
    if merge is MergeType.COUNTER:
        return int.from_bytes(payload, "big", signed=True)
    return value.value_of(payload)


def check_cursor(cursor: int, last_index: int) -> None:
    """UsageError for a cursor that this node's feed, whose newest entry is `last_index`, never gave out."""
    if isinstance(cursor, bool) or not isinstance(cursor, int) or cursor < 0:
        raise UsageError(f"a cursor is a number that a watch gave, not {cursor!r}")
    if feed.place_of(cursor)[0] > last_index:
        raise UsageError(
            f"the cursor {cursor} is beyond this node's feed; cursors hold for one data directory only"
        )


def cursor_at(durable: int) -> int:
    """The cursor after everything that is durable now."""
    return feed.cursor_of(durable, _LAST_PLACE)
