"""The real Fiber on the other side, in both directions, where its source is at hand.

FIBER_SRC is a directory that holds the package `fiber` (several with colons between), FIBER_PYTHON an interpreter that
has what it needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from functools import partial
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet
from fastapi import APIRouter, Depends
from httpwire.httpkit import VALIDATOR
from httpwire.minerkit import ME, VALIDATOR_ADDRESS, app_of, config, serving
from httpwire.test_miner import Question, lines

from mycelium.encrypted.miner import dependencies as encrypted_deps
from mycelium.encrypted.miner.security.encryption import decrypt_general_payload
from mycelium.encrypted.validator import handshake
from mycelium.encrypted.validator import requests as encrypted
from mycelium.miner import dependencies as plain_deps
from mycelium.validator import requests as plain

SOURCES = [Path(path) for path in os.environ.get("FIBER_SRC", "").split(":") if path]
PYTHON = os.environ.get("FIBER_PYTHON", "")
SCRIPT = Path(__file__).parent / "scripts" / "fiber_side.py"
EXPECTED = [[200, {"answer": "ééé"}], [200, ["é 0", "é 1", "é 2"]], [200, {"answer": "get"}]]

pytestmark = pytest.mark.skipif(
    not SOURCES or not PYTHON, reason="FIBER_SRC and FIBER_PYTHON do not say where the real Fiber is"
)


def environment(source):
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(source), "HOME": os.environ["HOME"], "NETUID": "1"}


@contextlib.contextmanager
def fibers_miner(source, kind, home):
    command = [PYTHON, SCRIPT, "serve", kind]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(source), cwd=home
    )
    try:
        said = b""
        while not said.startswith(b'"http'):
            said = process.stdout.readline()
            assert said, "it did not start"
        yield json.loads(said)
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def our_miner(kind):
    deps = encrypted_deps if kind == "encrypted" else plain_deps
    router = APIRouter()
    guards = [Depends(deps.blacklist_low_stake), Depends(deps.verify_request)]
    stake = [Depends(deps.blacklist_low_stake)]
    payload = Depends(partial(decrypt_general_payload, Question))

    if kind == "encrypted":

        async def ask(question: Question = payload):
            return {"answer": question.text * question.times}

        async def stream(question: Question = payload):
            return lines(question)

    else:

        async def ask(question: Question):
            return {"answer": question.text * question.times}

        async def stream(question: Question):
            return lines(question)

    async def get():
        return {"answer": "get"}

    router.add_api_route("/ask", ask, methods=["POST"], dependencies=guards)
    router.add_api_route("/lines", stream, methods=["POST"], dependencies=guards)
    # Of 2.1.0 a GET is not signed.
    router.add_api_route("/get", get, methods=["GET"], dependencies=stake)
    return app_of(config(encrypted=kind == "encrypted"), router, encrypted=kind == "encrypted")


@pytest.mark.parametrize("kind", ["plain", "encrypted"])
@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_fibers_validator_asks_our_miner(source, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with serving(our_miner(kind)) as address:
        command = [PYTHON, SCRIPT, "ask", kind, address]
        done = subprocess.run(command, capture_output=True, env=environment(source), cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout.splitlines()[-1]) == EXPECTED


async def ask(kind, address):
    found = []
    async with httpx.AsyncClient() as client:
        parties = (client, address, VALIDATOR_ADDRESS, ME, VALIDATOR)
        requests, uuids = plain, ()
        if kind == "encrypted":
            key, uuid = await handshake.perform_handshake(client, address, VALIDATOR, ME)
            requests, uuids = encrypted, (uuid,)
            posted = (*parties, Fernet(key), uuid)
        else:
            posted = parties
        payload = {"text": "é", "times": 3}
        answer = await requests.make_non_streamed_post(*posted, "/ask", payload)
        found.append([answer.status_code, answer.json()])
        found.append([200, [line async for line in requests.make_streamed_post(*posted, "/lines", payload)]])
        answer = await requests.make_non_streamed_get(*parties, *uuids, "/get")
        found.append([answer.status_code, answer.json()])
    return found


@pytest.mark.parametrize("kind", ["plain", "encrypted"])
@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_our_validator_asks_fibers_miner(source, kind, tmp_path):
    with fibers_miner(source, kind, tmp_path) as address:
        assert asyncio.run(ask(kind, address)) == EXPECTED
