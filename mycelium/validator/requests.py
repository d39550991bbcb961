"""A validator's plain requests to miners, signed. As in Fiber, and taking the arguments of 2.1.0 and of 2.5.0.

Owns the argument lists; what is sent is `http.client`'s. Every request goes out once, on the caller's httpx client.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import httpx

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
    validator_ss58_address: str,
    miner_ss58_address: str | None = None,
    keypair: Any = None,
    payload_str: bytes | None = None,
) -> dict[str, str]:
    """Headers of a request; signed if there is a keypair. payload_str: the exact body."""
    return client.plain_headers(validator_ss58_address, miner_ss58_address, keypair, payload_str)


def get_headers_with_nonce(
    payload_str: bytes, validator_ss58_address: str, miner_ss58_address: str, keypair: Any
) -> dict[str, str]:
    """The same in the order of 2.1.0."""
    return _get_headers(validator_ss58_address, miner_ss58_address, keypair, payload_str)


async def make_non_streamed_get(
    httpx_client: httpx.AsyncClient,
    server_address: str,
    validator_ss58_address: str,
    miner_ss58_address: Any = None,
    keypair: Any = None,
    endpoint: Any = None,
    timeout: float = 10,
) -> httpx.Response:
    """GET an endpoint ("/path"). Without a keypair it is not signed, which miners of 2.3 and before do not ask for.

    2.1.0 passed (client, address, validator, endpoint, timeout), and that is understood. timeout: seconds. Raises
    what httpx raises.
    """
    if endpoint is None:
        miner_ss58_address, keypair, endpoint, timeout = (
            None,
            None,
            miner_ss58_address,
            timeout if keypair is None else keypair,
        )
    parties = client.Parties(server_address, validator_ss58_address, miner_ss58_address, keypair)
    return await client.ask(httpx_client, parties, _request(parties, endpoint, None), timeout)


async def make_non_streamed_post(
    httpx_client: httpx.AsyncClient,
    server_address: str,
    validator_ss58_address: str,
    miner_ss58_address: str,
    keypair: Any,
    endpoint: str,
    payload: dict[str, Any],
    timeout: float = 10,
) -> httpx.Response:
    """POST a payload as JSON to an endpoint ("/path"); the answer, of whatever status.

    The bytes that are signed are the bytes that are sent. timeout: seconds. Raises what httpx raises.
    """
    parties = client.Parties(server_address, validator_ss58_address, miner_ss58_address, keypair)
    return await client.ask(
        httpx_client, parties, _request(parties, endpoint, client.plain_body(payload)), timeout
    )


async def make_streamed_post(
    httpx_client: httpx.AsyncClient,
    server_address: str,
    validator_ss58_address: str,
    miner_ss58_address: str,
    keypair: Any,
    endpoint: str,
    payload: dict[str, Any],
    timeout: float = 10,
) -> AsyncGenerator[str, None]:
    """POST a payload; the lines of the answer as text, as they come. httpx.HTTPStatusError for a status but 2xx."""
    parties = client.Parties(server_address, validator_ss58_address, miner_ss58_address, keypair)
    async for line in client.stream(
        httpx_client, parties, _request(parties, endpoint, client.plain_body(payload)), timeout
    ):
        yield line


def _request(parties: client.Parties, endpoint: str, body: bytes | None) -> client.Request:
    def signed() -> tuple[dict[str, str], bytes | None]:
        return _get_headers(parties.validator, parties.miner, parties.keypair, body), body

    return client.Request(endpoint, body, signed)
