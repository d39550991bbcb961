"""Durations counted into fixed buckets, in plain integers: cheap enough for a hot path, read when somebody asks.

Bucket k holds what took less than 2^(SHIFT+k) ns; the last one holds the rest. Knows no clock and no exporter.
"""

from __future__ import annotations

from typing import Final

SHIFT: Final = 14
"""The first bound is 2^14 ns, 16 us: nothing that is measured here matters below it."""
BUCKETS: Final = 21
"""The last bound is 2^34 ns, 17 s."""
BOUNDS_S: Final = tuple(2 ** (SHIFT + at) / 1e9 for at in range(BUCKETS))


class Latency:
    """One histogram. One thread records; another may read, and then misses at most what is being recorded."""

    __slots__ = ("counts", "total_ns")

    def __init__(self) -> None:
        self.counts = [0] * (BUCKETS + 1)
        self.total_ns = 0

    def record(self, took_ns: int) -> None:
        """A clock that went backwards took no time."""
        if took_ns < 0:
            took_ns = 0
        at = (took_ns >> SHIFT).bit_length()
        self.counts[at if at < BUCKETS else BUCKETS] += 1
        self.total_ns += took_ns

    def cumulative(self) -> list[int]:
        """How many took less than each bound of BOUNDS_S, and last how many there are."""
        found, so_far = [], 0
        for count in self.counts:
            so_far += count
            found.append(so_far)
        return found
