"""A miner that vanishes in the middle of an answer: a typed error for who asked, and the next request is answered."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest
from cryptography.fernet import Fernet
from httpwire.httpkit import VALIDATOR
from httpwire.minerkit import ME, VALIDATOR_ADDRESS, on_loop

from mycelium.encrypted.validator import handshake
from mycelium.encrypted.validator import requests as encrypted
from mycelium.errors import BrokenSeal
from mycelium.http import sealing
from mycelium.validator import requests as plain

KEY = Fernet(Fernet.generate_key())
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\none\n"


def timeout_s(end):
    """Short only where it is waited for."""
    return 0.2 if end is stay else 20


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def close(writer):
    writer.close()


def reset(writer):
    writer.transport.abort()


def stay(writer):
    """Alive, and silent."""


@contextlib.asynccontextmanager
async def miner(answer_to):
    """Answers request number n with answer_to(n, nonce): bytes, and what becomes of the connection then."""
    asked, writers = 0, []

    async def serve(reader, writer):
        nonlocal asked
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or 0))
                nonce = head.partition(b"\r\nnonce: ")[2].partition(b"\r\n")[0].decode()
                wire, end = answer_to(asked, nonce)
                asked += 1
                writer.write(wire)
                await writer.drain()
                end(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def lines_of(client, address, kind, end=close):
    """What came before an error, and the error."""
    parties = (client, address, VALIDATOR_ADDRESS, ME, VALIDATOR)
    if kind == "encrypted":
        lines = encrypted.make_streamed_post(*parties, KEY, "u", "/lines", {"text": "a"}, timeout_s(end))
    else:
        lines = plain.make_streamed_post(*parties, "/lines", {"text": "a"}, timeout_s(end))
    found = []
    try:
        async for line in lines:
            found.append(line)  # noqa: PERF401 - what came before the error counts
    except (httpx.TransportError, BrokenSeal) as error:
        return found, type(error)
    return found, None


GONE = {
    "before an answer, closed": (b"", close, {httpx.RemoteProtocolError}),
    "before an answer, reset": (b"", reset, {httpx.ReadError, httpx.RemoteProtocolError}),
    "before an answer, silent": (b"", stay, {httpx.ReadTimeout}),
    "in the status": (b"HTTP/1.1 20", close, {httpx.RemoteProtocolError}),
    "in the headers": (CHUNKED, close, {httpx.RemoteProtocolError}),
    "after the headers": (CHUNKED + b"\r\n", close, {httpx.RemoteProtocolError}),
    "after the headers, silent": (CHUNKED + b"\r\n", stay, {httpx.ReadTimeout}),
    "after a line, closed": (CHUNKED + b"\r\n" + chunk(b"one\n"), close, {httpx.RemoteProtocolError}),
    "after a line, reset": (
        CHUNKED + b"\r\n" + chunk(b"one\n"),
        reset,
        {httpx.ReadError, httpx.RemoteProtocolError},
    ),
    "after a line, silent": (CHUNKED + b"\r\n" + chunk(b"one\n"), stay, {httpx.ReadTimeout}),
    "in a chunk": (CHUNKED + b"\r\n" + chunk(b"one\n") + b"9\r\ntw", close, {httpx.RemoteProtocolError}),
    "in a chunk's size": (CHUNKED + b"\r\n" + chunk(b"one\n") + b"9", close, {httpx.RemoteProtocolError}),
    "before the last chunk": (
        CHUNKED + b"\r\n" + chunk(b"one\n") + b"0\r\n",
        close,
        {httpx.RemoteProtocolError},
    ),
    "of a length": (LENGTH + b"one\ntw", close, {httpx.RemoteProtocolError}),
    "of a length, silent": (LENGTH + b"one\ntw", stay, {httpx.ReadTimeout}),
}


@pytest.mark.parametrize("kind", ["plain", "encrypted"])
@pytest.mark.parametrize("gone", GONE)
@on_loop
async def test_in_a_stream(gone, kind):
    wire, end, errors = GONE[gone]

    def answer_to(number, nonce):
        return (wire, end) if number == 0 else (WHOLE, stay)

    async with miner(answer_to) as address, httpx.AsyncClient() as client:
        found, error = await lines_of(client, address, kind, end)
        assert error in errors
        # A reset may throw away what was not read yet.
        assert found in ([], ["one"]) if end is reset else found == (["one"] if b"one" in wire else [])
        assert await lines_of(client, address, kind) == (["one"], None)


SEALED_GONE = {
    "in a line": (lambda lines: lines[0] + lines[1][:-9], False, httpx.RemoteProtocolError),
    "after a line": (lambda lines: lines[0], False, httpx.RemoteProtocolError),
    "in a line, as if whole": (lambda lines: lines[0] + lines[1][:-9], True, BrokenSeal),
    "after a line, as if whole": (lambda lines: lines[0], True, BrokenSeal),
    "at once, as if whole": (lambda lines: b"", True, BrokenSeal),
}
"""As if whole: who stands in between ends the stream as it should end, and only the seal tells."""


@pytest.mark.parametrize("gone", SEALED_GONE)
@on_loop
async def test_in_a_sealed_stream(gone):
    cut, whole, expected = SEALED_GONE[gone]

    def answer_to(number, nonce):
        sealer = sealing.Sealer(KEY, nonce)
        data = cut([sealer.line(b"one\n"), sealer.line(b"two\n"), sealer.line(b"", last=True)])
        head = CHUNKED + f"{sealing.SEALED}: {sealing.STREAM}\r\n\r\n".encode()
        return head + (chunk(data) if data else b"") + (b"0\r\n\r\n" if whole else b""), close

    async with miner(answer_to) as address, httpx.AsyncClient() as client:
        found, error = await lines_of(client, address, "encrypted")
        assert error is expected
        assert found == ([] if gone.startswith("at once") else ["one"])


@pytest.mark.parametrize("gone", GONE)
@on_loop
async def test_in_a_whole_answer_and_in_a_handshake(gone):
    wire, end, errors = GONE[gone]
    async with miner(lambda number, nonce: (wire, end)) as address, httpx.AsyncClient() as client:
        parties = (client, address, VALIDATOR_ADDRESS, ME, VALIDATOR)
        with pytest.raises(tuple(errors)):
            await plain.make_non_streamed_post(*parties, "/ask", {"text": "a"}, timeout_s(end))
        with pytest.raises(tuple(errors)):
            await encrypted.make_non_streamed_post(*parties, KEY, "u", "/ask", {"text": "a"}, timeout_s(end))
        with pytest.raises(tuple(errors)):
            await handshake.get_public_encryption_key(client, address, timeout_s(end))
