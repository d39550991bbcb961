"""A miner of ours and a validator of ours: plain and encrypted, GET, POST and streams; and who is not let in."""

from __future__ import annotations

import asyncio
import contextlib
import json
from functools import partial

import httpx
import pytest
from cryptography.fernet import Fernet
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import StreamingResponse
from httpwire.httpkit import MINER, OTHER, VALIDATOR
from httpwire.minerkit import ME, VALIDATOR_ADDRESS, app_of, asking, config, on_loop, serving
from pydantic import BaseModel, ConfigDict

from mycelium.encrypted.miner import dependencies as encrypted_deps
from mycelium.encrypted.miner.endpoints import subnet as encrypted_example
from mycelium.encrypted.miner.security.encryption import decrypt_general_payload
from mycelium.encrypted.validator import handshake
from mycelium.encrypted.validator import requests as encrypted
from mycelium.errors import BrokenSeal
from mycelium.http import exchange, sealing
from mycelium.http.remembered import Remembered
from mycelium.miner import dependencies as plain_deps
from mycelium.miner.endpoints import subnet as plain_example
from mycelium.validator import requests as plain

ADDRESS = "http://miner"


class Question(BaseModel):
    """A strict model: it knows no field that a library puts into a payload."""

    model_config = ConfigDict(extra="forbid")

    text: str
    times: int = 1


def lines(question):
    async def parts():
        for number in range(question.times):
            yield f"{question.text} {number}\n"

    return StreamingResponse(parts(), media_type="text/plain")


def plain_router():
    router = APIRouter(
        dependencies=[Depends(plain_deps.blacklist_low_stake), Depends(plain_deps.verify_request)]
    )

    @router.post("/ask")
    async def ask(question: Question):
        return {"answer": question.text * question.times}

    @router.post("/lines")
    async def stream(question: Question):
        return lines(question)

    return router


def encrypted_router():
    guards = [Depends(encrypted_deps.blacklist_low_stake), Depends(encrypted_deps.verify_request)]
    router = APIRouter(dependencies=guards)
    payload = Depends(partial(decrypt_general_payload, Question))

    @router.post("/ask")
    async def ask(question: Question = payload):
        return {"answer": question.text * question.times}

    @router.post("/lines")
    async def stream(question: Question = payload):
        return lines(question)

    return router


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Miners write where they are started."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@on_loop
async def test_plain(here):
    settings = config(encrypted=False)
    app = app_of(settings, plain_router(), plain_example.factory_router(), encrypted=False)
    async with asking(app) as client:
        parties = (client, ADDRESS, VALIDATOR_ADDRESS, ME, VALIDATOR)
        answer = await plain.make_non_streamed_post(*parties, "/ask", {"text": "é", "times": 3})
        assert (answer.status_code, answer.json()) == (200, {"answer": "ééé"})
        answer = await plain.make_non_streamed_get(*parties, "/example-subnet-get")
        assert answer.json() == {"status": "Example get request received"}
        found = [
            line async for line in plain.make_streamed_post(*parties, "/lines", {"text": "é", "times": 3})
        ]
        assert found == ["é 0", "é 1", "é 2"]
        answer = await plain.make_non_streamed_post(*parties, "/example-subnet-request", {"hi": "there"})
        assert answer.json() == {"status": "Example request received"}
    assert settings.metagraph.ended


@on_loop
async def test_encrypted(here):
    settings = config(encrypted=True)
    app = app_of(settings, encrypted_router(), encrypted_example.factory_router(), encrypted=True)
    async with asking(app) as client:
        key, uuid = await handshake.perform_handshake(client, ADDRESS, VALIDATOR, ME)
        parties = (client, ADDRESS, VALIDATOR_ADDRESS, ME, VALIDATOR, Fernet(key), uuid)
        payload = {"text": "é", "times": 3}
        answer = await encrypted.make_non_streamed_post(*parties, "/ask", payload)
        assert (answer.status_code, answer.json()) == (200, {"answer": "ééé"})
        assert payload == {"text": "é", "times": 3}, "the caller's payload stays as it is"
        found = [line async for line in encrypted.make_streamed_post(*parties, "/lines", payload)]
        assert found == ["é 0", "é 1", "é 2"]
        answer = await encrypted.make_non_streamed_get(
            client, ADDRESS, VALIDATOR_ADDRESS, ME, VALIDATOR, uuid, "/example-subnet-get"
        )
        assert answer.json() == {"status": "Example get request received"}
        answer = await encrypted.make_non_streamed_post(*parties, "/example-subnet-request", {})
        assert answer.json() == {"status": "Example request received"}
    assert (here / "test_symmetric_keys.encrypted").exists()


@on_loop
async def test_answers_are_sealed_between_ours_and_only_where_asked_for(here):
    app = app_of(config(encrypted=True), encrypted_router(), encrypted=True)
    seen = []

    @app.middleware("http")
    async def look(request: Request, call_next):
        seen.append(dict(request.headers))
        return await call_next(request)

    async with asking(app) as client:
        key, uuid = await handshake.perform_handshake(client, ADDRESS, VALIDATOR, ME)
        fernet = Fernet(key)
        for asked in (True, False):
            headers = encrypted._get_headers(uuid, VALIDATOR_ADDRESS, ME, VALIDATOR)
            if asked:
                headers[sealing.ACCEPT] = sealing.FERNET
            body = fernet.encrypt(b'{"text": "secret"}')
            answer = await client.post(ADDRESS + "/ask", headers=headers, content=body)
            assert answer.status_code == 200
            assert ("secret" in answer.text) is not asked
            assert answer.headers.get(sealing.SEALED) == (sealing.FERNET if asked else None)


def low_stake_router():
    """Routes that let in whoever signs."""
    router = APIRouter(dependencies=[Depends(encrypted_deps.verify_request)])
    payload = Depends(partial(decrypt_general_payload, Question))

    @router.post("/open")
    async def ask(question: Question = payload):
        return {"answer": question.text}

    @router.post("/open-lines")
    async def stream(question: Question = payload):
        return lines(question)

    return router


@on_loop
async def test_a_seal_that_was_taken_off_is_noticed(here, monkeypatch):
    app = app_of(config(encrypted=True), encrypted_router(), low_stake_router(), encrypted=True)
    strips = False

    async def between(scope, receive, send):
        """Somebody who stands in between and has not the key."""
        if strips:
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != sealing.ACCEPT.encode()]
        await inner(scope, receive, send)

    inner = app.build_middleware_stack()
    app.middleware_stack = between
    async with asking(app) as client:
        key, uuid = await handshake.perform_handshake(client, ADDRESS, VALIDATOR, ME)
        parties = (client, ADDRESS, VALIDATOR_ADDRESS, ME, VALIDATOR, Fernet(key), uuid)
        for path in ("/ask", "/open"):
            assert (await encrypted.make_non_streamed_post(*parties, path, {"text": "a"})).status_code == 200
        app.dependency_overrides[encrypted_deps.get_config]().metagraph.nodes[VALIDATOR_ADDRESS].stake = 1.0
        assert (await encrypted.make_non_streamed_post(*parties, "/open", {"text": "a"})).status_code == 200
        assert [line async for line in encrypted.make_streamed_post(*parties, "/open-lines", {"text": "a"})]
        strips = True
        with pytest.raises(BrokenSeal, match="taken the seal off"):
            await encrypted.make_non_streamed_post(*parties, "/open", {"text": "a"})
        with pytest.raises(BrokenSeal, match="taken the seal off"):
            [line async for line in encrypted.make_streamed_post(*parties, "/open-lines", {"text": "a"})]
        refused = await encrypted.make_non_streamed_post(*parties, "/ask", {"text": "a"})
        assert refused.status_code == 403, "a refusal needs no key"
        monkeypatch.setattr(sealing, "SEALING", Remembered(10))  # as if the handshake had been Fiber's
        assert (await encrypted.make_non_streamed_post(*parties, "/open", {"text": "a"})).status_code == 200


def test_over_a_real_socket(here):
    app = app_of(config(encrypted=True), encrypted_router(), encrypted=True)

    async def ask(address):
        async with httpx.AsyncClient() as client:
            key, uuid = await handshake.perform_handshake(client, address, VALIDATOR, ME)
            parties = (client, address, VALIDATOR_ADDRESS, ME, VALIDATOR, Fernet(key), uuid)
            answer = await encrypted.make_non_streamed_post(*parties, "/ask", {"text": "a", "times": 2})
            assert answer.json() == {"answer": "aa"}
            found = [
                line
                async for line in encrypted.make_streamed_post(*parties, "/lines", {"text": "é", "times": 50})
            ]
            assert found == [f"é {number}" for number in range(50)]

    with serving(app) as address:
        asyncio.run(ask(address))


# --- who is not let in ------------------------------------------------------------------------------------


@on_loop
async def test_statuses_are_fibers(here):
    app = app_of(config(encrypted=False), plain_router(), encrypted=False)
    async with asking(app) as client:
        body = b'{"text": "a"}'

        async def status(change=None, *, content=body, keypair=VALIDATOR, miner=ME, signed=body):
            headers = plain._get_headers(keypair.ss58_address, miner, keypair, signed)
            for name, value in (change or {}).items():
                if value is None:
                    headers.pop(name)
                else:
                    headers[name] = value
            answer = await client.post("/ask", headers=headers, content=content)
            return answer.status_code, answer.json()["detail"] if answer.status_code != 200 else None

        assert await status() == (200, None)
        nonce = "Oi, that nonce is not valid!"
        signature = "Oi, invalid signature, you're not who you said you were!"
        assert await status({"nonce": "x"}) == (401, nonce)
        assert await status({"nonce": "1_abc"}) == (401, nonce)
        assert await status({"signature": "ab" * 64}) == (401, signature)
        assert await status({"signature": "0x" + "ab" * 64}) == (401, signature)
        assert await status(content=b'{"text": "b"}') == (401, signature)
        assert await status(miner=OTHER.ss58_address) == (401, "Oi, invalid miner hotkey - that's not me!")
        assert await status(keypair=OTHER) == (403, "Insufficient stake of 1.0 ")
        assert await status(keypair=MINER) == (403, "Hotkey not found in metagraph")
        garbage = {"signature": "x", "nonce": "y", "validator-hotkey": "z"}
        assert await status(garbage) == (403, "Hotkey not found in metagraph")
        for name in ("validator-hotkey", "miner-hotkey", "nonce", "signature"):
            code, detail = await status({name: None})
            assert (code, detail[0]["loc"]) == (422, ["header", name])


@on_loop
async def test_a_request_is_let_in_once_also_after_a_restart(here):
    headers, body = None, b'{"text": "a"}'
    for number in range(2):
        settings = config(encrypted=False, nonces=here / "nonces.sqlite")
        async with asking(app_of(settings, plain_router(), encrypted=False)) as client:
            headers = headers or plain._get_headers(VALIDATOR_ADDRESS, ME, VALIDATOR, body)
            codes = [(await client.post("/ask", headers=headers, content=body)).status_code for _ in range(2)]
        settings.nonce_manager.close()
        assert codes == ([200, 401] if number == 0 else [401, 401])


@on_loop
async def test_what_was_signed_for_another_miner_is_not_let_in_encrypted_either(here):
    """Fiber's encrypted miner takes it: another miner can act as the validator there."""
    app = app_of(config(encrypted=True), encrypted_router(), encrypted=True)
    async with asking(app) as client:
        key, uuid = await handshake.perform_handshake(client, ADDRESS, VALIDATOR, ME)
        headers = encrypted._get_headers(uuid, VALIDATOR_ADDRESS, OTHER.ss58_address, VALIDATOR)
        answer = await client.post("/ask", headers=headers, content=Fernet(key).encrypt(b'{"text": "a"}'))
        assert (answer.status_code, answer.json()["detail"]) == (
            401,
            "Oi, invalid miner hotkey - that's not me!",
        )


BODIES = {
    "not Fernet": (lambda fernet: b"garbage", 401),
    "nothing": (lambda fernet: b"", 401),
    "another key": (lambda fernet: Fernet(Fernet.generate_key()).encrypt(b"{}"), 401),
    "not JSON": (lambda fernet: fernet.encrypt(b"{"), 422),
    "not text": (lambda fernet: fernet.encrypt(b"\xff\xfe"), 422),
    "no object": (lambda fernet: fernet.encrypt(b"[1]"), 422),
    "no such model": (lambda fernet: fernet.encrypt(b'{"text": 5}'), 422),
    "a field too many": (lambda fernet: fernet.encrypt(b'{"text": "a", "more": 1}'), 422),
    "deep": (lambda fernet: fernet.encrypt(b"[" * 100_000), 422),
}


@pytest.mark.parametrize("name", BODIES)
@on_loop
async def test_no_body_is_an_error_of_ours(here, name):
    """Fiber answers each of these with 500."""
    make, status = BODIES[name]
    app = app_of(config(encrypted=True), encrypted_router(), encrypted=True)
    async with asking(app) as client:
        key, uuid = await handshake.perform_handshake(client, ADDRESS, VALIDATOR, ME)
        headers = encrypted._get_headers(uuid, VALIDATOR_ADDRESS, ME, VALIDATOR)
        answer = await client.post("/ask", headers=headers, content=make(Fernet(key)))
        assert answer.status_code == status, answer.text
        json.dumps(answer.json())


@on_loop
async def test_a_key_that_is_unknown_or_over(here):
    settings = config(encrypted=True)
    app = app_of(settings, encrypted_router(), encrypted=True)
    async with asking(app) as client:
        key, uuid = await handshake.perform_handshake(client, ADDRESS, VALIDATOR, ME)
        body = Fernet(key).encrypt(b'{"text": "a"}')

        async def status(uuid):
            headers = encrypted._get_headers(uuid, VALIDATOR_ADDRESS, ME, VALIDATOR)
            answer = await client.post("/ask", headers=headers, content=body)
            return answer.status_code, answer.json().get("detail")

        unknown = (400, "No symmetric key found for that hotkey and uuid")
        assert await status("ab" * 32) == unknown
        assert (await status(uuid))[0] == 200
        info = settings.encryption_keys_handler.get_symmetric_key(VALIDATOR_ADDRESS, uuid)
        info.expiration_time = info.expiration_time.replace(year=2020)
        assert await status(uuid) == unknown


@on_loop
async def test_what_is_no_exchange(here):
    app = app_of(config(encrypted=True), encrypted=True)
    async with asking(app) as client:
        for body, status in (
            (b"", 422),
            (b"\x8d\xff\x00", None),
            (b"[" * 50_000, None),
            (b"{", 422),
            (b'{"encrypted_symmetric_key": 5}', 422),
            (b'{"encrypted_symmetric_key": "AAAA"}', 401),
            (b'{"encrypted_symmetric_key": "not base64!"}', 401),
            (b'{"encrypted_symmetric_key": "AAAA", "key_signature": "0x"}', 401),
        ):
            for kind in ("application/json", "application/octet-stream"):
                headers = encrypted._get_headers("ab" * 32, VALIDATOR_ADDRESS, ME, VALIDATOR)
                headers["Content-Type"] = kind
                answer = await client.post("/exchange-symmetric-key", headers=headers, content=body)
                if kind == "application/json" and status is not None:
                    assert answer.status_code == status, (body, answer.text)
                assert answer.status_code in (400, 401, 422), (body, answer.text)
                assert answer.json()["detail"]
        public = await handshake.get_public_encryption_key(client, ADDRESS, miner_hotkey_ss58_address=ME)
        for uuid, status in (("a" * 200, 400), ("a" * 64, 200)):
            headers = encrypted._get_headers(uuid, VALIDATOR_ADDRESS, ME, VALIDATOR)
            headers["Content-Type"] = "application/json"
            body = exchange.exchange_body(VALIDATOR, public, bytes(32), headers["nonce"])
            answer = await client.post("/exchange-symmetric-key", headers=headers, json=body)
            assert answer.status_code == status, answer.text


# --- the layer --------------------------------------------------------------------------------------------


@on_loop
async def test_a_header_that_comes_twice(here):
    app = app_of(config(encrypted=False), plain_router(), encrypted=False)
    async with asking(app) as client:
        headers = list(plain._get_headers(VALIDATOR_ADDRESS, ME, VALIDATOR, b"{}").items())
        answer = await client.post("/ask", headers=[*headers, ("nonce", "1_a")], content=b"{}")
        assert (answer.status_code, answer.json()) == (400, {"detail": "The header nonce came twice"})


@pytest.mark.parametrize("chunked", [True, False])
@on_loop
async def test_a_body_that_is_too_large(here, chunked):
    app = app_of(config(encrypted=False), plain_router(), encrypted=False, body_bytes_max=1_000)

    async def chunks():
        for _ in range(20):
            yield b"x" * 100

    async with asking(app) as client:
        content = chunks() if chunked else b"x" * 2_000
        answer = await client.post("/ask", content=content)
        assert (answer.status_code, answer.json()) == (413, {"detail": "A body may have 1000 bytes"})


@pytest.mark.parametrize("encrypts", [True, False])
@on_loop
async def test_a_dependency_works_without_the_layer(here, encrypts):
    """In an app of a program's own, as it was copied from Fiber."""
    settings = config(encrypted=encrypts)
    app = FastAPI()
    app.include_router(encrypted_router() if encrypts else plain_router())
    dependencies = encrypted_deps if encrypts else plain_deps
    app.dependency_overrides[dependencies.get_config] = lambda: settings
    async with asking(app) as client:
        if encrypts:
            fernet = Fernet(Fernet.generate_key())
            settings.encryption_keys_handler.add_symmetric_key("u", VALIDATOR_ADDRESS, fernet)
            headers = encrypted._get_headers("u", VALIDATOR_ADDRESS, ME, VALIDATOR)
            body = fernet.encrypt(b'{"text": "a", "nonce": "1"}')
        else:
            body = b'{"text": "a"}'
            headers = plain._get_headers(VALIDATOR_ADDRESS, ME, VALIDATOR, body)
        codes = [(await client.post("/ask", headers=headers, content=body)).status_code for _ in range(2)]
        assert codes == [200, 401]


@on_loop
async def test_what_a_program_overrides_holds(here):
    app = app_of(config(encrypted=False), plain_router(), encrypted=False)
    app.dependency_overrides[plain_deps.verify_request] = lambda: None
    app.dependency_overrides[plain_deps.blacklist_low_stake] = lambda: None
    async with asking(app) as client:
        answer = await client.post("/ask", json={"text": "a"})
        assert answer.json() == {"answer": "a"}


@on_loop
async def test_forged_requests_leave_nothing_behind(here):
    settings = config(encrypted=True)
    app = app_of(settings, encrypted_router(), encrypted=True)
    async with asking(app) as client:
        for _ in range(300):
            headers = encrypted._get_headers("u", VALIDATOR_ADDRESS, ME, VALIDATOR)
            headers["signature"] = "0x" + "ab" * 64
            assert (await client.post("/ask", headers=headers, content=b"x")).status_code == 401
    assert len(settings.encryption_keys_handler.nonce_manager._book) == 0


@on_loop
async def test_lifespans_begin_after_the_configuration_and_end_before_it(here):
    settings, order = config(encrypted=False), []

    @contextlib.asynccontextmanager
    async def mine(app):
        order.append("begun")
        yield {"mine": 5}
        order.append(("ended", settings.metagraph.ended))

    router = APIRouter()

    @router.get("/state")
    async def state(request: Request):
        return request.state.mine

    app = app_of(settings, router, encrypted=False, lifespans=[mine])
    with serving(app) as address:
        assert httpx.get(f"{address}/state").json() == 5
    assert order == ["begun", ("ended", False)]
    assert settings.metagraph.ended
