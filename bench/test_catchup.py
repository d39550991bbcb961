"""A node that joins when another holds a million changes, and what nodes cost that have nothing to do.

The writer is this process, the node that joins one of its own; both on real sockets, batches of 512 changes of 200
bytes, each batch verified, merged and synced. Required: 100,000 changes a second or more. That two nodes hold the same
is found out by one ping: at most 1 KiB. An idle mesh of eight: under 2 % of a core each.

    python -m pytest bench/test_catchup.py -s
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop
from nodekit import Process, places

import mycelium
from mycelium.devnet import layout
from mycelium.devnet.process import NodeProcess
from mycelium.node.node import Node
from mycelium.protocol.messages import Ping, SpaceDigest

BATCH, BATCHES = 512, 2_000
IDLE_NODES, IDLE_S = 8, 20.0


async def caught_up(directory) -> tuple[int, float]:
    """Changes, and the seconds from the session to the last of them durable at the node that joined."""
    origin, other = layout.prepare(directory, 2)
    async with Node.open(origin.config) as node:
        values = [os.urandom(200) for _ in range(BATCH)]
        for number in range(BATCHES):
            async with node.database.batch(ack="applied") as batch:
                for row, value in enumerate(values):
                    batch.put("records", f"{number}.{row}", value)
        await node.database.table("records").put("last", b"x", ack="durable")
        joiner = NodeProcess(other)
        began_s = time.monotonic()
        await joiner.start()
        try:
            while not node.replicator.members():
                await asyncio.sleep(0.005)
            met_s = time.monotonic()
            (account,) = [link.account for link in node.replicator.members()]
            while node.database.acks.heads("main").get(account, 0) < BATCH * BATCHES:
                await asyncio.sleep(0.005)
                assert time.monotonic() - began_s < 120
            return BATCH * BATCHES, time.monotonic() - met_s
        finally:
            await joiner.stop()


def test_a_gap_of_a_million(tmp_path):
    changes, took_s = uvloop.run(caught_up(tmp_path))
    print(f"\n{changes:,} changes in {took_s:.1f} s: {changes / took_s:,.0f} a second")


def test_that_two_are_equal_is_said_in_a_few_bytes():
    ping = Ping(2**40, 2**60, [SpaceDigest(f"space-{number}", bytes(16)) for number in range(8)])
    print(f"\na ping with the digests of eight spaces: {len(ping.encode())} bytes")


async def idle(directory) -> list[float]:
    """Thousandths of a core of each node."""
    made = places(directory, IDLE_NODES)
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(Process(place)) for place in made]
        for process in processes:
            await process.spawn()
        for process in processes:
            await process.ready()
        node = await stack.enter_async_context(mycelium.connect(made[0].url, made[0].keypair))
        while len((await node.status())["peers"]) < IDLE_NODES - 1:
            await asyncio.sleep(0.1)
        await asyncio.sleep(5)
        before = [cpu_s(process.process.pid) for process in processes]
        await asyncio.sleep(IDLE_S)
        return [
            1000 * (cpu_s(process.process.pid) - was) / IDLE_S
            for process, was in zip(processes, before, strict=True)
        ]


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_idle_mesh(tmp_path):
    used = uvloop.run(idle(tmp_path))
    print(f"\neight idle nodes: {min(used) / 10:.1f} to {max(used) / 10:.1f} % of a core each")
