"""A WebSocket of an ASGI server as a session's carrier. The server speaks RFC 6455; this is its one reader and writer.

Owns what waits to be written, at most TRANSPORT_BUFFER_BYTES and a frame. The server itself bounds what it reads
ahead, by its own limit of a message (uvicorn: `ws_max_size`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from mycelium.config import CLOSE_LINGER_MS, TRANSPORT_BUFFER_BYTES
from mycelium.errors import LinkClosed, MalformedMessage, MyceliumError, OversizedMessage, ProtocolError
from mycelium.http.layer import Receive, Send
from mycelium.peer.carrier import Carrier
from mycelium.peer.closing import ABNORMAL, INTERNAL, TRY_LATER, error_of
from mycelium.peer.observer import Observer

log = logging.getLogger(__name__)

_NO_STATUS: Final = 1005
"""A close frame without a code (RFC 6455 section 7.1.5), and what servers say of a connection that was lost."""


class AsgiCarrier(Carrier):
    """One WebSocket that was accepted. `run` is its life."""

    def __init__(self, observer: Observer, receive: Receive, send: Send, remote: str) -> None:
        super().__init__(observer)
        self.remote = remote
        self._receive = receive
        self._send = send
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._work = asyncio.Event()
        self._hold_s = 0.0
        self._goodbye: tuple[int, str] | None = None
        self._gone = asyncio.Event()

    # --- towards the peer -------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """One binary frame, written in its turn."""
        if self.closing:
            return
        self.observer.bytes_out(len(data))
        self._queue.append(data)
        self._queued_bytes += len(data)
        if self._queued_bytes > TRANSPORT_BUFFER_BYTES:
            self.paused = True
        self._work.set()

    def abort(self) -> None:
        """A server has no way to drop a connection: it is closed, and what waits is not written."""
        self._queue.clear()
        self.close(TRY_LATER)

    async def disconnected(self) -> None:
        """Wait until `run` is over."""
        await self._gone.wait()

    def hold(self, delay_s: float) -> None:
        """The server reads a message ahead, and no more."""
        self._hold_s = max(self._hold_s, delay_s)

    def _say_goodbye(self, code: int, text: str) -> None:
        self._goodbye = code, text
        self._work.set()

    def _disconnect_later(self) -> None:
        self._goodbye = self._goodbye or (1000, "")
        self._work.set()

    # --- its life ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read and write until either side ends it."""
        reader = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            if not reader.done():
                # Our close frame is on its way; the other side's ends the reading.
                await asyncio.wait((reader,), timeout=CLOSE_LINGER_MS / 1000)
        finally:
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
            self._lost(ABNORMAL, "")
            self._gone.set()

    async def _write(self) -> None:
        try:
            while True:
                while self._queue:
                    data = self._queue.popleft()
                    await self._send({"type": "websocket.send", "bytes": data})
                    self._written(len(data))
                if self._goodbye is not None:
                    code, text = self._goodbye
                    await self._send({"type": "websocket.close", "code": code, "reason": text})
                    return
                self._work.clear()
                await self._work.wait()
        except (OSError, RuntimeError) as error:
            # Servers say so when the connection is gone; the reader is told the same.
            log.debug("%s: nothing can be written: %s", self.remote, error)

    def _written(self, size: int) -> None:
        self._queued_bytes -= size
        if self.paused and self._queued_bytes <= TRANSPORT_BUFFER_BYTES // 4:
            self.paused = False
            if self.owner is not None:
                self.owner.writable()

    async def _read(self) -> None:
        while True:
            if self._hold_s > 0 and not self.closing:
                delay_s, self._hold_s = self._hold_s, 0.0
                await asyncio.sleep(delay_s)
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._lost(message.get("code") or _NO_STATUS, message.get("reason") or "")
                return
            if not self.closing:
                self._received(message)

    def _received(self, message: Mapping[str, Any]) -> None:
        data = message.get("bytes")
        try:
            if data is None:
                raise MalformedMessage("a text frame; this protocol is binary")
            self.observer.bytes_in(len(data))
            if len(data) > self._size_max:
                raise OversizedMessage(f"a frame of {len(data)} bytes, at most {self._size_max} here")
            if self.owner is not None:
                self.owner.frame_received(bytes(data))
        except ProtocolError as error:
            self.fail(error)
        except Exception:
            log.exception("a handler failed on a message of %s", self.remote)
            self.observer.rejected("internal")
            self.close(INTERNAL, "internal error")

    def _lost(self, code: int, text: str) -> None:
        self.closing = True
        error: MyceliumError | None
        if code in (_NO_STATUS, ABNORMAL):
            error = LinkClosed(f"{self.remote}: the connection was lost")
        else:
            error = error_of(code, text, self.remote)
        self._end(error, by_peer=True)
