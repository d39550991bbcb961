"""A thousand forced disconnects: every question is answered, and no connection, thread or file is left behind."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from chain.clientkit import Eager

from mycelium.chain.aio import AsyncConnection
from mycelium.chain.connection import Connection

DISCONNECTS = 1_000
SOON_S = 10


def files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def settled(count, most):
    """Wait until a count is down to what it may be: threads and sockets end on their own."""
    end = time.monotonic() + SOON_S
    while (found := count()) > most:
        assert time.monotonic() < end, f"{found}, and not {most}"
        threading.Event().wait(0.01)


@pytest.fixture
def connection(chain):
    with Connection(chain.url, cache_dir=None, rng=Eager()) as found:
        yield found


def test_a_thousand_disconnects_leave_nothing_behind(chain, connection):
    head = connection.head()
    before_files, before_threads = files(), threading.active_count()
    for _ in range(DISCONNECTS):
        chain.faults.drop_connections()
        assert connection.head() == head
    assert connection.access.rpc.connections >= DISCONNECTS
    settled(files, before_files + 2)
    settled(threading.active_count, before_threads)


def test_many_threads_lose_their_connection_together(chain, connection):
    number = connection.head().number
    connection.read("System", "Number")
    before_files, before_threads = files(), threading.active_count()
    rounds = 50
    with ThreadPoolExecutor(8) as threads:
        for _ in range(rounds):
            asked = [threads.submit(connection.read, "System", "Number") for _ in range(16)]
            chain.faults.drop_connections()
            assert {future.result() for future in asked} == {number}
    # One connection is opened for all of them, whoever notices first.
    assert connection.access.rpc.connections <= 2 * rounds + 2
    settled(files, before_files + 2)
    settled(threading.active_count, before_threads)


def test_a_subscription_outlives_them(chain, connection):
    async def main():
        source = AsyncConnection(connection)
        numbers = []
        before = files()

        async def follow():
            heads = source.heads(finalised=False)
            while True:
                numbers.append((await anext(heads)).number)

        following = asyncio.create_task(follow())
        try:
            for number in range(1, 61):
                async with asyncio.timeout(SOON_S):
                    await asyncio.to_thread(chain.step)
                    while not numbers or numbers[-1] < number:
                        await asyncio.sleep(0.001)
                await asyncio.to_thread(chain.faults.drop_connections)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        assert numbers == sorted(set(numbers))
        return before

    before = asyncio.run(main())
    settled(files, before + 8)


def test_a_connection_that_is_dropped_without_closing_it_leaves_nothing(chain):
    before = threading.active_count()
    Connection(chain.url, cache_dir=None).head()
    gc.collect()
    settled(threading.active_count, before)
