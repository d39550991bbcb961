"""Shared by the tests of what speaks to NATS: settings for a test's servers, and short ways to ask them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

from mycelium.jetstream import layout, streams
from mycelium.jetstream.client import Broker
from mycelium.jetstream.layout import Network
from mycelium.node.nats_settings import NatsSettings

NETWORK = Network(7, bytes(range(32)))
ORIGIN = bytes.fromhex("aa" * 32)


def settings(nats, **changed) -> NatsSettings:
    return replace(NatsSettings(urls=tuple(nats.urls), monitors=tuple(nats.monitors)), **changed)


@asynccontextmanager
async def connected(nats, **changed):
    async with Broker(settings(nats, **changed), "test") as broker:
        yield await broker.ready(10)


async def until(condition, seconds: float = 20.0, every: float = 0.02):
    """Wait for what no event tells."""
    async with asyncio.timeout(seconds):
        while not (found := condition()):
            await asyncio.sleep(every)
    return found


class Stored:
    """What is in a stream: batches in its order, and the ids and cursors they came with."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes, bytes]] = []
        self.ids: list[str] = []
        self.cursors: list[str] = []
        self.subjects: list[str] = []
        self.sequences: list[int] = []


async def stored(nats, network, space: str) -> Stored:
    """Read a stream from its first message to its last."""
    found = Stored()
    async with connected(nats) as session:
        state = await streams.look(session, network.stream(space))
        for sequence in range(state.first_seq, state.last_seq + 1):
            message = await session.js.get_msg(state.name, sequence)
            found.records.append(layout.parse(message.data))
            found.ids.append(message.headers[layout.MESSAGE_ID])
            found.cursors.append(message.headers[layout.CURSOR])
            found.subjects.append(message.subject)
            found.sequences.append(sequence)
    return found
