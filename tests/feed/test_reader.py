"""The feed of one store: what comes, in which order, what is told, and what is never passed over."""

from __future__ import annotations

import asyncio

import kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from snapshotkit import LATER_MS

from mycelium.config.feed import FEED_PAGE_ENTRIES
from mycelium.database.horizon import Horizon
from mycelium.database.memory import MemoryStore
from mycelium.database.schema import META_DROPPED, log_key
from mycelium.database.store import Column
from mycelium.errors import (
    CursorForeign,
    Equivocation,
    FeedBehind,
    FeedRewound,
    StoreClosed,
    StoreCorrupt,
    UsageError,
)
from mycelium.feed.cursor import Cursor
from mycelium.feed.reader import START, Feed, Reader
from mycelium.identity.keys import digest
from mycelium.protocol.messages import Op

SPACES = ("main", "other", "sys")


def run(main):
    return asyncio.run(asyncio.wait_for(main, 30))


def feed_of(database, after=START, spaces=SPACES, tables=None):
    return Feed(Reader(database.store, database.committer, database.generation, spaces, after), tables)


async def taken(feed, count):
    return [await anext(feed) for _ in range(count)]


async def nothing_more(feed):
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(feed), 0.02)


def test_every_kind_of_change_comes_as_it_was_signed():
    async def main():
        database = kit.database("a")
        await database.table("scores").put("k", {"score": 1})
        await database.table("hits").add("k", 5)
        await database.table("tags").insert("k", "x")
        await database.table("tags").remove("k", "x")
        await database.table("scores").delete("k")
        await database.table("aside").put("k", 2)
        found = await taken(feed_of(database), 6)
        ops = [(one.space, *((c.table, c.op, c.wins) for c in one.changes)) for one in found]
        assert ops == [
            ("main", ("scores", Op.PUT, True)),
            ("main", ("hits", Op.ADD, True)),
            ("main", ("tags", Op.INSERT, True)),
            ("main", ("tags", Op.REMOVE, True)),
            ("main", ("scores", Op.DELETE, True)),
            ("other", ("aside", Op.PUT, True)),
        ]
        for one in found:
            origin = database.engine.origin
            (logged,) = database.engine.log_records(one.space, origin, one.seq_first, one.seq_first)
            assert (one.raw, one.signature, one.id) == (logged[1], logged[2], digest(logged[1]))
            assert (one.account, one.generation, one.count) == (*origin, 1)
        assert [one.cursor.index for one in found] == [1, 2, 3, 4, 5, 6]
        assert found[0].newest == 6
        await database.close()

    run(main())


def test_what_lost_is_shown_as_not_winning():
    async def main():
        older, newer = kit.engine("old"), kit.database("new", now_ms=kit.NOW_MS + 500)
        await newer.table("scores").put("k", "late")
        late = kit.write(older, kit.put("k", "early"), kit.put("l", "alone"))
        newer.engine.receive(late.batch.raw, late.signature, kit.NOW_MS + 500)
        _, found = await taken(feed_of(newer), 2)
        assert [one.wins for one in found.changes] == [False, True]
        await newer.close()

    run(main())


def test_only_what_is_durable_is_shown_and_a_wait_may_be_cancelled():
    async def main():
        store = kit.GatedStore()
        database = kit.database("a", store)
        feed = feed_of(database, None)
        store.gate.clear()
        await database.table("scores").put("k", 1, ack="applied")
        await nothing_more(feed)
        store.gate.set()
        assert (await anext(feed)).changes[0].key == b"k"
        await database.close()
        with pytest.raises(StoreClosed):
            await anext(feed)

    run(main())


WRITES = st.lists(st.tuples(st.sampled_from(["scores", "hits", "aside"]), st.integers(0, 3)), min_size=1)


@settings(max_examples=60, deadline=None)
@given(WRITES, st.data())
def test_whoever_resumes_anywhere_sees_exactly_the_rest(writes, data):
    async def main():
        database = kit.database("a")
        for table, key in writes:
            if table == "hits":
                await database.table(table).add(str(key), 1)
            else:
                await database.table(table).put(str(key), key)
        spaces = data.draw(st.sampled_from([("main",), ("other",), SPACES]))
        tables = data.draw(st.sampled_from([None, ("scores",), ("hits", "aside")]))
        wanted = [
            (number, str(key).encode())
            for number, (table, key) in enumerate(writes, 1)
            if database.tables[table].space in spaces and (tables is None or table in tables)
        ]
        after = data.draw(st.integers(0, len(writes)))
        feed = feed_of(database, Cursor(database.generation, after), spaces, tables)
        rest = [one for one in wanted if one[0] > after]
        found = await taken(feed, len(rest))
        assert [(one.cursor.index, one.changes[0].key) for one in found] == rest
        await nothing_more(feed)
        assert feed.cursor == Cursor(database.generation, len(writes)), "it moves on where nothing comes"
        await database.close()

    run(main())


def test_a_cursor_moves_with_what_is_given_and_not_before():
    async def main():
        database = kit.database("a")
        for number in range(5):
            await database.table("scores").put(str(number), number)
        feed = feed_of(database)
        for number in range(5):
            assert feed.cursor.index == number
            assert (await anext(feed)).cursor == feed.cursor
        await feed.aclose()
        await database.close()

    run(main())


def test_a_long_stretch_for_others_gives_the_loop_its_turns():
    async def main():
        database = kit.database("a")
        for number in range(3 * FEED_PAGE_ENTRIES):
            await database.table("scores").put(str(number), number, ack="applied")
            database.writer.flush_all()
        await database.table("aside").put("k", 1)
        turns = 0

        async def count():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(count())
        found = await anext(feed_of(database, START, ("other",)))
        counting.cancel()
        assert found.space == "other"
        assert turns >= 3
        await database.close()

    run(main())


@pytest.mark.parametrize(
    "text", ["", "x", "00-1", f"{1:016x}-", f"{1:016x}-{2**64}", f"{1:016X}a-1"], ids=str
)
def test_what_is_no_cursor_is_said(text):
    with pytest.raises(UsageError, match="is no cursor"):
        Cursor.parse(text)


def test_a_cursor_is_its_text():
    assert Cursor.parse(str(Cursor(2**64 - 1, 7))) == Cursor(2**64 - 1, 7)


def test_a_cursor_of_another_directory_or_from_the_future_is_refused():
    async def main():
        database = kit.database("a")
        await database.table("scores").put("k", 1)
        for cursor in (Cursor(database.generation ^ 1, 1), Cursor(database.generation, 2)):
            with pytest.raises(CursorForeign, match="begin again with an export"):
                feed_of(database, cursor)
            with pytest.raises(CursorForeign):
                feed_of(database, str(cursor))
        await database.close()

    run(main())


def test_a_reader_that_the_horizon_has_passed_is_told():
    async def main():
        store = MemoryStore()
        database = kit.database("a", store)
        for number in range(4):
            await database.table("scores").put("k", number)
        await database.table("scores").put("other", 1)
        before, at_end = feed_of(database), feed_of(database, Cursor(database.generation, 3))
        assert (await anext(before)).changes[0].value
        database.engine._authority.present = lambda: 10**6
        assert (await Horizon(store, database.engine, database.engine._authority, 0).walk(LATER_MS)).dropped
        with pytest.raises(FeedBehind, match="superseded"):
            await taken(feed_of(database), 5)
        assert (await anext(at_end)).cursor.index == 4, "what it lacks is all there"
        # What was read of a page before is given, and the gap is told then.
        await database.close()

    run(main())


def test_a_batch_that_is_missing_for_no_reason_is_damage():
    async def main():
        database = kit.database("a")
        await database.table("scores").put("k", 1)
        key = log_key("main", database.engine.origin, 1)
        write = database.store.batch()
        write.delete(key, database.store.column(Column.LOG))
        database.store.commit(write)
        assert database.store.get(Column.META, META_DROPPED + key) is None
        with pytest.raises(StoreCorrupt):
            await anext(feed_of(database))
        await database.close()

    run(main())


def equivocated(database):
    """Let somebody sign two batches of one number, of which the store held one."""
    liar = kit.engine("liar")
    first = kit.forge(liar, [(0, int(Op.PUT), b"k", b"\0one")])
    database.engine.receive(*first, kit.NOW_MS)
    second = kit.forge(liar, [(0, int(Op.PUT), b"k", b"\0two")])
    with pytest.raises(Equivocation):
        database.engine.receive(*second, kit.NOW_MS)


def test_batches_that_are_taken_away_are_told_and_reading_goes_on():
    async def main():
        database = kit.database("a")
        await database.table("scores").put("mine", 1)
        feed, other = feed_of(database), feed_of(database, START, ("other",))
        equivocated(database)
        await database.table("aside").put("k", 2)
        assert (await anext(feed)).changes[0].key == b"mine"
        with pytest.raises(FeedRewound) as told:
            await anext(feed)
        assert (told.value.space, told.value.cursor) == ("main", str(feed.cursor))
        assert (await anext(feed)).space == "other"
        assert (await anext(other)).space == "other", "it does not concern who reads another space"
        again = feed_of(database, told.value.cursor)
        assert (await anext(again)).space == "other"
        await database.close()

    run(main())


def test_rows_that_were_repaired_are_told_too():
    async def main():
        database = kit.database("a")
        await database.table("scores").put("k", 1)
        key, row = kit.rows(database.store)[0]
        write = database.store.batch()
        write.put(key, row[:-1] + b"?", database.store.column(Column.LIVE))
        database.store.commit(write)
        feed = feed_of(database, None)
        assert await database.engine.rederive("main", [key]) == 1
        with pytest.raises(FeedRewound):
            await anext(feed)
        await database.close()

    run(main())


def test_what_was_taken_away_is_told_after_a_restart_too():
    async def main():
        store = MemoryStore()
        database = kit.database("a", store)
        equivocated(database)
        last = database.engine.feed_last
        await database.committer.wait(last)
        again = kit.database("a", store)
        assert again.engine.feed_last == last
        with pytest.raises(FeedRewound):
            await anext(feed_of(again))

    run(main())
