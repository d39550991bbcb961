"""The admin port of a node: opened beside it in its own loop, closed before it. Owns the socket and the connections.

    async with open_admin(node, Place(node.settings.admin)) as admin: ...

uvicorn does HTTP and the WebSocket; it installs no signal handler here, and never ends the process. What it has no
limits for is limited here: connections, and answers that nobody reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from mycelium.admin import views
from mycelium.admin.access import Gate
from mycelium.admin.app import app
from mycelium.admin.live import Live
from mycelium.admin.watch import Watch
from mycelium.config import admin as limits
from mycelium.errors import AddressInUse, ConfigError
from mycelium.http.listener import Bounded
from mycelium.node.admin_settings import TOKEN_CHARS_MIN, AdminSettings, is_loopback
from mycelium.node.ratelimit import Quiet

if TYPE_CHECKING:
    from mycelium.node.node import Node

log = logging.getLogger(__name__)
_quiet = Quiet(log, interval_s=60)

_TOKEN_BYTES_MAX: Final = 4_096
_BACKLOG: Final = 64


class Connection(Bounded):
    """One connection. It is looked at every HEAD_S, also when it has become a WebSocket."""

    head_bytes_max = limits.HEAD_BYTES_MAX
    head_s = limits.HEAD_S
    unread_s = limits.UNREAD_S

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._unread_since_s: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        if self._is_too_much():
            _quiet.warning("%s: too many connections to the admin port", self.client)
            transport.abort()

    def _is_too_much(self) -> bool:
        if len(self.connections) > limits.CONNECTIONS_MAX:
            return True
        if self.client is None or is_loopback(self.client[0]):
            return False
        clients = (getattr(one, "client", None) for one in self.connections)
        theirs = sum(client is not None and client[0] == self.client[0] for client in clients)
        return bool(theirs > limits.CONNECTIONS_PER_ADDRESS_MAX)

    def _look(self) -> None:
        now_s = self.loop.time()
        if not self.transport.get_write_buffer_size():
            self._unread_since_s = None
            super()._look()
            return
        if self._unread_since_s is None:
            self._unread_since_s = now_s
        elif now_s - self._unread_since_s >= self.unread_s:
            log.info("%s does not read what it asked for", self.client)
            self.transport.abort()
            return
        # Also while it is closing: what is left unread would else be kept for as long as the other side likes.
        self._timer = self.loop.call_later(self.head_s, self._look)


class _Server(uvicorn.Server):
    """Signals are the node's."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Admin:
    """The running port. url: where it answers. connections: those that are open."""

    def __init__(self, node: Node, url: str, watch: Watch, live: Live, connections: Collection[Any]) -> None:
        self.node = node
        self.url = url
        self.watch = watch
        self.live = live
        self.connections = connections


class Place:
    """An address that is taken and not listened on yet, and the token that is asked for there."""

    def __init__(self, settings: AdminSettings) -> None:
        """Take it, before a node is opened: what is wrong with [admin] is then found before anything is written.

        Raises ConfigError: an address that is not this machine's, no token, or one that is too short. AddressInUse,
        where the address was chosen in the settings; otherwise another port is taken.
        """
        if not is_loopback(settings.host) and settings.token_file is None:
            raise ConfigError(
                f"[admin] listen is {settings.host}, which other machines reach, and no token is set",
                "set token_file, or listen on 127.0.0.1",
            )
        token = None if settings.token_file is None else read_token(settings.token_file)
        self.gate = Gate({settings.host, *settings.hosts}, token)
        self.socket = _bind(settings)

    @property
    def url(self) -> str:
        host, port = self.socket.getsockname()[:2]
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def close(self) -> None:
        """Idempotent."""
        self.socket.close()


@contextlib.asynccontextmanager
async def open_admin(node: Node, place: Place) -> AsyncIterator[Admin]:
    """Answer there during the block, and close the place after it. AddressInUse: another was faster."""
    watch = Watch(node)
    live = Live(watch)
    watch.start()
    node.health = lambda: views.health(watch.health, node.now_ms())
    try:
        async with serving(place, app(watch, live, place.gate)) as connections:
            log.info("dashboard, health and metrics: %s", place.url)
            yield Admin(node, place.url, watch, live, connections)
    finally:
        node.health = dict
        await watch.close()


@contextlib.asynccontextmanager
async def serving(place: Place, application: Any) -> AsyncIterator[Collection[Any]]:
    """Give a place to an ASGI app during the block, and close it after it; its open connections. AddressInUse."""
    server = _Server(_config(application))
    try:
        place.socket.listen(_BACKLOG)
    except OSError as error:
        place.close()
        raise AddressInUse(
            f"cannot listen on {place.url}: {error.strerror}", "set another in [admin] listen"
        ) from None
    running = asyncio.ensure_future(server.serve(sockets=[place.socket]))
    try:
        # Whichever comes first: a server that cannot start says why.
        await asyncio.wait(
            {running, asyncio.ensure_future(server.up.wait())}, return_when=asyncio.FIRST_COMPLETED
        )
        if running.done():
            running.result()
        yield server.server_state.connections
    finally:
        server.should_exit = True
        await asyncio.gather(running, return_exceptions=True)
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        place.close()


def _config(application: Any) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http=Connection,
        ws=WebSocketsSansIOProtocol,
        ws_max_size=limits.LIVE_MESSAGE_BYTES_MAX,
        ws_per_message_deflate=False,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",  # any stranger can make uvicorn warn
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=limits.KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
    )


def _bind(settings: AdminSettings) -> socket.socket:
    try:
        return _listen(settings.host, settings.port)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        if error.errno != errno.EADDRINUSE:
            raise ConfigError(
                f"cannot listen on {where}: {error.strerror or error}",
                "set another address in [admin] listen",
            ) from None
        if settings.chosen:
            raise AddressInUse(
                f"cannot listen on {where}: another process listens there",
                "stop that process, or set another port in [admin] listen",
            ) from None
    # Nobody chose it: the second node of a machine has its dashboard all the same.
    return _listen(settings.host, 0)


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def read_token(path: Path) -> bytes:
    """The token in a file, without white space around it. ConfigError."""
    remedy = f"make it with: openssl rand -hex 32 > {path}; chmod 600 {path}"
    try:
        with path.open("rb") as file:
            readable_by_all = os.fstat(file.fileno()).st_mode & stat.S_IROTH
            token = file.read(_TOKEN_BYTES_MAX + 1).strip()
    except OSError as error:
        raise ConfigError(f"[admin] token_file {path}: {error.strerror}", remedy) from None
    if not TOKEN_CHARS_MIN <= len(token) <= _TOKEN_BYTES_MAX or not all(33 <= byte < 127 for byte in token):
        raise ConfigError(
            f"[admin] token_file {path} does not hold a token of {TOKEN_CHARS_MIN} or more letters and digits",
            remedy,
        )
    if readable_by_all:
        log.warning(
            "[admin] token_file %s can be read by everybody on this machine: chmod 600 %s", path, path
        )
    return token


__all__ = ["Admin", "Place", "open_admin", "read_token"]
