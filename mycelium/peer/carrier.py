"""What carries a session's frames: a WebSocket, whichever library speaks it. `Wire` is picows', others serve elsewhere.

Owns how a connection ends: once, with a reason, told to its owner. Must not know sessions; it hands whole binary
messages to its owner, first a `Greeting`, then a `Link`.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import Protocol

from mycelium.config import FRAME_BYTES_MAX, HANDSHAKE_BYTES_MAX
from mycelium.errors import MyceliumError, ProtocolError
from mycelium.peer.closing import NORMAL, reason_text, said_by_peer
from mycelium.peer.observer import Observer

log = logging.getLogger(__name__)


class Owner(Protocol):
    """Whoever a carrier works for."""

    def frame_received(self, data: bytes) -> None:
        """A whole binary message. A ProtocolError that it raises closes the carrier."""

    def writable(self) -> None:
        """The socket takes bytes again."""

    def wire_closed(self, error: MyceliumError | None, by_peer: bool) -> None:
        """Called once. `error` is why, None for a goodbye; `by_peer` says who ended it."""


class Carrier(ABC):
    """One connection. `greeting` until the handshake is done: until then frames are small.

    remote: `host:port`. paused: the socket takes no more for now; the owner asks before it sends, and is told when
    that is over. closing: nothing is sent and nothing received is looked at any more.
    """

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.owner: Owner | None = None
        self.remote = ""
        self.paused = False
        self.closing = False
        self.greeting = True
        self._size_max = HANDSHAKE_BYTES_MAX
        self._ended = False

    @abstractmethod
    def send(self, data: bytes) -> None:
        """One binary frame. After the end of the connection it goes nowhere."""

    @abstractmethod
    def abort(self) -> None:
        """Drop the connection without a word."""

    @abstractmethod
    async def disconnected(self) -> None:
        """Wait until the connection is gone."""

    @abstractmethod
    def hold(self, delay_s: float) -> None:
        """Read nothing for so long; what comes waits in the buffers of who sent it."""

    @abstractmethod
    def _say_goodbye(self, code: int, text: str) -> None:
        """Send a close frame, and end the connection when that is on its way."""

    @abstractmethod
    def _disconnect_later(self) -> None:
        """The other side is about to close; end the connection if it does not."""

    def open_session(self) -> None:
        """The handshake is done: frames may be as large as a session's."""
        self.greeting = False
        self._size_max = FRAME_BYTES_MAX

    def fail(self, error: ProtocolError, text: str = "") -> None:
        """Close because the peer broke a rule."""
        if self.closing:
            return
        if said_by_peer(error):
            # Its own close frame follows; ours is the answer to it, or not sent at all.
            self.closing = True
            self._disconnect_later()
            self._end(error, by_peer=True)
            return
        self.observer.rejected(error.reason)
        log.info("%s rejected: %s", self.remote, reason_text(error, text))
        self.close(error.close_code, reason_text(error, text), error)

    def close(self, code: int = NORMAL, text: str = "", error: MyceliumError | None = None) -> None:
        """Send a close frame and end; nothing received afterwards is looked at. Idempotent."""
        if self.closing:
            return
        self.closing = True
        self._say_goodbye(code, reason_text(None, text))
        self._end(error, by_peer=False)

    def _end(self, error: MyceliumError | None, by_peer: bool) -> None:
        if self._ended:
            return
        self._ended = True
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.wire_closed(error, by_peer)
