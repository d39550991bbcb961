"""A validator's requests: over a session with the miner where there is one, else over httpx, with signed headers, the
signed bytes sent as they are, and sealed answers opened.

Owns no connection: the httpx client is its caller's. Every request is sent once. What goes wrong on the way is httpx's
own exception, as programs expect; an answer that is sealed and cannot be opened is a BrokenSeal.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any, Final, NamedTuple

import httpx
from cryptography.fernet import Fernet

from mycelium.chain.extrinsics import account_of
from mycelium.http import sealing, sending, signing
from mycelium.http.layer import OFFER
from mycelium.http.session import enabled
from mycelium.http.session.sessions import NotSent, Session
from mycelium.http.signing import (
    MINER_HOTKEY,
    NONCE,
    SIGNATURE,
    SYMMETRIC_KEY_UUID,
    VALIDATOR_HOTKEY,
    body_hash,
    encrypted_message,
    plain_message,
    sign_text,
)
from mycelium.identity import account as accounts

log = logging.getLogger(__name__)

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
_LOCAL: Final = "0.0.0.1"
"""What a development node publishes: the chain takes no 127.0.0.1."""


def address_of(node: Any, *, docker: bool = False, local: bool = False) -> str:
    """http://host:port of a node with `ip` and `port`; IPv6 in brackets. docker, local: what 0.0.0.1 stands for."""
    host = str(node.ip)
    if host.isdecimal():
        # As the chain has it, and as Fiber 2.5 hands it on.
        host = str(ip_address(int(host)))
    if host == _LOCAL and (docker or local):
        host = "host.docker.internal" if docker else "localhost"
    try:
        version = ip_address(host)
    except ValueError:
        return f"http://{host}:{node.port}"
    return (
        f"http://[{host}]:{node.port}" if isinstance(version, IPv6Address) else f"http://{host}:{node.port}"
    )


def address_text(keypair: Any) -> str:
    """The SS58 address of a keypair, whose ever."""
    return accounts.format(account_of(keypair))


# --- headers ----------------------------------------------------------------------------------------------


def plain_headers(validator: str, miner: str | None, keypair: Any, body: bytes | None) -> dict[str, str]:
    """Of a request whose body is not encrypted. Without a keypair it is not signed, as Fiber's GET up to 2.3."""
    headers = {"Content-Type": JSON, VALIDATOR_HOTKEY: validator}
    if keypair is None or miner is None:
        return headers
    nonce = signing.new_nonce()
    message = plain_message(nonce, miner, None if body is None else body_hash(body))
    return headers | {MINER_HOTKEY: miner, NONCE: nonce, SIGNATURE: sign_text(keypair, message)}


def encrypted_headers(validator: str, miner: str | None, keypair: Any, uuid: str) -> dict[str, str]:
    """Of a request whose body is encrypted with the key of that uuid. Without a keypair it is not signed."""
    headers = {SYMMETRIC_KEY_UUID: uuid, VALIDATOR_HOTKEY: validator}
    if keypair is None or miner is None:
        return {"Content-Type": JSON, **headers}
    nonce = signing.new_nonce()
    signature = sign_text(keypair, encrypted_message(nonce, miner, uuid))
    return {"Content-Type": OCTETS, **headers, MINER_HOTKEY: miner, NONCE: nonce, SIGNATURE: signature}


# --- bodies -----------------------------------------------------------------------------------------------


def plain_body(payload: Any) -> bytes:
    """The JSON that is signed and sent, with Python's own spacing, as Fiber's miners hash it."""
    return json.dumps(payload).encode()


def nonced_body(payload: Mapping[str, Any]) -> bytes:
    """JSON of the payload with a nonce in it, which Fiber puts there before it encrypts, and some miners' models ask
    for; the caller's stays as it is."""
    return plain_body({**payload, "nonce": signing.new_nonce()})


# --- requests ---------------------------------------------------------------------------------------------


class Parties(NamedTuple):
    """Between whom a request goes. address: http://host:port. validator, miner: SS58; no miner or no keypair where it
    is not signed."""

    address: str
    validator: str
    miner: str | None
    keypair: Any


class Request(NamedTuple):
    """What is asked. endpoint: "/path". body: plain JSON, None for a GET. fernet: the answer may be sealed with it.

    signed: makes the headers and the body that go by HTTP, which is not done where a session takes the request.
    """

    endpoint: str
    body: bytes | None
    signed: Callable[[], tuple[Mapping[str, str], bytes | None]]
    fernet: Fernet | None = None

    @property
    def method(self) -> str:
        return "GET" if self.body is None else "POST"


async def ask(
    client: httpx.AsyncClient,
    parties: Parties,
    request: Request,
    timeout_s: float,
    *,
    over_session: bool = True,
) -> httpx.Response:
    """A request and its whole answer: over a session where the miner has one with us, else by HTTP."""
    session = session_of(client, parties) if over_session else None
    if session is not None:
        with contextlib.suppress(NotSent):
            return await session.ask(request.method, request.endpoint, request.body or b"", timeout_s)
    headers, body = request.signed()
    asked = _asking(headers, request)
    url = parties.address + request.endpoint
    response = await sending.send(client, request.method, url, asked, body, timeout_s)
    if over_session:
        heed(client, parties, response)
    if request.fernet is None:
        return response
    return sealing.opened(response, request.fernet, headers[NONCE], headers[SYMMETRIC_KEY_UUID])


async def stream(
    client: httpx.AsyncClient,
    parties: Parties,
    request: Request,
    timeout_s: float,
    *,
    over_session: bool = True,
) -> AsyncIterator[str]:
    """A request whose answer comes in lines, without their ends. httpx.HTTPStatusError for another status than 2xx."""
    session = session_of(client, parties) if over_session else None
    if session is not None:
        called = session.stream(request.method, request.endpoint, request.body or b"", timeout_s)
        async with contextlib.AsyncExitStack() as stack:
            try:
                response = await stack.enter_async_context(called)
            except NotSent:
                pass
            else:
                await check_status(response)
                async for line in response.aiter_lines():
                    yield line
                return
    headers, body = request.signed()
    url = parties.address + request.endpoint
    sent = sending.stream(client, request.method, url, _asking(headers, request), body, timeout_s)
    async with sent as response:
        if over_session:
            heed(client, parties, response)
        fernet = request.fernet
        if fernet is None:
            await check_status(response)
        else:
            await check_status(response, lambda one: sealing.opened(one, fernet, headers[NONCE]))
        if fernet is not None and sealing.is_sealed(response):
            lines = sealing.opened_lines(response, fernet, headers[NONCE])
        else:
            if fernet is not None:
                sealing.check_sealed(response, headers[SYMMETRIC_KEY_UUID])
            lines = response.aiter_lines()
        async for line in lines:
            yield line


async def check_status(
    response: httpx.Response, opened: Callable[[httpx.Response], httpx.Response] = lambda one: one
) -> None:
    """Raise httpx.HTTPStatusError for another status than 2xx, which is logged with its text."""
    if response.is_success:
        return
    await response.aread()
    response = opened(response)
    log.error("%s answered %d: %s", response.url, response.status_code, response.text[:500])
    response.raise_for_status()


def _asking(headers: Mapping[str, str], request: Request) -> dict[str, str]:
    asked = dict(headers)
    if request.fernet is not None:
        asked[sealing.ACCEPT] = sealing.FERNET
    return asked


def session_of(client: httpx.AsyncClient, parties: Parties) -> Session | None:
    """The session of a client with a miner, if there is one now."""
    if parties.keypair is None or parties.miner is None:
        return None
    sessions = sending.sessions_now(client)
    return None if sessions is None else sessions.find(parties.address, parties.validator, parties.miner)


def heed(client: httpx.AsyncClient, parties: Parties, response: httpx.Response) -> None:
    """Take the offer of a session, if the answer has one and programs want it."""
    version = response.headers.get(OFFER)
    if version is None or parties.keypair is None or parties.miner is None or not enabled():
        return
    sessions = sending.sessions_of(client)
    if sessions is not None:
        sessions.offered(parties.address, parties.validator, parties.miner, parties.keypair, version)
