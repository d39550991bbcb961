"""The wall clock as a node believes it: it follows the machine's, and does not jump with it unless others say so.

    FOLLOWING --the machine's clock steps by more than CLOCK_STEP_MS---------> DOUBTING: time goes on as it was
    DOUBTING  --it is back where it was---------------------------------------> FOLLOWING
    DOUBTING  --most members have the new time, or nobody is there to ask-----> FOLLOWING, by the new time

A change that is stamped an hour ahead is held back by everybody for an hour, and whatever its writer stamps afterwards
lies behind it: so a step must be seen before anything is stamped, and not when the operator reads the log. A machine
that slept steps too, and rightly: its members say so within a ping. No member can move this clock: they only choose
between two times that this machine itself had.

A clock that was wrong from the start is no step. Then `ahead_ms` says by how much the members differ, and whoever
writes asks it first. Sans-IO: reads the two clocks that it is given, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median_low
from typing import Final

from mycelium.config.peer import (
    CLOCK_ALONE_MS,
    CLOCK_HEARD_MS,
    CLOCK_MEMBERS_MIN,
    CLOCK_OFF_MS,
    CLOCK_STEP_MS,
)

_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Stepped:
    """The machine's clock stepped by so much, and the node goes on by its own. by_ms: later is more than 0."""

    by_ms: int


@dataclass(frozen=True, slots=True)
class Restored:
    """The machine's clock is back where the node's is."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """The node goes by the machine's clock again, which stepped by so much. members: how many have that time."""

    by_ms: int
    members: int


@dataclass(frozen=True, slots=True)
class Wrong:
    """Most members differ by so much from this node; more than 0: it is ahead of them. 0: no longer."""

    ahead_ms: int


Said = Stepped | Restored | Adopted | Wrong


class SteadyClock:
    """wall_ns: the machine's clock, since the Unix epoch. clock_ns: one that never goes back."""

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.wall_ns = wall_ns
        self._clock_ns = clock_ns
        self._offset_ns = wall_ns() - clock_ns()
        self._stepped_ns: int | None = None
        """When a step was first seen, by `clock_ns`."""
        self._told_step_ms = 0
        self._told_wrong_ms = 0
        self._members: dict[bytes, tuple[int, int]] = {}
        """Account -> how far its clock was ahead of `now_ns`, and when that was heard, by `clock_ns`."""

    def now_ns(self) -> int:
        """Since the Unix epoch."""
        wall_ns, clock_ns = self.wall_ns(), self._clock_ns()
        step_ns = wall_ns - clock_ns - self._offset_ns
        if -CLOCK_STEP_MS * _MS <= step_ns <= CLOCK_STEP_MS * _MS:
            # Small corrections are followed as they come.
            self._offset_ns += step_ns
            self._stepped_ns = None
            return wall_ns
        if self._stepped_ns is None:
            self._stepped_ns = clock_ns
        return clock_ns + self._offset_ns

    def now_ms(self) -> int:
        """Since the Unix epoch."""
        return self.now_ns() // _MS

    # --- members ------------------------------------------------------------------------------------------

    def heard(self, account: bytes, their_ns: int) -> None:
        """What a member's machine said that the time is, a moment ago. Clamped, as it is only its word."""
        ahead_ns = max(-(2**62), min(2**62, their_ns - self.now_ns()))
        self._members[account] = ahead_ns, self._clock_ns()

    def lost(self, account: bytes) -> None:
        """Its session is over."""
        self._members.pop(account, None)

    def ahead_ms(self) -> int | None:
        """How far this node is ahead of the median of its members; None where too few were heard to say."""
        heard = self._heard()
        return None if len(heard) < CLOCK_MEMBERS_MIN else -median_low(heard) // _MS

    def _heard(self) -> list[int]:
        since_ns = self._clock_ns() - CLOCK_HEARD_MS * _MS
        return [ahead_ns for ahead_ns, at_ns in self._members.values() if at_ns >= since_ns]

    # --- time passes --------------------------------------------------------------------------------------

    @property
    def step_ms(self) -> int:
        """How far the machine's clock is from the node's; 0 while they are one."""
        self.now_ns()
        if self._stepped_ns is None:
            return 0
        return (self.wall_ns() - self._clock_ns() - self._offset_ns) // _MS

    def tick(self) -> list[Said]:
        """Look at the clocks; call once a second. What is news is told once."""
        said: list[Said] = []
        step_ms = self.step_ms
        if step_ms:
            if abs(step_ms - self._told_step_ms) > CLOCK_STEP_MS:
                said.append(Stepped(step_ms))
                self._told_step_ms = step_ms
            adopted = self._judge(step_ms)
            if adopted is not None:
                said.append(adopted)
                self._told_step_ms = 0
        elif self._told_step_ms:
            said.append(Restored())
            self._told_step_ms = 0
        ahead_ms = self.ahead_ms() or 0
        wrong_ms = ahead_ms if abs(ahead_ms) > CLOCK_OFF_MS else 0
        if bool(wrong_ms) != bool(self._told_wrong_ms):
            said.append(Wrong(wrong_ms))
            self._told_wrong_ms = wrong_ms
        return said

    def _judge(self, step_ms: int) -> Adopted | None:
        """Whether the new time of the machine is the right one."""
        heard = self._heard()
        if heard:
            # More of them nearer to the new time than to the old one.
            half_ns = step_ms * _MS // 2
            moved = sum((one > half_ns) if step_ms > 0 else (one < half_ns) for one in heard)
            if 2 * moved <= len(heard):
                return None
        else:
            moved = 0
            assert self._stepped_ns is not None
            if self._clock_ns() - self._stepped_ns < CLOCK_ALONE_MS * _MS:
                return None
        self._offset_ns = self.wall_ns() - self._clock_ns()
        self._stepped_ns = None
        self._members = {
            account: (ahead_ns - step_ms * _MS, at_ns) for account, (ahead_ns, at_ns) in self._members.items()
        }
        return Adopted(step_ms, moved)
