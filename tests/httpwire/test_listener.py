"""uvicorn's connections with an end: headers too long or too slow, and everything else as ever."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time

import httpx
import pytest
from httpwire.hostile import GARBAGE, GOOD, LINES, Attacks, answer, asked, errors_logged, limit, router_of
from httpwire.minerkit import app_of, config, on_loop, serving

from mycelium.http.listener import Bounded

BODY_BYTES_MAX = 1_000_000
WAIT_S = 20
HEAD = b"POST /ask HTTP/1.1\r\nhost: miner\r\n"


class Hasty(Bounded):
    """That waits for headers no longer than a test may."""

    head_s = 0.3


@contextlib.asynccontextmanager
async def listening(http=Bounded, loop="asyncio"):
    """Attacks on a plain miner, and its port."""
    app = app_of(config(encrypted=False), router_of(encrypted=False), encrypted=False)
    limit(app, body_bytes_max=BODY_BYTES_MAX)
    attacks = Attacks(encrypted=False, seed=1, body_bytes_max=BODY_BYTES_MAX)
    with errors_logged() as errors:
        with serving(app, http=http, loop=loop, timeout_keep_alive=1) as address:
            port = int(address.rpartition(":")[2])
            async with asyncio.timeout(60):
                yield attacks, port
                assert await asked(port, attacks.good().wire) == 200
        assert errors == []


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@on_loop
async def test_all_else_is_as_ever(loop):
    async with listening(loop=loop) as (attacks, port):
        for one in itertools.islice(attacks, len(attacks.classes)):
            assert 400 <= await asked(port, one.wire) < 500, one.name
        for data in GARBAGE.values():
            assert 400 <= await asked(port, data) < 500
        async with httpx.AsyncClient() as client:
            for number in range(5):
                one = attacks.good(LINES, b'{"text": "a", "times": 100}' if number % 2 else GOOD)
                url = f"http://127.0.0.1:{port}{one.path}"
                response = await client.post(url, headers=one.headers, content=one.body)
                assert len(response.text.splitlines()) == (100 if number % 2 else 1)
            big = attacks.good(text=b'{"text": "' + b"a" * (BODY_BYTES_MAX - 100) + b'"}')
            response = await client.post(
                f"http://127.0.0.1:{port}/ask", headers=big.headers, content=big.body
            )
            assert response.status_code == 200


ENDLESS = {
    "a method": (b"", b"P" * 8_192),
    "a path": (b"POST /", b"a" * 8_192),
    "a name": (HEAD, b"x" * 8_192),
    "a value": (HEAD + b"x: ", b"x" * 8_192),
    "headers": (HEAD, b"x: y\r\n" * 1_000),
    "empty lines": (b"", b"\r\n" * 4_096),
    "a chunk's extension": (HEAD + b"transfer-encoding: chunked\r\n\r\n1;", b"x" * 8_192),
    "trailers": (HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 1_000),
}


@pytest.mark.parametrize("endless", ENDLESS)
@on_loop
async def test_what_is_no_body_has_an_end(endless):
    first, more = ENDLESS[endless]
    async with listening() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(first)
        sent = 0
        # A server that has closed is seen by what is written to it next, or next but one.
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof() and sent < 64 * 2**20:
                writer.write(more)
                sent += len(more)
                await writer.drain()
        # What the sockets hold, and one read.
        assert sent < 16 * 2**20
        writer.transport.abort()


@pytest.mark.parametrize(
    "data",
    [b"", b"POST /as", HEAD, HEAD + b"content-length: 1\r\n"],
    ids=["nothing", "half a line", "half of them", "all but their end"],
)
@pytest.mark.parametrize("before", [False, True], ids=["at once", "after an answer"])
@on_loop
async def test_headers_that_do_not_come(data, before):
    async with listening(Hasty) as (attacks, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if before:
            writer.write(attacks.good().wire)
            assert (await answer(reader))[0] == 200
        began_s = time.monotonic()
        writer.write(data)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
        # Not only when the test gives up; one that was used and says nothing is uvicorn's to close, after a second.
        assert time.monotonic() - began_s < WAIT_S / 2
        writer.transport.abort()


@on_loop
async def test_a_body_may_take_longer_than_headers():
    async with listening(Hasty) as (attacks, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        wire = attacks.good().wire
        writer.write(wire[:-1])
        # Longer than headers may take: another connection tells when.
        assert await asked(port, HEAD) is None
        writer.write(wire[-1:])
        assert (await answer(reader))[0] == 200
        writer.transport.abort()
