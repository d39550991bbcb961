"""Sends a request on an httpx client: over our transport where the client has httpx's own for it, else over that.

A client that has been given something of its own - a transport, proxies, hooks, authentication - is used as it is.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from operator import attrgetter
from typing import Any, Final

import httpx

from mycelium.config import HTTP_IDLE_S
from mycelium.http.session.sessions import Sessions
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


def sessions_of(client: httpx.AsyncClient) -> Sessions | None:
    """The sessions of a client, which end with it; None where what it has been given must see every request."""
    if not _is_plain(client):
        return None
    transport = _transport_of(client)
    if transport.companion is None:
        transport.companion = Sessions()
    assert isinstance(transport.companion, Sessions), "nothing else is put there"
    return transport.companion


def sessions_now(client: httpx.AsyncClient) -> Sessions | None:
    """The same where a client has some already; cheaper, as it is asked before each request."""
    mounts = getattr(client, "_mounts", None)
    if not mounts:
        return None
    for found in mounts.values():
        if type(found) is Transport:
            known = found.companion
            return known if isinstance(known, Sessions) and _is_plain(client) else None
    return None


def _is_plain(client: httpx.AsyncClient, request: httpx.Request | None = None) -> bool:
    """Whether it would do with the request what our transport does. What is not known of a client is not."""
    if request is not None and (request.url.scheme != "http" or request.url.userinfo):
        return False
    return (
        type(client) is httpx.AsyncClient
        and not client.is_closed
        and client.auth is None
        and not client.follow_redirects
        and not any(client.event_hooks.values())
        and _mounts_nothing(getattr(client, "_mounts", None))
        and _pool_of(client) is not None
    )


def _pool_of(client: httpx.AsyncClient) -> Any:
    """The pool of httpx's own transport, if nothing was asked of it but how many connections there may be."""
    transport = getattr(client, "_transport", None)
    if type(transport) is not httpx.AsyncHTTPTransport:
        return None
    pool: Any = getattr(transport, "_pool", None)
    try:
        kept, expiry_s, *asked = _asked_of(pool)
    except AttributeError:  # of another version than those that are known
        return None
    keeps = kept > 0 and (expiry_s is None or expiry_s >= HTTP_IDLE_S)
    return pool if keeps and asked == _NOTHING and getattr(pool, "_proxy", None) is None else None


_asked_of: Final = attrgetter(
    "_max_keepalive_connections",
    "_keepalive_expiry",
    "_http1",
    "_retries",
    "_local_address",
    "_uds",
    "_socket_options",
)
_NOTHING: Final = [True, 0, None, None, None]
_CONNECTIONS: Final = 100
"""httpx's own limit, where a program has set none."""


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
    most: int = _pool_of(client)._max_connections  # noqa: SLF001
    made = Transport() if most == _CONNECTIONS else Transport(connections_max=most)
    mounts[_Never()] = made
    return made
