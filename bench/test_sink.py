"""The PostgreSQL sink beside what one would write by hand: COPY into a staging table, then an upsert, with psycopg.

Both write the same rows into tables of the same columns, with the same changes in a transaction, in turns on one server
with fsync on. By hand the rows are ready Python tuples, and nothing else is done; the sink gets batches as signed, as
the feed of a node gives them, decodes them, keeps the last change of a key, and its position. Required: the sink at
least half as fast. Also noted: a fill from an export, and what a second of it costs in Python.

    python -m pytest bench/test_sink.py -s
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time

import clikit
import kit
import pgkit
import psycopg
import pytest
import uvloop

from mycelium._core.codec import encode_batch
from mycelium.config.sinks import SINK_FILL_ROWS, SINK_GROUP_CHANGES
from mycelium.database.value import value_bytes
from mycelium.devnet import layout
from mycelium.feed.batch import ExportRow, FeedBatch
from mycelium.feed.cursor import Cursor
from mycelium.identity import account as accounts
from mycelium.node.node import Node
from mycelium.protocol.messages import MergeType, Op
from mycelium.sinks.interface import Position
from mycelium.sinks.postgres.sink import PostgresSink

BATCH = 512
ROWS = 200_000
KEYS = 100_000
"""Each row is written twice on average: half are inserts, half updates."""
ROUNDS = 3
COLUMNS = "key, miner, score, tempo, note, _rest, _hlc, _account, _generation, _seq, _feed"
TYPES = (
    'key text COLLATE "C", miner text, score float8, tempo bigint, note text, _rest jsonb, _hlc bigint, '
    "_account text, _generation text, _seq bigint, _feed bigint"
)
WHO = kit.keypair("writer").account


@pytest.fixture(scope="module")
def pg():
    with pgkit.Server.running(fsync=True, settings="shared_buffers = 512MB\nmax_wal_size = 8GB") as server:
        yield server


def values():
    """(key, value) of each change."""
    for number in range(ROWS):
        key = f"miner-{number * 7919 % KEYS:08d}"
        yield (
            key,
            {
                "miner": f"5F{number % 256:046d}",
                "score": number / 7,
                "tempo": number,
                "note": "n" * (number % 60),
            },
        )


def feed_batches() -> list[FeedBatch]:
    """The changes as signed batches of 512, each the feed's."""
    found = []
    changes = [(0, int(Op.PUT), key.encode(), value_bytes(value)) for key, value in values()]
    for at in range(0, ROWS, BATCH):
        part = changes[at : at + BATCH]
        fields = (7, kit.GENESIS, "main", WHO, 1, at + 1, bytes(32), 1, 1, (1_700_000_000_000 << 16) + at)
        raw = encode_batch(*fields, [("scores", int(MergeType.LWW))], part)
        found.append((raw, b"\xff" * ((len(part) + 7) // 8)))
    newest = len(found)
    return [
        FeedBatch.whole(Cursor(1, index), newest, raw, bytes(64), winners)
        for index, (raw, winners) in enumerate(found, 1)
    ]


def groups():
    size = SINK_GROUP_CHANGES // BATCH * BATCH
    return range(0, ROWS, size), size


def ready_rows() -> list[tuple]:
    """The rows by hand, with every column that the sink writes."""
    name = accounts.format(WHO)
    return [
        (
            key,
            *value.values(),
            None,
            (1_700_000_000_000 << 16) + at,
            name,
            f"{1:016x}",
            at + 1,
            at // BATCH + 1,
        )
        for at, (key, value) in enumerate(values())
    ]


def by_hand(dsn: str, rows: list[tuple]) -> float:
    """Seconds for all of them."""
    sets = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS.split(", ")[1:])
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE hand ({TYPES}, _time timestamptz, PRIMARY KEY (key))")
        connection.execute(f"CREATE TEMPORARY TABLE stage ({TYPES}) ON COMMIT DELETE ROWS")
        began_s = time.perf_counter()
        starts, size = groups()
        for at in starts:
            with connection.transaction(), connection.cursor() as cursor:
                # An upsert refuses to meet a key twice.
                last = {row[0]: row for row in rows[at : at + size]}
                with cursor.copy(f"COPY stage ({COLUMNS}) FROM STDIN") as copy:
                    for row in last.values():
                        copy.write_row(row)
                cursor.execute(
                    f"INSERT INTO hand AS t ({COLUMNS}, _time) SELECT {COLUMNS}, to_timestamp((_hlc >> 16) / 1000.0) "
                    f"FROM stage ON CONFLICT (key) DO UPDATE SET {sets}, _time = excluded._time"
                )
        return time.perf_counter() - began_s


async def by_sink(dsn: str, batches: list[FeedBatch]) -> float:
    """Seconds for all of them, by what a runner calls."""
    sink = PostgresSink(dsn)
    await sink.open()
    await sink.begin(None, Cursor(1, 0))
    await sink.finish(Position(Cursor(1, 0)))
    began_s = time.perf_counter()
    size = SINK_GROUP_CHANGES // BATCH
    applying = None
    for at in range(0, len(batches), size):
        group = batches[at : at + size]
        prepared = await sink.prepare(group)
        if applying is not None:
            await applying
        applying = asyncio.create_task(sink.apply(prepared, Position(group[-1].cursor)))
    await applying
    took_s = time.perf_counter() - began_s
    await sink.close()
    return took_s


def test_against_copy_and_upsert_by_hand(pg):
    rows = ready_rows()
    took: dict[str, list[float]] = {"hand": [], "sink": []}
    for _ in range(ROUNDS):
        took["hand"].append(by_hand(pg.database(), rows))
        dsn = pg.database()
        took["sink"].append(uvloop.run(by_sink(dsn, feed_batches())))
        with psycopg.connect(dsn) as connection:
            first = connection.execute(
                "SELECT score, tempo FROM mycelium_main.scores WHERE tempo = %s", (ROWS - 1,)
            )
            assert first.fetchone() == ((ROWS - 1) / 7, ROWS - 1)
    hand, sink = (statistics.median(took[name]) for name in ("hand", "sink"))
    print(
        f"\nby hand {ROWS / hand:,.0f} rows/s, sink {ROWS / sink:,.0f} rows/s: {hand / sink:.2f} "
        f"(each round: {', '.join(f'{a / b:.2f}' for a, b in zip(took['hand'], took['sink'], strict=True))})"
    )


async def filling(dsn: str, rows: list[ExportRow]) -> float:
    sink = PostgresSink(dsn)
    await sink.open()
    began_s = time.perf_counter()
    await sink.begin(None, Cursor(1, 1))
    for at in range(0, len(rows), SINK_FILL_ROWS):
        await sink.fill(rows[at : at + SINK_FILL_ROWS])
    await sink.finish(Position(Cursor(1, 1)))
    took_s = time.perf_counter() - began_s
    await sink.close()
    return took_s


def test_a_fill(pg):
    last = dict(values())
    rows = [
        ExportRow("main", "scores", MergeType.LWW, key.encode(), b"", value_bytes(value), 1 << 40, WHO, 1, at)
        for at, (key, value) in enumerate(sorted(last.items()))
    ]
    dsn = pg.database()
    first_s = uvloop.run(filling(dsn, rows))
    again_s = uvloop.run(filling(dsn, rows))
    print(
        f"\na fill of {len(rows):,} rows: {len(rows) / first_s:,.0f} rows/s, over itself {len(rows) / again_s:,.0f}"
    )


def test_one_change_when_idle(pg):
    """From a batch of one change to its commit."""

    async def main():
        sink = PostgresSink(pg.database())
        await sink.open()
        await sink.begin(None, Cursor(1, 0))
        await sink.finish(Position(Cursor(1, 0)))
        took = []
        for index in range(1, 200):
            raw = encode_batch(
                *(7, kit.GENESIS, "main", WHO, 1, index, bytes(32), 1, 1, (1 << 56) + index),
                [("scores", int(MergeType.LWW))],
                [(0, int(Op.PUT), os.urandom(8).hex().encode(), value_bytes({"score": 0.5}))],
            )
            batch = FeedBatch.whole(Cursor(1, index), index, raw, bytes(64), b"\x01")
            began_s = time.perf_counter()
            await sink.apply(await sink.prepare([batch]), Position(batch.cursor))
            took.append(time.perf_counter() - began_s)
            await asyncio.sleep(0)
        await sink.close()
        return took

    took = sorted(uvloop.run(main()))
    print(f"\none change to its commit: median {took[100] * 1000:.1f} ms, p99 {took[196] * 1000:.1f} ms")


def test_behind_a_node(pg, tmp_path):
    """`mycelium sink postgres` as a process: a node's rows, then a backlog of its feed, over a sealed session.

    The node, the sink and PostgreSQL share the cores.
    """
    (place,) = layout.prepare(tmp_path, 1)
    dsn = pg.database()
    command = clikit.command("sink", "postgres", "--dsn", dsn, "--config", place.config, "--json")

    async def write(node, first: int) -> None:
        for at in range(first, first + ROWS // 2, BATCH):
            async with node.database.batch(ack="applied") as batch:
                for number in range(at, at + BATCH):
                    batch.put("records", f"r{number}", {"score": number / 7, "tempo": number})
        await node.database.table("records").put("last", {"score": 0.5}, ack="durable")

    def count() -> int:
        with psycopg.connect(dsn) as connection:
            if connection.execute("SELECT to_regclass('mycelium_main.records')").fetchone() == (None,):
                return 0
            return connection.execute("SELECT count(*) FROM mycelium_main.records").fetchone()[0]

    async def sunk(rows: int) -> float:
        began_s = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, env=clikit.environment()
        )
        try:
            while await asyncio.to_thread(count) < rows:
                await asyncio.sleep(0.05)
            return time.perf_counter() - began_s
        finally:
            process.kill()
            await process.wait()

    async def main():
        async with Node.open(place.config) as node:
            await write(node, 0)
            half = (ROWS // 2 + BATCH - 1) // BATCH * BATCH
            filled_s = await sunk(half + 1)
            await write(node, half)
            return half, filled_s, await sunk(2 * half + 1)

    half, filled_s, followed_s = uvloop.run(main())
    print(
        f"\nbehind a node, from the start of the process: fill {half / filled_s:,.0f} rows/s, "
        f"backlog {half / followed_s:,.0f} rows/s"
    )
