"""What goes wrong while the chain is followed: the problems of now, and when something is tried again. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mycelium.config import EPOCH_RETRY_MAX_MS, EPOCH_RETRY_MS
from mycelium.metagraph.events import Alarm, Effect

_DOUBLINGS_MAX: Final = 16


class Problems:
    """What is wrong now, in words, each with its remedy. Of a kind there is one at a time."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts.values())

    def say(self, kind: str, text: str) -> list[Effect]:
        """Keep it for the status; an alarm when it is new."""
        if self._texts.get(kind) == text:
            return []
        self._texts[kind] = text
        return [Alarm(text)]

    def over(self, kind: str) -> None:
        """What it is about went well."""
        self._texts.pop(kind, None)


@dataclass(slots=True)
class Retry:
    """When to try again: ever later. failed: the endpoints that could not answer since it was last waited for."""

    at_ms: int = 0
    failures: int = 0
    failed: frozenset[str] = frozenset()

    def later(self, now_ms: int, most_ms: int = EPOCH_RETRY_MAX_MS) -> None:
        """It failed everywhere: wait, and begin anew."""
        self.at_ms = now_ms + min(most_ms, EPOCH_RETRY_MS << min(self.failures, _DOUBLINGS_MAX))
        self.failures += 1
        self.failed = frozenset()
