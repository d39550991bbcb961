"""Writes to the store of one node, by acknowledgement, beside RocksDB alone.

`batch` is an explicit batch of 512 changes of 200 bytes: encoded, signed, merged, logged and put. `RocksDB alone` puts
rows of the same keys and sizes in batches of 512, without log, signature, vector or feed: the floor.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil

import pytest
import uvloop
from rocksdict import Options, Rdict, WriteBatch

from mycelium.devnet import layout
from mycelium.node.node import Node

BATCH = 512
BATCHES = 100
VALUE = os.urandom(200)


@pytest.fixture
def directory(tmp_path):
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


def keys(batch: int) -> list[str]:
    rng = random.Random(batch)
    return [f"{rng.getrandbits(64):016x}" for _ in range(BATCH)]


def note(benchmark, changes: int) -> None:
    benchmark.extra_info["changes/s"] = round(changes / benchmark.stats.stats.min)


@pytest.mark.parametrize("sync", [False, True], ids=["no sync", "synced"])
def test_rocksdb_alone(benchmark, directory, sync):
    database = Rdict(str(directory / "db"), Options(raw_mode=True))
    rows = [
        [(b"main\0records\0\0" + key.encode(), bytes(57) + VALUE) for key in keys(n)] for n in range(BATCHES)
    ]

    def write() -> None:
        for some in rows:
            batch = WriteBatch(raw_mode=True)
            for key, value in some:
                batch.put(key, value)
            database.write(batch)
            if sync:
                database.flush_wal(True)

    benchmark.pedantic(write, rounds=3)
    note(benchmark, BATCH * BATCHES)
    database.close()


def timed(benchmark, directory, write) -> None:
    """Run `write(database)` three times against one node."""
    (place,) = layout.prepare(directory, 1)
    loop = uvloop.new_event_loop()
    opened = Node.open(place.config)
    node = loop.run_until_complete(opened.__aenter__())
    try:
        benchmark.pedantic(lambda: loop.run_until_complete(write(node.database)), rounds=3)
    finally:
        loop.run_until_complete(opened.__aexit__(None, None, None))
        loop.close()


@pytest.mark.parametrize("under_way", [1, 8])
@pytest.mark.parametrize("ack", ["applied", "durable"])
def test_batches(benchmark, directory, ack, under_way):
    names = [keys(n) for n in range(BATCHES)]

    async def write(database) -> None:
        slots = asyncio.Semaphore(under_way)

        async def one(number: int) -> None:
            async with slots, database.batch(ack=ack) as batch:
                for key in names[number]:
                    batch.put("records", key, VALUE)

        await asyncio.gather(*(one(number) for number in range(BATCHES)))

    timed(benchmark, directory, write)
    note(benchmark, BATCH * BATCHES)


@pytest.mark.parametrize("ack", ["applied", "durable"])
@pytest.mark.parametrize("writers", [1, 256])
def test_single_puts(benchmark, directory, writers, ack):
    """Each writer waits for its put before the next: with one writer this is the latency."""
    each = 5_000 // writers if writers > 1 else 50

    async def write(database) -> None:
        table = database.table("records")

        async def one(number: int) -> None:
            for turn in range(each):
                await table.put(f"{number}-{turn}", VALUE, ack=ack)

        await asyncio.gather(*(one(number) for number in range(writers)))

    timed(benchmark, directory, write)
    note(benchmark, each * writers)


def test_random_gets(benchmark, directory):
    names = [key for n in range(BATCHES) for key in keys(n)]
    random.Random(1).shuffle(names)

    async def fill(database) -> None:
        for n in range(BATCHES):
            async with database.batch(ack="applied") as batch:
                for key in keys(n):
                    batch.put("records", key, VALUE)

    async def read(database) -> None:
        if await database.table("records").get(names[0]) is None:
            await fill(database)
        table = database.table("records")
        for key in names[:10_000]:
            await table.get(key)

    timed(benchmark, directory, read)
    benchmark.extra_info["gets/s"] = round(10_000 / benchmark.stats.stats.min)
