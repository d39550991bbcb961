"""The ASGI layer in front of a miner's routes: bodies are bounded, signatures verified and answers sealed, once.

It refuses nothing on account of a signature: whether a route asks for one is the route's to say. What it found lies in
the scope under `CHECKED`, where the dependencies of the routes look. Knows no web framework.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cryptography.fernet import Fernet

from mycelium.config import HTTP_BODIES_BYTES_MAX, HTTP_BODY_BYTES_MAX, HTTP_BODY_S, SUBPROTOCOL
from mycelium.errors import RequestRefused
from mycelium.http import gate, sealing
from mycelium.http.gate import Claim, Nonces
from mycelium.http.signing import MINER_HOTKEY, NONCE, SIGNATURE, SYMMETRIC_KEY_UUID, VALIDATOR_HOTKEY

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CHECKED: Final = "mycelium.checked"
OFFER: Final = "mycelium-session"
"""A header of answers to validators whose signature is good: the protocol of the session that they may open here."""
_LENGTH_DIGITS_MAX: Final = 20
_BODILESS: Final = ("GET", "HEAD")
_FILES: Final = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
"""By these a server sends a file that nobody here has seen."""
_NO_CONTENT: Final = (204, 304)


class Miner(Protocol):
    """What the layer must know of the miner whose requests it looks at."""

    @property
    def hotkey(self) -> str: ...
    @property
    def nodes(self) -> Mapping[str, Any]: ...
    @property
    def stake_min(self) -> float: ...
    @property
    def nonces(self) -> Nonces: ...
    def fernet(self, validator: str, uuid: str) -> Fernet | None:
        """The key of that uuid, if its time is not over."""
        ...


@dataclass(slots=True)
class Checked:
    """What was found of one request. verified: its signature is good, and its nonce used up for it.

    refusal: why it is not. Neither where nothing was looked at. plain: its body decrypted, where it was encrypted;
    undecryptable: why it could not be.
    """

    claim: Claim
    verified: bool = False
    refusal: RequestRefused | None = None
    plain: bytes | None = None
    undecryptable: RequestRefused | None = None


class Entrance(Protocol):
    """Where sessions are let in; see `session.door`."""

    async def enter(self, scope: Scope, receive: Receive, send: Send, app: App, miner: Any) -> None: ...


class SignedRequests:
    """Wraps an ASGI app. miner_of: from a scope. door: for sessions of validators, over which the same app answers."""

    def __init__(
        self,
        app: App,
        miner_of: Callable[[Scope], Awaitable[Miner]],
        *,
        encrypted: bool,
        door: Entrance | None = None,
        body_bytes_max: int = HTTP_BODY_BYTES_MAX,
        body_s: float = HTTP_BODY_S,
    ) -> None:
        self._app = app
        self._miner_of = miner_of
        self._encrypted = encrypted
        self._door = door
        self._body_bytes_max = body_bytes_max
        self._body_s = body_s
        self._coming_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if (
            scope["type"] == "websocket"
            and self._door is not None
            and SUBPROTOCOL in scope.get("subprotocols", ())
        ):
            await self._enter(self._door, scope, receive, send)
            return
        if scope["type"] != "http" or CHECKED in scope:  # by the session that it came over
            await self._app(scope, receive, send)
            return
        try:
            claim, asks_sealed = self._claim(scope["headers"])
            body = await self._body(scope, receive)
        except RequestRefused as refused:
            await _answer(send, refused)
            return
        if body is None:
            return  # who sent it is gone
        if claim is not None:
            checked, fernet = self._check(scope, claim, body, await self._miner_of(scope))
            scope[CHECKED] = checked
            if checked.verified and self._door is not None:
                send = _offering(send)
            if asks_sealed and fernet is not None and scope["method"] != "HEAD":
                send = _Sealed(send, fernet, claim.nonce)
                extensions = scope.get("extensions") or {}
                scope["extensions"] = {name: extensions[name] for name in extensions.keys() - _FILES}
        await self._app(scope, _again(body, receive), send)

    async def _enter(self, door: Entrance, scope: Scope, receive: Receive, send: Send) -> None:
        # The whole app, so that what a program has put in front of its routes sees these requests too.
        app: App = scope.get("app", self._app)
        await door.enter(scope, receive, send, app, await self._miner_of(scope))

    def _claim(self, headers: list[tuple[bytes, bytes]]) -> tuple[Claim | None, bool]:
        """What the headers claim, None where one is missing; and whether a sealed answer is asked for."""
        found: dict[str, str] = {}
        for raw_name, raw_value in headers:
            name = raw_name.decode("latin-1").lower()
            if name in _NAMES:
                if name in found:
                    raise RequestRefused(400, f"The header {name} came twice")
                found[name] = raw_value.decode("latin-1")
        uuid = found.get(SYMMETRIC_KEY_UUID) if self._encrypted else None
        try:
            claim = Claim(found[VALIDATOR_HOTKEY], found[MINER_HOTKEY], found[NONCE], found[SIGNATURE], uuid)
        except KeyError:
            return None, False
        if self._encrypted and uuid is None:
            return None, False
        return claim, found.get(sealing.ACCEPT) == sealing.FERNET

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """All of it; None when the other side left. 413, 408."""
        too_large = RequestRefused(413, f"A body may have {self._body_bytes_max} bytes")
        for name, value in scope["headers"]:
            if name != b"content-length" or not value.isdigit():
                continue
            # Of thousands of digits Python makes no number.
            if len(value) > _LENGTH_DIGITS_MAX or int(value) > self._body_bytes_max:
                raise too_large
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    part = message.get("body", b"")
                    parts.append(part)
                    size += len(part)
                    self._coming_bytes += len(part)
                    if size > self._body_bytes_max:
                        raise too_large
                    if self._coming_bytes > HTTP_BODIES_BYTES_MAX:
                        raise RequestRefused(429, "Too many bodies are on their way")
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise RequestRefused(408, f"The body did not come within {self._body_s:g} s") from None
        finally:
            self._coming_bytes -= size

    def _check(self, scope: Scope, claim: Claim, body: bytes, miner: Miner) -> tuple[Checked, Fernet | None]:
        checked = Checked(claim)
        try:
            # Strangers cost no signature: a route that lets them in verifies by itself.
            gate.check_stake(miner.nodes, claim.validator, miner.stake_min)
        except RequestRefused:
            # Whatever lets them in: a validator that has a key of ours reads no answer but a sealed one.
            return checked, None if claim.uuid is None else miner.fernet(claim.validator, claim.uuid)
        signed = None if scope["method"] in _BODILESS and not body else body
        try:
            gate.check_signed(claim, gate.message_of(claim, signed), miner.hotkey, miner.nonces)
        except RequestRefused as refused:
            checked.refusal = refused
            return checked, None
        checked.verified = True
        if claim.uuid is None:
            return checked, None
        fernet = miner.fernet(claim.validator, claim.uuid)
        if body and _is_octets(scope["headers"]):
            try:
                checked.plain = gate.decrypt(fernet, body)
            except RequestRefused as refused:
                checked.undecryptable = refused
        return checked, fernet


_NAMES: Final = frozenset(
    {VALIDATOR_HOTKEY, MINER_HOTKEY, NONCE, SIGNATURE, SYMMETRIC_KEY_UUID, sealing.ACCEPT}
)


class _Sealed:
    """Seals what an app answers."""

    def __init__(self, send: Send, fernet: Fernet, nonce: str) -> None:
        self._send = send
        self._fernet = fernet
        self._nonce = nonce
        self._start: Message | None = None
        self._sealer: sealing.Sealer | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] not in _NO_CONTENT:
            self._start = message
            return
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._start is not None:
            start, self._start = self._start, None
            if not more:
                body = sealing.sealed(self._fernet, self._nonce, body)
                await self._send(_with(start, sealing.FERNET, len(body)))
                await self._send({**message, "body": body})
                return
            self._sealer = sealing.Sealer(self._fernet, self._nonce)
            await self._send(_with(start, sealing.STREAM, None))
        if self._sealer is not None:
            body = self._sealer.line(body) if body else b""
            if not more:
                body += self._sealer.line(b"", last=True)
        await self._send({**message, "body": body})


def _offering(send: Send) -> Send:
    """With the header by which a validator learns that it can have a session."""

    async def offering(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), (OFFER.encode(), SUBPROTOCOL.encode())]
            message = {**message, "headers": headers}
        await send(message)

    return offering


def _with(start: Message, how: str, length: int | None) -> Message:
    headers = [
        (sealing.ENCODING.encode() if name.lower() == b"content-encoding" else name, value)
        for name, value in start.get("headers", ())
        if name.lower() != b"content-length"
    ]
    headers.append((sealing.SEALED.encode(), how.encode()))
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    return {**start, "headers": headers}


def _is_octets(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"content-type" and value.startswith(b"application/octet") for name, value in headers)


def _again(body: bytes, receive: Receive) -> Receive:
    """The body that was read, and then whatever comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again


async def _answer(send: Send, refused: RequestRefused) -> None:
    body = json.dumps({"detail": refused.detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refused.status in {408, 413, 429}:
        # What is left of the body is not read.
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
