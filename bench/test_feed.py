"""Reading a node's feed of a million changes, in its process and from another one, and exports of what they left.

Against the plain walk along the log in RocksDB that every reader needs at least. Batches of 512 changes of 200 bytes on
a real node; the other process is a session on loopback, and shares two cores with the node. No target is set by itself:
bridges and replicas must move 100,000 changes a second, and this is what they read from.

    python -m pytest bench/test_feed.py -s
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

import uvloop

from mycelium.database.store import Column
from mycelium.devnet import layout
from mycelium.node.node import Node

BATCH, BATCHES = 512, 2_000
KEYS = 200_000
READER = """
import sys, time, uvloop, mycelium
import mycelium
from mycelium.identity import wallet

async def main(url, key_file, wanted):
    async with mycelium.connect(url, wallet.load_file(key_file)) as node:
        feed = node.feed("start", ["main"])
        await feed.start()
        began = time.perf_counter()
        changes = 0
        while changes < wanted:
            changes += (await anext(feed)).count
        fed = time.perf_counter() - began
        export = node.export(["main"])
        began = time.perf_counter()
        rows = 0
        async for page in export.pages():
            rows += len(page)
        exported = time.perf_counter() - began
        await feed.aclose()
    print(changes / fed, rows / exported)

uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


async def fill(node: Node) -> None:
    values = [os.urandom(200) for _ in range(BATCH)]
    for number in range(BATCHES):
        async with node.database.batch(ack="applied") as batch:
            for row, value in enumerate(values):
                batch.put("records", f"{(number * BATCH + row) % KEYS}", value)
    await node.database.table("records").put("last", b"x")


async def measured(directory) -> dict[str, float]:
    """Changes (or rows) a second of each way of reading."""
    (place,) = layout.prepare(directory, 1)
    found = {}
    async with Node.open(place.config) as node:
        await fill(node)
        total = BATCH * BATCHES + 1
        began = time.perf_counter()
        assert sum(1 for _ in node.database.store.scan(Column.LOG, b"", None)) >= BATCHES
        found["the log, walked"] = total / (time.perf_counter() - began)
        feed, changes = node.feed("start", ["main"]), 0
        began = time.perf_counter()
        while changes < total:
            changes += (await anext(feed)).count
        found["feed, same process"] = total / (time.perf_counter() - began)
        feed, changes = node.feed("start", ["main"]), 0
        began = time.perf_counter()
        while changes < total:
            changes += len((await anext(feed)).changes)
        found["feed, each change read"] = total / (time.perf_counter() - began)
        began, rows = time.perf_counter(), 0
        async for page in node.export(["main"]).pages():
            rows += len(page)
        found["export, same process"] = rows / (time.perf_counter() - began)
        reader = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", READER, node.url, str(place.directory / "hotkey.json"), str(total)),
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await reader.communicate()
        fed, exported = map(float, told.split())
        found["feed, over a session"], found["export, over a session"] = fed, exported
    return found


def test_reading_a_million_changes(tmp_path):
    found = uvloop.run(measured(tmp_path))
    print()
    for what, rate in found.items():
        print(f"{what:26} {rate:12,.0f} a second")
    assert found["feed, over a session"] > 0
