"""Calls and streams over real links: answers, errors, cancellation, flow control, limits, the end of a link."""

from __future__ import annotations

import asyncio

import pytest
from peer.callkit import World
from peer.linkkit import run, until

from mycelium._core import fanout
from mycelium.config import CALL_BYTES_MAX, STREAM_WINDOW_BYTES
from mycelium.errors import (
    CallFailed,
    CallTimeout,
    LinkClosed,
    MalformedMessage,
    Overloaded,
    OversizedMessage,
    UsageError,
)
from mycelium.peer import caller as caller_module
from mycelium.peer import callserver as callserver_module
from mycelium.peer.call import CREDIT, ITEM_COST_BYTES
from mycelium.peer.callserver import CallServer
from mycelium.protocol.messages import Call, MessageType

REQUEST, RESPONSE, STREAM = MessageType.REQUEST, MessageType.RESPONSE, MessageType.STREAM


# --- one answer -------------------------------------------------------------------------------------------


def test_calls_are_answered_whatever_their_size_and_order():
    async def main():
        async with World() as world:
            bodies = [b"", b"x", bytes(5000), bytes(CALL_BYTES_MAX)] * 4
            answers = await asyncio.gather(*(world.caller.call("echo", body) for body in bodies))
            assert answers == bodies
            assert world.server.active == 0

    run(main())


def test_a_handlers_error_arrives_with_its_class_and_text():
    async def main():
        async with World() as world:
            with pytest.raises(CallFailed, match="no table 'scores'") as caught:
                await world.caller.call("refuse", b"")
            assert caught.value.kind == "UnknownTable"
            assert not world.link.closed.done()

    run(main())


def test_a_bug_in_a_handler_is_logged_there_and_not_told(caplog):
    async def main():
        async with World() as world:
            stream = world.caller.stream("some_then_fail", b"")
            assert await anext(stream) == b"one"
            for doomed in (world.caller.call("fail", b""), anext(stream)):
                with pytest.raises(CallFailed) as caught:
                    await doomed
                assert caught.value.kind == "InternalError"
                assert "secret" not in str(caught.value)

    run(main())
    assert caplog.text.count("ZeroDivisionError: a secret detail") == 2


@pytest.mark.parametrize(("method", "kind"), [("nothing", "UsageError"), ("n" * 500, "UsageError")])
def test_an_unknown_method_is_named(method, kind):
    async def main():
        async with World() as world:
            with pytest.raises(CallFailed, match="no method") as caught:
                await world.caller.call(method, b"")
            assert caught.value.kind == kind

    run(main())


def test_who_may_not_call_is_told():
    async def main():
        async with World(may_call=lambda link: False) as world:
            with pytest.raises(CallFailed) as caught:
                await world.caller.call("echo", b"")
            assert caught.value.kind == "Unauthorised"
        assert CallServer({}, {})._may_call(world.theirs)  # by default: clients

    run(main())


def test_bodies_above_the_cap_are_refused_on_either_side():
    async def main():
        async with World() as world:
            with pytest.raises(UsageError, match=str(CALL_BYTES_MAX)):
                await world.caller.call("echo", bytes(CALL_BYTES_MAX + 1))
            with pytest.raises(UsageError):
                await anext(world.caller.stream("count", bytes(CALL_BYTES_MAX + 1)))
            with pytest.raises(CallFailed, match=str(CALL_BYTES_MAX)) as caught:
                await world.caller.call("large", str(CALL_BYTES_MAX + 1).encode())
            assert caught.value.kind == "ValueRefused"
            with pytest.raises(CallFailed, match=str(CALL_BYTES_MAX)):
                await anext(world.caller.stream("endless", str(CALL_BYTES_MAX + 1).encode()))
            world.send(REQUEST, Call(77, "echo", 0, 0, False, bytes(CALL_BYTES_MAX + 1)))
            assert isinstance(await world.link.closed, OversizedMessage)

    run(main())


def test_what_does_not_fit_a_session_in_json_is_said_clearly():
    async def main():
        async with World(encodings=(1,)) as world:
            assert world.link.session.encoding == 1
            assert await world.caller.call("echo", bytes(700_000)) == bytes(700_000)
            with pytest.raises(UsageError, match="does not fit"):
                await world.caller.call("echo", bytes(CALL_BYTES_MAX))
            with pytest.raises(CallFailed, match="does not fit"):
                await world.caller.call("large", str(CALL_BYTES_MAX).encode())
            assert await world.caller.call("echo", b"x") == b"x"

    run(main())


def test_a_call_that_takes_too_long_is_cancelled_on_both_sides():
    async def main():
        async with World() as world:
            with pytest.raises(CallTimeout, match=r"wait.*0\.05 s"):
                await world.caller.call("wait", b"", timeout_s=0.05)
            await until(lambda: world.service.cancelled == 1)
            assert world.server.active == 0
            assert world.caller._answers == {}

    run(main())


def test_a_cancelled_caller_cancels_the_call():
    async def main():
        async with World() as world:
            task = asyncio.create_task(world.caller.call("wait", b""))
            await until(lambda: world.service.started == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: world.service.cancelled == 1)
            assert await world.caller.call("echo", b"still fine") == b"still fine"

    run(main())


@pytest.mark.parametrize("who", ["caller", "server", "breaks"])
def test_the_end_of_the_link_fails_what_is_under_way(who):
    async def main():
        async with World() as world:
            calls = [asyncio.create_task(world.caller.call("wait", b"")) for _ in range(3)]
            waiting = world.caller.stream("endless", b"10")
            await anext(waiting)
            await until(lambda: world.service.started == 3)
            if who == "caller":
                world.link.close()
            elif who == "server":
                world.theirs.close(MalformedMessage("you again"))
            else:
                world.theirs.wire.abort()
            for outcome in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(outcome, LinkClosed)
                assert ("you again" in str(outcome)) == (who == "server")
            with pytest.raises(LinkClosed):
                async for _ in waiting:
                    pass
            await until(lambda: world.service.cancelled == 4)
            assert world.server.active == 0
            with pytest.raises(LinkClosed):
                await world.caller.call("echo", b"")

    run(main())


# --- limits -----------------------------------------------------------------------------------------------


def test_calls_beyond_the_cap_are_answered_with_overloaded(monkeypatch):
    monkeypatch.setattr(caller_module, "CALLS_PER_CLIENT_MAX", 4)
    monkeypatch.setattr(callserver_module, "CALLS_PER_CLIENT_MAX", 5)

    async def main():
        async with World() as world:
            tasks = [asyncio.create_task(world.caller.call("wait", b"")) for _ in range(4)]
            await until(lambda: world.service.started == 4)
            with pytest.raises(Overloaded, match="4 calls"):
                await world.caller.call("echo", b"")
            monkeypatch.setattr(caller_module, "CALLS_PER_CLIENT_MAX", 5)  # the caller's own limit
            fifth = asyncio.create_task(world.caller.call("wait", b""))
            await until(lambda: world.service.started == 5)
            world.send(REQUEST, Call(99, "echo", 0, 0, False, b""))
            answers = []
            world.caller.receive = lambda message: answers.append(Call.decode(message.payload))
            await until(lambda: bool(answers))
            assert (answers[0].id, answers[0].method) == (99, "Overloaded")
            del world.caller.receive
            world.service.gate.set()
            assert await asyncio.gather(*tasks, fifth) == [b"done"] * 5

    run(main())


def test_bodies_of_calls_under_way_are_bounded_together(monkeypatch):
    monkeypatch.setattr(callserver_module, "CALLS_PENDING_BYTES_MAX", 100_000)

    async def main():
        async with World() as world:
            first = asyncio.create_task(world.caller.call("wait", bytes(60_000)))
            await until(lambda: world.service.started == 1)
            with pytest.raises(CallFailed) as caught:
                await world.caller.call("echo", bytes(60_000))
            assert caught.value.kind == "Overloaded"
            world.service.gate.set()
            await first
            assert await world.caller.call("echo", bytes(60_000)) == bytes(60_000)

    run(main())


def test_a_closing_server_drains_and_takes_no_more():
    async def main():
        async with World() as world:
            task = asyncio.create_task(world.caller.call("wait", b""))
            stuck = asyncio.create_task(world.caller.call("wait", b""))
            await until(lambda: world.service.started == 2)
            closing = asyncio.create_task(world.server.close(drain_s=0.2))
            await asyncio.sleep(0)
            with pytest.raises(CallFailed, match="shutting down"):
                await world.caller.call("echo", b"")
            stuck.cancel()
            world.service.gate.set()
            assert await task == b"done"
            await closing
            assert world.server.active == 0

    run(main())


# --- streams ----------------------------------------------------------------------------------------------


def test_a_stream_brings_every_item_in_order():
    async def main():
        async with World() as world:
            items = [int.from_bytes(item, "big") async for item in world.caller.stream("count", b"5000")]
            assert items == list(range(5000))
            assert [item async for item in world.caller.stream("count", b"0")] == []
            assert world.server.active == 0
            assert world.caller._streams == {}

    run(main())


def test_an_error_in_a_stream_comes_after_its_items():
    async def main():
        async with World() as world:
            stream = world.caller.stream("some_then_refuse", b"")
            assert await anext(stream) == b"one"
            with pytest.raises(CallFailed, match="gone") as caught:
                await anext(stream)
            assert caught.value.kind == "UnknownTable"

    run(main())


@pytest.mark.parametrize("size", [0, 1000, 300_000])
def test_a_slow_reader_holds_one_window_and_the_server_waits(size):
    async def main():
        async with World() as world:
            stream = world.caller.stream("endless", str(size).encode())
            await anext(stream)
            cost = size + ITEM_COST_BYTES
            most = STREAM_WINDOW_BYTES // cost + 3
            seen = -1
            while seen != world.service.produced:  # until it stands still
                seen = world.service.produced
                await asyncio.sleep(0.05)
            assert world.service.produced <= most
            (incoming,) = world.caller._streams.values()
            held = sum(len(item) + ITEM_COST_BYTES for item in incoming.items)
            assert held <= STREAM_WINDOW_BYTES + cost
            for _ in range(2 * most):  # and goes on when the reader does
                assert len(await anext(stream)) == size
            await stream.aclose()
            await until(lambda: world.service.cancelled == 1)

    run(main())


def test_leaving_the_loop_cancels_the_stream():
    async def main():
        async with World() as world:
            async for _ in world.caller.stream("endless", b"10"):
                break
            await until(lambda: world.service.cancelled == 1)
            await until(lambda: world.server.active == 0)
            assert await world.caller.call("echo", b"x") == b"x"

    run(main())


def test_a_cancel_finds_its_way_through_a_full_queue():
    async def main():
        async with World() as world:
            stream = world.caller.stream("endless", b"10")
            await anext(stream)
            world.theirs.wire.transport.underlying_transport.pause_reading()
            filler = Call(9_999, "", CREDIT, 0, False, bytes(200_000)).encode()
            while world.link.post(STREAM, filler, fanout.REPAIR):
                await asyncio.sleep(0)
            while world.link.post(STREAM, Call(9_999, "", CREDIT, 0, False, b"").encode(), fanout.REPAIR):
                pass
            await stream.aclose()
            assert len(world.caller._cancels) == 1
            world.theirs.wire.transport.underlying_transport.resume_reading()
            await until(lambda: world.service.cancelled == 1)
            await until(lambda: not world.caller._cancels)

    run(main())


def test_a_cancel_that_finds_the_link_gone_is_content():
    async def main():
        async with World() as world:
            world.link.wire.paused = True
            for size in (200_000, 10):
                while world.link.post(STREAM, bytes(size), fanout.REPAIR):
                    pass
            world.caller._cancel(5)
            (task,) = world.caller._cancels
            await asyncio.sleep(0)
            world.link.close()
            await task
            world.caller._cancel(6)
            assert not world.caller._cancels - {task}

    run(main())
