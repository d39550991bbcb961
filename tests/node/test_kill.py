"""A node that is killed at any instant loses nothing it acknowledged as durable, and signs no number twice.

The node is a process of its own. The writer and the record of its acknowledgements are here, outside it; so are
three replicas, which would prove an equivocation if a sequence number were ever used for two batches.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest
from nodekit import Mesh, Process, agreed, evidence, places, run, until

import mycelium
from mycelium.database.vector import Origin
from mycelium.errors import MyceliumError

KILLS = 30
SOAK_KILLS = 300


@dataclass
class Ledger:
    """What was acknowledged as durable, and what was merely asked for and may be there or not."""

    scores: dict[str, int] = field(default_factory=dict)
    tried: dict[str, int] = field(default_factory=dict)
    events: set[str] = field(default_factory=set)
    added: int = 0
    tried_adds: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    async def check(self, database, prefix: str = "") -> None:
        """Every acknowledged record is there, and nothing that was not asked for."""
        found = {row.key: row.value async for row in database.table("scores").scan(prefix=prefix or None)}
        acked = {key: value for key, value in self.scores.items() if key.startswith(prefix)}
        lost = {key for key, value in acked.items() if found.get(key) != value}
        assert not lost, f"{len(lost)} of {len(acked)} acknowledged records are lost: {sorted(lost)[:5]}"
        assert all(self.tried.get(key) == value for key, value in found.items())
        facts = await database.table("events").get("all") or []
        assert self.events <= set(facts), "acknowledged facts are lost"
        assert len(facts) == len(set(facts)), "a fact was applied twice"
        hits = await database.table("hits").get("all") or 0
        assert self.added <= hits <= self.tried_adds


async def write(node, ledger: Ledger, prefix: str, rng: random.Random) -> None:
    """Writers side by side until the node is gone, each waiting for its acknowledgement."""

    async def single(name: str) -> None:
        for number in range(1_000_000):
            key = f"{prefix}{name}.{number}"
            ledger.tried[key] = number
            await node.database.table("scores").put(key, number, ack="durable")
            ledger.scores[key] = number

    async def batches(name: str) -> None:
        for number in range(1_000_000):
            keys = [f"{prefix}{name}.{number}.{row}" for row in range(rng.randrange(1, 60))]
            ledger.tried |= dict.fromkeys(keys, number)
            ledger.tried_adds += 1
            async with node.database.batch(ack="durable") as batch:
                for key in keys:
                    batch.put("scores", key, number)
                batch.add("hits", "all", 1)
                batch.put("events", "all", keys[0])
            ledger.scores |= dict.fromkeys(keys, number)
            ledger.events.add(keys[0])
            ledger.added += 1

    tasks = [asyncio.ensure_future(single(f"s{n}")) for n in range(4)]
    tasks += [asyncio.ensure_future(batches(f"b{n}")) for n in range(2)]
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(ended, MyceliumError), repr(ended)
        ledger.outcomes[type(ended).__name__] += 1


async def one_life(victim: Process, ledger: Ledger, round_: int, rng: random.Random) -> None:
    """Start, check what the last life acknowledged, write, and die at a random instant; sometimes while starting."""
    place = victim.place
    await victim.spawn()
    if rng.random() < 0.2:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(victim.process.stdout.readline(), rng.uniform(0.05, 0.8))
        victim.signal(signal.SIGKILL)
        await victim.gone()
        return
    await victim.ready()
    async with mycelium.connect(place.url, place.keypair) as node:
        for last in range(max(0, round_ - 2), round_):
            await ledger.check(node.database, f"r{last:04d}/")
        writing = asyncio.ensure_future(write(node, ledger, f"r{round_:04d}/", rng))
        await asyncio.sleep(rng.uniform(0.0, 0.25))
        victim.signal(signal.SIGKILL)
        await writing
    assert await victim.gone() == -signal.SIGKILL


async def killed_often(tmp_path, kills: int, seed: int) -> Ledger:
    rng = random.Random(seed)
    ledger = Ledger()
    async with Mesh(places(tmp_path, 4)) as mesh, Process(mesh.places[0]) as victim:
        await mesh.start(1, 2, 3)
        for round_ in range(kills):
            await one_life(victim, ledger, round_, rng)
            for node in mesh.nodes:
                assert evidence(node) == []
                assert node.metrics.rejects["equivocation"] == 0
        # The fourth is now one of this process, so that all of it can be compared.
        await mesh.start(0)
        assert mesh[0].generation == victim.generation
        await mesh.connected()
        await mesh[0].database.table("scores").put("the end", 1, ack=3)
        ledger.tried["the end"] = ledger.scores["the end"] = 1
        await agreed(mesh.nodes)
        for node in mesh.nodes:
            await ledger.check(node.database)
            assert evidence(node) == []
            assert not node.metrics.rejects
            assert list(node.database.engine.vector("main")) == [
                Origin(mesh.places[0].account, victim.generation)
            ]
    return ledger


def test_sigkill_at_random_instants_loses_nothing_acknowledged(tmp_path):
    ledger = run(killed_often(tmp_path, KILLS, seed=1), seconds=110)
    assert len(ledger.scores) > 1000
    assert set(ledger.outcomes) <= {"LinkClosed"}


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(2, 4))
def test_sigkill_hundreds_of_times(tmp_path, seed):
    run(killed_often(tmp_path, SOAK_KILLS, seed), seconds=1100)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_under_load_drains_and_loses_nothing(tmp_path, number, code):
    """What was acknowledged is there, and was handed to the peer before the node left."""

    async def main():
        ledger = Ledger()
        async with Mesh(places(tmp_path, 2)) as mesh, Process(mesh.places[0]) as victim:
            await mesh.start(1)
            await victim.spawn()
            await victim.ready()
            await until(lambda: mesh[1].replicator.members(), "a session")
            place = victim.place
            async with mycelium.connect(place.url, place.keypair) as node:
                writing = asyncio.ensure_future(write(node, ledger, "r/", random.Random(5)))
                await until(lambda: len(ledger.scores) > 2000, "a load")
                began = time.monotonic()
                victim.signal(number)
                assert await victim.gone() == code
                assert time.monotonic() - began < 10
                await writing
            assert set(ledger.outcomes) <= {"LinkClosed", "StoreClosed", "Overloaded", "CallFailed"}
            # Of what was acknowledged nothing waits for the node to come back.
            await until(lambda: not mesh[1].replicator.members(), "the goodbye")
            await ledger.check(mesh[1].database)
            await mesh.start(0)
            await ledger.check(mesh[0].database)
            await agreed(mesh.nodes)

    run(main())


def test_sigterm_while_a_peer_does_not_read(tmp_path):
    """A peer that is stopped cannot hold the node up beyond its time."""

    async def main():
        made = places(tmp_path, 2)
        async with Process(made[0]) as victim, Process(made[1]) as stopped:
            await stopped.spawn()
            await stopped.ready()
            await victim.spawn()
            await victim.ready()
            async with mycelium.connect(made[0].url, made[0].keypair) as node:
                await node.database.table("scores").put("k", 1, ack=1)
                stopped.signal(signal.SIGSTOP)
                for number in range(60):
                    await node.database.table("scores").put(f"{number}", os.urandom(200_000))
            began = time.monotonic()
            victim.signal(signal.SIGTERM)
            assert await victim.gone() == 0
            assert time.monotonic() - began < 10
            stopped.signal(signal.SIGCONT)

    run(main())
