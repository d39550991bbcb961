"""A validator's encrypted requests to miners. As in Fiber, and taking the arguments of 2.1.0 and of 2.5.0.

Owns the argument lists; what is sent is `http.client`'s. Answers of miners of ours come sealed, and are opened here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import httpx
from cryptography.fernet import Fernet

from mycelium.http import client

__all__ = [
    "_get_headers",
    "construct_server_address",
    "get_headers_with_nonce",
    "make_non_streamed_get",
    "make_non_streamed_post",
    "make_streamed_post",
]


def construct_server_address(
    node: Any, replace_with_docker_localhost: bool = False, replace_with_localhost: bool = False
) -> str:
    """http://ip:port of a node. The address 0.0.0.1, which development nodes publish, becomes this machine's."""
    return client.address_of(node, docker=replace_with_docker_localhost, local=replace_with_localhost)


def _get_headers(
    symmetric_key_uuid: str,
    validator_ss58_address: str,
    miner_ss58_address: str | None = None,
    keypair: Any = None,
) -> dict[str, str]:
    """Headers of a request; signed if there is a keypair."""
    return client.encrypted_headers(validator_ss58_address, miner_ss58_address, keypair, symmetric_key_uuid)


def get_headers_with_nonce(
    symmetric_key_uuid: str, validator_ss58_address: str, miner_ss58_address: str, keypair: Any
) -> dict[str, str]:
    """The same under the name of 2.1.0."""
    return _get_headers(symmetric_key_uuid, validator_ss58_address, miner_ss58_address, keypair)


async def make_non_streamed_get(
    httpx_client: httpx.AsyncClient,
    server_address: str,
    validator_ss58_address: str,
    miner_ss58_address: Any = None,
    keypair: Any = None,
    symmetric_key_uuid: Any = None,
    endpoint: Any = None,
    timeout: float = 10,
) -> httpx.Response:
    """GET an endpoint ("/path"). Without a keypair it is not signed, which miners of 2.3 and before do not ask for.

    2.1.0 passed (client, address, validator, uuid, endpoint, timeout), and that is understood. Raises what httpx
    raises.
    """
    if endpoint is None:
        timeout = timeout if symmetric_key_uuid is None else symmetric_key_uuid
        symmetric_key_uuid, endpoint, miner_ss58_address, keypair = miner_ss58_address, keypair, None, None
    parties = client.Parties(server_address, validator_ss58_address, miner_ss58_address, keypair)
    request = request_of(parties, endpoint, None, None, symmetric_key_uuid)
    return await client.ask(httpx_client, parties, request, timeout)


async def make_non_streamed_post(
    httpx_client: httpx.AsyncClient,
    server_address: str,
    validator_ss58_address: str,
    miner_ss58_address: str,
    keypair: Any,
    fernet: Fernet,
    symmetric_key_uuid: str,
    endpoint: str,
    payload: dict[str, Any],
    timeout: float = 10,
) -> httpx.Response:
    """POST a payload, encrypted, to an endpoint ("/path"); the answer in plain text, of whatever status.

    The payload is sent with a nonce in it, and stays as it is. timeout: seconds. Raises what httpx raises, and
    BrokenSeal for a sealed answer that was changed.
    """
    parties = client.Parties(server_address, validator_ss58_address, miner_ss58_address, keypair)
    request = request_of(parties, endpoint, client.nonced_body(payload), fernet, symmetric_key_uuid)
    return await client.ask(httpx_client, parties, request, timeout)


async def make_streamed_post(
    httpx_client: httpx.AsyncClient,
    server_address: str,
    validator_ss58_address: str,
    miner_ss58_address: str,
    keypair: Any,
    fernet: Fernet,
    symmetric_key_uuid: str,
    endpoint: str,
    payload: dict[str, Any],
    timeout: float = 10,
) -> AsyncGenerator[str, None]:
    """POST a payload, encrypted; the lines of the answer as text, as they come. httpx.HTTPStatusError, BrokenSeal."""
    parties = client.Parties(server_address, validator_ss58_address, miner_ss58_address, keypair)
    request = request_of(parties, endpoint, client.nonced_body(payload), fernet, symmetric_key_uuid)
    async for line in client.stream(httpx_client, parties, request, timeout):
        yield line


def request_of(
    parties: client.Parties, endpoint: str, body: bytes | None, fernet: Fernet | None, uuid: str
) -> client.Request:
    """The request of a body (None: a GET), to be encrypted with the key of that uuid."""

    def signed() -> tuple[dict[str, str], bytes | None]:
        headers = _get_headers(uuid, parties.validator, parties.miner, parties.keypair)
        return headers, None if body is None or fernet is None else fernet.encrypt(body)

    return client.Request(endpoint, body, signed, fernet)
