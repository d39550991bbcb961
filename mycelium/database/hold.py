"""Batches that cannot be decided or are ahead of the clock, waiting in memory. Bounded; sans-IO (invariant 5).

What does not fit is dropped: it is not in the vector, so sync brings it again.
"""

from __future__ import annotations

import heapq
from collections import Counter

from mycelium.config import (
    HELD_BATCHES_MAX,
    HELD_BYTES_MAX,
    HELD_TOTAL_BATCHES_MAX,
    HELD_TOTAL_BYTES_MAX,
    HELD_TRIES_MAX,
)


class Holds:
    """At most HELD_BATCHES_MAX batches and HELD_BYTES_MAX bytes of each account."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, bytes, bytes, bytes]] = []
        self._undecided: set[bytes] = set()
        self._known: set[bytes] = set()
        self._total_bytes = 0
        self._count: Counter[bytes] = Counter()
        self._bytes: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._heap)

    def knows(self, raw: bytes) -> bool:
        # Hashing a batch costs more than the rest of this: not done while nothing waits.
        return bool(self._known) and raw in self._known

    def hurry(self) -> None:
        """Something became known: what waits for that is due now."""
        if self._undecided:
            self._heap = [(0 if one[1] in self._undecided else one[0], *one[1:]) for one in self._heap]
            heapq.heapify(self._heap)
            self._undecided.clear()

    def add(
        self, account: bytes, raw: bytes, signature: bytes, due_ms: int, *, undecided: bool = False
    ) -> bool:
        """False: no room for this account, or none at all. undecided: it may be due earlier (`hurry`)."""
        if len(self._heap) >= HELD_TOTAL_BATCHES_MAX or self._total_bytes + len(raw) > HELD_TOTAL_BYTES_MAX:
            return False
        if self._count[account] >= HELD_BATCHES_MAX or self._bytes[account] + len(raw) > HELD_BYTES_MAX:
            return False
        heapq.heappush(self._heap, (due_ms, raw, signature, account))
        self._known.add(raw)
        if undecided:
            self._undecided.add(raw)
        self._count[account] += 1
        self._bytes[account] += len(raw)
        self._total_bytes += len(raw)
        return True

    def due(self, now_ms: int) -> list[tuple[bytes, bytes]]:
        """Take out what is due by now, oldest first, HELD_TRIES_MAX at the most: (batch bytes, signature)."""
        taken: list[tuple[bytes, bytes]] = []
        while self._heap and self._heap[0][0] <= now_ms and len(taken) < HELD_TRIES_MAX:
            _, raw, signature, account = heapq.heappop(self._heap)
            self._known.discard(raw)
            self._undecided.discard(raw)
            self._total_bytes -= len(raw)
            self._count[account] -= 1
            self._bytes[account] -= len(raw)
            if not self._count[account]:
                del self._count[account], self._bytes[account]
            taken.append((raw, signature))
        return taken
