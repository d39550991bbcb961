"""Calls by those who do not keep to the rules: each costs its caller or server the link, or nothing."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from peer.linkkit import Node, local, run, until

from mycelium._core import fanout
from mycelium.errors import (
    MalformedMessage,
    UnknownTable,
)
from mycelium.peer.call import CANCEL, CREDIT, ITEM, OK, Caller, CallServer
from mycelium.protocol.messages import Call, MessageType

REQUEST, RESPONSE, STREAM = MessageType.REQUEST, MessageType.RESPONSE, MessageType.STREAM


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


# --- those who do not keep to it --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type", "call"),
    [
        (STREAM, Call(1, "", ITEM, 0, False, b"an item nobody asked for")),
        (STREAM, Call(1, "", 9, 0, False, b"")),
    ],
)
def test_a_caller_that_breaks_the_rules_is_closed(type, call):
    async def main():
        async with World() as world:
            world.send(type, call)
            assert isinstance(await world.link.closed, MalformedMessage)

    run(main())


def test_an_id_used_twice_at_once_closes_the_link():
    async def main():
        async with World() as world:
            for _ in range(2):
                world.send(REQUEST, Call(5, "wait", 0, 0, False, b""))
            assert isinstance(await world.link.closed, MalformedMessage)
            await until(lambda: world.service.cancelled == world.service.started)

    run(main())


def test_credit_and_cancel_for_what_ended_are_ignored():
    async def main():
        async with World() as world:
            world.send(STREAM, Call(5, "", CANCEL, 0, False, b""))
            world.send(STREAM, Call(5, "", CREDIT, 2**63, False, b""))
            assert await world.caller.call("echo", b"x") == b"x"

    run(main())


@pytest.mark.parametrize("flaw", ["gap", "beyond credit"])
def test_a_server_that_breaks_the_rules_is_closed(flaw):
    async def main():
        async with World() as world:
            stream = asyncio.create_task(anext(world.caller.stream("count", b"1000000")))
            await stream
            (incoming,) = world.caller._streams.values()
            if flaw == "gap":
                item = Call(1, "", ITEM, 10**9, False, b"")
            else:
                incoming.granted_bytes = 0
                item = Call(1, "", ITEM, incoming._sequence, False, b"")
            await world.server.close()
            world.theirs.post(STREAM, item.encode(), fanout.BULK)
            assert isinstance(await world.link.closed, MalformedMessage)

    run(main())


def test_answers_to_nobody_and_answers_of_the_wrong_kind():
    async def main():
        async with World() as world:
            for kind in (RESPONSE, STREAM):
                world.theirs.post(kind, Call(123, "", OK, 0, False, b"").encode(), fanout.REPAIR)
            with pytest.raises(MalformedMessage, match="plain answer"):
                await anext(world.caller.stream("echo", b"not a stream"))
            assert not world.link.closed.done()

    run(main())


def test_one_who_reads_no_answers_is_not_remembered():
    async def main():
        async with World() as world:
            world.link.wire.transport.underlying_transport.pause_reading()

            async def flood():
                for number in range(20_000):
                    request = Call(number + 1, "missing", 0, 0, False, b"").encode()
                    while not world.link.post(REQUEST, request, fanout.REPAIR):
                        await world.link.drained(fanout.REPAIR)

            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(flood(), 10)
            assert world.server.active == 0
            assert world.alice.hub.fanout.pending_bytes(world.theirs.id) < 9 * 2**20

    run(main())
