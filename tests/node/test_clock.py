"""Nodes whose clocks are wrong. A clock may delay what its own node writes or takes; it never makes replicas differ.

What happens, as these tests hold it:

- ahead by up to CLOCK_AHEAD_MS (2 s): nothing. The hybrid clock absorbs it.
- ahead by more: what that node writes is held by the others, in memory and within bounds, until it is due by their
  clocks; then it is applied everywhere. Nobody else is delayed, and nobody's clock is pulled along.
- behind: that node holds what the others write until its clock says it is due. What it writes goes through, and
  loses against newer writes of the same key.
- ahead, and then set right: the hybrid clock never goes back, so the node's writes go on from the time it had
  signed. It sees them at once; the others when that time comes.
- stamped more than ANCHOR_SKEW_MS (one hour) from its reference block: refused by everyone, for ever.
- in auth_mode `signed` a clock that is ahead by more than 2 s, or behind by a minute, ends each session as `stale`.
"""

from __future__ import annotations

import asyncio
import random

import pytest
from nodekit import Mesh, agreed, everything, places, run, set_clock, until

from mycelium.config import HELD_BATCHES_MAX, HELD_BYTES_MAX
from mycelium.database.clock import time_ms_of
from mycelium.database.database import wall_ms

HOUR_MS = 3_600_000


def shifted(by_ms: int):
    return lambda: wall_ms() + by_ms


def test_a_clock_an_hour_ahead_delays_nobody_else(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 3)) as mesh:
            await mesh.start()
            await mesh.connected()
            ahead, one, other = mesh.nodes
            set_clock(ahead, shifted(HOUR_MS))
            await one.database.table("scores").put("contested", "early", ack=2)
            await ahead.database.table("scores").put("contested", "from the future")
            await ahead.database.table("hits").add("n", 5)
            await until(lambda: one.database.engine.held == other.database.engine.held == 2, "held")
            for number in range(20):
                # Both peers take it at once: the one that is ahead, too.
                await asyncio.wait_for(one.database.table("scores").put(f"{number}", number, ack=2), 5)
            await one.database.table("scores").put("contested", "late", ack=2)
            assert await other.database.table("scores").get("contested") == "late"
            assert await other.database.table("hits").get("n") == 0
            for node in (one, other):
                assert time_ms_of(node.database.engine.clock.last) < wall_ms() + 5_000, (
                    "its clock was pulled along"
                )
                assert node.metrics.rejects == {}
            # Once the hour has passed for everyone, they hold the same, the future write as the newest.
            for node in (one, other):
                set_clock(node, shifted(HOUR_MS))
            await agreed(mesh.nodes)
            assert await other.database.table("scores").get("contested") == "from the future"
            assert await other.database.table("hits").get("n") == 5
            assert one.database.engine.held == 0

    run(main())


def test_what_is_held_for_a_clock_ahead_is_bounded_and_comes_all_the_same(tmp_path):
    """Held batches are in memory only: a restart or a full hold loses nothing, since sync brings them again."""

    async def main():
        async with Mesh(places(tmp_path, 2)) as mesh:
            await mesh.start()
            await mesh.connected()
            ahead, one = mesh.nodes
            set_clock(ahead, shifted(HOUR_MS))
            for number in range(60):
                await ahead.database.table("scores").put(f"{number}", b"x" * 40_000)
            await until(lambda: one.database.engine.counts["left"] > 0, "no more room")
            engine = one.database.engine
            assert 0 < engine.held <= HELD_BATCHES_MAX
            assert sum(engine._holds._bytes.values()) <= HELD_BYTES_MAX
            assert everything(one)["LIVE"] == []
            await mesh.stop(1)
            await mesh.start(1)
            set_clock(mesh[1], shifted(HOUR_MS))
            await agreed(mesh.nodes)
            assert await mesh[1].database.table("scores").count() == 60

    run(main())


def test_a_clock_an_hour_behind_delays_only_its_own_node(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 3)) as mesh:
            await mesh.start()
            await mesh.connected()
            behind, one, other = mesh.nodes
            set_clock(behind, shifted(-HOUR_MS))
            await one.database.table("scores").put("k", "newer", ack=1)
            await behind.database.table("scores").put("k", "older", ack=2)
            await behind.database.table("scores").put("own", 1, ack=2)
            await until(lambda: behind.database.engine.held == 1, "held")
            for node in (one, other):
                assert await node.database.table("scores").get("k") == "newer"
                assert await node.database.table("scores").get("own") == 1
            assert await behind.database.table("scores").get("k") == "older"
            set_clock(behind, wall_ms)
            await agreed(mesh.nodes)
            assert await behind.database.table("scores").get("k") == "newer"

    run(main())


@pytest.mark.parametrize("seed", range(2))
def test_small_differences_change_nothing(tmp_path, seed):
    async def main():
        rng = random.Random(seed)
        async with Mesh(places(tmp_path, 4)) as mesh:
            await mesh.start()
            await mesh.connected()
            for node in mesh.nodes:
                set_clock(node, shifted(rng.randrange(-900, 900)))

            async def write(node, rng) -> None:
                for number in range(40):
                    await node.database.table("scores").put(f"k{rng.randrange(8)}", number, ack="applied")
                    await node.database.table("events").put("all", number, ack="applied")
                    await asyncio.sleep(0)

            await asyncio.gather(*(write(node, random.Random(rng.random())) for node in mesh.nodes))
            await asyncio.wait_for(agreed(mesh.nodes), 10)
            assert all(node.database.engine.held == 0 for node in mesh.nodes)

    run(main())


def test_a_clock_that_was_hours_ahead_and_was_set_right(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 2)) as mesh:
            await mesh.start()
            await mesh.connected()
            was_ahead, one = mesh.nodes
            set_clock(was_ahead, shifted(3 * HOUR_MS))
            await was_ahead.database.table("scores").put("k", "future")
            set_clock(was_ahead, wall_ms)
            await one.database.table("scores").put("theirs", 1, ack=1)
            assert await was_ahead.database.table("scores").get("theirs") == 1
            await was_ahead.database.table("scores").put("k", "later")
            assert await was_ahead.database.table("scores").get("k") == "later"
            await until(lambda: one.database.engine.held == 2, "held")
            assert await one.database.table("scores").get("k") is None
            assert one.metrics.rejects == {}
            for node in mesh.nodes:
                set_clock(node, shifted(3 * HOUR_MS))
            await agreed(mesh.nodes)
            assert await one.database.table("scores").get("k") == "later"

    run(main())


def test_in_signed_mode_a_clock_ahead_has_no_session(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 3, auth_mode="signed")) as mesh:
            await mesh.start()
            await mesh.connected()
            ahead, one, other = mesh.nodes
            set_clock(ahead, shifted(60_000))
            await until(lambda: one.metrics.rejects["stale"] and other.metrics.rejects["stale"], "stale")
            for number in range(5):
                await asyncio.wait_for(one.database.table("scores").put(f"{number}", 1, ack=1), 5)
            assert one.hub.link_of(other.account) is not None
            set_clock(ahead, wall_ms)
            await agreed(mesh.nodes)

    run(main())
