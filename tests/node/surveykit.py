"""Shared by tests of snapshots between real nodes: members that have overwritten what they hold, and slow surveys."""

from __future__ import annotations

import asyncio
import contextlib

from nodekit import Mesh, agreed, places

from mycelium.database import snapshot
from mycelium.database.schema import space_prefix
from mycelium.node.store_settings import StoreSettings

ROUNDS = 4
KEYS = 300
LIVE_BATCHES = KEYS // 10 + ROUNDS
LOW = space_prefix("main")


async def overwrite(node, rounds=ROUNDS):
    """Every key some times over, and a counter that counts the rounds."""
    for number in range(rounds):
        for key in range(0, KEYS, 10):
            async with node.database.batch(ack="applied") as batch:
                for one in range(key, key + 10):
                    batch.put("scores", f"k{one:04}", {"round": number, "by": node.generation})
        # Durable, so that all of it was pushed to who is here before another joins.
        async with node.database.batch(ack="durable") as batch:
            batch.add("hits", "all", 1)


@contextlib.asynccontextmanager
async def members(tmp_path, count, *, joins=1, trimmed=False, rounds=ROUNDS):
    """A mesh of which all but the last `joins` run and hold the same."""
    async with Mesh(places(tmp_path, count)) as mesh:
        there = list(range(count - joins))
        for number in there:
            mesh.changes[number] = {"store": StoreSettings(0, 100)}
        await mesh.start(*there)
        await mesh.connected()
        await overwrite(mesh[0], rounds)
        await agreed(mesh.nodes)
        if trimmed:
            for node in mesh.nodes:
                assert (await node.trimming.trim())["dropped"] == KEYS // 10 * (rounds - 1)
        yield mesh


def at_leisure(monkeypatch, seconds):
    """Let every survey take so long."""
    survey = snapshot.survey

    async def slow(*what):
        await asyncio.sleep(seconds)
        return await survey(*what)

    monkeypatch.setattr(snapshot, "survey", slow)
