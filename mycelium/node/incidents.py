"""What went wrong of late and what the node did about it: said in the log, and kept for its status.

A node recovers by itself from most things; whoever looks at it the next morning must still see that they happened. Owns
the list, which is short and in memory, and tells who keeps the node's events. Decides nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from mycelium.config import INCIDENTS_MAX
from mycelium.node import events

log = logging.getLogger(__name__)


class Incidents:
    """now_ms: the wall clock. on_news: told of each as an event, its kind and text."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.on_news: Callable[[str, str], None] = lambda kind, text: None
        self._now_ms = now_ms
        self._problems: dict[str, str] = {}
        self._kept: deque[dict[str, Any]] = deque(maxlen=INCIDENTS_MAX)

    def note(self, kind: str, text: str, *, over: bool = False) -> None:
        """Something went wrong, or (over) is well again. kind: one word, for programs; text: for people."""
        self._kept.append({"at_s": round(self._now_ms() / 1000, 3), "kind": kind, "text": text, "over": over})
        log.log(logging.INFO if over else logging.WARNING, "%s", text)
        self.on_news(events.WELL if over else events.TROUBLE, text)

    def condition(self, kind: str, problem: str, *, over: str) -> None:
        """What is wrong with one thing now, "" for nothing; a change of it is noted. over: said when it is well."""
        before = self._problems.get(kind, "")
        if problem and not before:
            self.note(kind, problem)
        elif before and not problem:
            self.note(kind, over, over=True)
        self._problems[kind] = problem

    @property
    def problems(self) -> list[str]:
        """What is wrong now, each with its remedy."""
        return [text for _, text in sorted(self._problems.items()) if text]

    def all(self) -> list[dict[str, Any]]:
        """The last ones, the oldest first."""
        return list(self._kept)
