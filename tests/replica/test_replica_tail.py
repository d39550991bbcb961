"""When a space of a replica begins again by itself: what a seal names and is not here, what waits too long, gaps."""

from __future__ import annotations

import asyncio

import kit
import pytest

from mycelium.config.replica import BLOCKED_MS, LACKING_LOOK_MS
from mycelium.database.vector import Origin
from mycelium.jetstream.beginning import Used
from mycelium.jetstream.following import FULL, READING, Stream
from mycelium.replica.tail import Tail

NOW_MS = kit.NOW_MS
STREAM = Stream("then", 1, 9)


class World:
    """A tail whose follower does not run, and what it was told."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.database = kit.database("reader")
        self.tail = Tail(self.database, None, "MYC", "main", lambda: self.now_ms, self)
        self.told: list[str] = []
        self.tail.follower.again = self.told.append
        self.used: Used | None = None

    async def begin(self, tail, stream, why):
        tail.began = self.used
        return 0

    def tick(self, state: str, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.tail.follower.state = state
            self.tail.tick()
            self.now_ms += 1_000


@pytest.fixture
def world():
    async def made():
        return World()

    return asyncio.run(made())


def begun(world, used=None):
    world.used = used
    asyncio.run(world.tail._begin(STREAM, "why"))


def test_what_a_seal_says_there_is_and_is_not_here_is_searched_for_once(world):
    origin = Origin(kit.keypair("d").account, 7)
    ends = {origin: 4}
    world.database.engine.seals.ends = lambda space: iter(ends.items())
    world.tick(READING, 3 * LACKING_LOOK_MS / 1000)
    assert len(world.told) == 1
    assert "ends at 4 by its seal" in world.told[0]
    ends[origin] = 6
    world.tick(READING, LACKING_LOOK_MS / 1000 + 1)
    assert len(world.told) == 2


def test_while_it_is_behind_nothing_is_searched_for(world):
    world.database.engine.seals.ends = lambda space: iter([(Origin(bytes(32), 7), 4)])
    world.tail.follower.pending = 5
    world.tick(READING, 3 * LACKING_LOOK_MS / 1000)
    assert world.told == []
    assert world.tail.in_step_ms is None


def test_who_is_full_for_long_looks_for_a_snapshot(world):
    world.tick(FULL, BLOCKED_MS / 1000)
    assert world.told == []
    world.tick(FULL, 1)
    assert len(world.told) == 1
    world.tick(READING, 1)
    world.tick(FULL, BLOCKED_MS / 1000)
    assert len(world.told) == 1, "it began anew: the time does too"


def test_the_first_snapshot_of_a_stream_that_was_begun_without_one(world):
    begun(world)
    world.tail.offered(5)
    assert len(world.told) == 1
    begun(world, Used(3, 5, 2, whole=True))
    world.tail.offered(5)
    world.tail.offered(9)
    assert len(world.told) == 1


def test_a_stream_that_only_goes_on_needs_none(world):
    world.tail.offered(5)
    world.tail.offered(9)
    assert world.told == []


def test_gaps_are_closed_by_a_newer_snapshot(world):
    author = kit.engine("a")
    written = [kit.write(author, kit.put(f"k{number}")) for number in range(3)]
    world.database.engine.on_applied.clear()
    for one in (written[0], written[2]):
        world.database.engine.receive(one.batch.raw, one.signature, NOW_MS)
    world.tail.offered(5)
    assert world.told == [], "it may be what it was begun with, before a restart"
    world.tail.offered(9)
    assert world.told == ["there are gaps in what is here, and a newer snapshot"]
