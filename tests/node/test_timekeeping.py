"""A running node whose clock steps, whose process is stopped, and what its status and its log say of it."""

from __future__ import annotations

import asyncio

import pytest
from nodekit import Mesh, agreed, places, run, until

from mycelium.errors import StoreError

HOUR_NS = 3_600 * 10**9


def step(node, by_ns):
    """Set the clock of the machine that the node runs on."""
    clock = node.around.clock
    before = clock.wall_ns
    clock.wall_ns = lambda: before() + by_ns
    local = node.hub.local
    node.hub.envelope._stamp_ns = clock.wall_ns
    assert local.now_ns == clock.now_ns


def kinds(node):
    return [(one["kind"], one["over"]) for one in node.status()["incidents"]]


@pytest.mark.parametrize("by_ns", [HOUR_NS, -HOUR_NS], ids=["forwards", "back"])
def test_a_clock_that_jumps_by_an_hour_disturbs_nobody_and_is_told(tmp_path, by_ns):
    async def main():
        async with Mesh(places(tmp_path, 3)) as mesh:
            await mesh.start()
            await mesh.connected()
            jumped, one, other = mesh.nodes
            await one.database.table("scores").put("before", 1, ack=2)
            step(jumped, by_ns)
            # Both others have it on their disks: nobody holds it back, and nobody is held back.
            await asyncio.wait_for(jumped.database.table("scores").put("mine", 2, ack=2), 5)
            await asyncio.wait_for(other.database.table("scores").put("before", 3, ack=2), 5)
            assert await jumped.database.table("scores").get("before") == 3
            await until(lambda: kinds(jumped) == [("clock", False)], "told")
            assert jumped.status()["clock"]["step_s"] == pytest.approx(by_ns / 1e9, abs=2)
            step(jumped, -by_ns)
            await until(lambda: kinds(jumped) == [("clock", False), ("clock", True)], "told")
            assert jumped.status()["clock"]["step_s"] == 0
            await agreed(mesh.nodes)

    run(main())


def test_a_clock_that_was_wrong_from_the_start_stamps_nothing(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 4)) as mesh:
            await mesh.start()
            await mesh.connected()
            ahead, *others = mesh.nodes
            clock = ahead.around.clock
            clock.wall_ns = lambda wall_ns=clock.wall_ns: wall_ns() + HOUR_NS
            clock._offset_ns += HOUR_NS
            await until(lambda: ahead.timekeeping.refusal(), "that it is wrong")
            with pytest.raises(StoreError, match=r"3600 s ahead of most members.*timedatectl"):
                await ahead.database.table("scores").put("k", 1)
            with pytest.raises(StoreError, match="ahead of most members"):
                async with ahead.database.batch() as batch:
                    batch.put("scores", "k", 1)
            await others[0].database.table("scores").put("k", 2, ack=2)
            await until(lambda: ("clock", False) in kinds(ahead), "told")
            clock.wall_ns = lambda wall_ns=clock.wall_ns: wall_ns() - HOUR_NS
            clock._offset_ns -= HOUR_NS
            await until(lambda: ahead.timekeeping.refusal() is None, "that it is right")
            await asyncio.wait_for(ahead.database.table("scores").put("k", 3, ack=3), 5)
            await agreed(mesh.nodes)

    run(main())


def test_a_process_that_stood_still_says_so(tmp_path, caplog):
    async def main():
        async with Mesh(places(tmp_path, 2)) as mesh:
            await mesh.start()
            await mesh.connected()
            node = mesh.nodes[0]
            await until(lambda: node.timekeeping._ticked_ns, "a tick")
            node.timekeeping._ticked_ns -= 40 * 10**9
            await until(lambda: ("stood-still", False) in kinds(node), "told")
            assert "stood still for 4" in node.status()["incidents"][-1]["text"]

    run(main())
    assert "what was missed is fetched" in caplog.text
