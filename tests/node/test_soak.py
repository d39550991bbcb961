"""Half an hour of life: a load on every node, and each minute something bad to one of them. Memory must stay flat.

MYCELIUM_SOAK_MINUTES sets another length. The nodes are processes of their own; what they hold is written over again
and again, so that whatever grows is a leak or the log on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
from pathlib import Path

import pytest
from nodekit import Process, places, run

import mycelium
from mycelium.errors import MyceliumError

NODES = 4
KEYS = 500
MINUTES = int(os.environ.get("MYCELIUM_SOAK_MINUTES", "30"))
WRITES, VALUE_BYTES = 8, 2_000
"""Of a load at once. What a node holds rises and falls with the write buffers of RocksDB, 32 MiB for each of two large
columns: written so much they fill and empty every few minutes, so that the warm-up has seen them at their most."""
FILL_BATCHES, FILL_VALUE_BYTES = 3_000, 1_000
"""What fills RocksDB's write buffers and block cache before anything is measured: some 190 MB through each column. Half
an hour of the load alone would not, and the buffers that fill would look like a leak."""
WARM_UP = 1 / 3
GROWTH_MAX = 1.10
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_mib(process: Process) -> float:
    return int(Path(f"/proc/{process.process.pid}/statm").read_text().split()[1]) * PAGE_BYTES / 2**20


async def load(place, rng: random.Random) -> None:
    """Some writes of every kind, as fast as a validator that is busy, and on again whenever the node is gone."""
    while True:
        with contextlib.suppress(MyceliumError, OSError):
            async with mycelium.connect(place.url, place.keypair) as node:
                database = node.database
                for number in itertools.count():
                    key = f"{rng.randrange(KEYS)}"
                    value = {"number": number, "text": "x" * VALUE_BYTES}
                    keys = [f"{rng.randrange(KEYS)}" for _ in range(WRITES)]
                    await asyncio.gather(*[database.table("scores").put(each, value) for each in keys])
                    await database.table("hits").add(key, 1)
                    if number % 10 == 0:
                        await database.table("scores").delete(f"{rng.randrange(KEYS)}")
                    await asyncio.sleep(0.1)
        await asyncio.sleep(0.2)


async def harm(victim: Process, rng: random.Random) -> None:
    """Stopped for longer than a silence, killed, asked to end, or shouted at by somebody without a key."""
    deed = rng.choice(["stop", "kill", "term", "garbage"])
    if deed == "stop":
        victim.signal(signal.SIGSTOP)
        await asyncio.sleep(rng.choice([2, 20]))
        victim.signal(signal.SIGCONT)
    elif deed == "garbage":
        await asyncio.gather(
            *[shout(victim.place.port, rng.randbytes(rng.randrange(1, 4_000))) for _ in range(200)]
        )
    else:
        victim.signal(signal.SIGKILL if deed == "kill" else signal.SIGTERM)
        await victim.gone()
        await victim.spawn()
        await victim.ready()


async def fill(place) -> None:
    """Write over the same rows until every buffer of every node has been full."""
    async with mycelium.connect(place.url, place.keypair) as node:
        for number in range(FILL_BATCHES):
            async with node.database.batch(ack="durable") as batch:
                for row in range(60):
                    batch.put("scores", f"fill {row}", {"number": number, "text": "x" * FILL_VALUE_BYTES})


async def shout(port: int, rubbish: bytes) -> None:
    """Rubbish where a handshake is expected, and some patience."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(rubbish)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(), 3)
        writer.close()


async def one_digest(places) -> bool:
    """Whether all nodes hold the same bytes."""
    found = set()
    for place in places:
        async with mycelium.connect(place.url, place.keypair) as node:
            found.add(str(await node.database.state_digests()))
    return len(found) == 1


async def live(tmp_path, minutes: float, seed: int) -> dict[str, list[float]]:
    """Resident MiB of each node, once every 15 s that it was not restarted in."""
    rng = random.Random(seed)
    made = places(tmp_path, NODES)
    loop = asyncio.get_running_loop()
    seen: dict[str, list[float]] = {}
    async with contextlib.AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(Process(place)) for place in made]
        for node in nodes:
            await node.spawn()
            await node.ready()
        await fill(made[0])
        loads = [asyncio.create_task(load(place, random.Random(at))) for at, place in enumerate(made)]
        ends = loop.time() + minutes * 60
        while loop.time() < ends:
            for _ in range(4):
                await asyncio.sleep(15)
                for node in nodes:
                    # Another process of the same node begins anew.
                    name = f"{node.place.name} {node.process.pid}"
                    seen.setdefault(name, []).append(resident_mib(node))
            await harm(rng.choice(nodes[1:]), rng)  # the first one lives through all of it
        for task in loads:
            task.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        async with asyncio.timeout(60):
            while not await one_digest(made):
                await asyncio.sleep(0.5)
    return seen


@pytest.mark.soak
@pytest.mark.timeout((MINUTES + 5) * 60)
def test_memory_is_flat_through_half_an_hour_of_faults(tmp_path):
    seen = run(live(tmp_path, MINUTES, seed=1), seconds=(MINUTES + 4) * 60)
    name, whole = max(seen.items(), key=lambda one: len(one[1]))
    begin = int(len(whole) * WARM_UP)
    early, late = whole[: begin + 8], whole[-8:]
    print(
        f"\n{name}: {whole[0]:.0f} MiB at first, {max(early):.0f} after warming up, {max(late):.0f} at the end"
    )
    assert max(late) <= max(early) * GROWTH_MAX, [round(one) for one in whole]
