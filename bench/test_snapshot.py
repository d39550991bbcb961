"""A node that joins at a million live records, each overwritten twice since: by the log, and by a snapshot.

The writer is this process; the node that joins by the log, and then serves as well, and the one that joins by a
snapshot from both are processes of their own. Batches of 512 changes of 200 bytes; each round overwrites every key, in
another order of batches. Real sockets, every batch verified, merged and synced.

    python -m pytest bench/test_snapshot.py -s
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

import uvloop

from mycelium.devnet import layout
from mycelium.devnet.process import NodeProcess
from mycelium.node.node import Node

BATCH, BLOCKS, ROUNDS = 512, 1_954, 3
LIMIT_S = 240


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def directory_bytes(path: Path) -> int:
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())


async def written(node: Node) -> int:
    values = [os.urandom(200) for _ in range(BATCH)]
    rng = random.Random(1)
    for _ in range(ROUNDS):
        for block in rng.sample(range(BLOCKS), BLOCKS):
            async with node.database.batch(ack="applied") as batch:
                for row, value in enumerate(values):
                    batch.put("records", f"{block}.{row}", value)
    await node.database.table("records").put("last", b"x", ack="durable")
    return node.database.engine.own_head("main")


async def joined(node: Node, process: NodeProcess, account: bytes, head: int) -> float:
    """Seconds from the session to the last change durable there."""
    await process.start()
    while account not in {link.account for link in node.replicator.members()}:
        await asyncio.sleep(0.005)
    met_s = time.monotonic()
    while node.database.acks.heads("main").get(account, 0) < head:
        await asyncio.sleep(0.01)
        assert time.monotonic() - met_s < LIMIT_S
    return time.monotonic() - met_s


async def both(directory: Path) -> None:
    origin, by_log, by_snapshot = layout.prepare(directory, 3)
    with by_log.config.open("a") as config:
        config.write("\n[store]\nsnapshot_lack = 0\n")
    async with Node.open(origin.config) as node:
        head = await written(node)
        print(f"\n{head:,} changes, {BATCH * BLOCKS:,} live records")
        first, second = NodeProcess(by_log), NodeProcess(by_snapshot)
        try:
            used_s, sent = time.process_time(), node.metrics.sent_bytes
            log_s = await joined(node, first, by_log.keypair.account, head)
            log_cpu_s, log_bytes = time.process_time() - used_s, node.metrics.sent_bytes - sent
            print(f"by the log: {log_s:.1f} s, its server {log_cpu_s:.1f} s of CPU, {log_bytes >> 20} MiB")
            await asyncio.sleep(2)
            used_s, sent = time.process_time() + cpu_s(first.pid), node.metrics.sent_bytes
            snapshot_s = await joined(node, second, by_snapshot.keypair.account, head)
            cpu = time.process_time() + cpu_s(first.pid) - used_s
            served = dict(node.snapshotserving.counts)
            print(f"by a snapshot: {snapshot_s:.1f} s, its two servers {cpu:.1f} s of CPU; one gave {served}")
            print(f"ratios: time {log_s / snapshot_s:.2f}, CPU {log_cpu_s / cpu:.2f}")
            sizes = [directory_bytes(one.data_dir) >> 20 for one in (by_log, by_snapshot)]
            print(f"on disk: {sizes[0]} and {sizes[1]} MiB")
            assert served["pages"] > 0
        finally:
            await first.stop()
            await second.stop()


def test_joining_by_the_log_and_by_a_snapshot(tmp_path):
    uvloop.run(both(tmp_path))
