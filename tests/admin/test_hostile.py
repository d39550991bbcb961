"""Hostile HTTP over raw sockets: every case is answered with 4xx or cut off, and the port and its node stay up."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import nodekit
import pytest
from admin.adminkit import Answer, answer, get, one, request, send, where
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mycelium.admin import server
from mycelium.config import admin as limits

FAST_S = 0.3


@contextlib.asynccontextmanager
async def alive(directory):
    """A port that must be as well after the block as before it."""
    async with one(directory) as (node, admin):
        yield admin
        assert (await get(admin, "/livez")).status == 200
        assert (await get(admin, "/metrics")).status == 200
        await node.database.table("scores").put("after", 1)


@pytest.fixture
def fast(monkeypatch):
    """Time limits that a test can wait for."""
    monkeypatch.setattr(server.Connection, "head_s", FAST_S)
    monkeypatch.setattr(server.Connection, "unread_s", FAST_S)


CASES = {
    "no host": (request(host=None), 400),
    "a rebound host": (request("/status", "GET", "evil.example"), 421),
    "a rebound host with our port": (request("/status", "GET", "evil.example:9091"), 421),
    "two hosts": (request("/status", "GET", "127.0.0.1", "Host: evil.example"), 400),
    "an absolute address elsewhere": (request("http://evil.example/status", "GET", "evil.example"), 421),
    "http 1.0": (b"GET /status HTTP/1.0\r\n\r\n", 400),
    "an unknown method": (request("/status", "BREW"), 400),
    "post": (request("/status", "POST", "127.0.0.1", "Content-Length: 0"), 405),
    "delete": (request("/status", "DELETE"), 405),
    "options": (request("*", "OPTIONS"), 405),
    "trace": (request("/status", "TRACE"), 405),
    "connect": (request("127.0.0.1:22", "CONNECT"), 400),
    "put a body": (request("/status", "PUT", "127.0.0.1", "Content-Length: 5") + b"hello", 413),
    "get with a body": (request("/status", "GET", "127.0.0.1", "Content-Length: 5") + b"hello", 413),
    "a body that never comes": (request("/status", "POST", "127.0.0.1", "Content-Length: 9999999"), 413),
    "a chunked body": (
        request("/status", "POST", "127.0.0.1", "Transfer-Encoding: chunked") + b"5\r\nhe",
        413,
    ),
    "both lengths": (
        request("/status", "POST", "127.0.0.1", "Content-Length: 3", "Transfer-Encoding: chunked")
        + b"0\r\n\r\n",
        400,
    ),
    "a negative length": (request("/status", "POST", "127.0.0.1", "Content-Length: -1"), 400),
    "a length that is no number": (request("/status", "POST", "127.0.0.1", "Content-Length: five"), 400),
    "expect": (request("/", "POST", "127.0.0.1", "Content-Length: 5", "Expect: 100-continue"), 413),
    "huge headers": (request("/", "GET", "127.0.0.1", "X: " + "a" * (limits.HEAD_BYTES_MAX + 1)), 431),
    "many headers": (request("/", "GET", "127.0.0.1", *[f"X-{at}: {at}" for at in range(3000)]), 431),
    "a huge path": (request("/" + "a" * (limits.HEAD_BYTES_MAX + 1)), 431),
    "a header without a name": (request("/", "GET", "127.0.0.1", ": nothing"), 400),
    "a folded header": (request("/", "GET", "127.0.0.1", "X: a", " b"), 400),
    "a nul in a header": (request("/", "GET", "127.0.0.1", "X: a\0b"), 400),
    "no http": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n", 400),
    "http 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a path up": (request("/../../etc/passwd"), 404),
    "a path up, encoded": (request("/%2e%2e/%2e%2e/etc/passwd"), 404),
    "a path up, encoded twice": (request("/%252e%252e/etc/passwd"), 404),
    "a path through a file": (request("/dashboard.js/../../server.py"), 404),
    "a file of the package": (request("/server.py"), 404),
    "an index": (request("/index.html"), 404),
    "two slashes": (request("//status"), 404),
    "a slash behind": (request("/status/"), 404),
    "a nul in the path": (request("/status%00.js"), 404),
    "a backslash": (request("/..\\..\\etc\\passwd"), 404),
    "bytes that are no text": (request("/%ff%fe"), 404),
    "another case": (request("/STATUS"), 404),
    "a socket elsewhere": (
        request(
            "/status",
            "GET",
            "127.0.0.1",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
        ),
        403,
    ),
    "a socket for a strange page": (
        request(
            "/live",
            "GET",
            "127.0.0.1",
            "Origin: http://evil.example",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
        ),
        403,
    ),
    "a socket without a key": (
        request("/live", "GET", "127.0.0.1", "Upgrade: websocket", "Connection: Upgrade"),
        400,
    ),
    "a socket where there is none wanted": (request("/live"), 404),
    "a socket by post": (
        request(
            "/live", "POST", "127.0.0.1", "Upgrade: websocket", "Connection: Upgrade", "Content-Length: 0"
        ),
        405,
    ),
}


@pytest.mark.timeout(120)
def test_every_case_is_refused(tmp_path, caplog):
    """One node for all: what one leaves behind, another must not find."""

    async def main():
        async with alive(tmp_path) as admin:
            wrong = {}
            for name, (raw, status) in CASES.items():
                found = await send(admin, raw)
                if found.status != status:
                    wrong[name] = (found, status)
                assert (await get(admin, "/livez")).status == 200, name
            assert wrong == {}, wrong

    nodekit.run(main())
    assert caplog.text == "", "a stranger cannot fill the log"


def test_a_refusal_ends_the_connection(tmp_path):
    """Else what follows a refused head would be read as the next request."""

    async def main():
        async with alive(tmp_path) as admin:
            smuggled = request("/status", "POST", "127.0.0.1", "Content-Length: 400") + request("/metrics")
            found = await send(admin, smuggled)
            assert found.status == 413
            assert found.closed
            pipelined = request("/status", "GET", "evil.example") + request("/metrics")
            found = await send(admin, pipelined)
            assert found.status == 421
            assert found.closed

    nodekit.run(main())


def test_requests_may_follow_each_other(tmp_path):
    async def main():
        async with alive(tmp_path) as admin:
            reader, writer = await asyncio.open_connection(*where(admin))
            writer.write(request("/livez") * 50)
            for _ in range(50):
                assert (await answer(reader)).status == 200
            writer.close()

    nodekit.run(main())


def test_headers_that_never_end(tmp_path, fast):
    async def main():
        async with alive(tmp_path) as admin:
            reader, writer = await asyncio.open_connection(*where(admin))
            writer.write(b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n")

            async def drip():
                with contextlib.suppress(ConnectionError):
                    while True:
                        writer.write(b"X: y\r\n")
                        await writer.drain()
                        await asyncio.sleep(0.02)

            task = asyncio.ensure_future(drip())
            async with asyncio.timeout(20 * FAST_S):
                assert (await answer(reader)).status == 0
            task.cancel()
            writer.transport.abort()

    nodekit.run(main())


def test_who_says_nothing_at_all(tmp_path, fast):
    async def main():
        async with alive(tmp_path) as admin:
            quiet = [await asyncio.open_connection(*where(admin)) for _ in range(10)]
            async with asyncio.timeout(20 * FAST_S):
                assert [(await answer(reader)).status for reader, _ in quiet] == [0] * 10
            for _, writer in quiet:
                writer.transport.abort()

    nodekit.run(main())


def test_answers_that_nobody_reads(tmp_path, fast):
    """They are dropped with the connection, also when the server has closed its half already."""

    async def main():
        async with alive(tmp_path) as admin:
            admin.node.metrics.rejects.update({f"reason-{at}": 1 for at in range(200_000)})
            loop = asyncio.get_running_loop()
            sockets = []
            for last in ("Connection: close", "X: y"):
                sock = socket.socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.setblocking(False)
                await loop.sock_connect(sock, where(admin))
                await loop.sock_sendall(sock, request("/metrics", "GET", "127.0.0.1", last))
                sockets.append(sock)
            connections = admin.connections
            await nodekit.until(lambda: len(connections) == 2, "both are open")
            await nodekit.until(lambda: not connections, "both are dropped", 20 * FAST_S)
            for sock in sockets:
                sock.close()
            admin.node.metrics.rejects.clear()

    nodekit.run(main())


def test_more_connections_than_are_taken(tmp_path, fast, monkeypatch):
    monkeypatch.setattr(limits, "CONNECTIONS_MAX", 8)

    async def main():
        async with alive(tmp_path) as admin:
            opened = [await asyncio.open_connection(*where(admin)) for _ in range(30)]
            await nodekit.until(lambda: len(admin.connections) <= 8, "no more than 8")
            # Those that hold a place say nothing, and so lose it.
            await nodekit.until(lambda: not admin.connections, "all are gone", 20 * FAST_S)
            for _, writer in opened:
                writer.transport.abort()

    nodekit.run(main())


def test_one_address_cannot_take_every_place(tmp_path, monkeypatch):
    """As from elsewhere: a stranger's connections, without a token, leave room for others."""
    monkeypatch.setattr(limits, "CONNECTIONS_PER_ADDRESS_MAX", 3)

    async def main():
        async with alive(tmp_path) as admin:
            monkeypatch.setattr(server, "is_loopback", lambda host: False)
            opened = [await asyncio.open_connection(*where(admin)) for _ in range(10)]
            await nodekit.until(lambda: len(admin.connections) == 3, "three stay")
            for _, writer in opened:
                writer.transport.abort()
            await nodekit.until(lambda: not admin.connections)

    nodekit.run(main())


@given(
    st.lists(
        st.binary(max_size=64) | st.sampled_from([b"\r\n", b"GET / HTTP/1.1\r\n", b"Host: 127.0.0.1\r\n"]),
        max_size=12,
    )
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def fuzz(admin, run, parts):
    found = run(send(admin, b"".join(parts) + b"\r\n\r\n"))
    assert found.status in (0, 200, 400, 404, 405, 413, 421), found


def test_rubbish(tmp_path, fast):
    """Anything is answered with a status of ours, or the connection is closed."""

    async def main():
        async with alive(tmp_path) as admin:
            loop = asyncio.get_running_loop()

            def run(work) -> Answer:
                return asyncio.run_coroutine_threadsafe(work, loop).result(20)

            await asyncio.to_thread(fuzz, admin, run)

    nodekit.run(main(), 55)
