"""What a run measures: the trace that two equal runs share, propagation, and copies. Judges nothing.

The trace is a BLAKE3 digest over everything that happened on the network and in the stores, with its virtual time. It
holds no signature, as sr25519 draws its own randomness: sizes and the digests of what is signed are the same for the
same seed, and so is the trace.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3

_FRAME: Final = struct.Struct("<cQHHBI")
_APPLIED: Final = struct.Struct("<cQH")
_FLUSH_PARTS: Final = 4_096


class Trace:
    """Digest of a run, in the order of events."""

    def __init__(self) -> None:
        self._hasher = blake3()
        self._parts: list[bytes] = []

    def frame(self, now_ns: int, source: int, target: int, kind: int, size_bytes: int) -> None:
        """A frame arrived."""
        self._add(_FRAME.pack(b"F", now_ns, source, target, kind, size_bytes))

    def message(self, now_ns: int, source: int, target: int, type: int, size_bytes: int) -> None:
        """A message in a frame was read."""
        self._add(_FRAME.pack(b"M", now_ns, source, target, type, size_bytes))

    def applied(self, now_ns: int, node: int, name: bytes) -> None:
        """A batch was applied at a node."""
        self._add(_APPLIED.pack(b"A", now_ns, node) + name)

    def event(self, now_ns: int, text: str) -> None:
        """The scenario did something."""
        self._add(_APPLIED.pack(b"E", now_ns, len(text)) + text.encode())

    def digest(self) -> str:
        """32 hex digits."""
        self._flush()
        return self._hasher.digest(length=16).hex()

    def _add(self, part: bytes) -> None:
        self._parts.append(part)
        if len(self._parts) >= _FLUSH_PARTS:
            self._flush()

    def _flush(self) -> None:
        self._hasher.update(b"".join(self._parts))
        self._parts.clear()


@dataclass(slots=True)
class Spread:
    """One batch: when its first change was written, and how long after that each node had it, in ms as they got it."""

    born_ns: int
    reached_ms: array[float] = field(default_factory=lambda: array("d"))


class Propagation:
    """How batches spread. Times count from `put` at the origin to the rows being in the store of the receiver."""

    def __init__(self) -> None:
        self.spreads: dict[bytes, Spread] = {}
        self.copies = 0
        self.deliveries = 0

    def born(self, name: bytes, born_ns: int) -> None:
        self.spreads[name] = Spread(born_ns)

    def reached(self, name: bytes, now_ns: int) -> None:
        self.deliveries += 1
        spread = self.spreads.get(name)
        if spread is not None:
            spread.reached_ms.append((now_ns - spread.born_ns) / 1e6)

    def latencies_ms(self) -> list[float]:
        """Of every delivery, ascending."""
        return sorted(ms for spread in self.spreads.values() for ms in spread.reached_ms)

    @property
    def copies_per_delivery(self) -> float:
        return self.copies / self.deliveries if self.deliveries else 0.0


def percentile(ordered: list[float], share: float) -> float:
    """Nearest rank; 0 of nothing."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]
