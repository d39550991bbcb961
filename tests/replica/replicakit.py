"""Shared by the tests of replicas: a node whose feed is put into streams, and replicas of it. No assertions."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from jetstream.followkit import broker
from nodekit import NETWORK as NODES
from nodekit import Place, Spawned, places, settings, until

from mycelium.devnet.layout import free_ports
from mycelium.errors import FeedRewound
from mycelium.identity import account as accounts
from mycelium.identity.keys import Keypair
from mycelium.jetstream import layout, snapshots
from mycelium.jetstream.streams import look
from mycelium.node.node import Node
from mycelium.node.settings import Settings
from mycelium.replica.replica import Replica

NETWORK = layout.Network(NODES.netuid, NODES.genesis)


async def streams(client, spaces: Sequence[str] = ("main", "sys"), **config) -> None:
    for space in spaces:
        await client.jetstream().add_stream(
            name=NETWORK.stream(space), subjects=[NETWORK.subjects(space)], allow_direct=True, **config
        )


async def publish(client, batch, names: layout.Network = NETWORK) -> None:
    """Until it is in its stream."""
    subject = names.subject(batch.space, batch.account, batch.generation)
    headers = {layout.MESSAGE_ID: batch.id.hex(), layout.CURSOR: str(batch.cursor)}
    body = layout.body(batch.raw, batch.signature)
    while True:
        try:
            await client.jetstream().publish(subject, body, headers=headers, timeout=5)
            return
        except Exception:  # noqa: BLE001 - whatever it is: the server is away, or the stream
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def bridged(node: Node, client, after="start", names: layout.Network = NETWORK):
    """Everything that the node's feed gives goes into the streams, once."""

    async def pump() -> None:
        feed = node.feed(after=after)
        while True:
            try:
                async for batch in feed:
                    await publish(client, batch, names)
            except FeedRewound:
                continue

    task = asyncio.create_task(pump())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def replica_file(
    place: Place,
    name: str = "replica",
    *,
    clients: Sequence[Keypair] = (),
    nats: str = "",
    more: str = "",
    port: int | None = None,
) -> Path:
    """The configuration of a replica beside a node's: its own directory, the same network."""
    folder = place.directory.parent / name
    folder.mkdir(exist_ok=True)
    text = settings(place, listen=f"127.0.0.1:{free_ports(1)[0] if port is None else port}")
    text = text.replace('[identity]\nkey_file = "hotkey.json"\n', "[replica]\n")
    text = text.replace("members.toml", str(place.directory / "members.toml"))
    listed = json.dumps([accounts.format(pair.account) for pair in clients])
    text = text.replace("[auth]\n", f"[auth]\nclients = {listed}\n")
    if nats:
        text += f'[nats]\nurls = ["{nats}"]\naccept_unsynced = true\n'
    path = folder / "replica.toml"
    path.write_text(text + more)
    return path


@contextlib.asynccontextmanager
async def replica(path: Path, client):
    """A replica in this process, of the server that a test's own client is connected to."""
    async with (
        broker(client) as connections,
        Replica.open(Settings.load(path), connections) as found,
    ):
        yield found


async def equal(one: Replica, node: Node, seconds: float = 30) -> None:
    """Wait until the replica holds what the node does, in every space; AssertionError when it does not in time."""
    spaces = node.database.spaces

    def vectors(database) -> list[bytes]:
        return [database.engine.vector_digest(space) for space in spaces]

    await until(
        lambda: vectors(one.database) == vectors(node.database), "the replica lacks something", seconds
    )


class ReplicaProcess(Spawned):
    """A replica."""

    def __init__(self, config: Path) -> None:
        super().__init__()
        self.config = config

    async def start(self) -> dict:
        """What it says when it is ready."""
        await self.run("replica", "run", "--config", self.config)
        return await self.said()


async def snapshot(node: Node, client, space: str = "main", stream_seq: int | None = None, *, now_ms=None):
    """A snapshot of what the node holds, as a bridge makes one; it covers the stream up to now, or to `stream_seq`."""
    async with broker(client) as connections:
        session = await connections.ready()
        state = await look(session, NETWORK.stream(space))
        covers = state.last_seq if stream_seq is None else stream_seq
        export, proofs = node.signed_export(space), node.proofs(space)
        export.aclose = _nothing
        return await snapshots.make(
            session,
            NETWORK,
            export,
            proofs,
            state,
            covers,
            space,
            node.now_ms() if now_ms is None else now_ms,
            1,
        )


async def _nothing() -> None:
    """A node in this process has nothing to close."""


__all__ = [
    "NETWORK",
    "ReplicaProcess",
    "bridged",
    "equal",
    "places",
    "replica",
    "replica_file",
    "snapshot",
    "streams",
]
