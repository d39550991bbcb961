"""What a placement is made of: what it is, and what it remembers of a space and of a slot. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mycelium.config.fleet import FLEET_LEASE_MS
from mycelium.fleet import events
from mycelium.fleet.events import Effect
from mycelium.fleet.records import Slot

Place = tuple[str, int]
"""A space and a slot of it."""


@dataclass(frozen=True, slots=True)
class Self:
    """What this member is. spaces: those it holds, with the slots it would give a space that has none yet."""

    member: str
    generation: int
    incarnation: str
    url: str
    spaces: Mapping[str, int]
    version: str = ""
    lease_ms: int = FLEET_LEASE_MS

    @property
    def token(self) -> str:
        """The generation as it stands in entries."""
        return f"{self.generation:016x}"


@dataclass(slots=True)
class Held:
    """A held space. term: "" while it is being opened; it is offered once all up to `opened` is applied."""

    term: str = ""
    asked: str = ""
    opened: int = 0
    applied: int = 0
    stream: str = ""
    closing: set[tuple[str, str]] = field(default_factory=set)
    closed: dict[tuple[str, str], int] = field(default_factory=dict)
    past: set[str] = field(default_factory=set)
    """Streams in whose place this one stands: their sequence numbers mean nothing any more."""
    looking: set[str] = field(default_factory=set)
    others: int = -1
    """Where every term that the bucket does not know of is closed; -1 while that is not known, -2 while it is done."""
    blocked: dict[Place, int] = field(default_factory=dict)
    """Slots that wait until so much is applied."""

    @property
    def ready(self) -> bool:
        return bool(self.term) and self.applied >= self.opened

    def after(self, slot: Slot) -> int:
        """Up to where the entry says that this space's stream must be applied."""
        return slot.after if slot.stream == self.stream else 0

    def close(self, space: str, slot: Slot) -> list[Effect]:
        """Have the term of an entry closed, once."""
        key = (slot.generation, slot.term)
        if key in self.closing:
            return []
        self.closing.add(key)
        return [events.Close(space, *key, slot.opened if slot.stream == self.stream else 0)]

    def unknown(self, slot: Slot) -> bool:
        """Whether the entry is of a stream that may be older than this one, or newer."""
        return slot.stream != self.stream and slot.stream not in self.past

    def looked(self, event: events.Looked) -> None:
        self.looking.discard(event.past)
        if event.stream == self.stream:
            self.past.add(event.past)

    def look(self, space: str, slot: Slot) -> list[Effect]:
        """Ask which stream there is, once for each that is not known."""
        if slot.stream in self.looking:
            return []
        self.looking.add(slot.stream)
        return [events.Look(space, slot.stream)]


@dataclass(slots=True)
class Draining:
    """after: -1 until it is drained."""

    ticket: int
    after: int = -1
