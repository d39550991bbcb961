"""Our HTTP/1.1 under httpx: connections used again, every way an answer can end, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import struct
import threading

import httpx
import pytest
import uvloop
from httpwire.minerkit import on_loop

from mycelium.http import sending
from mycelium.http.transport import Transport

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Answers each request with the next of its answers: bytes, or a coroutine function that is given the streams."""

    def __init__(self, *answers):
        self.answers, self.requests, self.connections = list(answers), [], 0
        self._streams = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *error):
        self._server.close()
        for writer in self._streams:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self.connections += 1
        self._streams.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
                self.requests.append((head, body))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if callable(answer):
                    await answer(reader, writer)
                else:
                    writer.write(answer)
                    await writer.drain()


async def post(client, server, body=b"x", timeout_s=5.0, path="/ask?a=1"):
    return await sending.send(client, "POST", server.url + path, {"x-mine": "1"}, body, timeout_s)


@on_loop
async def test_a_connection_is_used_again():
    async with Server(OK) as server, httpx.AsyncClient() as client:
        for _ in range(3):
            answer = await post(client, server)
            assert (answer.status_code, answer.text, answer.reason_phrase) == (200, "ok", "OK")
        assert server.connections == 1
        assert answer.elapsed.total_seconds() > 0
        assert answer.http_version == "HTTP/1.1"
        assert answer.request.url.path == "/ask"
        head, body = server.requests[0]
        assert head.startswith(b"POST /ask?a=1 HTTP/1.1\r\n")
        assert f"\r\nHost: 127.0.0.1:{server.port}\r\n".encode().lower() in head.lower()
        assert b"\r\nx-mine: 1\r\n" in head
        assert body == b"x"


def test_on_another_loop():
    async def ask():
        async with Server(OK) as server, httpx.AsyncClient() as client:
            for size in (1, 1_000_000, 1):
                assert (await post(client, server, bytes(size))).text == "ok"
            assert server.connections == 1

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask())


@on_loop
async def test_many_at_once_each_have_their_answer():
    async def echo(reader, writer):
        data = server.requests[-1][1]
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data))

    async with Server(echo) as server, httpx.AsyncClient() as client:
        bodies = [str(number).encode() * number for number in range(1, 60)]
        answers = await asyncio.gather(*(post(client, server, body) for body in bodies))
        assert [answer.content for answer in answers] == bodies


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n", "onetwo"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "ok"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
        (
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
            % len(gzip.compress(b"zip"))
            + gzip.compress(b"zip"),
            "zip",
        ),
    ],
    ids=["chunked", "continue", "empty", "no content", "gzip"],
)
@on_loop
async def test_shapes_of_answers(raw, text):
    async with Server(raw) as server, httpx.AsyncClient() as client:
        for _ in range(2):
            assert (await post(client, server)).text == text
        assert server.connections == 1


@pytest.mark.parametrize("field", [b"content-length: 9", b"transfer-encoding: chunked"])
@on_loop
async def test_an_answer_to_head_has_no_body(field):
    raw = b"HTTP/1.1 200 OK\r\n" + field + b"\r\n\r\n"
    async with Server(raw, raw, OK) as server, httpx.AsyncClient(transport=Transport()) as client:
        for _ in range(2):
            assert (await client.head(server.url, timeout=1)).content == b""
        assert (await client.get(server.url)).text == "ok"
        assert server.connections == 1


@on_loop
async def test_a_body_after_an_answer_to_head_is_taken_for_none():
    async with Server(OK) as server, httpx.AsyncClient(transport=Transport()) as client:
        for _ in range(2):
            assert (await client.head(server.url, timeout=1)).content == b""
        assert server.connections == 2


@pytest.mark.parametrize("size", [1, 7])
@on_loop
async def test_an_answer_that_comes_in_pieces(size):
    async def slowly(reader, writer):
        for at in range(0, len(OK), size):
            writer.write(OK[at : at + size])
            await writer.drain()

    async with Server(slowly) as server, httpx.AsyncClient() as client:
        assert (await post(client, server)).text == "ok"


@on_loop
async def test_one_that_ends_with_its_connection():
    async def end(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        writer.close()

    async with Server(end) as server, httpx.AsyncClient() as client:
        for _ in range(2):
            assert (await post(client, server)).text == "all of it"
        assert server.connections == 2


@on_loop
async def test_one_that_breaks_off_is_not_taken_for_one_that_ends():
    async def broken(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
        await writer.drain()
        await heard.wait()
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    for own in (False, True):
        heard = asyncio.Event()
        transport = Transport()
        async with Server(broken) as server, httpx.AsyncClient(transport=transport) as client:
            reading = asyncio.ensure_future(client.post(server.url))
            while not any(connection._chunks for connection in transport._open):
                await asyncio.sleep(0)
            if own:
                await transport.aclose()
            else:
                heard.set()
            with pytest.raises(httpx.ReadError):
                await reading


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhal", httpx.RemoteProtocolError),
        (b"no HTTP at all\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 101 Switching\r\nupgrade: ws\r\nconnection: upgrade\r\n\r\n", httpx.RemoteProtocolError),
        (b"\x00" * 5_000, httpx.RemoteProtocolError),
    ],
    ids=range(8),
)
@on_loop
async def test_an_answer_that_is_none(raw, error):
    async def answer(reader, writer):
        writer.write(raw)
        await writer.drain()
        writer.close()

    async with Server(answer, OK) as server, httpx.AsyncClient() as client:
        with pytest.raises(error):
            await post(client, server)
        assert len(server.requests) == 1, "it is sent once"
        # The next one has a connection of its own.
        assert (await post(client, server)).text == "ok"


@pytest.mark.parametrize(
    ("head", "more"),
    [
        (b"HTTP/1.1 200 OK\r\nx: ", b"a" * 1_000),
        (b"HTTP/1.1 200 OK\r\n", b"x: a\r\n" * 200),
        (b"", b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" * 30),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", b"x: a\r\n" * 200),
    ],
    ids=["a field", "fields", "interim answers", "trailers"],
)
@on_loop
async def test_headers_without_end(head, more):
    sent = 0

    async def endless(reader, writer):
        nonlocal sent
        writer.write(head)
        while True:
            writer.write(more)
            await writer.drain()
            sent += len(more)

    async with Server(endless) as server, httpx.AsyncClient() as client:
        with pytest.raises(httpx.RemoteProtocolError, match="too large"):
            await post(client, server)
        assert sent < 16_000_000, "what the kernel keeps between both"


@on_loop
async def test_trailers_are_no_headers():
    raw = (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ncontent-encoding: gzip\r\n\r\n"
    )
    async with Server(raw) as server, httpx.AsyncClient() as client:
        answer = await post(client, server)
        assert answer.text == "ok"
        assert "content-encoding" not in answer.headers


@on_loop
async def test_times_have_ends():
    async def never(reader, writer):
        await reader.read()

    async def half(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        await reader.read()

    async with httpx.AsyncClient() as client:
        for answer in (never, half):
            async with Server(answer) as server:
                with pytest.raises(httpx.ReadTimeout):
                    await post(client, server, timeout_s=0.05)


@on_loop
async def test_the_time_for_an_answer_begins_when_the_request_is_sent():
    size = 8_000_000

    async def slow(reader, writer):
        await asyncio.sleep(0.3)
        await reader.readexactly(size)
        await asyncio.sleep(0.3)
        writer.write(OK)

    async def early(reader, writer):
        writer.write(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        await asyncio.sleep(1)

    async def never(reader, writer):
        await asyncio.sleep(1)

    async def ask(server):
        request = client.build_request("POST", server.url, content=bytes(size), timeout=0.45)
        request.headers["content-length"] = "0"  # the test's server leaves the body to its answer
        return await Transport().handle_async_request(request)

    async with httpx.AsyncClient() as client, Server(slow, early, never) as server:
        assert (await ask(server)).status_code == 200
        assert (await ask(server)).status_code == 413
        with pytest.raises(httpx.WriteTimeout):
            await ask(server)


@on_loop
async def test_nobody_there():
    async with Server(OK) as server:
        pass
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await post(client, server)


@on_loop
async def test_port_0_is_not_port_80(monkeypatch):
    places = []

    async def connect(make, host, port):
        places.append(port)
        raise ConnectionRefusedError

    async with httpx.AsyncClient() as client:
        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", connect)
        for url in ("http://127.0.0.1:0/", "http://127.0.0.1/"):
            with pytest.raises(httpx.ConnectError):
                await sending.send(client, "GET", url, {}, None, 1)
    assert places == [0, 80]


@pytest.mark.parametrize("value", ["a\r\nother: b", "a\nb", "a\rb", "a\0b"])
@on_loop
async def test_no_header_becomes_two(value):
    async with Server(OK) as server, httpx.AsyncClient() as client:
        with pytest.raises(httpx.LocalProtocolError):
            await sending.send(client, "POST", server.url, {"x": value}, b"", 5)
        assert not server.requests
        assert (await post(client, server)).text == "ok"


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


# --- which transport --------------------------------------------------------------------------------------


@on_loop
async def test_closing_the_client_closes_our_connections():
    async with Server(OK) as server:
        client = httpx.AsyncClient()
        await post(client, server)
        (transport,) = client._mounts.values()
        (connection,) = transport._open
        await client.aclose()
        while transport._open:
            await asyncio.sleep(0)
        assert connection._wire.is_closing()
        with pytest.raises(RuntimeError, match="closed"):
            await post(client, server)


@pytest.mark.parametrize(
    "keywords",
    [
        {"auth": ("user", "password")},
        {"event_hooks": {"request": [lambda request: asyncio.sleep(0)]}},
        {"follow_redirects": True},
        {"proxy": "http://127.0.0.1:1"},
        {"transport": httpx.MockTransport(lambda request: httpx.Response(200, text="mocked"))},
    ],
    ids=["auth", "hooks", "redirects", "proxy", "transport"],
)
@on_loop
async def test_a_client_with_something_of_its_own_is_used_as_it_is(keywords):
    async with httpx.AsyncClient(**keywords) as client:
        mounted = dict(client._mounts)
        request = client.build_request("POST", "http://127.0.0.1:1/")
        assert not sending._is_plain(client, request)
        with contextlib.suppress(httpx.HTTPError):
            await sending.send(client, "POST", "http://127.0.0.1:1/", {}, b"", 0.2)
        assert client._mounts == mounted


@on_loop
async def test_the_programs_own_requests_stay_httpxs():
    async with Server(OK) as server, httpx.AsyncClient() as client:
        await post(client, server)
        assert client._transport_for_url(httpx.URL(server.url)) is client._transport
        assert (await client.post(server.url)).text == "ok"
        assert not sending._is_plain(client, client.build_request("POST", "https://miner"))


@on_loop
async def test_cookies_are_kept_as_ever():
    answer = b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 2\r\n\r\nok"
    async with Server(answer) as server, httpx.AsyncClient() as client:
        await post(client, server)
        await post(client, server)
        assert client.cookies["a"] == "b"
        assert b"a=b" in server.requests[1][0]


@on_loop
async def test_only_http_is_spoken():
    transport = Transport()
    with pytest.raises(httpx.UnsupportedProtocol):
        await transport.handle_async_request(httpx.Request("GET", "https://miner"))
