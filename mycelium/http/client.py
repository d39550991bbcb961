"""A validator's requests over httpx: signed headers, the signed bytes sent as they are, and sealed answers opened.

Owns no connection: the httpx client is its caller's. Every request is sent once. What goes wrong on the way is httpx's
own exception, as programs expect; an answer that is sealed and cannot be opened is a BrokenSeal.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

import httpx
from cryptography.fernet import Fernet

from mycelium.chain.extrinsics import account_of
from mycelium.http import sealing, sending, signing
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


def encrypted_body(payload: Mapping[str, Any], fernet: Fernet) -> bytes:
    """The payload with a nonce in it, which Fiber puts there and some miners' models ask for; the caller's stays."""
    return fernet.encrypt(json.dumps({**payload, "nonce": signing.new_nonce()}).encode())


# --- requests ---------------------------------------------------------------------------------------------


async def get(
    client: httpx.AsyncClient, url: str, headers: Mapping[str, str], timeout_s: float
) -> httpx.Response:
    """A GET."""
    return await sending.send(client, "GET", url, headers, None, timeout_s)


async def post(
    client: httpx.AsyncClient,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    timeout_s: float,
    fernet: Fernet | None = None,
) -> httpx.Response:
    """A POST of exactly these bytes. fernet: the answer may be sealed with it."""
    asked = {**headers, sealing.ACCEPT: sealing.FERNET} if fernet is not None else dict(headers)
    response = await sending.send(client, "POST", url, asked, body, timeout_s)
    return response if fernet is None else sealing.opened(response, fernet, headers[NONCE])


async def stream(
    client: httpx.AsyncClient,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    timeout_s: float,
    fernet: Fernet | None = None,
) -> AsyncIterator[str]:
    """A POST whose answer comes in lines, without their ends. httpx.HTTPStatusError for another status than 2xx."""
    asked = {**headers, sealing.ACCEPT: sealing.FERNET} if fernet is not None else dict(headers)
    async with sending.stream(client, "POST", url, asked, body, timeout_s) as response:
        try:
            response.raise_for_status()
        except httpx.HTTPStatusError as error:
            await response.aread()
            if fernet is not None:
                response = error.response = sealing.opened(response, fernet, headers[NONCE])
            log.error("%s answered %d: %s", url, response.status_code, response.text[:500])
            raise
        if fernet is not None and sealing.is_sealed(response):
            async for line in sealing.opened_lines(response, fernet, headers[NONCE]):
                yield line
        else:
            async for line in response.aiter_lines():
                yield line
