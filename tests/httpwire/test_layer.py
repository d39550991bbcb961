"""The ASGI layer by itself: what it hands on, what it answers, and slow, broken and vanishing senders."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from cryptography.fernet import Fernet
from httpwire.httpkit import OTHER, VALIDATOR
from httpwire.minerkit import ME, VALIDATOR_ADDRESS, on_loop

from mycelium.http import client, sealing
from mycelium.http import layer as layer_module
from mycelium.http.layer import CHECKED, SignedRequests
from mycelium.http.nonces import NonceBook

KEY = Fernet(Fernet.generate_key())


class Miner:
    """What the layer asks of a miner."""

    def __init__(self):
        self.hotkey = ME
        self.nodes = {
            VALIDATOR_ADDRESS: SimpleNamespace(stake=5_000.0),
            OTHER.ss58_address: SimpleNamespace(stake=1.0),
        }
        self.stake_min = 1000.0
        self.nonces = NonceBook()

    def fernet(self, validator, uuid):
        return KEY if uuid == "u" else None


class App:
    """Remembers what it was given, and answers what it is told to."""

    def __init__(self, *parts, status=200):
        self.parts, self.status = parts or (b"answer",), status
        self.scopes, self.bodies = [], []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        headers = [(b"content-length", b"6"), (b"x-other", b"kept")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for number, part in enumerate(self.parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(self.parts)})

    @property
    def checked(self):
        return self.scopes[-1].get(CHECKED)


async def call(
    app, headers, body=b"", *, encrypted=True, method="POST", miner=None, receive=None, **keywords
):
    """(status, headers, body) of the answer; None where there is none."""

    async def miner_of(scope):
        return miner

    layer = SignedRequests(app, miner_of, encrypted=encrypted, **keywords)
    sent = []

    async def whole():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    await layer({"type": "http", "method": method, "path": "/", "headers": raw}, receive or whole, send)
    if not sent:
        return None
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), content


def encrypted_headers(uuid="u", keypair=VALIDATOR, **changes):
    headers = client.encrypted_headers(keypair.ss58_address, ME, keypair, uuid)
    return list((headers | changes).items())


@on_loop
async def test_what_is_good_is_verified_and_decrypted():
    app, miner = App(), Miner()
    body = KEY.encrypt(b"{}")
    assert (await call(app, encrypted_headers(), body, miner=miner))[0] == 200
    assert (app.checked.verified, app.checked.plain, app.checked.refusal) == (True, b"{}", None)
    assert app.bodies == [body], "who decrypts by himself finds what was sent"
    assert (await call(app, encrypted_headers("other"), body, miner=miner))[0] == 200
    assert (app.checked.verified, app.checked.plain) == (True, None)
    assert app.checked.undecryptable.status == 400
    headers = list(client.plain_headers(VALIDATOR_ADDRESS, ME, VALIDATOR, b"{}").items())
    await call(app, headers, b"{}", miner=miner, encrypted=False)
    assert app.checked.verified


@on_loop
async def test_the_layer_refuses_nobody_by_itself():
    """Whether a signature is asked for is the route's to say."""
    app, miner = App(), Miner()
    for headers in ([], [("nonce", "1")], encrypted_headers(signature="0x"), encrypted_headers(nonce="1_a")):
        assert (await call(app, headers, b"x", miner=miner))[0] == 200
    assert app.checked.refusal.status == 401
    assert not app.checked.verified


@on_loop
async def test_strangers_cost_no_signature_and_no_memory(monkeypatch):
    app, miner = App(), Miner()

    def never(*arguments):
        raise AssertionError("a signature was verified")

    monkeypatch.setattr("mycelium.http.gate.check_signed", never)
    for keypair in (OTHER, __import__("substrateinterface").Keypair.create_from_uri("//stranger")):
        await call(app, encrypted_headers(keypair=keypair), b"x", miner=miner)
        assert (app.checked.verified, app.checked.refusal) == (False, None)


@on_loop
async def test_what_is_no_http_passes():
    app = App()
    await SignedRequests(app, None, encrypted=True)({"type": "websocket"}, None, None)
    assert app.scopes == [{"type": "websocket"}]


@on_loop
async def test_headers_that_come_twice_and_absurd_ones():
    app, miner = App(), Miner()
    headers = encrypted_headers()
    status, _, body = await call(app, [*headers, headers[0], ("Nonce", "1_b")], b"x", miner=miner)
    assert (status, json.loads(body)["detail"]) == (400, "The header nonce came twice")
    for value in ("", "\xff\xfe", "é" * 1_000, "0" * 60_000, "5" * 48):
        for name in ("validator-hotkey", "miner-hotkey", "nonce", "signature", "symmetric-key-uuid"):
            changed = [(key, value if key == name else old) for key, old in encrypted_headers()]
            assert (await call(app, changed, b"x", miner=miner))[0] == 200
            assert app.checked is None or not app.checked.verified
    assert len(miner.nonces) == 0


# --- bodies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [True, False])
@on_loop
async def test_too_large(said):
    app, parts = App(), [b"x" * 60] * 3

    async def receive():
        return {"type": "http.request", "body": parts.pop(), "more_body": bool(parts)}

    headers = [("content-length", "180")] if said else []
    status, headers, body = await call(app, headers, receive=receive, body_bytes_max=100)
    assert (status, json.loads(body)) == (413, {"detail": "A body may have 100 bytes"})
    assert headers[b"connection"] == b"close"
    assert len(parts) == (3 if said else 1)
    assert app.scopes == []


@on_loop
async def test_too_slow():
    app = App()

    async def receive():
        await asyncio.sleep(30)

    status, _, body = await call(app, [], receive=receive, body_s=0.01)
    assert (status, json.loads(body)["detail"]) == (408, "The body did not come within 0.01 s")
    assert app.scopes == []


@on_loop
async def test_who_leaves_in_the_middle_is_answered_nothing():
    app, messages = (
        App(),
        [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}],
    )

    async def receive():
        return messages.pop(0)

    assert await call(app, [], receive=receive) is None
    assert app.scopes == []


@on_loop
async def test_after_the_body_comes_what_comes():
    """A stream's app waits for the end of its connection."""
    messages, seen = [{"type": "http.request", "body": b"x"}, {"type": "http.disconnect"}], []

    async def app(scope, receive, send):
        seen.extend([await receive(), await receive()])

    async def receive():
        return messages.pop(0)

    await call(app, [], receive=receive)
    assert [message["type"] for message in seen] == ["http.request", "http.disconnect"]


# --- sealed answers ---------------------------------------------------------------------------------------


async def ask_sealed(app, **keywords):
    miner = Miner()
    headers = [*encrypted_headers(), (sealing.ACCEPT, sealing.FERNET)]
    nonce = dict(headers)["nonce"]
    return nonce, await call(app, headers, KEY.encrypt(b"{}"), miner=miner, **keywords)


@on_loop
async def test_a_whole_answer_is_sealed():
    nonce, (status, headers, body) = await ask_sealed(App(b"answer", status=422))
    assert (status, headers[b"mycelium-sealed"], headers[b"x-other"]) == (422, b"fernet", b"kept")
    assert headers[b"content-length"] == str(len(body)).encode()
    assert KEY.decrypt(body) == f"{nonce}\n".encode() + b"answer"


@on_loop
async def test_a_stream_is_sealed_piece_by_piece():
    nonce, (_, headers, body) = await ask_sealed(App(b"one", b"", b"two", b""))
    assert headers[b"mycelium-sealed"] == b"fernet-stream"
    assert b"content-length" not in headers
    opener = sealing.Opener(KEY, nonce)
    assert opener.feed(body) == [b"one", b"two", b""]
    opener.finish()


@pytest.mark.parametrize("status", [204, 304])
@on_loop
async def test_an_answer_without_content_is_not_sealed(status):
    _, (_, headers, body) = await ask_sealed(App(b"", status=status))
    assert (b"mycelium-sealed" in headers, body) == (False, b"")


@on_loop
async def test_where_the_signature_is_not_good_nothing_is_sealed():
    app = App()
    headers = [*encrypted_headers(signature="0x"), (sealing.ACCEPT, sealing.FERNET)]
    _, answered, body = await call(app, headers, b"x", miner=Miner())
    assert (b"mycelium-sealed" in answered, body) == (False, b"answer")


@on_loop
async def test_a_length_of_thousands_of_digits_is_too_large():
    for digits in ("9" * 5_000, "9" * 20):
        app = App()
        assert (await call(app, [("content-length", digits)], b"x"))[0] == 413
        assert not app.scopes


@on_loop
async def test_all_bodies_on_their_way_have_one_limit(monkeypatch):
    monkeypatch.setattr(layer_module, "HTTP_BODIES_BYTES_MAX", 100)
    reached = []

    async def app(scope, receive, send):
        reached.append(await receive())

    layer = SignedRequests(app, None, encrypted=False)
    sent, gate = [], asyncio.Event()

    async def send(message):
        sent.append(message)

    async def slow():
        if gate.is_set():
            await asyncio.get_running_loop().create_future()
        gate.set()
        return {"type": "http.request", "body": bytes(80), "more_body": True}

    async def quick():
        return {"type": "http.request", "body": bytes(30), "more_body": False}

    scope = {"type": "http", "method": "POST", "headers": []}
    waits = asyncio.create_task(layer(dict(scope), slow, send))
    await gate.wait()
    await asyncio.sleep(0)
    await layer(dict(scope), quick, send)
    assert sent[0]["status"] == 429
    assert (b"connection", b"close") in sent[0]["headers"]
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    await layer(dict(scope), quick, send)
    assert [message["body"] for message in reached] == [bytes(30)], "what ended gives its place back"


@on_loop
async def test_a_file_is_not_sent_past_the_seal():
    app, miner = App(), Miner()

    async def miner_of(scope):
        return miner

    layer = SignedRequests(app, miner_of, encrypted=True)
    extensions = {"http.response.pathsend": {}, "http.response.zerocopysend": {}, "tls": {}}
    asked = [*encrypted_headers(), (sealing.ACCEPT, sealing.FERNET)]
    raw = [(name.lower().encode(), value.encode()) for name, value in asked]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": raw, "extensions": extensions}

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        del message

    await layer(scope, receive, send)
    assert app.scopes[0]["extensions"] == {"tls": {}}
    await layer({**scope, "headers": [], "extensions": dict(extensions)}, receive, send)
    assert app.scopes[1]["extensions"] == extensions, (
        "nor is one that is not sealed sent otherwise than before"
    )
