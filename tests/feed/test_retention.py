"""How long the feed is kept, and what a reader hears that falls further behind."""

from __future__ import annotations

import asyncio

import kit
import pytest
from feed.test_reader import feed_of, taken

from mycelium.config import feed as limits
from mycelium.database import feed as feeds
from mycelium.database.memory import MemoryStore
from mycelium.database.schema import META_DROPPED, META_FEED_MARK
from mycelium.database.store import Column, after_prefix
from mycelium.errors import FeedBehind, StoreFull
from mycelium.feed import retention
from mycelium.feed.cursor import Cursor
from mycelium.feed.retention import Retention

HOUR_MS = 3_600_000


def run(main):
    return asyncio.run(asyncio.wait_for(main, 30))


async def filled(store, count):
    database = kit.database("a", store)
    for number in range(count):
        await database.table("scores").put(str(number), number)
    return database


def test_what_is_older_than_is_kept_goes_and_the_rest_stays(monkeypatch):
    monkeypatch.setattr(retention, "FEED_PRUNE_ENTRIES", 3)

    async def main():
        store = MemoryStore()
        database = await filled(store, 10)
        keeping = Retention(store, 2 * HOUR_MS)
        keeping.mark(0)
        await database.table("scores").put("later", 1)
        keeping.mark(HOUR_MS)
        assert await keeping.prune(2 * HOUR_MS - 1) == 0, "no mark is old enough"
        assert await keeping.prune(2 * HOUR_MS) == 10
        assert (feeds.pruned_to(store), feeds.last_index(store)) == (10, 11)
        assert keeping.oldest_ms() == HOUR_MS
        for cursor in (Cursor(database.generation, 9), "start"):
            with pytest.raises(FeedBehind, match="feed_keep_hours") as told:
                await anext(feed_of(database, cursor))
            assert told.value.cursor == str(Cursor(database.generation, 10))
        assert (await anext(feed_of(database, told.value.cursor))).cursor.index == 11
        await database.close()

    run(main())


def test_the_newest_entry_stays_as_its_number_is_counted_from():
    async def main():
        store = MemoryStore()
        await filled(store, 3)
        keeping = Retention(store, HOUR_MS)
        keeping.mark(0)
        assert await keeping.prune(10 * HOUR_MS) == 2
        again = kit.database("a", store)
        assert again.engine.feed_last == 3
        await again.table("scores").put("next", 1)
        assert again.engine.feed_last == 4
        assert await keeping.prune(10 * HOUR_MS) == 0, "its mark is gone with what it marked"
        await again.close()

    run(main())


def test_a_feed_that_is_kept_for_good_is():
    async def main():
        store = MemoryStore()
        database = await filled(store, 3)
        keeping = Retention(store, None)
        keeping.mark(0)
        assert await keeping.prune(10**15) == 0
        assert len(await taken(feed_of(database), 3)) == 3
        await database.close()

    run(main())


def test_a_reader_who_is_overtaken_while_it_reads_is_told():
    async def main():
        store = MemoryStore()
        database = await filled(store, 3)
        feed, watch = feed_of(database, "start"), database.table("scores").watch(after=0)
        keeping = Retention(store, HOUR_MS)
        keeping.mark(0)
        await keeping.prune(HOUR_MS)
        with pytest.raises(FeedBehind):
            await anext(feed)
        with pytest.raises(FeedBehind, match="read the table with scan") as told:
            await anext(watch)
        resumed = database.table("scores").watch(after=int(told.value.cursor))
        assert (await anext(resumed)).key == "2"
        await database.close()

    run(main())


def test_notes_of_dropped_batches_go_with_the_entries_that_name_them():
    async def main():
        store = MemoryStore()
        database = await filled(store, 3)
        first = next(iter(feeds.scan(store, 1, 1)))
        write = store.batch()
        write.put(META_DROPPED + first.log_key, feeds.SUPERSEDED, store.column(Column.META))
        write.delete(first.log_key, store.column(Column.LOG))
        store.commit(write)
        keeping = Retention(store, 0)
        keeping.mark(0)
        assert await keeping.prune(1) == 2
        assert store.get(Column.META, META_DROPPED + first.log_key) is None
        await database.close()

    run(main())


def test_a_full_disk_leaves_it_as_it_was_and_it_is_done_again():
    async def main():
        store = MemoryStore()
        database = await filled(store, 3)
        keeping = Retention(store, 0)
        keeping.mark(0)
        store.full = True
        with pytest.raises(StoreFull):
            await keeping.prune(1)
        store.full = False
        assert await keeping.prune(1) == 2
        await database.close()

    run(main())


def test_marks_are_bounded(monkeypatch):
    monkeypatch.setattr(retention, "FEED_MARKS_MAX", 4)
    store = MemoryStore()
    keeping = Retention(store, HOUR_MS)
    for hour in range(9):
        keeping.mark(hour * HOUR_MS)
    marks = store.scan(Column.META, META_FEED_MARK, after_prefix(META_FEED_MARK))
    assert len(list(marks)) == 5
    assert keeping.oldest_ms() == 4 * HOUR_MS
    assert limits.FEED_MARKS_MAX > 24 * 3_660, "an hourly mark of the longest time that can be set"


def test_a_clock_that_steps_an_hour_loses_nothing_unsaid():
    async def main():
        store = MemoryStore()
        database = await filled(store, 3)
        keeping = Retention(store, 2 * HOUR_MS)
        keeping.mark(10 * HOUR_MS)
        assert await keeping.prune(9 * HOUR_MS) == 0, "back: it is kept longer"
        keeping.mark(9 * HOUR_MS)
        assert await keeping.prune(11 * HOUR_MS) == 2, "ahead: it is kept shorter"
        with pytest.raises(FeedBehind):
            await anext(feed_of(database))
        await database.close()

    run(main())
