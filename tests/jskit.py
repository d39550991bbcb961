"""Shared by the tests of what speaks to NATS: settings for a test's servers, and short ways to ask them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

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
