"""How long the feed is kept: entries older than the operator's `feed_keep_hours` are deleted, with what notes them.

An entry has no time of its own: now and then a mark notes how far the feed had come. Owns the marks and the deleting.
Batches are not deleted with their entries: how long the log keeps them, `database.horizon` decides.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Final

from mycelium.config.feed import FEED_MARKS_MAX, FEED_PRUNE_ENTRIES
from mycelium.database import feed, schema
from mycelium.database.store import Column, Store, after_prefix

_TIME_BYTES: Final = 8


class Retention:
    """Of one store. keep_ms: the operator's; None keeps everything."""

    def __init__(self, store: Store, keep_ms: int | None) -> None:
        self.keep_ms = keep_ms
        self._store = store

    def mark(self, now_ms: int) -> None:
        """Note how far the feed has come by now. StoreError."""
        write = self._store.batch()
        column = self._store.column(Column.META)
        index = feed.last_index(self._store)
        write.put(_mark_key(now_ms), index.to_bytes(8, "big"), column)
        marks = self._marks()
        for key, _ in marks[: max(0, len(marks) - FEED_MARKS_MAX)]:
            write.delete(key, column)
        self._store.commit(write)

    async def prune(self, now_ms: int) -> int:
        """Delete what is older than `keep_ms`; how many entries. 2 us each. StoreError."""
        if self.keep_ms is None:
            return 0
        old = [
            (key, int.from_bytes(index, "big"))
            for key, index in self._marks()
            if _time_of(key) <= now_ms - self.keep_ms
        ]
        if not old:
            return 0
        # The newest entry stays: its number is what the next one counts from.
        upto = min(max(index for _, index in old), feed.last_index(self._store) - 1)
        deleted = 0
        if upto > feed.pruned_to(self._store):
            deleted = await self._delete(upto)
        write = self._store.batch()
        for key, _ in old:
            write.delete(key, self._store.column(Column.META))
        self._store.commit(write)
        return deleted

    async def _delete(self, upto: int) -> int:
        meta, entries = self._store.column(Column.META), self._store.column(Column.FEED)
        write = self._store.batch()
        # First of all: no reader may take the gap that comes now for a quiet time.
        write.put(schema.META_FEED_PRUNED, upto.to_bytes(8, "big"), meta)
        self._store.commit(write)
        deleted = 0
        while rows := list(
            islice(self._store.scan(Column.FEED, b"", schema.feed_key(upto + 1)), FEED_PRUNE_ENTRIES)
        ):
            write = self._store.batch()
            for key, record in rows:
                write.delete(key, entries)
                log_key = feed.named(key, record).log_key
                if log_key:
                    write.delete(schema.META_DROPPED + log_key, meta)
            self._store.commit(write)
            deleted += len(rows)
            await asyncio.sleep(0)
        return deleted

    def oldest_ms(self) -> int | None:
        """The time of the oldest mark: the feed is kept from there on, or from before. None where there is none."""
        marks = self._marks()
        return _time_of(marks[0][0]) if marks else None

    def _marks(self) -> list[tuple[bytes, bytes]]:
        prefix = schema.META_FEED_MARK
        return list(self._store.scan(Column.META, prefix, after_prefix(prefix)))


def _mark_key(now_ms: int) -> bytes:
    return schema.META_FEED_MARK + now_ms.to_bytes(_TIME_BYTES, "big")


def _time_of(key: bytes) -> int:
    return int.from_bytes(key[-_TIME_BYTES:], "big")
