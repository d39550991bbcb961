"""One WebSocket connection on picows: frames, fragments, size limits, ping and pong, the close handshake.

Must not buffer what it sends beyond TRANSPORT_BUFFER_BYTES; the owner asks `paused` first and is told when
it is over. RFC 6455, without extensions.
"""

from __future__ import annotations

import asyncio
import logging
import socket as sockets
from typing import Final, cast

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from mycelium.config import (
    CLOSE_LINGER_MS,
    HANDSHAKE_BYTES_MAX,
    KEEPALIVE_PROBE_S,
    KEEPALIVE_S,
    READ_BYTES,
    TRANSPORT_BUFFER_BYTES,
)
from mycelium.errors import MalformedMessage, MyceliumError, OversizedMessage, ProtocolError
from mycelium.peer.carrier import Carrier
from mycelium.peer.closing import ABNORMAL, INTERNAL, NORMAL, error_of
from mycelium.peer.observer import Observer

log = logging.getLogger(__name__)

# An adapter, so that picows does not make a logger for every connection (it does for a plain Logger).
PICOWS_LOG: Final = logging.LoggerAdapter(logging.getLogger("mycelium.peer.picows"), {})
# What picows calls an error is a peer's misconduct, which is counted and reported here.
PICOWS_LOG.logger.setLevel(logging.CRITICAL)

BINARY: Final = WSMsgType.BINARY
HEADER_BYTES_MAX: Final = 14
_DATA_OPCODES: Final = (0, 1, 2)
_PROBES: Final = (("TCP_KEEPIDLE", KEEPALIVE_S), ("TCP_KEEPINTVL", KEEPALIVE_PROBE_S), ("TCP_KEEPCNT", 3))


class Wire(Carrier, WSListener):
    """A WebSocket of either side."""

    def __init__(self, observer: Observer) -> None:
        super().__init__(observer)
        self.transport: WSTransport | None = None
        self.frames = 0
        self.tail_bytes = 0
        self._fragments: bytearray | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._held: asyncio.TimerHandle | None = None
        self._gone = asyncio.Event()

    # --- towards the peer ---------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """One binary frame, written at once. After the end of the connection it goes nowhere."""
        transport = self.transport
        if transport is None or self.closing:
            return
        self.observer.bytes_out(len(data))
        transport.send(BINARY, data)

    def hold(self, delay_s: float) -> None:
        if self.transport is None or self.closing:
            return
        if self._held is None:
            self.transport.underlying_transport.pause_reading()
        else:
            self._held.cancel()
        self._held = asyncio.get_running_loop().call_later(delay_s, self._release)

    def _release(self) -> None:
        if self._held is None:
            return
        self._held.cancel()
        self._held = None
        if self.transport is not None and not self._gone.is_set():
            self.transport.underlying_transport.resume_reading()

    def _say_goodbye(self, code: int, text: str) -> None:
        if self.transport is not None:
            self.transport.send_close(cast("WSCloseCode", code), text)
            self._disconnect_later()

    def abort(self) -> None:
        """Drop the connection without a word."""
        self.closing = True
        if self.transport is not None:
            self.transport.disconnect(graceful=False)
        self._end(None, by_peer=False)

    async def disconnected(self) -> None:
        """Wait until the socket is closed."""
        if self.transport is not None:
            await self._gone.wait()

    def _disconnect_later(self) -> None:
        # Closing a socket with unread bytes resets it, and a reset makes the peer lose our close frame: so
        # the peer's own close frame or end of stream is awaited for a while (RFC 6455 section 7.1.1).
        loop = asyncio.get_running_loop()
        self._release()
        self._linger = loop.call_later(CLOSE_LINGER_MS / 1000, self._disconnect_now)

    def _disconnect_now(self) -> None:
        if self.transport is not None:
            self.transport.disconnect(graceful=False)

    def _end(self, error: MyceliumError | None, by_peer: bool) -> None:
        self._fragments = None
        super()._end(error, by_peer)

    # --- from picows --------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        socket = transport.underlying_transport
        socket.set_write_buffer_limits(high=TRANSPORT_BUFFER_BYTES, low=TRANSPORT_BUFFER_BYTES // 4)
        keep_alive(socket.get_extra_info("socket"))
        address = socket.get_extra_info("peername")
        if isinstance(address, tuple):
            host = f"[{address[0]}]" if ":" in address[0] else address[0]
            self.remote = f"{host}:{address[1]}"

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        try:
            size = frame.payload_size
            if self.greeting:
                self.frames += 1
                self.tail_bytes = frame.tail_size
            if size > self._size_max and not self.closing:
                raise OversizedMessage(f"a frame of {size} bytes, at most {self._size_max} here")
            plain = frame.fin and not (frame.rsv1 or frame.rsv2 or frame.rsv3)
            if plain and frame.msg_type == BINARY and self._fragments is None:
                if not self.closing and self.owner is not None:
                    self.owner.frame_received(frame.get_payload_as_bytes())
            else:
                self._other_frame(frame)
        except ProtocolError as error:
            self.fail(error)
        except Exception:
            log.exception("a handler failed on a message of %s", self.remote)
            self.observer.rejected("internal")
            self.close(INTERNAL, "internal error")

    def _other_frame(self, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            self._peer_closed(frame)
        elif self.closing:
            return
        elif kind == WSMsgType.PING:
            # A peer that sends pings and reads nothing would otherwise fill our memory with pongs.
            if not self.paused and self.transport is not None:
                self.transport.send_pong(frame.get_payload_as_bytes())
        elif kind == WSMsgType.PONG:
            return
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            raise MalformedMessage("a frame of an extension that was not agreed on")
        elif kind == WSMsgType.TEXT:
            raise MalformedMessage("a text frame; this protocol is binary")
        else:
            self._fragment(frame)

    def _fragment(self, frame: WSFrame) -> None:
        # RFC 6455 section 5.4. The parts together obey the limit of a whole frame.
        if (frame.msg_type == BINARY) != (self._fragments is None):
            raise MalformedMessage("fragments out of order")
        parts = self._fragments = bytearray() if self._fragments is None else self._fragments
        if len(parts) + frame.payload_size > self._size_max:
            raise OversizedMessage(f"fragments of more than {self._size_max} bytes")
        parts += frame.get_payload_as_memoryview()
        if frame.fin:
            self._fragments = None
            if self.owner is not None:
                self.owner.frame_received(bytes(parts))

    def _peer_closed(self, frame: WSFrame) -> None:
        transport = self.transport
        assert transport is not None
        if not self.closing:
            self.closing = True
            code = int(cast("int", frame.get_close_code()))
            # 0 stands for a close frame without a code (RFC 6455 section 7.1.5).
            error = error_of(code or NORMAL, frame.get_close_reason() or "", self.remote)
            transport.send_close(cast("WSCloseCode", code or NORMAL))
            self._disconnect_later()
            transport.disconnect()
            self._end(error, by_peer=True)
        else:
            if not transport.is_close_frame_sent:
                transport.send_close(cast("WSCloseCode", NORMAL))
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._gone.set()
        self._release()
        if self._linger is not None:
            self._linger.cancel()
        if self.closing:
            return
        self.closing = True
        # picows closes by itself what breaks the framing of RFC 6455, and says so only here.
        sent = transport.close_handshake.sent if transport.close_handshake is not None else None
        if sent is None:
            self._end(error_of(ABNORMAL, "", self.remote), by_peer=True)
            return
        kind = OversizedMessage if cast("int", sent.code) == 1009 else MalformedMessage
        self.observer.rejected(kind.reason)
        self._end(kind(sent.reason), by_peer=False)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self.owner is not None:
            self.owner.writable()


class Intake(asyncio.BufferedProtocol):
    """Stands between a socket and picows, and bounds what picows holds of bytes that make no frame yet.

    picows takes a frame's size limit once, for the life of the connection, and doubles its buffer as bytes
    arrive. Here a stranger is stopped as soon as more than a handshake message is announced, or there.
    """

    def __init__(self, wire: Wire | None = None, inner: asyncio.BufferedProtocol | None = None) -> None:
        self.wire = wire
        self._inner = inner
        self._view = memoryview(b"")
        self._pending_bytes = 0
        self._discard: bytearray | None = None

    @staticmethod
    def install(wire: Wire) -> None:
        """Put an Intake before a connection that picows opened."""
        assert wire.transport is not None
        socket = wire.transport.underlying_transport
        socket.set_protocol(Intake(wire, cast("asyncio.BufferedProtocol", socket.get_protocol())))

    def get_buffer(self, sizehint: int) -> memoryview | bytearray:
        if self._discard is not None:
            return self._discard
        assert self._inner is not None
        view = cast("memoryview", self._inner.get_buffer(sizehint))
        if len(view) > READ_BYTES:
            view = view[:READ_BYTES]
        if self.wire is not None and self.wire.greeting:
            self._view = view
        return view

    def buffer_updated(self, nbytes: int) -> None:
        if self._discard is not None:
            return
        assert self._inner is not None
        wire = self.wire
        if wire is None:  # before the upgrade, where picows has its own limit of 16 KiB
            self._inner.buffer_updated(nbytes)
        elif wire.greeting:
            self._greet(wire, nbytes)
        else:
            wire.observer.bytes_in(nbytes)
            self._inner.buffer_updated(nbytes)

    def _greet(self, wire: Wire, nbytes: int) -> None:
        assert self._inner is not None
        wire.observer.bytes_in(nbytes)
        if self._pending_bytes == 0 and announced_bytes(self._view[: min(nbytes, 10)]) > HANDSHAKE_BYTES_MAX:
            self._refuse(wire)
            return
        frames = wire.frames
        self._inner.buffer_updated(nbytes)
        self._pending_bytes = wire.tail_bytes if wire.frames != frames else self._pending_bytes + nbytes
        if wire.greeting and self._pending_bytes > HANDSHAKE_BYTES_MAX + HEADER_BYTES_MAX:
            self._refuse(wire)

    def _refuse(self, wire: Wire) -> None:
        self._discard = bytearray(4096)
        self._view = memoryview(b"")
        wire.fail(OversizedMessage(f"a handshake message of more than {HANDSHAKE_BYTES_MAX} bytes"))

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner is not None else None

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._inner is not None:
            self._inner.connection_lost(exc)


def keep_alive(socket: sockets.socket | None) -> None:
    """Have the system notice that the other machine is gone, for a session in which nobody would."""
    if socket is None:
        return
    try:
        socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE, 1)
        for name, value in _PROBES:
            if hasattr(sockets, name):
                socket.setsockopt(sockets.IPPROTO_TCP, getattr(sockets, name), value)
    except OSError as error:  # it is closed already, which its transport will report
        log.debug("no keepalive: %s", error)


def announced_bytes(head: memoryview) -> int:
    """The payload size that a data frame's header announces (RFC 6455 section 5.2); 0 if not all of it is there."""
    if len(head) < 2 or head[0] & 0x0F not in _DATA_OPCODES:
        return 0
    size = head[1] & 0x7F
    if size < 126:
        return size
    width = 2 if size == 126 else 8
    return int.from_bytes(head[2 : 2 + width], "big") if len(head) >= 2 + width else 0
