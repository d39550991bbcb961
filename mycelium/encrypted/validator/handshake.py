"""The handshake of encrypted requests: a symmetric key, made by the validator and encrypted for the miner.

As in Fiber. Where the miner signs its key with its hotkey, that is verified; with MYCELIUM_REQUIRE_SIGNED_KEY=1 no
other key is taken. Owns no key: who asked for one keeps it.
"""

from __future__ import annotations

import os
from base64 import b64encode
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa

from mycelium import constants
from mycelium.config import HTTP_HANDSHAKE_S
from mycelium.errors import HandshakeFailed
from mycelium.http import client, exchange, sealing, sending
from mycelium.http.keyring import KEY_BYTES
from mycelium.http.session.sessions import NotSent
from mycelium.http.signing import NONCE

__all__ = ["get_public_encryption_key", "perform_handshake", "rsa", "send_symmetric_key_to_server"]


async def perform_handshake(
    httpx_client: httpx.AsyncClient,
    server_address: str,
    keypair: Any,
    miner_hotkey_ss58_address: str,
    timeout: float = HTTP_HANDSHAKE_S,
    *,
    signed_only: bool | None = None,
) -> tuple[str, str]:
    """Exchange a new key with a miner: (the key as base64, for `Fernet(...)`; its uuid, 64 hex digits).

    Where there is a session with the miner already, the key goes over it, at a tenth of the cost.

    signed_only: take no key that the miner has not signed; None: as MYCELIUM_REQUIRE_SIGNED_KEY says.
    timeout: seconds for each of the two requests. Raises what httpx raises, and HandshakeFailed.
    """
    key, uuid = os.urandom(KEY_BYTES), os.urandom(exchange.UUID_BYTES).hex()
    parties = client.Parties(server_address, client.address_text(keypair), miner_hotkey_ss58_address, keypair)
    if await _give_over_session(httpx_client, parties, key, uuid, timeout):
        return b64encode(key).decode(), uuid
    public = await get_public_encryption_key(
        httpx_client,
        server_address,
        timeout,
        miner_hotkey_ss58_address=miner_hotkey_ss58_address,
        signed_only=signed_only,
    )
    await send_symmetric_key_to_server(
        httpx_client, server_address, keypair, public, key, uuid, miner_hotkey_ss58_address, timeout
    )
    if exchange.is_proved(public):
        sealing.SEALING.add(uuid)
    return b64encode(key).decode(), uuid


async def _give_over_session(
    httpx_client: httpx.AsyncClient, parties: client.Parties, key: bytes, uuid: str, timeout_s: float
) -> bool:
    """Whether the miner has taken the key over a session. False where there is none, or it knows no such thing."""
    session = client.session_of(httpx_client, parties)
    if session is None:
        return False
    given = {"symmetric_key": b64encode(key).decode(), "symmetric_key_uuid": uuid}
    try:
        answer = await session.ask("POST", exchange.OVER_SESSION, client.plain_body(given), timeout_s)
    except NotSent:
        return False
    if answer.status_code != 200:
        return False
    sealing.SEALING.add(uuid)
    return True


async def get_public_encryption_key(
    httpx_client: httpx.AsyncClient,
    server_address: str,
    timeout: float = HTTP_HANDSHAKE_S,
    *,
    miner_hotkey_ss58_address: str | None = None,
    signed_only: bool | None = None,
) -> rsa.RSAPublicKey:
    """A miner's public key; verified where it is signed and the miner's hotkey is given. HandshakeFailed."""
    url = f"{server_address}/{constants.PUBLIC_ENCRYPTION_KEY_ENDPOINT}"
    response = await sending.send(httpx_client, "GET", url, {}, None, timeout)
    response.raise_for_status()
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        raise HandshakeFailed("the miner answered with what is no JSON") from None
    only = exchange.signed_keys_only() if signed_only is None else signed_only
    return exchange.public_key_of(answer, miner_hotkey_ss58_address, signed_only=only)


async def send_symmetric_key_to_server(
    httpx_client: httpx.AsyncClient,
    server_address: str,
    keypair: Any,
    public_key_encryption_key: rsa.RSAPublicKey,
    symmetric_key: bytes,
    symmetric_key_uuid: str,
    miner_hotkey_ss58_address: str,
    timeout: float = HTTP_HANDSHAKE_S,
) -> bool:
    """Give a miner a key; True. httpx.HTTPStatusError where it does not take it."""
    parties = client.Parties(server_address, client.address_text(keypair), miner_hotkey_ss58_address, keypair)
    headers = client.encrypted_headers(
        parties.validator, miner_hotkey_ss58_address, keypair, symmetric_key_uuid
    )
    given = exchange.exchange_body(keypair, public_key_encryption_key, symmetric_key, headers[NONCE])
    url = f"{server_address}/{constants.EXCHANGE_SYMMETRIC_KEY_ENDPOINT}"
    body = client.plain_body(given)
    headers["Content-Type"] = client.JSON
    response = await sending.send(httpx_client, "POST", url, headers, body, timeout)
    client.heed(httpx_client, parties, response)
    response.raise_for_status()
    return response.status_code == 200
