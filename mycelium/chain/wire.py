"""A WebSocket that one thread reads while others write, and that refuses a message before it holds it in memory.

Owns what websocket-client leaves open: OpenSSL must not be called from two threads for one connection, its messages
have no greatest size, and closing a descriptor does not wake who waits on it. Knows nothing of JSON-RPC.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from typing import Any, Final

import websocket

from mycelium.config import CHAIN_ANSWER_BYTES_MAX

_ERRORS: Final = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Oversized(ConnectionError):
    """A message beyond the cap. Internal: the connection is given up, what was read of it is dropped."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"an answer of {size} bytes or more is refused, the most is {most}")


class Duplex:
    """A connected socket for one reader and one writer at a time. `timeout`: of each receive or send, seconds."""

    def __init__(self, connected: Any, timeout_s: float) -> None:
        self._socket = connected
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        connected.setblocking(False)

    def gettimeout(self) -> float:
        return self._timeout_s

    def settimeout(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def fileno(self) -> int:
        return int(self._socket.fileno())

    def recv(self, size: int) -> bytes:
        """What is there, b"" at the end. TimeoutError."""
        return bytes(self._when_ready(lambda: self._socket.recv(size), select.POLLIN))

    def send(self, data: bytes) -> int:
        """Bytes taken, at least one. TimeoutError."""
        return int(self._when_ready(lambda: self._socket.send(data), select.POLLOUT))

    def wake(self) -> None:
        """End it in both directions: whoever waits on it finds out at once."""
        # The plain socket's own: SSLSocket.shutdown drops the session from under the thread that reads.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def shutdown(self, how: int) -> None:
        del how
        self.wake()

    def close(self) -> None:
        with self._lock:
            self._socket.close()

    def abandon(self) -> None:
        """Close it in a forked process. Its lock may be held by a thread that exists only in the parent."""
        self._socket.close()

    def _when_ready(self, do: Any, wanted: int) -> Any:
        deadline_s = time.monotonic() + self._timeout_s
        while True:
            try:
                with self._lock:
                    return do()
            except (BlockingIOError, InterruptedError):
                events = wanted
            except ssl.SSLWantReadError:
                events = select.POLLIN
            except ssl.SSLWantWriteError:
                events = select.POLLOUT
            poller = select.poll()
            poller.register(self._socket, events | _ERRORS)
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not poller.poll(left_s * 1000):
                raise TimeoutError("nothing moved in time")


class _Frames(websocket.frame_buffer):
    """Frames one by one; a length beyond the cap is refused when it is read, before the bytes are."""

    def __init__(self, receive: Any, most: int) -> None:
        super().__init__(receive, skip_utf8_validation=True)
        self._most = most

    def recv_length(self) -> None:
        super().recv_length()
        if self.length is not None and self.length > self._most:
            raise Oversized(self.length, self._most)


class _Message(websocket.continuous_frame):
    """The fragments of one message, together no larger than the cap."""

    def __init__(self, most: int) -> None:
        super().__init__(fire_cont_frame=False, skip_utf8_validation=True)
        self._most = most
        self._size = 0

    def add(self, frame: Any) -> None:
        self._size = len(frame.data) + (self._size if self.cont_data else 0)
        if self._size > self._most:
            raise Oversized(self._size, self._most)
        super().add(frame)


def unconnected(most: int = CHAIN_ANSWER_BYTES_MAX) -> Any:
    """A WebSocket that is not connected yet. UTF-8 is left to the JSON decoder, which checks it in any case."""
    made = websocket.WebSocket(skip_utf8_validation=True)
    made.frame_buffer = _Frames(made._recv, most)  # noqa: SLF001 - as websocket-client itself makes it
    made.cont_frame = _Message(most)
    return made


def connect(made: Any, url: str, connect_s: float, timeout_s: float) -> None:
    """Connect it: each step within connect_s, each receive and send later within timeout_s."""
    # Without an Origin, as programs do: nodes compare a browser's with their list.
    made.connect(url, timeout=connect_s, suppress_origin=True)
    made.sock = Duplex(made.sock, timeout_s)


def wake(made: Any) -> None:
    """End it from another thread than the one that reads, at whatever step it is."""
    connected = made.sock
    if isinstance(connected, Duplex):
        connected.wake()
    elif connected is not None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connected, socket.SHUT_RDWR)


def close(made: Any) -> None:
    """Close its descriptor, from the thread that reads."""
    connected, made.sock = made.sock, None
    made.connected = False
    if connected is not None:
        with contextlib.suppress(OSError):
            connected.close()


def abandon(made: Any) -> None:
    """Close a forked process's copy of the descriptor; the parent's connection goes on."""
    connected = made.sock
    if isinstance(connected, Duplex):
        connected.abandon()
    elif connected is not None:
        connected.close()
