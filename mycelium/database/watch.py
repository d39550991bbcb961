"""Following the feed: changes as they become durable, without a miss or a repeat.

A watcher is a cursor and nothing else: it reads the log, so a slow one costs no memory, and one that comes back after
a crash continues where it stopped. Only durable batches are shown; an unsynced one may be gone after a crash, and its
feed index would then name another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from mycelium.database import feed, value
from mycelium.database.commit import Committer
from mycelium.database.schema import TableSpec
from mycelium.database.store import Store
from mycelium.errors import UsageError
from mycelium.protocol.messages import MergeType, Op

_ENTRIES_AT_ONCE = 64


class Change(NamedTuple):
    """One change that became visible. `cursor` resumes after it; `value` is None for a delete or a remove."""

    cursor: int
    table: str
    key: str | bytes
    op: str
    value: Any
    account: bytes
    hlc: int


async def follow(
    store: Store, committer: Committer, table: TableSpec, after: int, wanted: Callable[[bytes], bool]
) -> AsyncIterator[Change]:
    """Changes of `table` after the cursor `after` whose key is `wanted`, for ever. StoreClosed ends it."""
    index, place = feed.place_of(after)
    named = (table.name, int(table.merge))
    while True:
        last = min(committer.durable, index + _ENTRIES_AT_ONCE)
        if index > last or (index == last and place == 0xFFFF):
            await committer.advanced()
            continue
        for entry in feed.entries(store, index, last):
            skip = place if entry.feed_index == index else -1
            if entry.batch.space == table.space and named in entry.batch.tables:
                for change in _changes(entry, table, named, skip, wanted):
                    yield change
        index, place = last, 0xFFFF
        # A long stretch of the feed may hold nothing for this watcher: others must get their turn meanwhile.
        await asyncio.sleep(0)


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
        shown = _value(table.merge, op, payload)
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


def _value(merge: MergeType, op: int, payload: bytes) -> Any:
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
    return feed.cursor_of(durable, 0xFFFF)
