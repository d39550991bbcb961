"""The main job: one writer, three replicas, four processes; and what a node costs in memory.

Changes of 200 bytes in batches of 512, signed, each replica verifying, merging and syncing every batch. The rate is
that at the origin with all three replicas durably caught up, as their acknowledgements say.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import shutil
import signal
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import uvloop

from mycelium.devnet import layout
from mycelium.devnet.process import NodeProcess
from mycelium.node import process
from mycelium.node.node import Node
from mycelium.node.status import resident_bytes

BATCH = 512
BATCHES = 600
MIB = 1024 * 1024


@asynccontextmanager
async def network(directory, replicas: int):
    """(the origin's Node in this process, the replicas' processes), all connected."""
    origin, *others = layout.prepare(directory, replicas + 1)
    async with AsyncExitStack() as stack:
        processes = []
        for place in others:
            replica = NodeProcess(place)
            await replica.start()
            stack.push_async_callback(replica.stop)
            processes.append(replica)
        node = await stack.enter_async_context(Node.open(origin.config))
        await until(lambda: len(node.replicator.members()) == replicas)
        yield node, processes


async def until(done: Callable[[], bool]) -> None:
    while not done():
        await asyncio.sleep(0.01)


async def load(node: Node, batches: int, first: int = 0) -> None:
    """Write batches, eight under way, each durable here."""
    values = [os.urandom(200) for _ in range(BATCH)]
    slots = asyncio.Semaphore(8)

    async def one(number: int) -> None:
        async with slots, node.database.batch(ack="durable") as batch:
            put = batch.put
            for place, value in enumerate(values):
                put("records", f"{number:08}-{place:04}", value)

    await asyncio.gather(*(one(number) for number in range(first, first + batches)))


def run(body: Callable[[], Awaitable[None]]) -> None:
    process.prepare()
    uvloop.run(body())


@pytest.fixture
def directory(tmp_path):
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.parametrize("replicas", [0, 1, 3])
def test_replicated_changes(benchmark, directory, replicas):
    rates = {}

    async def body() -> None:
        async with network(directory, replicas) as (node, _):
            await load(node, 20)
            await settled(node, replicas)
            cpu = time.process_time()
            started = time.perf_counter()
            await load(node, BATCHES, first=20)
            written = time.perf_counter() - started
            await settled(node, replicas)
            total = time.perf_counter() - started
            changes = BATCHES * BATCH
            rates["changes/s durable at the origin"] = round(changes / written)
            rates["changes/s durable everywhere"] = round(changes / total)
            rates["CPU us/change at the origin"] = round((time.process_time() - cpu) / changes * 1e6, 2)

    benchmark.pedantic(run, args=(body,), rounds=1)
    benchmark.extra_info.update(rates)


async def settled(node: Node, replicas: int) -> None:
    """All replicas hold all of the origin's log durably."""
    if replicas:
        await node.database.acks.wait("main", node.database.engine.own_head("main"), replicas)


def test_memory_of_a_million_records(benchmark, directory):
    sizes = {}

    async def body() -> None:
        async with network(directory, 0) as (node, _):
            before = resident_bytes()
            await load(node, 1_000_000 // BATCH + 1)
            sizes["MiB resident"] = round(resident_bytes() / MIB)
            sizes["MiB at the start"] = round(before / MIB)
            sizes["MiB at the peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        began = time.perf_counter()
        async with network(directory, 0) as (node, _):
            sizes["seconds until open again"] = round(time.perf_counter() - began, 2)
            sizes["records after a restart"] = (await node.database.state_digest("main"))[1]

    benchmark.pedantic(run, args=(body,), rounds=1)
    benchmark.extra_info.update(sizes)


def _resident_after(directory, stalled: bool, answer) -> None:
    """Resident MiB of a fresh origin after a load, with one of two peers stopped during most of it or not.

    The load fills RocksDB's write buffers to their bound, else how many of them are full would be the difference.
    """

    async def body() -> None:
        async with network(directory, 2) as (node, processes):
            await load(node, 100)
            await settled(node, 2)
            if stalled:
                os.kill(processes[0].pid, signal.SIGSTOP)
            try:
                await load(node, 1_500, first=100)
                await settled(node, 1 if stalled else 2)
                resident = resident_bytes()
            finally:
                os.kill(processes[0].pid, signal.SIGCONT)
            started = time.perf_counter()
            await settled(node, 2)
            answer.send((resident / MIB, time.perf_counter() - started))

    run(body)


def _in_a_fresh_process(directory, stalled: bool) -> tuple[float, float]:
    """What a process has freed stays resident: each case gets one of its own."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    origin = spawn.Process(target=_resident_after, args=(directory, stalled, theirs))
    origin.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        origin.join()
        ours.close()


def test_memory_of_a_stalled_peer(benchmark, directory):
    found = {}

    def both() -> None:
        for turn in range(2):
            for stalled in (False, True):
                found.setdefault(stalled, []).append(
                    _in_a_fresh_process(directory / f"{turn}{stalled}", stalled)
                )

    benchmark.pedantic(both, rounds=1)
    without, beside = ([round(mib, 1) for mib, _ in found[stalled]] for stalled in (False, True))
    benchmark.extra_info["MiB resident without"] = without
    benchmark.extra_info["MiB resident beside a stalled peer"] = beside
    benchmark.extra_info["MiB added (medians)"] = round(
        statistics.median(beside) - statistics.median(without), 1
    )
    benchmark.extra_info["s to catch up"] = round(max(took for _, took in found[True]), 1)
