"""An ASGI app answers calls: the routes, dependencies and middlewares of a miner see the request that HTTP would bring.

Owns the scope that is made of a call, and what is gathered of the answer. Who asks was proved by the session: the
headers that name it are made here, and the layer in front of the routes finds the request checked already.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from mycelium.config import CALL_BYTES_MAX
from mycelium.http.gate import Claim
from mycelium.http.layer import CHECKED, App, Checked, Message, Scope
from mycelium.http.session.message import head
from mycelium.http.signing import (
    MINER_HOTKEY,
    NONCE,
    SIGNATURE,
    SYMMETRIC_KEY_UUID,
    VALIDATOR_HOTKEY,
    new_nonce,
)

log = logging.getLogger(__name__)

PROVED: Final = "session"
"""Stands for the signature, and for the uuid of a key, where a session proved and sealed the request."""
_ITEMS_AHEAD: Final = 4
"""Parts of a stream that an app may be ahead of who reads it."""
_PART_BYTES: Final = CALL_BYTES_MAX // 2


@dataclass(frozen=True, slots=True)
class Asker:
    """Who calls, over which WebSocket. validator, miner: SS58. scope: of the WebSocket. encrypted: of the app."""

    validator: str
    miner: str
    scope: Scope
    encrypted: bool


def scope_of(asker: Asker, method: str, target: str, body: bytes) -> Scope:
    """The scope of a request, signed and decrypted as far as the app can see."""
    path, _, query = target.partition("?")
    nonce = new_nonce()
    uuid = PROVED if asker.encrypted else None
    given = asker.scope
    root: str = given.get("root_path", "")
    content = b"application/octet-stream" if asker.encrypted and method != "GET" else b"application/json"
    headers = [
        (b"host", _header(given, b"host")),
        (b"content-type", content),
        (b"content-length", str(len(body)).encode()),
        (VALIDATOR_HOTKEY.encode(), asker.validator.encode()),
        (MINER_HOTKEY.encode(), asker.miner.encode()),
        (NONCE.encode(), nonce.encode()),
        (SIGNATURE.encode(), PROVED.encode()),
    ]
    if uuid is not None:
        headers.append((SYMMETRIC_KEY_UUID.encode(), uuid.encode()))
    claim = Claim(asker.validator, asker.miner, nonce, PROVED, uuid)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": root + unquote(path),
        "raw_path": root.encode() + path.encode(),
        "query_string": query.encode(),
        "root_path": root,
        "headers": headers,
        "client": given.get("client"),
        "server": given.get("server"),
        "state": dict(given.get("state") or {}),
        CHECKED: Checked(claim, verified=True, plain=body if asker.encrypted and method != "GET" else None),
    }


def _header(scope: Scope, name: bytes) -> bytes:
    value: bytes
    for found, value in scope.get("headers", ()):
        if found == name:
            return value
    return b""


class _Request:
    """The receiving side of an app: one body, and then nothing more."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        # Who left is noticed by cancelling the app; nothing else ever comes.
        await asyncio.get_running_loop().create_future()
        raise AssertionError("the future is nobody's to resolve")


async def answer(app: App, asker: Asker, method: str, target: str, body: bytes) -> bytes:
    """The whole answer of an app, as `message` lays it out."""
    parts: list[bytes] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            parts.append(head(message["status"], list(message.get("headers", ()))))
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    try:
        await app(scope_of(asker, method, target, body), _Request(body).receive, send)
    except Exception:
        # The framework has answered 500 and raises for the server to log it.
        log.exception("the app failed on %s %s", method, target)
        if not parts:
            return head(500, ()) + b"Internal Server Error"
    return b"".join(parts) if parts else head(500, ()) + b"Internal Server Error"


async def items(app: App, asker: Asker, method: str, target: str, body: bytes) -> AsyncGenerator[bytes, None]:
    """The answer of an app as it comes. The first item has its head. Left early, the app is cancelled."""
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(_ITEMS_AHEAD)
    whole = False

    async def send(message: Message) -> None:
        nonlocal whole
        if message["type"] == "http.response.start":
            await queue.put(head(message["status"], list(message.get("headers", ()))))
        elif message["type"] == "http.response.body":
            data = message.get("body", b"")
            for at in range(0, len(data), _PART_BYTES):
                await queue.put(data[at : at + _PART_BYTES])
            whole = not message.get("more_body", False)

    async def run() -> None:
        try:
            await app(scope_of(asker, method, target, body), _Request(body).receive, send)
        except Exception:
            await queue.put(None)
            if not whole:
                raise
            log.exception("the app failed on %s %s", method, target)
        else:
            # Cancelled, it must not wait for a reader who is gone.
            await queue.put(None)

    task = asyncio.create_task(run())
    try:
        while (item := await queue.get()) is not None:
            yield item
        await task
    finally:
        if not task.done():
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
