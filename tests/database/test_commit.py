"""Group commit, acknowledgements, closing and watching when something fails."""

from __future__ import annotations

import asyncio
import threading
import time

import kit
import pytest

from mycelium.database.memory import MemoryStore
from mycelium.errors import MyceliumError, NotDurable, StoreClosed, StoreFull


class FailingStore(MemoryStore):
    """The next `failures` syncs wait for the gate and fail."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self.gate = threading.Event()
        self.begun = threading.Event()

    def sync(self) -> None:
        if self.failures:
            self.failures -= 1
            self.begun.set()
            assert self.gate.wait(20)
            raise StoreFull("injected")
        super().sync()


def test_a_writer_behind_a_failed_sync_is_not_forgotten() -> None:
    async def main() -> None:
        store = FailingStore()
        database = kit.database("a", store)
        table = database.table("scores")
        store.failures = 1
        first = asyncio.ensure_future(table.put("1", 1))
        await asyncio.to_thread(store.begun.wait)
        second = asyncio.ensure_future(table.put("2", 2))
        while database.engine.feed_last < 2:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        store.gate.set()
        with pytest.raises(NotDurable):
            await first
        async with asyncio.timeout(2):
            await second
        await database.close()

    asyncio.run(main())


def test_what_was_applied_becomes_durable_after_a_failed_sync_without_another_write() -> None:
    async def main() -> None:
        store = FailingStore()
        store.gate.set()
        database = kit.database("a", store)
        store.failures = 1
        await database.table("scores").put("1", 1, ack="applied")
        async with asyncio.timeout(3):
            while database.committer.durable < 1:
                await asyncio.sleep(0.01)
        await database.close()

    asyncio.run(main())


def test_closing_ends_those_who_wait_for_peers() -> None:
    async def main() -> None:
        database = kit.database("a")
        writing = asyncio.ensure_future(database.table("scores").put("k", 1, ack=1))
        while database.committer.durable < 1:
            await asyncio.sleep(0.001)
        await database.close()
        async with asyncio.timeout(2):
            with pytest.raises(StoreClosed):
                await writing

    asyncio.run(main())


def test_closing_ends_those_who_wait_for_the_disk() -> None:
    async def main() -> None:
        store = FailingStore()
        database = kit.database("a", store)
        table = database.table("scores")
        store.failures = 1
        first = asyncio.ensure_future(table.put("1", 1))
        await asyncio.to_thread(store.begun.wait)
        second = asyncio.ensure_future(table.put("2", 2))
        while database.engine.feed_last < 2:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        store.gate.set()
        await database.close()
        _, waiting = await asyncio.wait([first, second], timeout=2)
        assert not waiting

    asyncio.run(main())


class SlowStore(MemoryStore):
    def sync(self) -> None:
        time.sleep(0.02)
        super().sync()


def test_closing_ends_while_a_program_keeps_writing() -> None:
    async def main() -> None:
        database = kit.database("a", SlowStore())
        table = database.table("scores")

        async def write() -> None:
            while True:
                await table.put("k", 1, ack="applied")

        writing = asyncio.ensure_future(write())
        await asyncio.sleep(0.1)
        async with asyncio.timeout(2):
            await database.close()
        with pytest.raises(MyceliumError):
            await writing

    asyncio.run(main())


def test_a_callback_that_fails_does_not_stop_the_group_commit() -> None:
    async def main() -> None:
        store = kit.GatedStore()
        database = kit.database("a", store)
        table = database.table("scores")
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)

        def once(index: int) -> None:
            database.committer.on_durable.remove(once)
            raise OverflowError

        database.committer.on_durable.append(once)
        watching = asyncio.ensure_future(anext(aiter(table.watch())))
        store.gate.clear()
        first = asyncio.ensure_future(table.put("1", 1))
        while database.engine.feed_last < 1:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        second = asyncio.ensure_future(table.put("2", 1))
        while database.engine.feed_last < 2:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        store.gate.set()
        async with asyncio.timeout(2):
            await asyncio.gather(first, second)
            await watching
        await database.close()

    asyncio.run(main())


def test_watching_a_long_feed_gives_the_loop_its_turns() -> None:
    async def main() -> None:
        database = kit.database("a")
        for n in range(1000):
            async with database.batch(ack="applied") as batch:
                batch.put("scores", f"{n}", n)
        await database.table("aside").put("end", 1)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(count())
        await asyncio.sleep(0)
        async for _ in database.table("aside").watch(after=0):
            break
        counting.cancel()
        assert turns > 5
        await database.close()

    asyncio.run(main())


def test_a_cursor_that_cannot_be_is_refused() -> None:
    async def main() -> None:
        database = kit.database("a")
        await database.table("scores").put("k", 1)
        for after in (-1, 1 << 80, 5 << 16):
            with pytest.raises(MyceliumError):
                async with asyncio.timeout(0.5):
                    await anext(aiter(database.table("scores").watch(after=after)))
        await database.close()

    asyncio.run(main())


def test_an_unexpected_error_reaches_the_writers_of_the_batch() -> None:
    async def main() -> None:
        database = kit.database("a")
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)

        def broken(_applied) -> None:
            raise ValueError

        database.engine.on_applied.append(broken)
        async with asyncio.timeout(2):
            with pytest.raises(ValueError):
                await database.table("scores").put("k", 1)
        await database.close()

    asyncio.run(main())
