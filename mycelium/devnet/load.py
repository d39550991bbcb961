"""Records for a local network: written by batches through the API, and how long one takes to be seen elsewhere.

Latency is measured by one clock, in this process: from before a `put` at one node to when another node's watch
shows the change, durable there. Two calls and a flush to two disks are in it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mycelium.node.remote import RemoteNode
from mycelium.node.remotewatch import RemoteWatch

TABLE: Final = "records"
PROBE: Final = "probe/"
BATCH_RECORDS: Final = 512
BATCHES_IN_FLIGHT: Final = 4
VALUE_BYTES: Final = 200
_SEEN_S: Final = 10.0
_PACE_S: Final = 0.25
"""A paced load writes about this often."""


@dataclass(slots=True)
class Loaded:
    """What a load did. `seconds` until the last batch was acknowledged."""

    records: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Records per second at the node that was written to."""
        return self.records / self.seconds if self.seconds else 0.0


@dataclass(slots=True)
class Latency:
    """Milliseconds from a put to its being seen at another node; `lost` were not seen within 10 s."""

    samples_ms: list[float] = field(default_factory=list)
    lost: int = 0

    def percentile(self, share: float) -> float:
        """The sample that `share` (0 to 1) of all are not above; 0 without samples."""
        ordered = sorted(self.samples_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def value(number: int, rng: random.Random) -> dict[str, Any]:
    """A record of about VALUE_BYTES, in the shape of what validators share."""
    proof = rng.randbytes(VALUE_BYTES - 40)
    return {"uid": number % 256, "score": round(rng.random(), 6), "epoch": number // 360, "proof": proof}


async def write_records(
    node: RemoteNode,
    prefix: str,
    count: int,
    *,
    rate: float | None = None,
    batch_records: int = BATCH_RECORDS,
    ack: str | int = "durable",
    done: Loaded | None = None,
    stop: asyncio.Event | None = None,
) -> Loaded:
    """Write `count` records with keys PREFIX/0, PREFIX/1... by batches; `rate` is records per second at most.

    `done` counts what is acknowledged, as it is. Once `stop` is set no further batch is begun. An error of a batch
    ends it all.
    """
    rng = random.Random(prefix)  # noqa: S311 - test data
    done = Loaded() if done is None else done
    began_s = time.perf_counter()
    free = asyncio.Semaphore(BATCHES_IN_FLIGHT)

    async def write(first: int, last: int) -> None:
        try:
            async with node.database.batch(ack=ack) as batch:
                for number in range(first, last):
                    batch.put(TABLE, f"{prefix}/{number:08d}", value(number, rng))
        finally:
            free.release()
        done.records += last - first
        done.seconds = time.perf_counter() - began_s

    batch_records = min(batch_records, max(1, int(rate * _PACE_S))) if rate else batch_records
    try:
        async with asyncio.TaskGroup() as tasks:
            for first in range(0, count, batch_records):
                if rate:
                    await asyncio.sleep(max(0.0, began_s + first / rate - time.perf_counter()))
                await free.acquire()
                if stop is not None and stop.is_set():
                    return done
                tasks.create_task(write(first, min(count, first + batch_records)))
    except ExceptionGroup as group:
        # The batches failed together, for one reason; that is what the caller should read.
        raise group.exceptions[0] from None
    return done


async def measure_latency(writer: RemoteNode, readers: Sequence[RemoteNode], probes: int) -> Latency:
    """Put `probes` records at `writer`, one after the other, and time when each reader's watch shows them."""
    latency = Latency()
    marker = f"{PROBE}{time.time_ns():x}/"
    watches = [reader.database.table(TABLE).watch(prefix=marker) for reader in readers]
    try:
        for watch in watches:
            await watch.start()
        table = writer.database.table(TABLE)
        for number in range(probes):
            key = f"{marker}{number}"
            began_s = time.perf_counter()
            seen = [asyncio.ensure_future(_seen(watch, key)) for watch in watches]
            await table.put(key, {"probe": number}, ack="applied")
            for arrival in await asyncio.gather(*seen):
                if arrival is None:
                    latency.lost += 1
                else:
                    latency.samples_ms.append((arrival - began_s) * 1000)
    finally:
        for watch in watches:
            await watch.aclose()
    return latency


async def _seen(watch: RemoteWatch, key: str) -> float | None:
    """When the watch showed `key`; None if it did not within 10 s. Earlier probes that come late are skipped."""
    try:
        async with asyncio.timeout(_SEEN_S):
            async for change in watch:
                if change.key == key:
                    return time.perf_counter()
    except TimeoutError:
        return None
    return None
