"""A fleet's members on a real nats-server: the whole runtime, with a follower and a store that are lists."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack

from blake3 import blake3
from jskit import NETWORK, ORIGIN, settings

from mycelium.errors import BrokerError
from mycelium.fleet import events
from mycelium.fleet.bucket import Bucket
from mycelium.fleet.leases import Leases
from mycelium.fleet.origin import Origins
from mycelium.fleet.parts import Self
from mycelium.fleet.placement import Placement
from mycelium.jetstream import layout, streams
from mycelium.jetstream.client import Broker

SPACE = "main"
LEASE_MS = 600


def token():
    return secrets.token_hex(8)


def batch(text):
    """A batch that is none: raw, signature, id. Nothing here looks into it."""
    raw = text.encode()
    return raw, bytes(64), blake3(raw).digest()


class Member:
    """One process of a fleet, in this one. `async with`; `kill` ends it as SIGKILL would."""

    def __init__(self, nats, name, generation, *, slots=4, lease_ms=LEASE_MS, position=0):
        self.settings = settings(nats)
        self.name = name
        self.told = []
        self.position = position
        self.left_event = asyncio.Event()
        self.broker = Broker(self.settings, name)
        me = Self(name, generation, token(), f"ws://{name}", {SPACE: slots}, lease_ms=lease_ms)
        self.placement = Placement(me, token)
        bucket = Bucket(NETWORK.fleet(ORIGIN), 1, check=streams.check_kept)
        self.leases = Leases(self.broker, bucket, self.placement, self)
        self.origins = Origins(
            self.broker, NETWORK, ORIGIN, generation, me.incarnation, self.ensure, self.leases.tell
        )
        self.stack = AsyncExitStack()
        self.tasks = []

    async def ensure(self, session, space):
        return await streams.ensure(session, NETWORK, space, self.settings)

    async def __aenter__(self):
        await self.stack.enter_async_context(self.broker)
        self.tasks = [asyncio.create_task(self.leases.run(self.origins)), asyncio.create_task(self.follow())]
        return self

    async def __aexit__(self, *error):
        await self.kill()

    async def kill(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.stack.aclose()

    # --- what a node is told ----------------------------------------------------------------------------

    def serve(self, space, slot):
        self.told.append(("serve", slot))

    def drain(self, space, slot, ticket, to):
        self.told.append(("drain", slot, to))
        self.leases.tell(events.Drained(space, slot, ticket, self.origins.last(space)))

    def stop(self, space, slot, why):
        self.told.append(("stop", slot, why))

    def changed(self):
        pass

    def left(self):
        self.left_event.set()

    # --- what a node does -------------------------------------------------------------------------------

    async def follow(self):
        """Read the stream one by one. Another stream is read from its start."""
        name, stream = NETWORK.stream(SPACE), ""
        while True:
            now = self.origins.stream(SPACE)
            if now != stream and stream:
                self.position = 0
            stream = now
            if not stream:
                await asyncio.sleep(0.01)
                continue
            try:
                session = await self.broker.ready()
                wanted = {"seq": self.position + 1, "next_by_subj": ">"}
                answer = await session.api(f"STREAM.MSG.GET.{name}", wanted)
            except BrokerError:
                await asyncio.sleep(0.01)
                continue
            self.position = answer["message"]["seq"]
            self.leases.tell(events.Applied(SPACE, self.position, stream))

    def serving(self):
        return [slot for space, slot in self.placement.serving() if self.leases.serves(space, slot)]

    async def publish(self, text):
        return await self.origins.publish(SPACE, *batch(text))


async def messages(session, space=SPACE):
    """Every message of a stream: (sequence, kind, message id, body)."""
    found, seq = [], 0
    while True:
        try:
            one = await session.js.get_msg(NETWORK.stream(space), seq=seq + 1, subject=">", next=True)
        except Exception as error:
            if type(error).__name__ == "NotFoundError":
                return found
            raise
        seq = one.seq
        headers = one.headers or {}
        found.append((seq, headers.get(layout.KIND, ""), headers.get(layout.MESSAGE_ID, ""), one.data or b""))
