"""Shared by the tests of calls: a service whose doings can be watched, and two nodes that use it."""

from __future__ import annotations

import asyncio

from peer.linkkit import Node, local

from mycelium._core import fanout
from mycelium.errors import UnknownTable
from mycelium.peer.caller import Caller
from mycelium.peer.callserver import CallServer


class Service:
    """Handlers whose doings a test can watch."""

    def __init__(self):
        self.started = 0
        self.cancelled = 0
        self.produced = 0
        self.gate = asyncio.Event()

    async def echo(self, link, body):
        return body

    async def wait(self, link, body):
        self.started += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return b"done"

    async def refuse(self, link, body):
        raise UnknownTable("no table 'scores' is declared")

    async def fail(self, link, body):
        raise ZeroDivisionError("a secret detail")

    async def large(self, link, body):
        return bytes(int(body))

    async def count(self, link, body):
        for number in range(int(body)):
            self.produced += 1
            yield number.to_bytes(4, "big")

    async def endless(self, link, body):
        try:
            while True:
                self.produced += 1
                yield bytes(int(body))
                await asyncio.sleep(0)
        finally:
            self.cancelled += 1

    async def some_then_refuse(self, link, body):
        yield b"one"
        raise UnknownTable("gone")

    async def some_then_fail(self, link, body):
        yield b"one"
        raise ZeroDivisionError("a secret detail")

    def handlers(self):
        return {name: getattr(self, name) for name in ("echo", "wait", "refuse", "fail", "large")}

    def streams(self):
        names = ("count", "endless", "some_then_refuse", "some_then_fail")
        return {name: getattr(self, name) for name in names}


class World:
    """Alice serves, Bob calls."""

    def __init__(self, encodings=(2, 1), **options):
        self.service = Service()
        self.server = CallServer(self.service.handlers(), self.service.streams(), **options)
        self.alice = Node(local("//Alice", role="client"), on_message=self._serve)
        self.bob = Node(local("//Bob", encodings=encodings), server=False, on_message=self._answer)

    def _serve(self, link, message, size):
        self.server.receive(link, message)

    def _answer(self, link, message, size):
        self.caller.receive(message)

    async def __aenter__(self):
        await self.alice.__aenter__()
        self.link = await self.bob.dial(self.alice, as_client=True)
        self.caller = Caller(self.link)
        self.theirs = await self.alice.opened.get()
        return self

    async def __aexit__(self, *exc):
        await self.server.close()
        await self.bob.hub.close()
        await self.alice.__aexit__(*exc)

    def send(self, type, call):
        assert self.link.post(type, call.encode(), fanout.REPAIR)
