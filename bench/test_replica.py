"""Read replicas: a million changes caught up with, from the stream and from a snapshot; and reads that add up.

The writer is this process, each replica one of its own, nats-server another; real sockets, batches of 512 changes of
200 bytes, each verified, merged and synced by the replica. Required: 100,000 changes a second or more.

Reads: `count` of a table of 2,000 keys, which costs the replica 100 times what it costs its client, so that two
replicas can be seen to give twice what one does although their clients run on the same two cores. And `get`, of which
the clients' part is a third: two replicas and their clients want three cores. What the cores allow is printed beside
each ratio, and what a replica gives by its own CPU time, which others on the machine change little. Required: two
replicas 1.7 times one, within what two cores allow.

    python -m pytest bench/test_replica.py -s
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import kit
import pytest
import uvloop
from jetstream.followkit import connected
from natskit import Servers
from nodekit import places
from replica.replicakit import NETWORK, ReplicaProcess, replica_file, snapshot, streams

import mycelium
from mycelium.jetstream import layout
from mycelium.node.node import Node

BATCH, BATCHES = 512, 2_000
KEYS = 2_000
READ_S = 3.0
LIMIT_S = 240
CLIENT = kit.keypair("client")


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def world(directory: Path, url: str):
    """A node in this process, a client of the server, and the configuration of a replica by its name."""
    (place,) = places(directory, 1)
    async with Node.open(place.config) as node, connected(url) as client:
        await streams(client)
        yield node, client, lambda name: replica_file(place, name, nats=url, clients=[CLIENT])


async def written(node: Node, batches: int) -> None:
    values = [os.urandom(200) for _ in range(BATCH)]
    for number in range(batches):
        async with node.database.batch(ack="applied") as batch:
            for row, value in enumerate(values):
                batch.put("scores", f"{number}.{row}", value)
    await node.database.table("scores").put("last", b"x", ack="durable")


async def published(node: Node, client) -> int:
    """Everything that the node has, put into its stream with many under way; the sequence of the last."""
    jetstream, under_way = client.jetstream(), asyncio.Semaphore(64)
    tasks = []

    async def one(batch) -> int:
        subject = NETWORK.subject(batch.space, batch.account, batch.generation)
        headers = {layout.MESSAGE_ID: batch.id.hex()}
        try:
            ack = await jetstream.publish(
                subject, layout.body(batch.raw, batch.signature), headers=headers, timeout=30
            )
        finally:
            under_way.release()
        return int(ack.seq)

    async for batch in node.feed(after="start"):
        await under_way.acquire()
        tasks.append(asyncio.create_task(one(batch)))
        if batch.cursor.index == batch.newest:
            break
    return max(await asyncio.gather(*tasks))


async def caught_up(process: ReplicaProcess, last: int) -> tuple[float, float, dict[str, Any]]:
    """Seconds from the replica's being ready to the last message's being durable there, its CPU, and its status."""
    ready = await process.start()
    began_s, used_s = time.monotonic(), cpu_s(ready["pid"])
    async with mycelium.connect(ready["url"], CLIENT, ready["account"]) as remote:
        while True:
            found = await remote.status()
            database = found["database"]
            settled = found["replica"]["main"]["position"] >= last and database["durable"] == database["feed"]
            if settled:
                return time.monotonic() - began_s, cpu_s(ready["pid"]) - used_s, ready | found
            assert time.monotonic() - began_s < LIMIT_S
            await asyncio.sleep(0.1)


async def catch_up(directory: Path, url: str) -> None:
    async with world(directory, url) as (node, client, config):
        await written(node, BATCHES)
        last = await published(node, client)
        changes = BATCH * BATCHES + 1
        for how in ("the stream", "a snapshot"):
            if how == "a snapshot":
                await snapshot(node, client)
                await client.jetstream().purge_stream(NETWORK.stream("main"))
            async with ReplicaProcess(config(how.replace(" ", "-"))) as process:
                took_s, used_s, found = await caught_up(process, last)
                print(
                    f"\nfrom {how}: {changes:,} changes in {took_s:.1f} s: {changes / took_s:,.0f} a second; "
                    f"{changes / used_s:,.0f} in a second of its CPU; {found['resident_bytes'] >> 20} MiB resident"
                )
                assert (found["replica"]["main"]["snapshot"] is None) == (how == "the stream")


def test_a_million_changes(tmp_path):
    with Servers.of(tmp_path / "server") as servers:
        uvloop.run(catch_up(tmp_path, servers.url))


# --- reads --------------------------------------------------------------------------------------------------

Read = Callable[[Any, int], Awaitable[object]]


async def count(remote, number: int) -> object:
    return await remote.database.table("hits").count()


async def get(remote, number: int) -> object:
    return await remote.database.table("hits").get(f"k{number * 7919 % KEYS}")


READS: dict[str, tuple[Read, int]] = {"count": (count, 2), "get": (get, 32)}
"""What is asked, and how many at a time of one replica."""


def reader(targets: list[tuple[str, str]], what: str, begin: Any, answers: Any) -> None:
    """A process of clients: as many requests as it gets answers to within READ_S."""

    async def main() -> tuple[int, float]:
        read, at_once = READS[what]
        async with AsyncExitStack() as stack:
            nodes = [
                await stack.enter_async_context(mycelium.connect(url, CLIENT, who)) for url, who in targets
            ]
            for node in nodes:
                assert await read(node, 1)
            begin.wait()
            end_s, done, used_s = time.monotonic() + READ_S, 0, time.process_time()

            async def ask(node, at: int) -> None:
                nonlocal done
                while time.monotonic() < end_s:
                    await read(node, done + at)
                    done += 1

            await asyncio.gather(*(ask(node, at) for node in nodes for at in range(at_once)))
            return done, time.process_time() - used_s

    answers.put(uvloop.run(main()))


def read_rate(ready: list[dict[str, Any]], what: str) -> tuple[float, float, float]:
    """Reads a second from these replicas together, per second of their CPU, and the clients' share of the CPU used."""
    context = multiprocessing.get_context("spawn")
    # A client process for each replica where the clients have much to do; one for all where they have not.
    groups = [[one] for one in ready] if what == "get" else [ready]
    begin, answers = context.Barrier(len(groups) + 1), context.Queue()
    readers = [
        context.Process(
            target=reader, args=([(one["url"], one["account"]) for one in group], what, begin, answers)
        )
        for group in groups
    ]
    for one in readers:
        one.start()
    begin.wait()
    before_s = sum(cpu_s(one["pid"]) for one in ready)
    found = [answers.get(timeout=60) for _ in readers]
    used_s = sum(cpu_s(one["pid"]) for one in ready) - before_s
    for one in readers:
        one.join(30)
    done, clients_s = sum(one[0] for one in found), sum(one[1] for one in found)
    return done / READ_S, done / used_s, clients_s / (clients_s + used_s)


async def reads(directory: Path, url: str, what: str) -> None:
    async with world(directory, url) as (node, client, config):
        for first in range(0, KEYS, BATCH):
            async with node.database.batch(ack="applied") as batch:
                for row in range(first, min(first + BATCH, KEYS)):
                    batch.add("hits", f"k{row}", row + 1)
        await node.database.table("hits").add("k0", 1, ack="durable")
        last = await published(node, client)
        async with ReplicaProcess(config("one")) as first_one, ReplicaProcess(config("two")) as second_one:
            ready = [(await caught_up(process, last))[2] for process in (first_one, second_one)]
            cores, found = os.cpu_count() or 1, {1: [], 2: []}
            # In turns, as others on the machine come and go.
            for some in (ready[:1], ready, ready[1:], ready) * 2:
                found[len(some)].append(await asyncio.to_thread(read_rate, some, what))
            (one, by_cpu_one, share), (two, by_cpu_two, share_two) = (
                [statistics.median(column) for column in zip(*found[count], strict=True)] for count in (1, 2)
            )
            print(
                f"{what}: one replica {one:,.0f} a second, two {two:,.0f}: {two / one:.2f} times; {cores} cores allow "
                f"{min(2.0, cores * (1 - share_two)):.2f}, as clients use {100 * share:.0f} % of the CPU"
            )
            print(
                f"{what}: in a second of their own CPU {by_cpu_one:,.0f} and {by_cpu_two:,.0f}, so that two with a "
                f"core each give {2 * by_cpu_two / by_cpu_one:.2f} times one"
            )


@pytest.mark.parametrize("what", sorted(READS))
def test_reads_add_up(tmp_path, what):
    print()
    with Servers.of(tmp_path / "server") as servers:
        uvloop.run(reads(tmp_path, servers.url, what))
