"""Five honest nodes beside three bad ones: a stalled one, a flooding one and a lying one, all members.

Each honest node is a process of its own; the bad ones are sessions of a process beside them, one with each honest node.
Measured, with and without them in turns: from a put on the first node until programs see it on the other four (p50,
p99, ms), and the largest resident size of a node. Required: p99 at most a quarter more, at most 32 MiB more.

    python -m pytest bench/test_bad_peers.py -s
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import statistics
import time
from contextlib import AsyncExitStack
from types import SimpleNamespace

import kit
import uvloop
from nodekit import Hostile, Process, places

import mycelium
from mycelium.protocol.messages import MessageType, Ping, SpaceDigest, SyncRequest, SyncResponse

HONEST, ROUNDS, PUTS = 5, 3, 400
PUT_EVERY_S = 0.01
MIB = 2**20
BAD = [kit.keypair(name) for name in ("stalled", "flooding", "lying")]


async def stalled(node):
    """Reads nothing, ever."""
    async with Hostile.open(node, BAD[0]) as peer:
        peer.socket.transport.pause_reading()
        await asyncio.Event().wait()


async def flooding(node):
    """As many pings as the connection takes."""
    async with Hostile.open(node, BAD[1]) as peer:
        reading = asyncio.create_task(drain(peer))
        payload = Ping(1, 1, []).encode()
        try:
            while True:
                await peer.send(*(peer.message(MessageType.PING, payload) for _ in range(200)))
        finally:
            reading.cancel()


async def lying(node):
    """Always has something else, and when it is asked sends nothing of it; asks for everything all the time."""
    async with Hostile.open(node, BAD[2]) as peer:

        async def answer():
            while True:
                request = SyncRequest.decode((await peer.receive(MessageType.DB_SYNC_REQ)).payload)
                nothing = SyncResponse(request.request_id, request.space, [], True, True, [])
                await peer.send(peer.message(MessageType.DB_SYNC_RESP, nothing.encode()))

        answering = asyncio.create_task(answer())
        try:
            for number in range(10**9):
                digest = [SpaceDigest("main", os.urandom(16)), SpaceDigest("sys", os.urandom(16))]
                everything = SyncRequest(number, "main", [], 2**32 - 1, 0)
                await peer.send(
                    peer.message(MessageType.PING, Ping(number, 1, digest).encode()),
                    peer.message(MessageType.DB_SYNC_REQ, everything.encode()),
                )
                await asyncio.sleep(0.05)
        finally:
            answering.cancel()


async def drain(peer):
    while True:
        await peer.socket.recv()


async def for_ever(behave, node):
    while True:
        with contextlib.suppress(Exception):  # thrown out: it comes again
            await behave(node)
        await asyncio.sleep(0.5)


def be_bad(honest):
    """The process of the bad ones."""
    nodes = [SimpleNamespace(url=url, account=account) for url, account in honest]
    each = [for_ever(behave, node) for node in nodes for behave in (stalled, flooding, lying)]

    async def main():
        await asyncio.gather(*each)

    uvloop.run(main())


async def measured(directory, *, bad: bool) -> tuple[float, float, int]:
    """p50 and p99 in ms, and the largest resident size in bytes."""
    made = places(directory, HONEST, extra=BAD)
    async with AsyncExitStack() as stack:
        for place in made:
            process = await stack.enter_async_context(Process(place))
            await process.spawn()
            await process.ready()
        nodes = [await stack.enter_async_context(mycelium.connect(one.url, one.keypair)) for one in made]
        while min([len((await node.status())["peers"]) for node in nodes]) < HONEST - 1:
            await asyncio.sleep(0.05)
        if bad:
            honest = [(place.url, place.keypair.account) for place in made]
            worse = multiprocessing.get_context("spawn").Process(target=be_bad, args=(honest,), daemon=True)
            worse.start()
            stack.callback(worse.kill)
            while min([len((await node.status())["peers"]) for node in nodes]) < HONEST + 1:
                await asyncio.sleep(0.05)
            await asyncio.sleep(2)
        late_ms, peak = [], 0
        seen = [asyncio.create_task(watch(node, late_ms)) for node in nodes[1:]]
        await asyncio.sleep(0.5)
        scores = nodes[0].database.table("scores")
        for number in range(PUTS):
            await scores.put(f"k{number}", {"at": time.monotonic(), "pad": "x" * 900}, ack="applied")
            await asyncio.sleep(PUT_EVERY_S)
        await asyncio.wait_for(asyncio.gather(*seen), 60)
        peak = max([(await node.status())["resident_bytes"] for node in nodes])
    late_ms.sort()
    return late_ms[len(late_ms) // 2], late_ms[len(late_ms) * 99 // 100], peak


async def watch(node, late_ms):
    left = PUTS
    async for change in node.database.table("scores").watch(after=0):
        late_ms.append(1000 * (time.monotonic() - change.value["at"]))
        left -= 1
        if not left:
            return


def test_three_bad_among_eight(tmp_path):
    found = {False: [], True: []}
    for number in range(ROUNDS):
        for bad in found:
            found[bad].append(uvloop.run(measured(tmp_path / f"{number}{bad}", bad=bad)))
    middle = {}
    for bad, rounds in found.items():
        p50, p99, peak = middle[bad] = [statistics.median(one) for one in zip(*rounds, strict=True)]
        title = "beside three bad ones" if bad else "five honest nodes"
        print(f"\n{title}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, largest {peak / MIB:.0f} MiB", end="")
    ratio = middle[True][1] / middle[False][1]
    print(f"\n  p99 {ratio:.2f} times, {(middle[True][2] - middle[False][2]) / MIB:+.1f} MiB")
