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
        self._kept: dict[str, tuple[str, str]] = {}
        """Kind -> what it is about, and the text."""

    def __iter__(self) -> Iterator[str]:
        return (text for _, text in self._kept.values())

    def say(self, kind: str, text: str, about: str = "") -> list[Effect]:
        """Keep it for the status; an alarm when it is about something new. about: without it, the text."""
        about = about or text
        before, self._kept[kind] = self._kept.get(kind), (about, text)
        return [] if before is not None and before[0] == about else [Alarm(text)]

    def over(self, kind: str) -> None:
        """What it is about went well."""
        self._kept.pop(kind, None)


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
