"""What happened to a node lately, for people: a ring of short texts. No logic depends on it.

Holds the newest EVENTS_MAX and forgets the rest, so that a peer which comes and goes costs no memory. Texts come from
this node itself, or are what it logs of a peer anyway; who shows them must still treat them as text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

EVENTS_MAX: Final = 256
"""Of the ring: some 60 KiB."""
TEXT_CHARS_MAX: Final = 200

OPENED: Final = "session-opened"
CLOSED: Final = "session-closed"
EPOCH: Final = "epoch"
BLOCKED: Final = "blocked"
UNBLOCKED: Final = "unblocked"
PROOF: Final = "proof"
ROTATED: Final = "rotated"
SYNCED: Final = "synced"
READY: Final = "ready"
NOT_READY: Final = "not-ready"
TROUBLE: Final = "trouble"
WELL: Final = "well"


class Event(NamedTuple):
    """number: counts up from 1. at_ms: wall clock. kind: one of the names above. account: 32 bytes, empty for none."""

    number: int
    at_ms: int
    kind: str
    text: str
    account: bytes


class Events:
    """The ring of one node."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._ring: deque[Event] = deque(maxlen=EVENTS_MAX)
        self._last = 0

    def add(self, kind: str, text: str, account: bytes = b"") -> None:
        """Something happened."""
        self._last += 1
        text = "".join(letter if letter.isprintable() else "?" for letter in text[:TEXT_CHARS_MAX])
        self._ring.append(Event(self._last, self._now_ms(), kind, text, account))

    def newest(self, count: int) -> list[Event]:
        """So many, the youngest first."""
        return list(self._ring)[-count:][::-1]

    def after(self, number: int) -> list[Event]:
        """Those that are younger than `number` and still here, oldest first."""
        new = min(len(self._ring), self._last - number)
        if new <= 0:
            return []
        return list(self._ring)[-new:]
