"""A peer that reads nothing more while others write: it costs the writer a bounded amount of memory, delays nobody,
and has everything soon after it goes on."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import AsyncExitStack

import pytest
from nodekit import Process, places, run

import mycelium

MIB = 1024 * 1024
GROWTH_MAX_BYTES = 16 * MIB
BATCH_RECORDS = 250
RECORD_BYTES = 1000


async def peak_bytes(directory, megabytes: int, *, stalled: bool) -> tuple[int, float]:
    """Write that much into a node with two peers; its largest resident size, and the seconds. Checks the rest."""
    made = places(directory, 3)
    rng = random.Random(7)
    async with AsyncExitStack() as stack:
        writer, good, slow = [await stack.enter_async_context(Process(place)) for place in made]
        for process in (writer, good, slow):
            await process.spawn()
        for process in (writer, good, slow):
            await process.ready()
        node = await stack.enter_async_context(mycelium.connect(made[0].url, made[0].keypair))
        await node.database.table("scores").put("before", 1, ack=2)
        if stalled:
            slow.signal(signal.SIGSTOP)
        peak, began = 0, time.monotonic()
        for number in range(megabytes * 1_000_000 // (BATCH_RECORDS * RECORD_BYTES)):
            # With ack=1 each batch waits for the peer that is well: were it slowed down, so would this be.
            async with node.database.batch(ack=1) as batch:
                for row in range(BATCH_RECORDS):
                    batch.put("scores", f"{number}.{row}", rng.randbytes(RECORD_BYTES))
            if number % 8 == 0:
                peak = max(peak, (await node.status())["resident_bytes"])
        elapsed = time.monotonic() - began
        status = await node.status()
        peak = max(peak, status["resident_bytes"])
        if stalled:
            queued = {peer["account"]: peer["queued_bytes"] for peer in status["peers"]}
            assert queued.get(made[1].address, 0) < MIB, "the peer that is well has a queue"
            assert queued.get(made[2].address, 0) <= 9 * MIB
            slow.signal(signal.SIGCONT)
        reader = await stack.enter_async_context(mycelium.connect(made[2].url, made[2].keypair))
        wanted = status["database"]["vectors"]
        deadline = time.monotonic() + 40
        while (await reader.status())["database"]["vectors"] != wanted:
            assert time.monotonic() < deadline, "it did not catch up"
        assert await reader.database.state_digests() == await node.database.state_digests()
        assert (await node.status())["rejects"].keys() <= {"silence"}
        return peak, elapsed


def compare(tmp_path, megabytes: int, seconds: float) -> None:
    without, usual = run(peak_bytes(tmp_path / "without", megabytes, stalled=False), seconds)
    with_it, elapsed = run(peak_bytes(tmp_path / "with", megabytes, stalled=True), seconds)
    assert with_it - without <= GROWTH_MAX_BYTES, f"{(with_it - without) / MIB:.1f} MiB more"
    assert elapsed < 3 * usual + 2


def test_a_stopped_process_costs_little_and_catches_up(tmp_path):
    assert os.sysconf("SC_PAGE_SIZE")
    compare(tmp_path, 40, seconds=50)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_stopped_process_under_a_long_load(tmp_path):
    """Long enough that its session is ended for silence, and the backlog exceeds every queue many times."""
    compare(tmp_path, 600, seconds=280)
