"""The development chain's JSON-RPC server: WebSocket connections, the making of blocks by time, and faults.

Owns sockets, tasks and timers. What is answered is in `rpc*`, what the chain does in `core`; both run on this
event loop without waiting, so that a request sees one state. A reader that is too slow loses its connection.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from mycelium.config import (
    DEVCHAIN_CLOSE_S,
    DEVCHAIN_CONNECTIONS_MAX,
    DEVCHAIN_NOTIFICATIONS_BYTES_MAX,
    DEVCHAIN_REQUEST_BYTES_MAX,
)
from mycelium.devnet.chain import rpc, rpc_author, rpc_chain, rpc_dev, rpc_state
from mycelium.devnet.chain.core import INSTANT, TIME, Core, Event, Restarted
from mycelium.devnet.chain.faults import GARBAGE, HTTP, RPC, Faults, busy
from mycelium.devnet.chain.pool import READY, Status
from mycelium.devnet.chain.subscriptions import Hub
from mycelium.errors import AddressInUse

log = logging.getLogger(__name__)

DEV_PATH: Final = "/dev"
"""A connection to it is spared by faults."""
_WIRE_LOG: Final = logging.getLogger("mycelium.devnet.chain.wire")
"""The library reports each broken handshake as an error; breaking them is what faults are for."""
_WIRE_LOG.setLevel(logging.CRITICAL)


def table() -> rpc.Table:
    """All methods of the server."""
    methods: rpc.Table = {}
    for module in (rpc_state, rpc_chain, rpc_author, rpc_dev):
        module.register(methods)
    return methods


def wall_ms() -> int:
    """The clock of a chain that runs by time."""
    return time.time_ns() // 1_000_000


class _Connection:
    """One client: answers in the order of its requests, notifications between them."""

    def __init__(self, server: ChainServer, socket: ServerConnection) -> None:
        self.core = server.core
        self.hub = server.hub
        self.faults = server.faults
        self.spared = socket.request is not None and socket.request.path == DEV_PATH
        self._socket = socket
        self._table = server.table
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()

    def push(self, data: bytes) -> None:
        """Send after what was sent before. A reader that leaves too much unread is dropped."""
        self._queue.append(data)
        self._queued_bytes += len(data)
        if self._queued_bytes > DEVCHAIN_NOTIFICATIONS_BYTES_MAX:
            self.drop()
        self._wake.set()

    def drop(self) -> None:
        """Close the connection abruptly, as a network does."""
        self._queue.clear()
        self._queued_bytes = 0
        self._socket.transport.abort()

    async def run(self) -> None:
        """Serve until the connection ends."""
        pump = asyncio.create_task(self._pump(), name="devchain notifications")
        try:
            async for message in self._socket:
                await self._serve(message if isinstance(message, str) else message.decode("utf-8", "replace"))
        except ConnectionClosed:
            log.debug("a client's connection broke")
        finally:
            self.hub.forget(self)
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)

    async def _serve(self, request: str) -> None:
        switches = self.faults.switches
        if not switches.answers or self.spared or not switches.concern(request):
            answer = rpc.answer(request, self._table, self)
            if answer is not None:
                # Written before anything else runs: no notification overtakes the answer that it belongs to.
                await self._socket.send(answer, text=True)
            return
        if switches.too_many_requests == RPC:
            answer = rpc.refusal(request, busy())
        else:
            answer = rpc.answer(request, self._table, self)
        if switches.silent:
            switches.unanswered += 1
            return
        if answer is None:
            return
        answer = GARBAGE if switches.garbage else answer
        if switches.delay_ms:
            # Not waited for: a client that sends many requests gets all answers that much later, not ever later.
            asyncio.get_running_loop().call_later(switches.delay_ms / 1000, self.push, answer)
        else:
            await self._socket.send(answer, text=True)

    async def _pump(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                data = self._queue.popleft()
                await self._socket.send(data, text=True)
                self._queued_bytes = max(0, self._queued_bytes - len(data))


class ChainServer:
    """A running development chain at `url`. An asynchronous context manager.

    core: made by the caller, not started by anyone else. port 0: any free one. Raises AddressInUse.
    """

    def __init__(self, core: Core, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.core = core
        self.hub = Hub(core)
        self.faults = Faults(core, self.drop_connections)
        self.hub.muted = lambda: self.faults.switches.mute
        self.table = table()
        self.connections: set[_Connection] = set()
        self._host = host
        self._port = port
        self._server: Server | None = None
        self._timer: asyncio.Handle | None = None
        self._due = 0.0
        core.observers.append(self._notice)

    @property
    def port(self) -> int:
        assert self._server is not None, "the server has not been started"
        return int(next(iter(self._server.sockets)).getsockname()[1])

    @property
    def url(self) -> str:
        return f"ws://{self._host}:{self.port}"

    async def start(self) -> None:
        """Listen, and begin to make blocks."""
        try:
            self._server = await serve(
                self._connected,
                self._host,
                self._port,
                process_request=self._admit,
                compression=None,
                max_size=2 * DEVCHAIN_REQUEST_BYTES_MAX,
                # A client that only asks now and then reads nothing in between, and would seem dead.
                ping_interval=None,
                close_timeout=DEVCHAIN_CLOSE_S,
                logger=_WIRE_LOG,
                server_header=None,
            )
        except OSError as error:
            raise AddressInUse(
                f"{self._host}:{self._port} cannot be listened on: {error.strerror or error}",
                "Choose another port.",
            ) from None
        if self.core.blocks == TIME:
            self._due = asyncio.get_running_loop().time()
            self._schedule()

    async def close(self) -> None:
        """Stop making blocks and close all connections."""
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            self._server.close(close_connections=True)
            await self._server.wait_closed()
        for observer in (self._notice, self.hub.notice):
            if observer in self.core.observers:
                self.core.observers.remove(observer)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def drop_connections(self) -> int:
        """Break all connections but the spared ones; how many. The caller still gets its answer."""
        doomed = [connection for connection in self.connections if not connection.spared]
        loop = asyncio.get_running_loop()
        for connection in doomed:
            loop.call_soon(connection.drop)
        return len(doomed)

    # --- blocks ---------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = max(self._due + self.core.block_ms / 1000, loop.time())
        self._timer = loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._author()
        self._schedule()

    def _instant(self) -> None:
        self._timer = None
        if self._author() and self.core.pool.pending():
            self._author_soon()  # more than fit into one block

    def _author_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_soon(self._instant)

    def _author(self) -> bool:
        """Make a block; whether there is one."""
        try:
            return self.core.author() is not None
        except Exception:
            log.exception("a block could not be made; the next one is tried")
            return False

    def _notice(self, event: Event) -> None:
        match event:
            case Status(what=what) if what == READY and self.core.blocks == INSTANT:
                self._author_soon()
            case Restarted():
                self.drop_connections()
            case _:
                pass

    # --- connections ----------------------------------------------------------------------------------------

    async def _connected(self, socket: ServerConnection) -> None:
        connection = _Connection(self, socket)
        self.connections.add(connection)
        try:
            await connection.run()
        finally:
            self.connections.discard(connection)

    def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        if request.path == "/health":
            health = msgspec.json.encode({"peers": 0, "isSyncing": False, "shouldHavePeers": False})
            return socket.respond(HTTPStatus.OK, health.decode())
        switches = self.faults.switches
        if request.path != DEV_PATH:
            if switches.refusing:
                socket.transport.abort()
                return socket.respond(HTTPStatus.SERVICE_UNAVAILABLE, "")
            if switches.too_many_requests == HTTP:
                return socket.respond(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests\n")
        if len(self.connections) >= DEVCHAIN_CONNECTIONS_MAX:
            return socket.respond(HTTPStatus.TOO_MANY_REQUESTS, "Too many connections\n")
        return None
