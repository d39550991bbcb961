"""Our HTTP/1.1 under httpx: every way an answer can look and end, and which client is given it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import struct
import threading
from types import SimpleNamespace

import httpx
import pytest
import uvloop
from httpwire.minerkit import on_loop
from httpwire.serverkit import OK, Server, post

from mycelium.http import sending
from mycelium.http.transport import Transport


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
async def test_a_connection_that_the_server_has_closed_meanwhile_is_not_used():
    closed = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            for _ in range(2):
                with listener.accept()[0] as one:
                    one.recv(65536)
                    one.sendall(OK)
                closed.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        async with httpx.AsyncClient() as client:
            server = SimpleNamespace(url=f"http://127.0.0.1:{listener.getsockname()[1]}")
            assert (await post(client, server)).text == "ok"
            assert closed.wait(5), "which the loop does not see, as it stands still here"
            assert (await post(client, server)).text == "ok"
        thread.join(5)


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


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (b"HTTP/1.1 200 ", b"O" * 8_192),
        (b"HTTP/1.1 200 OK\r\n", b"x" * 8_192),
        (b"HTTP/1.1 200 OK\r\nx: ", b"x" * 8_192),
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 1_000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 300),
        (CHUNKED + b"1\r\na\r\n1;", b"x" * 8_192),
        (CHUNKED + b"1\r\na\r\n0\r\nx: ", b"x" * 8_192),
        (CHUNKED + b"1\r\na\r\n0\r\n", b"x: y\r\n" * 1_000),
    ],
    ids=["reason", "name", "value", "headers", "continue", "extension", "trailer", "trailers"],
)
@on_loop
async def test_what_is_no_body_has_an_end(first, more):
    """httptools has no limit of its own: 187 MiB of one header took it two minutes, and all of that in memory."""
    sent = 0

    async def endless(reader, writer):
        nonlocal sent
        writer.write(first)
        while not writer.is_closing():
            writer.write(more)
            sent += len(more)
            await writer.drain()

    async with Server(endless, OK) as server, httpx.AsyncClient() as client:
        with pytest.raises(httpx.RemoteProtocolError, match="no body"):
            await post(client, server, timeout_s=20)
        # What the sockets hold, and one read.
        assert sent < 16 * 2**20
        assert (await post(client, server)).text == "ok"


@on_loop
async def test_a_body_of_many_small_chunks_is_one():
    raw = CHUNKED + b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n"
    async with Server(raw) as server, httpx.AsyncClient() as client:
        for _ in range(2):
            assert (await post(client, server, timeout_s=20)).content == b"a" * 50_000


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
        with pytest.raises(httpx.ConnectError):
            await sending.send(client, "GET", f"http://{'a' * 70}.invalid/", {}, None, 5)


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
