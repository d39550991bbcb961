"""Calls by those who do not keep to the rules: each costs its caller or server the link, or nothing."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from peer.callkit import World
from peer.linkkit import run, until

from mycelium._core import fanout
from mycelium.errors import (
    MalformedMessage,
)
from mycelium.peer.call import CANCEL, CREDIT, ITEM, OK
from mycelium.protocol.messages import Call, MessageType

REQUEST, RESPONSE, STREAM = MessageType.REQUEST, MessageType.RESPONSE, MessageType.STREAM


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
