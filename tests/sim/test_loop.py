"""The virtual loop: order, timers, cancellation, work of threads, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.errors import SimulationFailed
from mycelium.sim.loop import SECOND_NS, VirtualLoop


@contextlib.contextmanager
def virtual(work_ns=lambda: 0):
    loop = VirtualLoop(work_ns)
    try:
        yield loop
    finally:
        loop.close()


def run(main, loop=None):
    with virtual() if loop is None else contextlib.nullcontext(loop) as used:
        return used.run_until_complete(main)


def test_time_jumps_to_the_next_timer():
    async def main():
        await asyncio.sleep(3_600)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert run(main()) == 3_600
    assert time.monotonic() - began < 5


@given(st.lists(st.integers(0, 20), max_size=30), st.data())
def test_timers_fire_by_time_and_then_by_the_order_they_were_set_in(delays, data):
    """Against a sorted list, with any of them cancelled."""
    cancelled = data.draw(st.sets(st.integers(0, max(0, len(delays) - 1))))
    fired = []

    async def main():
        loop = asyncio.get_running_loop()
        timers = [
            loop.at_ns(delay * 1_000, lambda at=at: fired.append((loop.now_ns(), at)))
            for at, delay in enumerate(delays)
        ]
        for at in cancelled:
            if at < len(timers):
                timers[at].cancel()
        await asyncio.sleep(1)

    run(main())
    expected = sorted((delay * 1_000, at) for at, delay in enumerate(delays) if at not in cancelled)
    assert fired == expected


def test_ready_callbacks_run_in_the_order_they_were_scheduled_in():
    async def main():
        loop, seen = asyncio.get_running_loop(), []
        for at in range(100):
            loop.call_soon(seen.append, at)
        await asyncio.sleep(0)
        return seen

    assert run(main()) == list(range(100))


def test_many_cancelled_timers_are_forgotten():
    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(20):
            timers = [loop.call_later(1_000, print) for _ in range(1_000)]
            for timer in timers:
                timer.cancel()
        await asyncio.sleep(1)
        return len(loop._heap)

    assert run(main()) < 3_000


def test_asyncio_works_on_it():
    async def main():
        queue, event = asyncio.Queue(), asyncio.Event()

        async def feed():
            for at in range(3):
                await asyncio.sleep(1)
                queue.put_nowait(at)
            event.set()

        task = asyncio.create_task(feed())
        got = [await queue.get() for _ in range(3)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(10)
        async with asyncio.timeout(1):
            await event.wait()
        await asyncio.gather(task)
        return got, asyncio.get_running_loop().time()

    assert run(main()) == ([0, 1, 2], 8.0)


def test_work_for_a_thread_is_done_on_the_loop_and_takes_its_time():
    async def main():
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 // 0)
        return loop.now_ns()

    with virtual(lambda: SECOND_NS) as loop:
        assert run(main(), loop) == 2 * SECOND_NS


def test_work_that_is_cancelled_before_its_time_never_ran():
    async def main():
        loop, done = asyncio.get_running_loop(), []
        future = loop.run_in_executor(None, lambda: done.append(1))
        future.cancel()
        await asyncio.sleep(5)
        return done

    with virtual(lambda: SECOND_NS) as loop:
        assert run(main(), loop) == []


def test_when_nothing_can_happen_any_more_it_says_so():
    async def main():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(SimulationFailed, match="nothing is left"):
        run(main())


def test_time_that_stands_still_is_found(monkeypatch):
    monkeypatch.setattr("mycelium.sim.loop._TURNS_MAX", 1_000)

    async def main():
        while True:
            await asyncio.sleep(0)

    with pytest.raises(SimulationFailed, match="stands still"):
        run(main())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("create_connection", (asyncio.Protocol, "127.0.0.1", 1)),
        ("create_server", (asyncio.Protocol, "127.0.0.1", 0)),
        ("getaddrinfo", ("localhost", 1)),
        ("sock_connect", (None, None)),
        ("add_reader", (0, print)),
        ("call_soon_threadsafe", (print,)),
        ("add_signal_handler", (2, print)),
        ("subprocess_exec", (asyncio.SubprocessProtocol, "true")),
    ],
)
def test_what_would_reach_the_machine_is_refused(name, arguments):
    with virtual() as loop, pytest.raises(RuntimeError, match="the simulator has no"):
        getattr(loop, name)(*arguments)


def test_a_stop_ends_the_run_with_what_it_raises():
    async def main():
        await asyncio.sleep(100)

    def stop():
        if loop.time() > 0:
            raise SimulationFailed("enough")

    with virtual() as loop:
        loop.stops.append(stop)
        with pytest.raises(SimulationFailed, match="enough"):
            loop.run_until_complete(main())
        loop.stops.clear()
        for task in asyncio.all_tasks(loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
