"""Run under an interpreter that has Fiber: its miner, or its validator, unmodified. Prints what came of it as JSON.

fiber_side.py serve plain|encrypted          a miner; prints its address, and runs until stdin ends
fiber_side.py ask plain|encrypted ADDRESS    a validator; prints a list of [status, answer]
fiber_side.py load plain|encrypted ADDRESS SECONDS IN_FLIGHT BYTES     prints [requests a second, p50 ms, p99 ms]
fiber_side.py handshakes|sessions|rekeys encrypted ADDRESS SECONDS     the same of handshakes, one after the other
"""

import asyncio
import importlib
import json
import os
import sys
import threading
import time
from types import SimpleNamespace

import httpx
from cryptography.fernet import Fernet
from substrateinterface import Keypair

VALIDATOR = Keypair.create_from_seed("0x" + "11" * 32)
MINER = Keypair.create_from_seed("0x" + "22" * 32)
PACKAGE = os.environ.get("PACKAGE", "fiber")
ENDPOINT = os.environ.get("ENDPOINT", "/ask")
ADDRESSES = (VALIDATOR.ss58_address, MINER.ss58_address)


def module(kind, name):
    return importlib.import_module(f"{PACKAGE}.{'encrypted.' if kind == 'encrypted' else ''}{name}")


def configure(kind):
    """A miner without a chain."""
    nodes = {VALIDATOR.ss58_address: SimpleNamespace(stake=5_000.0)}
    metagraph = SimpleNamespace(substrate=None, nodes=nodes, shutdown=lambda: None)

    nonces = module(kind, "miner.security.nonce_management").NonceManager()
    settings = {"keypair": MINER, "metagraph": metagraph, "min_stake_threshold": 1000}
    if kind == "encrypted":
        handler = module(kind, "miner.security.key_management").EncryptionKeysHandler
        settings["encryption_keys_handler"] = handler(nonces, Fernet.generate_key().decode(), "fiber")
    else:
        settings["nonce_manager"] = nonces
    config = SimpleNamespace(httpx_client=None, **settings)
    module(kind, "miner.core.configuration").factory_config = lambda: config


def serve(kind):
    from fastapi import APIRouter, Body, Depends
    from fastapi.responses import StreamingResponse
    from pydantic import BaseModel

    class Question(BaseModel):
        text: str
        times: int = 1

    configure(kind)
    dependencies = module(kind, "miner.dependencies")
    router = APIRouter()
    if kind == "encrypted":
        from functools import partial

        decrypt = module(kind, "miner.security.encryption").decrypt_general_payload
        question_of = Depends(partial(decrypt, Question))
    else:
        question_of = Body()

    async def ask(question: Question = question_of):
        return {"answer": question.text * question.times}

    async def lines(question: Question = question_of):
        async def parts():
            for number in range(question.times):
                yield f"{question.text} {number}\n"

        return StreamingResponse(parts())

    async def get():
        return {"answer": "get"}

    # 2.1.0 has no check of a GET.
    verify_get = getattr(dependencies, "verify_get_request", None)
    stake = Depends(dependencies.blacklist_low_stake)
    guards = [stake, Depends(dependencies.verify_request)]
    router.add_api_route("/ask", ask, methods=["POST"], dependencies=guards)
    router.add_api_route("/lines", lines, methods=["POST"], dependencies=guards)
    guards = [stake] if verify_get is None else [stake, Depends(verify_get)]
    router.add_api_route("/get", get, methods=["GET"], dependencies=guards)
    app = module(kind, "miner.server").factory_app(**natives())
    app.include_router(router)
    run(app)


def natives():
    """What only our package has: the same answer by a native handler."""
    if PACKAGE == "fiber":
        return {}
    import msgspec

    from mycelium.miner.calls import Calls

    class Question(msgspec.Struct):
        text: str
        times: int = 1

    class Answer(msgspec.Struct):
        answer: str

    calls = Calls()

    @calls.on("/native")
    async def native(question: Question) -> Answer:
        return Answer(question.text * question.times)

    return {"calls": calls}


def run(app):
    """Until stdin ends."""
    import uvicorn

    class Server(uvicorn.Server):
        """Its listener is uvicorn's own: one that is handed to it goes without TCP_NODELAY on asyncio."""

        async def startup(self, sockets=None):
            await super().startup(sockets)
            port = self.servers[0].sockets[0].getsockname()[1]
            print(json.dumps(f"http://127.0.0.1:{port}"), flush=True)

    server = Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))

    def end():
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end, daemon=True).start()
    server.run()


async def ask(kind, address):
    client = module(kind, "validator.client")
    found = []
    async with httpx.AsyncClient() as http:
        parties = (http, address, *ADDRESSES, VALIDATOR)
        if kind == "encrypted":
            handshake = module(kind, "validator.handshake")
            key, uuid = await handshake.perform_handshake(http, address, VALIDATOR, MINER.ss58_address)
            parties = (*parties, Fernet(key), uuid)
        payload = {"text": "é", "times": 3}
        answer = await client.make_non_streamed_post(*parties, "/ask", dict(payload))
        found.append([answer.status_code, answer.json()])
        lines = [line async for line in client.make_streamed_post(*parties, "/lines", dict(payload))]
        found.append([200, lines])
        if hasattr(client, "get_headers_with_nonce"):
            uuids = () if kind == "plain" else (uuid,)
            answer = await client.make_non_streamed_get(http, address, ADDRESSES[0], *uuids, "/get")
        else:
            uuids = () if kind == "plain" else (uuid,)
            answer = await client.make_non_streamed_get(http, address, *ADDRESSES, VALIDATOR, *uuids, "/get")
        found.append([answer.status_code, answer.json()])
    print(json.dumps(found), flush=True)


async def load(kind, address, seconds, in_flight, size):
    client = module(kind, "validator.client")
    took = []
    async with httpx.AsyncClient() as http:
        parties = (http, address, *ADDRESSES, VALIDATOR)
        if kind == "encrypted":
            handshake = module(kind, "validator.handshake")
            key, uuid = await handshake.perform_handshake(http, address, VALIDATOR, MINER.ss58_address)
            parties = (*parties, Fernet(key), uuid)

        async def ask_on(end):
            while time.perf_counter() < end:
                began = time.perf_counter()
                answer = await client.make_non_streamed_post(*parties, ENDPOINT, {"text": "x" * size})
                assert answer.status_code == 200, answer.text
                took.append(time.perf_counter() - began)

        # Connections are opened and modules loaded before it counts.
        await asyncio.gather(*(ask_on(time.perf_counter() + 0.5) for _ in range(in_flight)))
        took.clear()
        began = time.perf_counter()
        await asyncio.gather(*(ask_on(began + seconds) for _ in range(in_flight)))
        passed = time.perf_counter() - began
    show(took, passed)


def show(took, passed):
    """How many a second, and p50 and p99 in ms."""
    took.sort()
    print(json.dumps([len(took) / passed, took[len(took) // 2] * 1000, took[len(took) * 99 // 100] * 1000]))


async def handshakes(what, kind, address, seconds):
    """One after the other: Fiber's from no connection on, sessions the same, and Fiber's function where there is a
    session."""
    handshake = module(kind, "validator.handshake")
    took = []

    async def fibers(http):
        await handshake.perform_handshake(http, address, VALIDATOR, MINER.ss58_address)

    async def session(http):
        from mycelium.http.session.sessions import Sessions

        sessions = Sessions()
        await sessions.open(address, *ADDRESSES, VALIDATOR)
        closing.append(sessions)

    one = session if what == "sessions" else fibers
    closing = []
    async with httpx.AsyncClient() as http:
        for _ in range(5):
            await one(http)
            await asyncio.sleep(0.1)
        began = time.perf_counter()
        while time.perf_counter() < began + seconds:
            start = time.perf_counter()
            await one(http)
            took.append(time.perf_counter() - start)
            while closing:
                await closing.pop().aclose()
            if what == "handshakes":
                # Each begins without a connection, as a session does.
                await http._transport.aclose()
                for mount in http._mounts.values():
                    await mount.aclose()
    show(took, sum(took))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    elif sys.argv[1] in ("handshakes", "sessions", "rekeys"):
        asyncio.run(handshakes(*sys.argv[1:4], float(sys.argv[4])))
    elif sys.argv[1] == "ask":
        asyncio.run(ask(sys.argv[2], sys.argv[3]))
    else:
        asyncio.run(load(sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6])))
