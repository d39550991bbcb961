"""Listens, and lets strangers in as far as the handshake allows; `admission` counts them, the hub owns sessions.

A connection has one time limit, from the first packet to the session, and until then it holds one small
buffer.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from http import HTTPStatus
from typing import Final, cast

import aiofastnet
from picows import (
    WSAutoPingStrategy,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from picows.picows import WSProtocol  # type: ignore[attr-defined]

from mycelium.config import (
    FRAME_BYTES_MAX,
    GREETING_BUFFER_BYTES,
    HANDSHAKE_TIMEOUT_MS,
    SUBPROTOCOL,
)
from mycelium.errors import AddressInUse, ConfigError, MyceliumError, ProtocolError, Silence
from mycelium.peer.admission import Admission, address_group
from mycelium.peer.greeting import Greeting
from mycelium.peer.hub import Hub
from mycelium.peer.session import Session
from mycelium.peer.wire import PICOWS_LOG, Intake, Wire

BACKLOG: Final = 256
SUBPROTOCOL_HEADER: Final = "Sec-WebSocket-Protocol"


class Server:
    """One listening address of a hub. Several may serve one hub, so that a port can change without a gap.

    start() raises AddressInUse, or ConfigError for an address that is not this machine's. close() stops
    listening and drops unfinished handshakes; sessions live on in the hub.
    """

    def __init__(self, hub: Hub, host: str, port: int) -> None:
        self.hub = hub
        self.host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self.admission = Admission(hub.local, hub.observer, addresses=hub.addresses)

    @property
    def port(self) -> int:
        """The port in use; after start() never 0."""
        return self._port

    @property
    def pending(self) -> int:
        """Connections that have no session yet."""
        return self.admission.pending

    async def start(self) -> None:
        listener = _listen(self.host, self._port)
        try:
            self._port = listener.getsockname()[1]
            # Not loop.create_server: over uvloop's own transport picows hands out its reused header buffer
            # without copying, and a later frame overwrites it (seen with 20 kB frames); aiofastnet copies.
            self._server = await aiofastnet.create_server(
                asyncio.get_running_loop(), lambda: Arrival(self), sock=listener, backlog=BACKLOG
            )
        except OSError as error:
            listener.close()
            raise _listen_error(error, self.host, self._port) from None

    def drain(self) -> None:
        """Take no new connections; those that are in their handshake may finish it. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self) -> None:
        """Stop listening, and drop who has no session yet. Idempotent."""
        self.drain()
        for arrival in self.admission.strangers():
            arrival.drop()
        await asyncio.sleep(0)


class Arrival(Intake):
    """A connection from its first packet on. Leaves the server's count when it has a session or is gone."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._admission = server.admission
        self._hub = server.hub
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._greeting: Greeting | None = None
        self._unexplained = False
        self._upgrade_bytes = 0
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peername = transport.get_extra_info("peername")
        self.address = address_group(peername[0] if peername else "")
        # An event loop that was held up finds hundreds of connections at once, so the limit is here and not
        # at accept; refused ones never reach picows.
        if not self._admission.arrive(self):
            # Not at once: aiofastnet adds the reader after this callback, whatever the transport's state, and a
            # reader left on a closed descriptor breaks the next connection that is given its number.
            self._discard = bytearray(1024)
            asyncio.get_running_loop().call_soon(self._transport.abort)
            return
        self._unexplained = True
        self._inner = picows_protocol(self._upgrade)
        self._inner.connection_made(transport)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HANDSHAKE_TIMEOUT_MS / 1000, self._expired)

    def buffer_updated(self, nbytes: int) -> None:
        if self.wire is None:
            self._upgrade_bytes += nbytes
        super().buffer_updated(nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        self._release()
        if self._unexplained and self.wire is None and self._upgrade_bytes > 0:
            # picows answered with an HTTP error, or they left in the middle; a port scan without a word is
            # nothing.
            self._hub.observer.rejected("upgrade")
        super().connection_lost(exc)
        self._inner = None

    def drop(self) -> None:
        """End the connection at once, to make room."""
        self._release()
        if self.wire is not None:
            self.wire.abort()
        elif self._transport is not None:
            self._transport.abort()

    def _release(self) -> None:
        self._admission.leave(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expired(self) -> None:
        self._timer = None
        if self.wire is not None:
            self.wire.fail(Silence(f"no session within {HANDSHAKE_TIMEOUT_MS} ms"))
        elif self._transport is not None:
            self._hub.observer.rejected(Silence.reason)
            self._unexplained = False
            self._transport.abort()

    def _upgrade(self, request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        """Answer an upgrade request that picows has parsed (RFC 6455 section 4.2)."""
        offered = ",".join(request.headers.getall(SUBPROTOCOL_HEADER, []))
        if SUBPROTOCOL not in {name.strip() for name in offered.split(",")}:
            self._unexplained = False
            self._hub.observer.rejected("subprotocol")
            text = f"this is a Mycelium node: it speaks the WebSocket subprotocol {SUBPROTOCOL} only\n"
            return WSUpgradeResponseWithListener(
                WSUpgradeResponse.create_error_response(HTTPStatus.BAD_REQUEST, text.encode()), None
            )
        wire = self.wire = Wire(self._hub.observer)
        greeting = self._greeting = Greeting(
            wire,
            self._admission.responder(self.address),
            inbound=True,
            now_ns=self._hub.local.now_ns,
            done=self._session_made,
            lost=self._session_failed,
        )
        wire.owner = greeting
        response = WSUpgradeResponse.create_101_response({SUBPROTOCOL_HEADER: SUBPROTOCOL})
        return WSUpgradeResponseWithListener(response, wire)

    def _session_made(self, session: Session, body: bytes) -> None:
        del body
        self._release()
        assert self.wire is not None
        self._hub.admit(self.wire, session, inbound=True, role=session.role)

    def _session_failed(self, error: MyceliumError | None) -> None:
        # Its place is free again only when the socket is gone: it still holds memory.
        if isinstance(error, ProtocolError) and self._greeting and not self._greeting.ended_by_peer:
            self._admission.failed(self.address, error.reason)


def picows_protocol(upgrade: object) -> asyncio.BufferedProtocol:
    """picows' server side of one connection, as `picows.ws_create_server` makes it, which has no hook at accept."""
    return cast(
        "asyncio.BufferedProtocol",
        WSProtocol(
            None,  # host and port: the server has none to name
            None,  # path
            False,  # server side
            upgrade,
            PICOWS_LOG,
            True,  # disconnect on exception
            None,  # upgrade time limit: Arrival has one for everything
            False,  # automatic ping
            10,
            10,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            False,  # automatic pong: Wire answers, within bounds
            FRAME_BYTES_MAX,
            None,  # extra headers
            GREETING_BUFFER_BYTES,
        ),
    )


def check_address(host: str, port: int) -> None:
    """Raise what `Server.start` would for an address that cannot be listened on, before anything is made for it."""
    _listen(host, port).close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _listen_error(error, host, port) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setblocking(False)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _listen_error(error, host, port) from None
    return listener


def _listen_error(error: OSError, host: str, port: int) -> ConfigError:
    where = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return AddressInUse(
            f"cannot listen on {where}: another process listens there",
            "stop that process, or set another port under [node] listen",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConfigError(f"cannot listen on {where}: not permitted", "use a port of 1024 or above")
    return ConfigError(
        f"cannot listen on {where}: {error.strerror or error}", "set an address of this machine"
    )
