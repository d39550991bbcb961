"""Connections of our HTTP/1.1: how many, for how long, which are used again, and that none stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import httpx
import pytest
from httpwire.minerkit import on_loop
from httpwire.serverkit import OK, Server, post

from mycelium.http import sending
from mycelium.http.transport import Transport


@on_loop
async def test_no_more_connections_than_allowed():
    gate = asyncio.Event()

    async def wait(reader, writer):
        await gate.wait()
        writer.write(OK)

    async with Server(wait) as server:
        transport = Transport(connections_max=2)
        async with httpx.AsyncClient(transport=transport) as client:
            asked = [asyncio.ensure_future(client.post(server.url, timeout=5)) for _ in range(5)]
            while len(server.requests) < 2:
                await asyncio.sleep(0)
            timeouts = httpx.Timeout(5, pool=0.02)
            with pytest.raises(httpx.PoolTimeout):
                await client.post(server.url, timeout=timeouts)
            gate.set()
            assert [answer.text for answer in await asyncio.gather(*asked)] == ["ok"] * 5
            assert server.connections == 2


@on_loop
async def test_idle_connections_count_too():
    transport = Transport(connections_max=3)
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(Server(OK)) for _ in range(4)]
        client = await stack.enter_async_context(httpx.AsyncClient(transport=transport))
        for server in servers:
            await asyncio.gather(*(client.post(server.url) for _ in range(3)))
            assert len(transport._open) <= 3
        await client.post(servers[-1].url)
        assert servers[-1].connections == 3, "those used last are kept"


@on_loop
async def test_idle_connections_are_closed_though_nobody_asks_there_again():
    transport = Transport(idle_s=0.01)
    async with Server(OK) as first, Server(OK) as second, httpx.AsyncClient(transport=transport) as client:
        await client.post(first.url)
        await asyncio.sleep(0.02)
        await client.post(second.url)
        assert [connection.place[1] for connection in transport._open] == [second.port]


@on_loop
async def test_what_the_server_ended_is_forgotten():
    transport = Transport()
    async with httpx.AsyncClient(transport=transport) as client:
        async with Server(OK) as server:
            await asyncio.gather(*(client.post(server.url) for _ in range(3)))
            assert len(transport._idle) == 3
        while transport._open:
            await asyncio.sleep(0)
        assert not transport._idle
        assert not transport._idle_at


@on_loop
async def test_what_is_cancelled_or_not_read_frees_its_place():
    big = b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n" + b"x" * 1_000

    async def never(reader, writer):
        await reader.read()

    async with Server(never, big, OK) as server:
        transport = Transport(connections_max=1)
        async with httpx.AsyncClient(transport=transport) as client:
            asked = asyncio.ensure_future(client.post(server.url))
            while not server.requests:
                await asyncio.sleep(0)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            async with client.stream("POST", server.url) as response:
                assert response.status_code == 200
            assert (await client.post(server.url)).text == "ok"
        assert server.connections == 3


@on_loop
async def test_one_that_is_cancelled_at_any_step_of_connecting_leaves_no_error_behind():
    failed = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context))
    async with Server(OK) as server:
        for steps in range(12):
            transport = Transport(connections_max=1)
            asked = asyncio.ensure_future(
                transport.handle_async_request(httpx.Request("POST", server.url, content=b"x"))
            )
            for _ in range(steps):
                await asyncio.sleep(0)
            asked.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await (await asked).aclose()
            await asyncio.sleep(0.01)
            assert not transport._places.locked()
            await transport.aclose()
    assert not [context for context in failed if isinstance(context.get("exception"), AttributeError)]


@on_loop
async def test_who_reads_slowly_makes_the_server_wait(monkeypatch):
    monkeypatch.setattr("mycelium.http.transport.HTTP_ANSWER_BUFFER_BYTES_MAX", 10_000)
    total = 4_000_000

    async def much(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total + b"x" * total)
        await writer.drain()

    async with Server(much) as server, httpx.AsyncClient() as client:
        async with sending.stream(client, "POST", server.url, {}, b"", 5) as response:
            connection = response.stream._connection
            while not connection._paused:
                await asyncio.sleep(0)
            assert connection._buffered < 1_000_000
            size = 0
            async for chunk in response.aiter_raw():
                size += len(chunk)
        assert size == total


@on_loop
async def test_old_connections_and_those_that_were_ended_are_not_used():
    async with Server(OK) as server:
        transport = Transport(idle_s=0.0)
        async with httpx.AsyncClient(transport=transport) as client:
            for _ in range(3):
                await client.post(server.url)
        assert server.connections == 3

    async def closing(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    async with Server(closing) as server, httpx.AsyncClient() as client:
        for _ in range(2):
            assert (await post(client, server)).text == "ok"
        assert server.connections == 2


@on_loop
async def test_one_that_was_ended_while_the_loop_stood_still_is_not_used():
    serving, ended, port = threading.Event(), threading.Event(), []

    async def end(reader, writer):
        writer.write(OK)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        ended.set()

    async def serve():
        async with Server(end, OK) as server:
            port.append(server)
            serving.set()
            while len(server.requests) < 2:
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    serving.wait()
    async with httpx.AsyncClient() as client:
        async with sending.stream(client, "POST", port[0].url, {}, b"", 5) as response:
            # All of the answer is here, and the end of the connection is on its way: the loop stands still.
            await response.aread()
            ended.wait()
        assert (await post(client, port[0])).text == "ok"
    await asyncio.to_thread(thread.join)


@on_loop
async def test_what_nobody_asked_for_is_not_taken_for_an_answer():
    async def twice(reader, writer):
        writer.write(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother")

    async with Server(twice, OK) as server, httpx.AsyncClient() as client:
        for _ in range(2):
            assert (await post(client, server)).text == "ok"
        assert server.connections == 2


@on_loop
async def test_what_comes_later_unasked_ends_the_connection():
    sent = asyncio.Event()

    async def later(reader, writer):
        writer.write(OK)
        await sent.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother")

    async with Server(later, OK) as server, httpx.AsyncClient() as client:
        assert (await post(client, server)).text == "ok"
        (transport,) = client._mounts.values()
        sent.set()
        while transport._open:
            await asyncio.sleep(0)
        assert (await post(client, server)).text == "ok"
