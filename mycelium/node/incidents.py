"""What went wrong of late and what the node did about it: said in the log, and kept for its status.

A node recovers by itself from most things; whoever looks at it the next morning must still see that they happened. Owns
the list, which is short and in memory. Decides nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from mycelium.config import INCIDENTS_MAX

log = logging.getLogger(__name__)


class Incidents:
    """now_ms: the wall clock."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._kept: deque[dict[str, Any]] = deque(maxlen=INCIDENTS_MAX)

    def note(self, kind: str, text: str, *, over: bool = False) -> None:
        """Something went wrong, or (over) is well again. kind: one word, for programs; text: for people."""
        self._kept.append({"at_s": round(self._now_ms() / 1000, 3), "kind": kind, "text": text, "over": over})
        log.log(logging.INFO if over else logging.WARNING, "%s", text)

    def all(self) -> list[dict[str, Any]]:
        """The last ones, the oldest first."""
        return list(self._kept)
