"""Hybrid logical clock (Kulkarni et al. 2014): 48 bits of milliseconds, 16 bits of counter. Sans-IO.

Reads no clock: the physical time is passed in. Bounds on other nodes' clocks are in `validity` and `engine`.
"""

from __future__ import annotations

from mycelium.errors import StoreError

COUNTER_BITS = 16
HLC_MAX = 2**64 - 1


def hlc_of(time_ms: int, counter: int = 0) -> int:
    """The clock value of a physical time."""
    return time_ms << COUNTER_BITS | counter


def time_ms_of(hlc: int) -> int:
    """The physical part of a clock value, in ms since the Unix epoch."""
    return hlc >> COUNTER_BITS


class Clock:
    """Never goes back, and is greater than every value it observed."""

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def take(self, count: int, now_ms: int) -> int:
        """The first of `count` consecutive values, all greater than any given or observed before."""
        first = max(self.last + 1, hlc_of(now_ms))
        if first + count > HLC_MAX:
            raise StoreError("the hybrid clock has run out: the system clock is set to the far future")
        self.last = first + count - 1
        return first

    def give_back(self, first: int, count: int) -> None:
        """What `take` gave was not used. Kept all the same where later values were given or observed since."""
        if self.last == first + count - 1:
            self.last = first - 1

    def observe(self, hlc: int) -> None:
        """Another origin's value was applied: the next own value will be greater."""
        self.last = max(self.last, hlc)
