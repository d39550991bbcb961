"""Shared by the tests of following: streams on a real server, messages in them, a follower of one. No assertions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import kit
import nats
from nodekit import until

from mycelium.database.engine import Applied, Engine
from mycelium.jetstream import layout
from mycelium.jetstream.client import Broker
from mycelium.jetstream.following import Follower
from mycelium.jetstream.intake import Intake
from mycelium.jetstream.layout import Network
from mycelium.node.nats_settings import NatsSettings

NOW_MS = kit.NOW_MS
NETWORK = Network(kit.NETUID, kit.GENESIS)
STREAM = NETWORK.stream("main")


def subject(one: Applied) -> str:
    return NETWORK.subject(one.batch.space, one.batch.account, one.batch.generation)


async def stream(client, space: str = "main", **config) -> None:
    await client.jetstream().add_stream(
        name=NETWORK.stream(space), subjects=[NETWORK.subjects(space)], allow_direct=True, **config
    )


async def publish(client, batches: Sequence[Applied]) -> int:
    """Put batches into their streams; the sequence of the last."""
    jetstream = client.jetstream()
    acks = await asyncio.gather(
        *(
            jetstream.publish(
                subject(one),
                layout.body(one.batch.raw, one.signature),
                headers={layout.MESSAGE_ID: f"{one.batch.account.hex()[:8]}-{one.batch.seq_first}"},
            )
            for one in batches
        )
    )
    return max((ack.seq for ack in acks), default=0)


async def put(client, body: bytes, name: str = "aa.01", headers=None, space: str = "main") -> int:
    """Any message."""
    target = f"{NETWORK.subjects(space)[:-1]}{name}"
    return (await client.jetstream().publish(target, body, headers=headers)).seq


def written(author: Engine, count: int, key: str = "k") -> list[Applied]:
    return [kit.write(author, kit.put(f"{key}{number}")) for number in range(count)]


def broker(client) -> Broker:
    """Of the server that a test's own client is connected to."""
    return Broker(NatsSettings(urls=(client.connected_url.geturl(),)), "test", environ={})


@contextlib.asynccontextmanager
async def connected(url: str):
    async def silent(error: Exception) -> None:
        del error

    client = await nats.connect(
        url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=silent, allow_reconnect=True
    )
    try:
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def following(client, engine: Engine, **more):
    """A follower of `main` that runs."""
    connections = more.pop("connections", None) or broker(client)
    async with connections:
        intake = Intake(engine, "main")
        follower = Follower(connections, STREAM, intake, engine._store, lambda: NOW_MS, **more)
        task = asyncio.create_task(follower.run())
        try:
            yield follower
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def same(reader: Engine, author: Engine, space: str = "main", seconds: float = 20) -> None:
    """Wait until one holds what the other does."""
    await until(
        lambda: reader.vector_digest(space) == author.vector_digest(space),
        "the reader lacks something",
        seconds,
    )
