"""When the runner calls a sink, with one that only notes it: groups, waits, fills, and what is said."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager

import nodekit
import pytest
from sinkkit import FakeNode, until

from mycelium.errors import FeedBehind, FeedRewound, SchemaConflict, SinkUnreachable, WrongPeer
from mycelium.feed.cursor import Cursor
from mycelium.sinks.interface import Position
from mycelium.sinks.runner import Backoff, Gather, Runner


class Noting:
    """A sink in memory: what was called, and errors to raise."""

    gather_bytes = 10**6

    def __init__(self, *, gather_s=0.0, gather_changes=100) -> None:
        self.gather_s = gather_s
        self.gather_changes = gather_changes
        self.position: Position | None = None
        self.groups: list[list[int]] = []
        self.calls: list[str] = []
        self.errors: dict[str, list[Exception]] = {}
        self.gate: asyncio.Event | None = None

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.errors.get(name):
            raise self.errors[name].pop(0)

    async def open(self):
        self._called("open")
        return self.position

    async def begin(self, spaces, cursor):
        self._called("begin")
        self.rows = 0

    async def fill(self, rows):
        self._called("fill")
        self.rows += len(rows)

    async def finish(self, position):
        self._called("finish")
        self.position = position

    async def prepare(self, batches):
        self._called("prepare")
        return batches

    async def apply(self, prepared, position):
        if self.gate is not None:
            await self.gate.wait()
        self._called("apply")
        self.groups.append([batch.cursor.index for batch in prepared])
        self.position = position

    async def close(self):
        self._called("close")


def run(main):
    return nodekit.run(main, 30)


class Started:
    def __init__(self, node, sink, **more) -> None:
        self.said: list[str] = []
        self.slept: list[float] = []

        async def sleep(seconds):
            self.slept.append(seconds)
            await asyncio.sleep(0)

        self.runner = Runner(node.dial, sink, say=self.said.append, sleep=sleep, rng=random.Random(1), **more)

    async def __aenter__(self):
        self.task = asyncio.create_task(self.runner.run())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def at(node, index) -> Position:
    return Position(Cursor(node.generation, index))


def test_what_comes_while_a_transaction_goes_on_is_one_group():
    async def main():
        node, sink = FakeNode(), Noting()
        sink.position = at(node, 0)
        sink.gate = asyncio.Event()
        async with Started(node, sink):
            node.set("scores", "k", 0)
            await until(lambda: sink.calls.count("prepare") == 1)
            for number in range(5):
                node.set("scores", "k", number)
            await asyncio.sleep(0.02)
            assert sink.groups == []
            sink.gate.set()
            await until(lambda: sink.position == at(node, 6))
        assert sink.groups == [[1], [2, 3, 4, 5, 6]]

    run(main())


def test_groups_are_bounded_and_the_next_is_prepared_meanwhile():
    async def main():
        node, sink = FakeNode(), Noting(gather_changes=3)
        sink.position = at(node, 0)
        sink.gate = asyncio.Event()
        for number in range(10):
            node.set("scores", "k", number)
        async with Started(node, sink):
            await until(lambda: sink.calls.count("prepare") == 2)
            await asyncio.sleep(0.02)
            assert sink.calls.count("prepare") == 2, "one is written, one is ready, one is gathered: no more"
            sink.gate.set()
            await until(lambda: sink.position == at(node, 10))
        assert sink.groups == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10]]

    run(main())


def test_a_sink_may_ask_for_time():
    async def main():
        node, sink = FakeNode(), Noting(gather_s=0.15, gather_changes=4)
        sink.position = at(node, 0)
        async with Started(node, sink):
            node.set("scores", "k", 0)
            await asyncio.sleep(0.01)
            node.set("scores", "k", 1)
            await until(lambda: sink.position == at(node, 2))
            for number in range(4):
                node.set("scores", "k", number)
            await until(lambda: sink.position == at(node, 6))
        assert sink.groups == [[1, 2], [3, 4, 5, 6]]

    run(main())


def test_an_idle_position_moves_on_with_the_feed(monkeypatch):
    monkeypatch.setattr("mycelium.sinks.runner.SINK_IDLE_S", 0.02)

    async def main():
        node, sink = FakeNode(), Noting()
        sink.position = at(node, 0)
        async with Started(node, sink, spaces=["main"]):
            for number in range(3):
                node.set("aside", "k", number, space="other")
            await until(lambda: sink.position == at(node, 3))
            count = len(sink.groups)
            await asyncio.sleep(0.1)
            assert len(sink.groups) == count == 1, "it does not write where nothing moved"
        assert sink.groups == [[]]

    run(main())


def test_an_error_between_is_said_once_and_the_position_is_asked_again():
    async def main():
        node, sink = FakeNode(), Noting()
        sink.position = at(node, 0)
        sink.errors = {"apply": [SinkUnreachable("gone")] * 3, "open": []}
        node.set("scores", "k", 1)
        async with Started(node, sink) as started:
            await until(lambda: sink.position == at(node, 1))
            assert started.said == ["waiting: gone", "it goes on: live"]
            assert len(started.slept) == 3
            assert sink.groups == [[1]]
            assert sink.calls.count("open") == 4

    run(main())


def test_a_wait_is_said_again_after_a_minute():
    async def main():
        node, sink = FakeNode(), Noting()
        sink.errors = {"open": [SinkUnreachable(f"gone {number}") for number in range(10)]}
        now = iter(range(0, 1000, 20))
        async with Started(node, sink, clock=lambda: next(now)) as started:
            await until(lambda: "it goes on: live" in started.said)
        assert started.said == [
            "waiting: gone 0",
            "waiting: gone 3",
            "waiting: gone 6",
            "waiting: gone 9",
            "it goes on: live",
        ]

    run(main())


@pytest.mark.parametrize("name", ["open", "begin", "fill", "finish", "prepare", "apply"])
def test_what_must_be_mended_ends_it_and_the_sink_is_closed(name):
    async def main():
        node, sink = FakeNode(), Noting()
        node.set("scores", "k", 1)
        sink.errors = {name: [SchemaConflict("a column is wrong", "mend it")]}
        async with Started(node, sink) as started:
            await until(lambda: "finish" in sink.calls or started.task.done())
            if not started.task.done():
                node.set("scores", "k", 2)
            with pytest.raises(SchemaConflict, match="a column is wrong"):
                await started.task
            assert sink.calls[-1] == "close"

    run(main())


def test_what_came_before_a_rewind_is_written_first_and_then_one_space_is_filled():
    async def main():
        node, sink = FakeNode(), Noting()
        sink.position = at(node, 0)
        for number in range(4):
            node.set("scores", "k", number)
        node.rewind[3] = FeedRewound("taken away", str(at(node, 2).cursor), "main")
        node.set("aside", "k", 1, space="other")
        async with Started(node, sink):
            await until(lambda: sink.position is not None and sink.position.cursor.index == 5)
        # 3 and 4 are in the export of `main`; 5 is of another space.
        assert sink.groups == [[1, 2], [5]] or sink.groups == [[1, 2], [], [5]]
        assert node.exports == [["main"]]
        assert sink.position == at(node, 5)

    run(main())


def test_a_node_that_always_forgets_is_not_asked_without_end():
    async def main():
        node, sink = FakeNode(), Noting()

        def forgetful(**_):
            raise FeedBehind("kept too short")

        node.feed = forgetful
        async with Started(node, sink) as started:
            await until(lambda: len(node.exports) >= 5)
            assert len(started.slept) >= 3

    run(main())


def test_waits_grow_to_a_limit():
    backoff = Backoff(random.Random(5))
    waits = [backoff.next_s() for _ in range(30)]
    assert 0.1 <= waits[0] <= 0.2
    assert all(7.5 <= wait <= 15 for wait in waits[10:])
    backoff.failures = 0
    assert backoff.next_s() <= 0.2


def test_a_gather_is_full_by_bytes_too():
    async def main():
        node = FakeNode()
        gather = Gather(1000, 50, 0.0)
        await gather.put(node.set("scores", "k", "x" * 60))
        putting = asyncio.create_task(gather.put(node.set("scores", "k", "y")))
        await asyncio.sleep(0.01)
        assert not putting.done()
        assert len(await gather.take(1)) == 1
        await putting
        assert len(await gather.take(1)) == 1
        assert await gather.take(0) == []
        gather.end(FeedBehind("over"))
        with pytest.raises(FeedBehind):
            await gather.take(1)

    run(main())


def test_positions_as_text():
    position = Position(Cursor(7, 5), {"main": 9, "other": 4})
    assert Position.parse(str(position)) == position
    assert position.at(Cursor(7, 6)) == Position(Cursor(7, 6), {"main": 9})


def test_a_node_that_refuses_is_a_mistake_at_first_and_passes_later():
    async def main():
        node, sink = FakeNode(), Noting()
        dial = node.dial

        @asynccontextmanager
        async def refusing():
            raise WrongPeer("another node listens there")
            yield

        node.dial = refusing
        async with Started(node, sink) as started:
            with pytest.raises(WrongPeer):
                await started.task
        node.dial = dial
        async with Started(node, sink) as started:
            await until(lambda: started.runner.progress.phase == "live")
            started.runner._dial = refusing
            node.go()
            await until(
                lambda: "waiting: another node listens there" in started.said or len(started.slept) > 3
            )
            node.up = True
            started.runner._dial = dial
            node.set("scores", "k", 1)
            await until(lambda: sink.position == at(node, 1))
            assert not started.task.done()

    run(main())
