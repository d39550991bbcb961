"""A token bucket: how much somebody may do now, and how long he must wait after he did more. Sans-IO.

Tokens come at a steady rate up to a burst. What was done is taken whole, also where it is more than there is: the debt
is then waited for. Integers of nanoseconds, so that nothing is lost to rounding over months.
"""

from __future__ import annotations

from typing import Final

_SECOND_NS: Final = 10**9


class Bucket:
    """rate_s: tokens a second. burst: tokens at most, and at first."""

    __slots__ = ("_burst_ns", "_full_ns", "_rate_s")

    def __init__(self, rate_s: int, burst: int) -> None:
        self._rate_s = rate_s
        self._burst_ns = burst * _SECOND_NS // rate_s
        self._full_ns: int | None = None
        """When it will be full again; None: it is."""

    def take(self, amount: int, now_ns: int) -> int:
        """Nanoseconds to wait before anything more is taken; 0 while there are tokens. now_ns: never goes back."""
        full_ns = now_ns if self._full_ns is None or self._full_ns < now_ns else self._full_ns
        self._full_ns = full_ns + amount * _SECOND_NS // self._rate_s
        owed_ns = self._full_ns - now_ns - self._burst_ns
        return owed_ns if owed_ns > 0 else 0

    def is_full(self, now_ns: int) -> bool:
        """Whether it says as much as a new one."""
        return self._full_ns is None or self._full_ns <= now_ns


class Allowances:
    """A bucket for each account that has a session, however many of them: a member's share is its account's."""

    def __init__(self, rate_s: int, burst: int) -> None:
        self._rate_s = rate_s
        self._burst = burst
        self._held: dict[bytes, tuple[Bucket, int]] = {}

    def opened(self, account: bytes) -> None:
        """One more session of the account."""
        bucket, sessions = self._held.get(account) or (Bucket(self._rate_s, self._burst), 0)
        self._held[account] = bucket, sessions + 1

    def closed(self, account: bytes) -> None:
        """One session less; with the last one the bucket goes."""
        bucket, sessions = self._held.pop(account, (None, 0))
        if bucket is not None and sessions > 1:
            self._held[account] = bucket, sessions - 1

    def take(self, account: bytes, amount: int, now_ns: int) -> int:
        """As `Bucket.take`. Who has no session may take nothing: it is told to wait."""
        found = self._held.get(account)
        return 1 if found is None else found[0].take(amount, now_ns)
