"""Sends a request on an httpx client: over our transport where the client has httpx's own for it, else over that.

A client that has been given something of its own - a transport, proxies, hooks, authentication - is used as it is.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx

from mycelium.http.transport import Transport


async def send(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    timeout_s: float,
) -> httpx.Response:
    """A request and its whole answer. Raises what httpx raises."""
    async with stream(client, method, url, headers, body, timeout_s) as response:
        await response.aread()
    return response


@asynccontextmanager
async def stream(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    timeout_s: float,
) -> AsyncIterator[httpx.Response]:
    """A request and its answer, whose body is still to be read."""
    request = client.build_request(method, url, headers=dict(headers), content=body, timeout=timeout_s)
    if not _is_plain(client, request):
        response = await client.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()
        return
    began_s = time.perf_counter()
    response = await _transport_of(client).handle_async_request(request)
    try:
        if "set-cookie" in response.headers:
            client.cookies.extract_cookies(response)
        yield response
    finally:
        await response.aclose()
        response.elapsed = timedelta(seconds=time.perf_counter() - began_s)


def _is_plain(client: httpx.AsyncClient, request: httpx.Request) -> bool:
    """Whether it would do with the request what our transport does. What is not known of a client is not."""
    return (
        type(client) is httpx.AsyncClient
        and not client.is_closed
        and request.url.scheme == "http"
        and client.auth is None
        and not request.url.userinfo
        and not client.follow_redirects
        and not any(client.event_hooks.values())
        and _mounts_nothing(getattr(client, "_mounts", None))
        and type(getattr(client, "_transport", None)) is httpx.AsyncHTTPTransport
    )


class _Never:
    """A mount for no address at all: by it the client closes our transport when it is closed itself."""

    def matches(self, url: httpx.URL) -> bool:
        del url
        return False


def _mounts_nothing(mounts: Any) -> bool:
    return isinstance(mounts, dict) and all(isinstance(pattern, _Never) for pattern in mounts)


def _transport_of(client: httpx.AsyncClient) -> Transport:
    mounts: dict[Any, Any] = client._mounts  # noqa: SLF001 - looked at by `_is_plain`
    for found in mounts.values():
        if isinstance(found, Transport):
            return found
    made = Transport()
    mounts[_Never()] = made
    return made
