"""Sealed answers: read by who asked, and by nobody who changed, moved, cut or repeated them."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from mycelium.errors import BrokenSeal
from mycelium.http import sealing
from mycelium.http.sealing import Opener, Sealer

FERNET = Fernet(Fernet.generate_key())
NONCE = "1_abc"


def answer(content, how=sealing.FERNET, status=200):
    headers = {"content-type": "application/json", sealing.SEALED: how, "x-other": "kept"}
    request = httpx.Request("POST", "http://miner/ask")
    response = httpx.Response(status, headers=headers, content=content, request=request)
    response.elapsed = __import__("datetime").timedelta(seconds=1)
    return response


@pytest.mark.parametrize("status", [200, 422, 500])
def test_a_whole_answer(status):
    found = sealing.opened(answer(sealing.sealed(FERNET, NONCE, b'{"a": 1}'), status=status), FERNET, NONCE)
    assert (found.status_code, found.json(), found.headers["x-other"]) == (status, {"a": 1}, "kept")
    assert sealing.SEALED not in found.headers
    assert found.headers["content-length"] == "8"
    assert found.request.url == "http://miner/ask"


def test_a_plain_answer_stays_as_it_is():
    plain = httpx.Response(200, content=b"x", request=httpx.Request("POST", "http://miner/ask"))
    assert sealing.opened(plain, FERNET, NONCE) is plain


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b'{"a": 1}',
        sealing.sealed(Fernet(Fernet.generate_key()), NONCE, b"{}"),
        sealing.sealed(FERNET, "2_abc", b"{}"),
        sealing.sealed(FERNET, "1_abcd", b"{}"),
        FERNET.encrypt(b"{}"),
        sealing.sealed(FERNET, NONCE, b"{}")[:-4],
    ],
    ids=["nothing", "garbage", "plain", "other key", "other request", "longer nonce", "no nonce", "cut"],
)
def test_one_that_was_changed_or_is_anothers(content):
    with pytest.raises(BrokenSeal):
        sealing.opened(answer(content), FERNET, NONCE)


def stream_of(pieces):
    sealer = Sealer(FERNET, NONCE)
    return [*[sealer.line(piece) for piece in pieces], sealer.line(b"", last=True)]


@given(st.lists(st.binary(max_size=50), max_size=8), st.data())
def test_a_stream_however_it_is_cut_on_the_way(pieces, data):
    wire, opener, found = b"".join(stream_of(pieces)), Opener(FERNET, NONCE), []
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        found += opener.feed(wire[:size])
        wire = wire[size:]
    opener.finish()
    assert found == [*pieces, b""]


def feed(lines):
    opener = Opener(FERNET, NONCE)
    opener.feed(b"".join(lines))
    opener.finish()


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: lines[1:],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [lines[0], lines[0], *lines[1:]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [*lines, Sealer(FERNET, NONCE).line(b"more")],
        lambda lines: [*lines[:-1], lines[-1][:-1]],
        lambda lines: [*lines[:-1], b"garbage\n", lines[-1]],
        lambda lines: [],
        lambda lines: [Sealer(FERNET, "2_x").line(b"a"), *lines[1:]],
    ],
)
def test_a_stream_that_was_changed(change):
    lines = stream_of([b"a", b"b", b"c"])
    feed(lines)
    with pytest.raises(BrokenSeal):
        feed(change(lines))


def test_lines_of_a_stream_are_those_of_the_plain_one():
    """However the miner cut its text into pieces, and a letter of two bytes too."""
    text = "é\nzwei\r\n\ndrei\rvier\u2028fünf"
    raw = text.encode()
    for size in (1, 2, 3, 100):
        wire = stream_of([raw[at : at + size] for at in range(0, len(raw), size)])

        async def chunks(wire=wire):
            for line in wire:
                yield line

        async def read(chunks=chunks):
            response = httpx.Response(
                200,
                headers={sealing.SEALED: sealing.STREAM},
                content=chunks(),
                request=httpx.Request("POST", "http://miner/ask"),
            )
            assert sealing.is_sealed(response)
            return [line async for line in sealing.opened_lines(response, FERNET, NONCE)]

        assert asyncio.run(read()) == text.splitlines()


def test_a_stream_that_was_read_whole():
    lines = b"".join(stream_of([b"a\n", b"b\n"]))
    assert sealing.opened(answer(lines, sealing.STREAM), FERNET, NONCE).text == "a\nb\n"
    with pytest.raises(BrokenSeal, match="cut off"):
        sealing.opened(answer(lines[:-10], sealing.STREAM), FERNET, NONCE)


def test_a_line_of_a_stream_is_no_whole_answer_nor_the_other_way_round():
    """Whoever stands in between can write the header that says which it is."""
    first, *_ = stream_of([b"the first of many"])
    with pytest.raises(BrokenSeal):
        sealing.opened(answer(first.strip()), FERNET, NONCE)
    disguised = (0).to_bytes(8, "big") + b"end "
    with pytest.raises(BrokenSeal):
        sealing.opened(
            answer(sealing.sealed(FERNET, NONCE, disguised) + b"\n", sealing.STREAM), FERNET, NONCE
        )


def test_a_line_without_end_takes_time_by_its_size_and_no_more():
    opener, chunk = Opener(FERNET, NONCE), b"x" * 65_536
    began_s = time.process_time()
    for _ in range(600):
        assert opener.feed(chunk) == []
    assert time.process_time() - began_s < 1
    with pytest.raises(BrokenSeal):
        opener.finish()
