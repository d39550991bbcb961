"""A miner of ours behind a real socket and a validator's requests to it, on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from functools import partial

import httpx
import msgspec
import uvicorn
from cryptography.fernet import Fernet
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from httpwire.httpkit import VALIDATOR
from httpwire.minerkit import ME, VALIDATOR_ADDRESS, app_of, config
from pydantic import BaseModel

from mycelium.encrypted.miner import dependencies as encrypted_deps
from mycelium.encrypted.miner.security.encryption import decrypt_general_payload
from mycelium.encrypted.validator import handshake
from mycelium.encrypted.validator import requests as encrypted_requests
from mycelium.http import sending
from mycelium.miner import dependencies as plain_deps
from mycelium.miner.calls import Calls, Refused, Validator
from mycelium.validator import requests as plain_requests

SESSION = b"mycelium.v1"


class Question(BaseModel):
    text: str
    times: int = 1


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    times: int = 1


class Doings:
    """What handlers did, for a test to see."""

    def __init__(self):
        self.started = self.cancelled = self.produced = 0
        self.gate = asyncio.Event()
        self.seen = []

    async def wait(self):
        self.started += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return {"answer": "waited"}

    async def produce(self, times, size):
        try:
            for number in range(times):
                self.produced += 1
                yield f"{number} ".ljust(size - 1, ".") + "\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise


def routes(doings, *, encrypted):
    """The same questions that `natives` answers."""
    deps = encrypted_deps if encrypted else plain_deps
    guards = [Depends(deps.blacklist_low_stake)]
    signed = [*guards, Depends(deps.verify_request)]
    router = APIRouter()
    question = Depends(partial(decrypt_general_payload, Question)) if encrypted else None

    def post(path):
        return router.post(path, dependencies=signed)

    async def ask(request: Request, question: Question = question):
        doings.seen.append(dict(request.headers))
        return {"answer": question.text * question.times}

    async def wait(question: Question = question):
        return await doings.wait()

    async def lines(question: Question = question):
        return StreamingResponse(doings.produce(question.times, 10), media_type="text/plain")

    async def broken_lines(question: Question = question):
        async def parts():
            yield "one\n"
            raise ZeroDivisionError("a secret detail")

        return StreamingResponse(parts())

    async def refuse(question: Question = question):
        raise HTTPException(418, {"why": question.text}, headers={"X-Tea": "pot"})

    async def fail(question: Question = question):
        raise ZeroDivisionError("a secret detail")

    async def large(question: Question = question):
        return Response(bytes(question.times), media_type="application/octet-stream")

    async def nothing(question: Question = question):
        return Response(status_code=204)

    async def cookies(question: Question = question):
        return JSONResponse({"answer": 1}, headers={"Set-Cookie": "a=b"})

    for endpoint in (ask, wait, lines, broken_lines, refuse, fail, large, nothing, cookies):
        if not encrypted:
            endpoint.__defaults__ = ()
        post(f"/{endpoint.__name__}")(endpoint)

    @router.get("/get", dependencies=[*guards, Depends(deps.verify_get_request)])
    async def get(request: Request, of: str = "nobody"):
        return {"answer": of}

    return router


def natives(doings):
    calls = Calls()

    @calls.on("/native/ask")
    async def ask(question: Asked):
        return {"answer": question.text * question.times}

    @calls.on("/native/model")
    async def model(question: Question) -> Question:
        return question

    @calls.on("/native/who")
    async def who(validator: Validator):
        return {"hotkey": validator.hotkey, "stake": validator.node.stake}

    @calls.on("/native/wait")
    async def wait(question: Asked):
        return await doings.wait()

    @calls.on("/native/lines")
    async def lines(question: Asked, validator: Validator) -> AsyncIterator[str]:
        async with contextlib.aclosing(doings.produce(question.times, 10)) as found:
            async for line in found:
                yield line

    @calls.on("/native/objects")
    async def objects(question: Asked):
        for number in range(question.times):
            yield {"number": number}

    @calls.on("/native/broken_lines")
    async def broken_lines(question: Asked):
        yield "one\n"
        raise ZeroDivisionError("a secret detail")

    @calls.on("/native/unbegun")
    async def unbegun(question: Asked):
        if question.times:
            raise Refused(409, "not now")
        yield "never"

    @calls.on("/native/empty")
    async def empty(question: Asked):
        for never in ():
            yield never

    @calls.on("/native/refuse")
    async def refuse(question: Asked):
        raise HTTPException(418, {"why": question.text}, headers={"X-Tea": "pot"})

    @calls.on("/native/fail")
    async def fail(question: Asked):
        raise ZeroDivisionError("a secret detail")

    @calls.on("/native/large")
    async def large(question: Asked):
        return bytes(question.times)

    @calls.on("/native/get", method="GET")
    async def get():
        return {"answer": "get"}

    return calls


class World:
    """One miner, one validator. `post`, `get` and `lines` are what programs call."""

    def __init__(self, *, encrypted=False, client=None, settings=None, natives_of=natives, **keywords):
        self.encrypted = encrypted
        self.doings = Doings()
        self.settings = settings or config(encrypted=encrypted)
        self.app = app_of(
            self.settings,
            routes(self.doings, encrypted=encrypted),
            encrypted=encrypted,
            calls=natives_of(self.doings),
            **keywords,
        )
        self.client = client or httpx.AsyncClient()
        self.miner, self.keypair = ME, VALIDATOR
        self._requests = encrypted_requests if encrypted else plain_requests
        self._secret = ()
        self._listener = None
        self.port = 0

    async def __aenter__(self):
        await self.start()
        if self.encrypted:
            key, uuid = await handshake.perform_handshake(self.client, self.address, VALIDATOR, ME)
            self._secret = Fernet(key), uuid
        return self

    async def __aexit__(self, *exc):
        await self.client.aclose()
        await self.stop()

    async def start(self):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self.port = listener.getsockname()[1]
        self.server = uvicorn.Server(uvicorn.Config(self.app, log_level="critical", lifespan="on"))
        self._listener = listener
        self._task = asyncio.create_task(self.server._serve([listener]))
        while not self.server.started:
            assert not self._task.done(), "it did not start"
            await asyncio.sleep(0)

    async def stop(self):
        self.server.should_exit = True
        await self._task

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def _parties(self):
        return self.client, self.address, VALIDATOR_ADDRESS, self.miner, self.keypair

    async def post(self, endpoint, payload=None, timeout=10.0):
        parties = (*self._parties(), *self._secret)
        payload = {"text": "a", "times": 2} if payload is None else payload
        return await self._requests.make_non_streamed_post(*parties, endpoint, payload, timeout)

    async def get(self, endpoint, timeout=10.0):
        parties = (*self._parties(), *self._secret[1:])
        return await self._requests.make_non_streamed_get(*parties, endpoint, timeout)

    def lines(self, endpoint, payload=None, timeout=10.0):
        parties = (*self._parties(), *self._secret)
        payload = {"text": "a", "times": 3} if payload is None else payload
        return self._requests.make_streamed_post(*parties, endpoint, payload, timeout)

    @property
    def sessions(self):
        return sending.sessions_of(self.client)

    def session(self):
        return self.sessions.find(self.address, VALIDATOR_ADDRESS, self.miner)

    async def session_opened(self):
        """The first answer offers it; it is opened in the background."""
        answer = await self.post("/ask")
        assert answer.status_code == 200, answer.text
        await until(lambda: self.session() is not None)
        return self


def over_session(answer):
    return answer.extensions["http_version"] == SESSION


async def until(true, timeout_s=10.0):
    """Let the loop run until something is so."""
    async with asyncio.timeout(timeout_s):
        while not true():
            await asyncio.sleep(0.001)
