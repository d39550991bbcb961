"""What programs do with their answers, compress them above all, goes on where answers are sealed."""

from __future__ import annotations

import contextlib
import gzip

import httpx
import pytest
from cryptography.fernet import Fernet
from fastapi import APIRouter, Depends, HTTPException
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import Response, StreamingResponse
from httpwire.httpkit import VALIDATOR
from httpwire.minerkit import ME, VALIDATOR_ADDRESS, app_of, asking, config, on_loop

from mycelium.encrypted.miner import dependencies
from mycelium.encrypted.validator import handshake, requests

TEXT = "line one\nline two\n" * 100


def router():
    made = APIRouter(
        dependencies=[Depends(dependencies.blacklist_low_stake), Depends(dependencies.verify_request)]
    )

    @made.post("/stream")
    async def stream():
        async def parts():
            for at in range(0, len(TEXT), 70):
                yield TEXT[at : at + 70]

        return StreamingResponse(parts(), media_type="text/plain")

    @made.post("/whole")
    async def whole():
        return {"answer": "all of it"}

    @made.post("/compressed")
    async def compressed():
        return Response(gzip.compress(TEXT.encode()), headers={"content-encoding": "gzip"})

    @made.post("/compressed-stream")
    async def compressed_stream():
        whole = gzip.compress(TEXT.encode())

        async def parts():
            for at in range(0, len(whole), 7):
                yield whole[at : at + 7]

        return StreamingResponse(parts(), headers={"content-encoding": "gzip"})

    @made.post("/refused")
    async def refused():
        raise HTTPException(status_code=418, detail="why not")

    return made


@pytest.fixture(autouse=True)
def _directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@contextlib.asynccontextmanager
async def parties_of(app):
    """Arguments of a validator's requests, after a handshake."""
    async with asking(app) as client:
        key, uuid = await handshake.perform_handshake(client, "http://miner", VALIDATOR, ME)
        yield client, "http://miner", VALIDATOR_ADDRESS, ME, VALIDATOR, Fernet(key), uuid


async def streamed(parties, path):
    return [line async for line in requests.make_streamed_post(*parties, path, {})]


@on_loop
async def test_a_stream_that_is_compressed_after_it_was_sealed():
    app = app_of(config(encrypted=True), router(), encrypted=True)
    app.add_middleware(GZipMiddleware, minimum_size=1)
    async with parties_of(app) as parties:
        assert await streamed(parties, "/stream") == TEXT.splitlines()


@on_loop
async def test_a_refusal_instead_of_a_stream_is_opened(caplog):
    async with parties_of(app_of(config(encrypted=True), router(), encrypted=True)) as parties:
        with pytest.raises(httpx.HTTPStatusError) as refused:
            await streamed(parties, "/refused")
    assert refused.value.response.json() == {"detail": "why not"}
    assert "why not" in caplog.text


@on_loop
async def test_a_whole_answer_where_a_stream_was_asked_for():
    async with parties_of(app_of(config(encrypted=True), router(), encrypted=True)) as parties:
        assert await streamed(parties, "/whole") == ['{"answer":"all of it"}']


@on_loop
async def test_what_was_compressed_before_it_was_sealed():
    async with parties_of(app_of(config(encrypted=True), router(), encrypted=True)) as parties:
        for path in ("/compressed", "/compressed-stream"):
            assert await streamed(parties, path) == TEXT.splitlines()
            answer = await requests.make_non_streamed_post(*parties, path, {})
            assert answer.text == TEXT
            assert answer.headers["content-encoding"] == "gzip"
