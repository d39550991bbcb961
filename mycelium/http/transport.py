"""HTTP/1.1 over asyncio for httpx: the same requests and answers, at a fraction of what httpx's own transport costs.

Owns connections to plain http addresses, kept for the next request; no TLS, no proxy, no redirect. A request is sent
once: where its answer cannot come, httpx's exception says so. Parsing is llhttp's, by `httptools`.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from typing import Any, Final, Protocol, cast

import httptools
import httpx

from mycelium.config import (
    HTTP_ANSWER_BUFFER_BYTES_MAX,
    HTTP_CONNECTIONS_MAX,
    HTTP_HEAD_BYTES_MAX,
    HTTP_IDLE_S,
)

_Place = tuple[str, int]
_HTTP: Final = "http"
_PORT: Final = 80


class Companion(Protocol):
    """What lives as long as a transport."""

    async def aclose(self) -> None: ...


class Transport(httpx.AsyncBaseTransport):
    """Connections of one event loop. Beyond `connections_max` in all, requests wait for one."""

    def __init__(self, *, connections_max: int = HTTP_CONNECTIONS_MAX, idle_s: float = HTTP_IDLE_S) -> None:
        self._idle_s = idle_s
        self._connections_max = connections_max
        self._idle: OrderedDict[_Connection, None] = OrderedDict()
        """Oldest first."""
        self._idle_at: dict[_Place, OrderedDict[_Connection, None]] = {}
        self._places = asyncio.Semaphore(connections_max)
        self._open: set[_Connection] = set()
        self.companion: Companion | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the answer, whose body is still to be read. httpx.TransportError."""
        if request.url.scheme != _HTTP:
            raise httpx.UnsupportedProtocol(f"only {_HTTP}:// is spoken here", request=request)
        timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
        body = await request.aread()
        try:
            async with asyncio.timeout(timeouts.get("pool")):
                await self._places.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("no connection was free in time", request=request) from None
        try:
            connection = await self._connect(request, timeouts.get("connect"))
            try:
                connection.send(request, body)
                await connection.sent(timeouts.get("write"))
                await connection.head(timeouts.get("read"))
            except BaseException:
                connection.close()
                raise
        except BaseException:
            self._places.release()
            raise
        return httpx.Response(
            connection.status,
            headers=connection.headers,
            stream=_Body(self, connection, timeouts.get("read")),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": connection.reason},
            request=request,
        )

    async def _connect(self, request: httpx.Request, timeout_s: float | None) -> _Connection:
        port = request.url.port
        # 0 is what a node has that serves nothing: it must not become the port of somebody else's server.
        place = request.url.host, _PORT if port is None else port
        while place in self._idle_at:
            # The one used last: the others may grow old.
            connection = next(reversed(self._idle_at[place]))
            self._take(connection)
            fresh = time.monotonic() - connection.idle_since_s < self._idle_s
            if connection.usable and fresh and not connection.readable():
                connection.begin(request)
                return connection
            connection.close()
        self._retire(1)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await loop.create_connection(lambda: _Connection(place), *place)
        except TimeoutError:
            raise httpx.ConnectTimeout("not connected in time", request=request) from None
        except (OSError, UnicodeError) as error:
            # The second for a name that can be none, which never comes as far as the system.
            raise httpx.ConnectError(str(error), request=request) from None
        self._open.add(connection)
        connection.on_lost = self._forget
        connection.begin(request)
        return connection

    def done(self, connection: _Connection) -> None:
        """The answer was read, or given up: the connection is for the next one, or closed."""
        self._places.release()
        if not connection.usable:
            connection.close()
            return
        connection.idle_since_s = time.monotonic()
        self._idle[connection] = None
        self._idle_at.setdefault(connection.place, OrderedDict())[connection] = None
        self._retire(0)

    def _retire(self, new: int) -> None:
        """Close what is idle for too long, and the oldest of the others where so many new ones have no room."""
        now_s = time.monotonic()
        while self._idle:
            connection = next(iter(self._idle))
            fresh = now_s - connection.idle_since_s < self._idle_s
            if fresh and len(self._open) + new <= self._connections_max:
                return
            self._forget(connection)
            connection.close()

    def _take(self, connection: _Connection) -> None:
        """It is idle no more."""
        del self._idle[connection]
        others = self._idle_at[connection.place]
        del others[connection]
        if not others:
            del self._idle_at[connection.place]

    def _forget(self, connection: _Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._take(connection)

    async def aclose(self) -> None:
        """Close all connections, and the companion."""
        if self.companion is not None:
            await self.companion.aclose()
        for connection in list(self._open):
            self._forget(connection)
            connection.close()


class _Body(httpx.AsyncByteStream):
    """An answer's body, read once."""

    def __init__(self, transport: Transport, connection: _Connection, timeout_s: float | None) -> None:
        self._transport = transport
        self._connection: _Connection | None = connection
        self._timeout_s = timeout_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        connection = self._connection
        while connection is not None and (chunk := await connection.chunk(self._timeout_s)):
            yield chunk

    async def aclose(self) -> None:
        """Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._transport.done(connection)


class _Connection(asyncio.Protocol):
    """One connection, and the answer that is on its way. Callbacks named on_* are the parser's."""

    def __init__(self, place: _Place) -> None:
        self.place = place
        self.idle_since_s = 0.0
        self.on_lost: Any = None
        self._wire: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._lost: BaseException | None = None
        # It can be lost before anything was asked over it.
        self._whole, self._keep = True, False
        self._blocked = False

    def begin(self, request: httpx.Request) -> None:
        """Ready for one more answer."""
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self.status, self.reason = 0, b""
        self.headers: list[tuple[bytes, bytes]] = []
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._headed = self._whole = self._more = self._keep = False
        self._paused = False
        self._fields_bytes = 0
        self._ended = False

    @property
    def usable(self) -> bool:
        """Whether the next request can be sent over it."""
        return self._keep and self._whole and self._lost is None and not self._chunks

    def readable(self) -> bool:
        """Whether something has come that nobody asked for, its end most of all, and the loop has not seen it yet.

        A program that blocks the loop, as calls to the chain do, asks before the loop has looked.
        """
        return bool(self._poll.poll(0))

    def send(self, request: httpx.Request, body: bytes) -> None:
        """All of the request at once: in two writes it would wait for an acknowledgement in between."""
        assert self._wire is not None, "it is connected"
        lines = [b"%b %b HTTP/1.1\r\n" % (request.method.encode("ascii"), request.url.raw_path)]
        lines += [b"%b: %b\r\n" % pair for pair in request.headers.raw]
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
            # A value that came from elsewhere would be one more header, or one more request.
            raise httpx.LocalProtocolError("a header has a line end in it", request=request)
        self._wire.write(b"%b\r\n%b" % (head, body))

    async def sent(self, timeout_s: float | None) -> None:
        """Wait until the system took all but a little of it, or the answer begins before. httpx.WriteTimeout."""
        while self._blocked and not self._headed:
            try:
                await self._wait(timeout_s)
            except httpx.ReadTimeout:
                raise httpx.WriteTimeout("the request was not taken in time", request=self._request) from None

    async def head(self, timeout_s: float | None) -> None:
        """Wait for status and headers. httpx.ReadTimeout, RemoteProtocolError, ReadError."""
        while not self._headed:
            await self._wait(timeout_s)

    async def chunk(self, timeout_s: float | None) -> bytes:
        """The next part of the body; empty at its end."""
        while not self._chunks:
            if self._whole:
                return b""
            await self._wait(timeout_s)
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused and self._wire is not None and self._lost is None:
            self._paused = False
            self._wire.resume_reading()
        return data

    async def _wait(self, timeout_s: float | None) -> None:
        if self._lost is not None:
            raise self._lost
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                await self._waiter
        except TimeoutError:
            raise httpx.ReadTimeout("no answer in time", request=self._request) from None
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Idempotent."""
        self._keep = False
        if self._wire is not None:
            self._wire.abort()

    # --- asyncio ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: uvloop's is none by its type.
        self._wire = cast("asyncio.Transport", transport)
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self._whole:
            # Nobody asked for it: what came would be taken for the next answer.
            self.close()
            return
        self._fields_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("the server wants another protocol")
        except httptools.HttpParserError as error:
            self._fail(f"the answer is no HTTP: {error}")
        if self._fields_bytes > HTTP_HEAD_BYTES_MAX:
            # The parser has no bound of its own, and keeps a field until it is whole.
            self._fail(f"{HTTP_HEAD_BYTES_MAX} bytes came that are no body")
        if self._more:
            self.close()
        self._wake()

    def _fail(self, why: str) -> None:
        if not self._whole:
            self._lost = httpx.RemoteProtocolError(why, request=self._request)
        self.close()

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self._wake()

    def eof_received(self) -> None:
        self._ended = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._keep = False
        if self._lost is None and not self._whole:
            if self._ended and self._headed and self._until_end:
                self._whole = True
            elif exc is not None:
                self._lost = httpx.ReadError(str(exc), request=self._request)
            elif not self._ended:
                self._lost = httpx.ReadError("the connection was closed on this side", request=self._request)
            else:
                part = "a whole" if self._headed else "any"
                self._lost = httpx.RemoteProtocolError(
                    f"the server ended the connection without {part} answer", request=self._request
                )
        if self.on_lost is not None:
            self.on_lost(self)
        self._wake()

    # --- the parser -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        # A second answer to one request, in the same packet as the first.
        self._more = self._whole

    def on_status(self, reason: bytes) -> None:
        if not self._more:
            self.reason = reason

    def on_header(self, name: bytes, value: bytes) -> None:
        # After the body come trailers, which are no headers.
        if not self._headed:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._more:
            return
        self.status = self._parser.get_status_code()
        if self.status < 200:
            return
        names = {name.lower() for name, _ in self.headers}
        self._until_end = not names & {b"content-length", b"transfer-encoding"}
        self._keep = bool(self._parser.should_keep_alive())
        self._headed = True
        if self._request.method == "HEAD":
            # What its headers tell of a body is another request's; the parser waits for it in vain.
            self._whole = True

    def on_body(self, data: bytes) -> None:
        if self._whole:
            # Of a second answer, or of one to HEAD.
            self._more = True
            return
        self._fields_bytes = 0
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > HTTP_ANSWER_BUFFER_BYTES_MAX and not self._paused and self._wire is not None:
            # Who reads slowly makes the server wait.
            self._paused = True
            self._wire.pause_reading()

    def on_message_complete(self) -> None:
        if self._headed:
            self._whole = True
        else:
            # 100 Continue and its kind, before the answer itself.
            self.headers.clear()
