"""What one pull consumer is asked for, and whether it still answers. Sans-IO.

    nothing is asked for ──ask──> a request is open ──all of it came, or it ended──> nothing is asked for

A request is for so many messages and bytes. The next one is made while what came of the last is still undone, if that
is not too much: the server is never waited for, and what is in memory is bounded by what was asked for.

A consumer without acknowledgements gives every message once, numbered without a gap: one that is missing was lost on
the way, and the consumer has to be made anew.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from mycelium.config.replica import PULL_BYTES, PULL_EXPIRES_MS, PULL_HEARTBEAT_MS, PULL_MESSAGES

_HEARTBEAT: Final = "100"
_ENDED: Final = frozenset({"404", "408"})
"""No message, and none within the time of the request."""
_CONFLICT: Final = "409"
_OVER: Final = "message size exceeds maxbytes"
"""A 409 by which a request ends and nothing is wrong."""
_FILLED: Final = "batch completed"
"""A 409 that says what was counted here: all messages of a request came. The next one may be open already."""


class Said(Enum):
    """What an answer means."""

    FINE = "fine"
    LOST = "lost"
    """The consumer is gone, or messages of it are: make another."""


class Pulling:
    """Of one consumer, from when it is made."""

    def __init__(self, now_ms: int) -> None:
        self._left = 0
        """Messages of the open request that may still come."""
        self._last = 0
        self._heard_ms = now_ms

    def ask(self, undone_bytes: int, now_ms: int) -> dict[str, Any] | None:
        """The request to send now, if any. undone_bytes: what came and is not applied."""
        if self._left or undone_bytes >= PULL_BYTES:
            return None
        self._left = PULL_MESSAGES
        self._heard_ms = now_ms
        return {
            "batch": PULL_MESSAGES,
            "max_bytes": PULL_BYTES,
            "expires": PULL_EXPIRES_MS * 1_000_000,
            "idle_heartbeat": PULL_HEARTBEAT_MS * 1_000_000,
        }

    def message(self, number: int, now_ms: int) -> Said:
        """A message came; number: that of the consumer, from 1."""
        self._heard_ms = now_ms
        if number != self._last + 1:
            return Said.LOST
        self._last = number
        self._left = max(0, self._left - 1)
        return Said.FINE

    def status(self, code: str, text: str, now_ms: int) -> Said:
        """The server said something else."""
        self._heard_ms = now_ms
        if code == _HEARTBEAT or (code == _CONFLICT and text.lower().startswith(_FILLED)):
            return Said.FINE
        if code in _ENDED or (code == _CONFLICT and text.lower().startswith(_OVER)):
            self._left = 0
            return Said.FINE
        return Said.LOST

    def silent(self, now_ms: int) -> bool:
        """Whether a request is open and nothing was heard for too long."""
        return self._left > 0 and now_ms - self._heard_ms > 2 * PULL_HEARTBEAT_MS
