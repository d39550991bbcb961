"""Watching: every visible change once, in order, resumable at any change, and only what a crash cannot undo."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import kit
import pytest

from mycelium.database.memory import MemoryStore
from mycelium.database.watch import Change
from mycelium.errors import StoreClosed


async def take(changes: AsyncIterator[Change], count: int) -> list[Change]:
    found = []
    async for change in changes:
        found.append(change)
        if len(found) == count:
            break
    return found


def test_what_was_written_is_seen_once_in_order() -> None:
    async def main() -> None:
        database = kit.database("a")
        table = database.table("scores")
        await table.put("before", 0)
        seen = asyncio.ensure_future(take(table.watch(), 4))
        await asyncio.sleep(0)
        await table.put("k", 1)
        await database.table("hits").add("k", 1)
        await table.put("k", {"two": 2})
        await table.delete("k")
        await table.put("k", b"three")
        changes = await seen
        assert [(c.key, c.op, c.value, c.table) for c in changes] == [
            ("k", "put", 1, "scores"),
            ("k", "put", {"two": 2}, "scores"),
            ("k", "delete", None, "scores"),
            ("k", "put", b"three", "scores"),
        ]
        assert [c.cursor for c in changes] == sorted({c.cursor for c in changes})
        assert {c.account for c in changes} == {database.account}
        await database.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("table", "writes", "shown"),
    [
        ("hits", [("add", 5), ("add", -2)], [("add", 5), ("add", -2)]),
        ("tags", [("insert", "x"), ("remove", "x")], [("insert", "x"), ("remove", None)]),
        ("events", [("put", 1), ("put", 1)], [("put", 1), ("put", 1)]),
    ],
)
def test_every_merge_type(
    table: str, writes: list[tuple[str, object]], shown: list[tuple[str, object]]
) -> None:
    async def main() -> None:
        database = kit.database("a")
        watched = database.table(table)
        for verb, value in writes:
            await getattr(watched, verb)("k", value)
        assert [(c.op, c.value) for c in await take(watched.watch(after=0), len(shown))] == shown
        await database.close()

    asyncio.run(main())


def test_resuming_at_any_change_shows_exactly_the_rest() -> None:
    async def main() -> None:
        store, rng = MemoryStore(), random.Random(3)
        database = kit.database("a", store)
        total = 0
        for number in range(150):
            size = rng.randrange(1, 5)
            async with database.batch(ack="applied") as batch:
                for place in range(size):
                    batch.put("scores", f"{number}/{place}", number)
            total += size
        await database.table("scores").put("last", 0)
        total += 1
        everything = await take(database.table("scores").watch(after=0), total)
        assert len({c.cursor for c in everything}) == total
        await database.close()
        again = kit.database("a", store.crash())
        for cut in (0, 1, total // 2, total - 1):
            rest = (
                await take(again.table("scores").watch(after=everything[cut].cursor), total - cut - 1)
                if cut < total - 1
                else []
            )
            assert rest == everything[cut + 1 :]
        wanted = [c for c in everything if str(c.key).startswith("7")]
        assert await take(again.table("scores").watch(prefix="7", after=0), len(wanted)) == wanted
        await again.close()

    asyncio.run(main())


def test_a_change_that_lost_is_not_shown() -> None:
    async def main() -> None:
        one, two = kit.database("a", now_ms=kit.NOW_MS), kit.database("b", now_ms=kit.NOW_MS + 500)
        await one.table("scores").put("k", "old")
        await two.table("scores").put("k", "new")
        kit.exchange([one.engine, two.engine])
        await one.table("scores").put("end", 1)
        await two.table("scores").put("end", 2)
        assert [c.value for c in await take(one.table("scores").watch(after=0), 3)] == ["old", "new", 1]
        assert [c.value for c in await take(two.table("scores").watch(after=0), 2)] == ["new", 2]
        await one.close()
        await two.close()

    asyncio.run(main())


def test_only_durable_changes_are_shown() -> None:
    async def main() -> None:
        store = kit.GatedStore()
        database = kit.database("a", store)
        table = database.table("scores")
        seen = asyncio.ensure_future(take(table.watch(), 1))
        store.gate.clear()
        await table.put("k", 1, ack="applied")
        assert await table.get("k") == 1
        for _ in range(20):
            await asyncio.sleep(0)
        assert not seen.done()
        store.gate.set()
        assert [c.key for c in await seen] == ["k"]
        await database.close()

    asyncio.run(main())


def test_closing_ends_a_watch() -> None:
    async def main() -> None:
        database = kit.database("a")
        seen = asyncio.ensure_future(take(database.table("scores").watch(), 1))
        await asyncio.sleep(0)
        await database.close()
        with pytest.raises(StoreClosed):
            await seen

    asyncio.run(main())


def test_many_watchers_each_see_everything() -> None:
    async def main() -> None:
        database = kit.database("a")
        table = database.table("scores")
        watchers = [asyncio.ensure_future(take(table.watch(), 300)) for _ in range(5)]
        await asyncio.sleep(0)
        await asyncio.gather(*(table.put(f"{n}", n) for n in range(300)))
        seen = [await watcher for watcher in watchers]
        assert all(one == seen[0] for one in seen)
        assert sorted(c.value for c in seen[0]) == list(range(300))
        await database.close()

    asyncio.run(main())


def test_a_wait_that_was_cancelled_is_taken_up_again() -> None:
    async def main() -> None:
        database = kit.database("a")
        table = database.table("scores")
        watch = table.watch()
        for number in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(watch)
            await table.put("k", number)
            change = await anext(watch)
            assert change.value == number
            assert watch.cursor == change.cursor
        await database.close()

    asyncio.run(main())
