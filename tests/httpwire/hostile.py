"""Hostile requests to a miner, seeded: every header and body wrong in every way, and bytes that are no HTTP.

Owns what is sent, a miner that it is sent to, and how it is sent: to the app in this process, or over a socket.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from cryptography.fernet import Fernet
from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse
from httpwire.httpkit import OTHER, VALIDATOR
from httpwire.minerkit import ME
from pydantic import BaseModel, ConfigDict

from mycelium.encrypted.miner import dependencies as encrypted_dependencies
from mycelium.encrypted.miner.security.encryption import decrypt_general_payload
from mycelium.http import sealing, signing
from mycelium.http.layer import SignedRequests
from mycelium.miner import dependencies as plain_dependencies

ASK, LINES, EXCHANGE = "/ask", "/lines", "/exchange-symmetric-key"
GOOD = b'{"text": "a"}'


# --- who is attacked --------------------------------------------------------------------------------------


class Question(BaseModel):
    """A strict model."""

    model_config = ConfigDict(extra="forbid")

    text: str
    times: int = 1


def router_of(*, encrypted):
    """POST /ask, which answers at once, and POST /lines, which streams."""
    dependencies = encrypted_dependencies if encrypted else plain_dependencies
    guards = [Depends(dependencies.blacklist_low_stake), Depends(dependencies.verify_request)]
    router = APIRouter(dependencies=guards)
    if encrypted:
        question_of = Depends(partial(decrypt_general_payload, Question))

        async def ask(question: Question = question_of):
            return {"answer": question.text * question.times}

        async def lines(question: Question = question_of):
            return streamed(question)

    else:

        async def ask(question: Question):
            return {"answer": question.text * question.times}

        async def lines(question: Question):
            return streamed(question)

    router.post(ASK)(ask)
    router.post(LINES)(lines)
    return router


def streamed(question):
    async def parts():
        for number in range(question.times):
            yield f"{question.text} {number}\n"
            # So that the loop sees who has left.
            await asyncio.sleep(0)

    return StreamingResponse(parts(), media_type="text/plain")


def limit(app, **keywords):
    """Set body_bytes_max and body_s of an app that has had no request yet."""
    (layer,) = [one for one in app.user_middleware if one.cls is SignedRequests]
    layer.kwargs.update(keywords)


# --- what is sent -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attack:
    """One request. declared: the length that it claims; unended: its body comes in chunks, the last one missing."""

    name: str
    headers: dict[str, str]
    body: bytes = b""
    path: str = ASK
    method: str = "POST"
    twice: str | None = None
    declared: int | None = None
    unended: bool = False

    @property
    def raw(self):
        pairs = list(self.headers.items())
        if self.twice is not None:
            pairs.insert(0, (self.twice, self.headers[self.twice]))
        if not self.unended:
            length = len(self.body) if self.declared is None else self.declared
            pairs.append(("content-length", str(length)))
        return [(name.encode(), value.encode("latin-1")) for name, value in pairs]

    @property
    def wire(self):
        lines = [f"{self.method} {self.path} HTTP/1.1".encode(), b"host: miner"]
        lines += [name + b": " + value for name, value in self.raw]
        body = self.body
        if self.unended:
            lines.append(b"transfer-encoding: chunked")
            body = b"%x\r\n%b" % (len(body), body)
        return b"\r\n".join(lines) + b"\r\n\r\n" + body


CHANGES = {
    "missing": lambda old: None,
    "doubled": lambda old: old,
    "oversized": lambda old: old + "x" * 20_000,
    "non-ASCII": lambda old: "é\xff" * 30,
    "not hex": lambda old: "0x" + "zz" * 64,
    "empty": lambda old: "",
    "cut": lambda old: old[:-1],
    "changed": lambda old: old[:-1] + ("1" if old[-1] != "1" else "2"),
}
NONCES = {
    "long ago": lambda now_ns: f"{now_ns - 150 * 10**9}_abcdefghij",
    "to come": lambda now_ns: f"{now_ns + 150 * 10**9}_abcdefghij",
    "in milliseconds": lambda now_ns: f"{now_ns // 10**6}_abcdefghij",
    "in ten years": lambda now_ns: f"{now_ns + 315_360_000 * 10**9}_a",
    "zero": lambda now_ns: "0_a",
    "negative": lambda now_ns: f"-{now_ns}_a",
    "of 48 digits": lambda now_ns: "5" * 48,
    "above 64 bits": lambda now_ns: f"{2**64}_a",
    "oversized": lambda now_ns: f"{now_ns}_" + "a" * 20_000,
    "non-ASCII digits": lambda now_ns: "²³",
}
UUIDS = {
    "unknown": lambda rng: rng.randbytes(32).hex(),
    "empty": lambda rng: "",
    "oversized": lambda rng: "a" * 20_000,
    "non-ASCII": lambda rng: "é\xff" * 30,
}
BODIES = {
    "nothing": b"",
    "truncated": GOOD[:-2],
    "not JSON": b"text=a",
    "not text": b"\xff\xfe\x00",
    "no object": b"[1]",
    "deep": b"[" * 50_000,
    "deep object": b'{"text": ' * 5_000,
    "another type": b'{"text": {"a": [1]}}',
    "a field too many": b'{"text": "a", "more": 1}',
    "no number": b'{"text": "a", "times": NaN}',
    "infinite": b'{"text": "a", "times": 1e999}',
    "of 5,000 digits": b'{"text": "a", "times": ' + b"7" * 5_000 + b"}",
    "half a letter": b'{"text": "a", "times": "\\ud800"}',
    "a name of half a letter": b'{"text": "a", "\\ud800": 1}',
    "NUL": b'{"text": "a", "\\u0000": 1}',
}
EXCHANGES = {
    "empty": b"{}",
    "a number": b'{"encrypted_symmetric_key": 5}',
    "not base64": b'{"encrypted_symmetric_key": "\xc3\xa9!"}',
    "short": b'{"encrypted_symmetric_key": "AAAA"}',
    "no RSA": b'{"encrypted_symmetric_key": "' + b64encode(bytes(range(256))) + b'"}',
    "oversized": b'{"encrypted_symmetric_key": "' + b"A" * 20_000 + b'"}',
    "signed by nobody": b'{"encrypted_symmetric_key": "AAAA", "key_signature": "0x00"}',
    "truncated": b'{"encrypted_symmetric_key": "AA',
    "not text": b"\xff\xfe",
    "a name of half a letter": b'{"\\ud800": 1}',
}
GARBAGE = {
    "binary": b"\x00\xff" * 50 + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"POST /ask\r\n\r\n",
    "another version": b"POST /ask HTTP/9.9\r\n\r\n",
    "no such method": b"BREW /ask HTTP/1.1\r\n\r\n",
    "a path of no letters": b"POST /\xff\xfe HTTP/1.1\r\n\r\n",
    "no colon": b"POST /ask HTTP/1.1\r\nnonce\r\n\r\n",
    "NUL in a header": b"POST /ask HTTP/1.1\r\nnonce: a\x00b\r\n\r\n",
    "a length of no digits": b"POST /ask HTTP/1.1\r\ncontent-length: x\r\n\r\n",
    "a negative length": b"POST /ask HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    "a length of 5,000 digits": b"POST /ask HTTP/1.1\r\ncontent-length: " + b"9" * 5_000 + b"\r\n\r\n",
    "two lengths": b"POST /ask HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    "length and chunks": b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
    "a chunk of no size": b"POST /ask HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    "a chunk above 64 bits": b"POST /ask HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    + b"f" * 40
    + b"\r\n",
}


class Attacks:
    """Endless, every class of them in each round, in an order of the seed's. uuid, fernet: a key that the miner has.

    Many are signed by a validator that is let in: what is behind its signature is attacked too. spent: a request that
    was answered already.
    """

    def __init__(self, *, encrypted, seed, body_bytes_max, fernet=None, uuid="u"):
        self.encrypted = encrypted
        self.spent = None
        self._rng = random.Random(seed)
        self._body_bytes_max = body_bytes_max
        self._fernet, self._uuid = fernet, uuid
        self._stranger = Fernet(b"k" * 43 + b"=")
        self.classes = dict(self._all())

    def __iter__(self):
        while True:
            names = list(self.classes)
            self._rng.shuffle(names)
            for name in names:
                yield replace(self.classes[name](), name=name)

    def good(self, path=ASK, text=GOOD):
        """One that is let in."""
        return self._signed(self._sealed(text), path=path)

    # --- the classes ------------------------------------------------------------------------------------

    def _all(self):
        headers = [signing.VALIDATOR_HOTKEY, signing.MINER_HOTKEY, signing.NONCE, signing.SIGNATURE]
        headers += [signing.SYMMETRIC_KEY_UUID] if self.encrypted else []
        for header in headers:
            for change in CHANGES:
                yield f"{header} {change}", partial(self._changed, header, change)
        yield "no headers", lambda: Attack("", {}, GOOD)
        for name, make in NONCES.items():
            yield (
                f"a nonce {name}",
                lambda make=make: self._signed(self._sealed(GOOD), nonce=make(time.time_ns())),
            )
        yield "for another miner", lambda: self._signed(self._sealed(GOOD), miner=OTHER.ss58_address)
        yield "of too little stake", lambda: self._signed(self._sealed(GOOD), keypair=OTHER)
        for name, body in BODIES.items():
            for path in (ASK, LINES):
                yield (
                    f"{path} {name}",
                    lambda body=body, path=path: self._signed(self._sealed(body), path=path),
                )
        yield "cut on its way", self._cut
        yield "too long", self._too_long
        yield "said to be too long", self._said_too_long
        yield "no such path", lambda: self._signed(self._sealed(GOOD), path="/nowhere")
        yield "an odd path", lambda: self._signed(self._sealed(GOOD), path="/ask%00%ff%2e%2e?" + "a" * 20_000)
        for method in ("GET", "HEAD", "PUT"):
            yield f"{method}", lambda method=method: replace(self._signed(b""), method=method)
        yield "spent", lambda: self.spent or self._changed(signing.NONCE, "cut")
        if self.encrypted:
            yield from self._encrypted()

    def _encrypted(self):
        for name, make in UUIDS.items():
            for path in (ASK, EXCHANGE):
                yield (
                    f"{path} a key {name}",
                    lambda make=make, path=path: self._other_key(make(self._rng), path),
                )
        for name, body in {"not Fernet": b"garbage", "no bytes": b"", "plain": GOOD}.items():
            yield name, lambda body=body: self._signed(body)
            yield f"{name}, sealed", lambda body=body: self._asking_sealed(self._signed(body))
        yield "of another key", lambda: self._signed(self._stranger.encrypt(GOOD))
        yield "half a token", lambda: self._signed(self._sealed(GOOD)[:-30])
        for name, body in EXCHANGES.items():
            yield f"exchange {name}", lambda body=body: self._exchange(body)

    def _changed(self, header, change):
        attack = self.good()
        if change == "doubled":
            return replace(attack, twice=header)
        value = CHANGES[change](attack.headers[header])
        headers = {name: old for name, old in attack.headers.items() if name != header}
        return replace(attack, headers=headers if value is None else headers | {header: value})

    def _cut(self):
        attack = self.good()
        return replace(attack, body=attack.body[:-2])

    def _too_long(self):
        return replace(self.good(), body=bytes(self._body_bytes_max + 1), unended=True)

    def _said_too_long(self):
        return replace(self.good(), body=b"", declared=self._body_bytes_max + 1 + self._rng.randrange(2**40))

    def _other_key(self, uuid, path):
        if path == EXCHANGE:
            return self._exchange(EXCHANGES["no RSA"], uuid)
        return self._signed(self._sealed(GOOD), uuid=uuid, path=path)

    def _asking_sealed(self, attack):
        return replace(attack, headers={**attack.headers, sealing.ACCEPT: sealing.FERNET})

    def _exchange(self, body, uuid=None):
        attack = self._signed(body, path=EXCHANGE, uuid=uuid)
        return replace(attack, headers=attack.headers | {"content-type": "application/json"})

    # --- how they are made ------------------------------------------------------------------------------

    def _sealed(self, body):
        return body if self._fernet is None else self._fernet.encrypt(body)

    def _signed(self, body, *, path=ASK, nonce=None, miner=ME, keypair=VALIDATOR, uuid=None):
        nonce = signing.new_nonce() if nonce is None else nonce
        headers = {
            "content-type": "application/octet-stream" if self.encrypted else "application/json",
            signing.VALIDATOR_HOTKEY: keypair.ss58_address,
            signing.MINER_HOTKEY: miner,
            signing.NONCE: nonce,
        }
        if self.encrypted:
            uuid = self._uuid if uuid is None else uuid
            headers[signing.SYMMETRIC_KEY_UUID] = uuid
            message = signing.encrypted_message(nonce, miner, uuid)
        else:
            message = signing.plain_message(nonce, miner, signing.body_hash(body))
        headers[signing.SIGNATURE] = signing.sign_text(keypair, message)
        return Attack("", headers, body, path)


# --- how it is sent ---------------------------------------------------------------------------------------


async def status_of(app, attack):
    """What the app in this process answers."""
    sent = []
    path, _, query = attack.path.partition("?")
    messages = [{"type": "http.request", "body": attack.body, "more_body": attack.unended}]

    async def receive():
        # Timers that were cancelled leave a loop only when it turns: without this each request keeps one.
        await asyncio.sleep(0)
        if messages:
            return messages.pop()
        return await asyncio.get_running_loop().create_future()

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": attack.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": attack.raw,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await app(scope, receive, send)
    return sent[0]["status"] if sent else None


async def answer(reader, *, bodiless=False):
    """Status of the next answer on a connection, and whether another one can follow; None at its end.

    An answer whose length is not known, or that is the last one, is read to the end of its headers only.
    """
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
    except (asyncio.IncompleteReadError, ConnectionError):
        return None, False
    length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    goes_on = bool(length) and b"connection: close" not in head
    if goes_on and not bodiless:
        await reader.readexactly(int(length))
    return int(head.split(b" ", 2)[1]), goes_on


async def asked(port, data):
    """Status of the answer to these bytes on a connection of their own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return (await answer(reader, bodiless=True))[0]
    finally:
        writer.transport.abort()


@contextmanager
def errors_logged():
    """Messages that are logged as errors meanwhile, the server's and the event loop's too."""
    found = []

    class Handler(logging.Handler):
        def emit(self, record):
            found.append(f"{record.name}: {self.format(record)}")

    handler = Handler(logging.ERROR)
    loggers = [logging.getLogger(name) for name in (None, "uvicorn", "uvicorn.error")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield found
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
