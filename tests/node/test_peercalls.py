"""Calls between the nodes of members: answered, streamed, refused, capped, and failed when the session ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import kit
import pytest
from nodekit import Hostile, Mesh, places, run, until

from mycelium.config import CALL_BYTES_MAX, PEER_CALLS_BYTES_MAX, PEER_CALLS_MAX, PEER_CALLS_OUT_MAX
from mycelium.errors import CallFailed, CallTimeout, LinkClosed, Overloaded, StoreError, UsageError
from mycelium.peer.call import FAILED, ITEM
from mycelium.peer.link import Link
from mycelium.protocol.messages import Call, MessageType

MALLORY = kit.keypair("mallory")


@contextlib.asynccontextmanager
async def pair(tmp_path, extra=()):
    # One dials: of two that open at once, one session ends, and what is under way on it.
    async with Mesh(places(tmp_path, 2, dials={1: [0]}, extra=extra)) as mesh:
        await mesh.start()
        await mesh.connected()
        yield mesh[0], mesh[1]


def test_both_ends_of_a_session_call_each_other(tmp_path):
    async def main():
        async with pair(tmp_path) as (one, other):

            async def whoami(link: Link, body: bytes) -> bytes:
                return link.account + body

            one.peercalls.on("who", whoami)
            other.peercalls.on("who", whoami)
            answers = await asyncio.gather(
                *(one.peercalls.call(other.account, "who", b"%d" % number) for number in range(20)),
                *(other.peercalls.call(one.account, "who", b"%d" % number) for number in range(20)),
            )
            wanted = [
                account + b"%d" % number for account in (one.account, other.account) for number in range(20)
            ]
            assert answers == wanted

    run(main())


def test_a_stream_comes_whole_and_in_order_beside_calls(tmp_path):
    async def main():
        async with pair(tmp_path) as (one, other):

            async def chunks(link: Link, body: bytes) -> AsyncIterator[bytes]:
                for number in range(int(body)):
                    yield number.to_bytes(4, "big") * 4096

            async def echo(link: Link, body: bytes) -> bytes:
                return body * 3

            other.peercalls.stream("chunks", chunks)
            other.peercalls.on("echo", echo)
            got = []
            async for item in one.peercalls.items(other.account, "chunks", b"100"):
                got.append(item)
                assert await one.peercalls.call(other.account, "echo", b"x") == b"xxx"
            assert got == [number.to_bytes(4, "big") * 4096 for number in range(100)]

    run(main())


def test_a_large_answer_comes_in_parts(tmp_path):
    async def main():
        async with pair(tmp_path) as (one, other):

            async def large(link: Link, body: bytes) -> bytes:
                return b"ab" * CALL_BYTES_MAX

            other.peercalls.on("large", large)
            whole = await one.peercalls.call(other.account, "large", b"", answer_bytes_max=2 * CALL_BYTES_MAX)
            assert whole == b"ab" * CALL_BYTES_MAX
            with pytest.raises(CallFailed, match="bytes, at most"):
                await one.peercalls.call(other.account, "large", b"")

    run(main())


def test_errors_reach_the_caller_and_the_session_stays(tmp_path):
    async def main():
        async with pair(tmp_path) as (one, other):

            async def refuse(link: Link, body: bytes) -> bytes:
                raise StoreError("not today")

            async def hang(link: Link, body: bytes) -> bytes:
                await asyncio.Event().wait()
                return b""

            other.peercalls.on("refuse", refuse)
            other.peercalls.on("hang", hang)
            with pytest.raises(CallFailed, match="not today") as failed:
                await one.peercalls.call(other.account, "refuse", b"")
            assert failed.value.kind == "StoreError"
            with pytest.raises(CallFailed, match="no method is called 'nothing'") as failed:
                await one.peercalls.call(other.account, "nothing", b"")
            assert failed.value.kind == "UsageError"
            with pytest.raises(CallTimeout):
                await one.peercalls.call(other.account, "hang", b"", 0.05)
            with pytest.raises(LinkClosed, match="no session"):
                await one.peercalls.call(MALLORY.account, "hang", b"")
            assert len(one.replicator.members()) == len(other.replicator.members()) == 1

            under_way = asyncio.ensure_future(one.peercalls.call(other.account, "hang", b""))
            await asyncio.sleep(0)
            one.hub.link_of(other.account).close()
            with pytest.raises(LinkClosed):
                await under_way

    run(main())


def test_no_more_calls_are_sent_than_the_other_side_takes(tmp_path):
    async def main():
        async with pair(tmp_path) as (one, other):
            done = asyncio.Event()

            async def wait(link: Link, body: bytes) -> bytes:
                await done.wait()
                return body

            other.peercalls.on("wait", wait)
            calls = [
                asyncio.ensure_future(one.peercalls.call(other.account, "wait", b"%d" % number))
                for number in range(PEER_CALLS_OUT_MAX)
            ]
            await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                await one.peercalls.call(other.account, "wait", b"")
            done.set()
            assert await asyncio.gather(*calls) == [b"%d" % number for number in range(PEER_CALLS_OUT_MAX)]

    run(main())


def test_a_method_is_registered_once_and_the_programs_names_are_taken(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 1)) as mesh:
            node = await mesh.start()

            async def nothing(link: Link, body: bytes) -> bytes:
                return b""

            node.peercalls.on("mine", nothing)
            for name in ("mine", "status", "scan"):
                with pytest.raises(UsageError, match="already"):
                    node.peercalls.on(name, nothing)
                with pytest.raises(UsageError, match="already"):
                    node.peercalls.stream(name, nothing)

    run(main())


def request(hostile: Hostile, number: int, method: str, body: bytes = b"") -> bytes:
    return hostile.message(MessageType.REQUEST, Call(number, method, 0, 0, True, body).encode())


async def response(hostile: Hostile) -> Call:
    return Call.decode((await hostile.receive(MessageType.RESPONSE)).payload)


def test_a_member_that_asks_too_much_is_refused_and_costs_nothing_more(tmp_path):
    async def main():
        async with pair(tmp_path, extra=[MALLORY]) as (one, _), Hostile.open(one, MALLORY) as hostile:
            done = asyncio.Event()

            async def wait(link: Link, body: bytes) -> bytes:
                await done.wait()
                return b""

            one.peercalls.on("wait", wait)
            await hostile.send(*(request(hostile, number, "wait") for number in range(PEER_CALLS_MAX + 1)))
            refused = await response(hostile)
            assert (refused.id, refused.status, refused.method) == (PEER_CALLS_MAX, FAILED, "Overloaded")
            done.set()
            await until(lambda: one.peercalls.active == 0, "the answers")
            done.clear()
            body = bytes(PEER_CALLS_BYTES_MAX // 2)
            for number in range(3):
                await hostile.send(request(hostile, number, "wait", body))
            while (refused := await response(hostile)).status != FAILED:
                pass  # the answers from before
            assert (refused.id, refused.method) == (2, "Overloaded")
            done.set()
            assert len(one.replicator.members()) == 2

    run(main())


@pytest.mark.parametrize("name", ["status", "write", "scan", "watch"])
def test_a_member_that_takes_the_node_for_its_own_loses_its_session(tmp_path, name):
    async def main():
        async with pair(tmp_path, extra=[MALLORY]) as (one, _), Hostile.open(one, MALLORY) as hostile:
            await hostile.send(request(hostile, 1, name))
            code, reason = await hostile.closing()
            assert code == 4007, reason
            assert "may not use this node's API: use the node's own" in reason

    run(main())


def test_answers_to_nothing_are_ignored_and_items_to_nothing_too(tmp_path):
    async def main():
        async with pair(tmp_path, extra=[MALLORY]) as (one, _), Hostile.open(one, MALLORY) as hostile:
            await hostile.send(
                hostile.message(MessageType.RESPONSE, Call(1, "", 0, 0, True, b"x").encode()),
                hostile.message(MessageType.STREAM, Call(9, "", ITEM, 7, False, b"x").encode()),
                hostile.message(MessageType.STREAM, Call(9, "", 1, 2**63, False, b"").encode()),
                hostile.message(MessageType.STREAM, Call(9, "", 2, 0, False, b"").encode()),
                request(hostile, 1, "nothing"),
            )
            assert (await response(hostile)).method == "UsageError"
            await hostile.send(hostile.message(MessageType.STREAM, Call(9, "", 3, 0, False, b"").encode()))
            code, reason = await hostile.closing()
            assert code == 4001, reason
            await until(lambda: len(one.replicator.members()) == 1, "the other session stays")

    run(main())
