"""Keeps the node's time: feeds the steady clock with what members say, and tells people when clocks or processes stop.

The runtime around `peer.steadyclock`. Owns the words; must not decide which time is right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mycelium.config import LIVENESS_LAG_MS, PING_INTERVAL_MS
from mycelium.config.peer import CLOCK_OFF_MS
from mycelium.node.incidents import Incidents
from mycelium.peer.link import Link
from mycelium.peer.steadyclock import Adopted, Restored, Said, SteadyClock, Stepped, Wrong

_REMEDY = "set it right, and have it kept so: timedatectl set-ntp true"


class Timekeeping:
    """clock_ns: one that never goes back, also while the process is stopped."""

    def __init__(self, clock: SteadyClock, clock_ns: Callable[[], int], incidents: Incidents) -> None:
        self._clock = clock
        self._clock_ns = clock_ns
        self._incidents = incidents
        self._ticked_ns = clock_ns()

    def heard(self, link: Link, stamped_ns: int) -> None:
        """A member's ping, which its machine stamped."""
        self._clock.heard(link.account, stamped_ns)

    def link_closed(self, link: Link) -> None:
        """It says no more."""
        self._clock.lost(link.account)

    def tick(self) -> None:
        """Once every PING_INTERVAL_MS."""
        now_ns = self._clock_ns()
        late_ms = (now_ns - self._ticked_ns) // 1_000_000 - PING_INTERVAL_MS
        self._ticked_ns = now_ns
        if late_ms > LIVENESS_LAG_MS:
            self._incidents.note(
                "stood-still",
                f"this process stood still for {late_ms / 1000:.1f} s: it was stopped, or the machine had no time for "
                "it; sessions that ended meanwhile are made anew, and what was missed is fetched",
            )
        for said in self._clock.tick():
            self._tell(said)

    def refusal(self) -> str | None:
        """Why nothing can be written by this clock; None while it is good enough."""
        ahead_ms = self._clock.ahead_ms()
        if ahead_ms is None or ahead_ms <= CLOCK_OFF_MS:
            return None
        return (
            f"this node's clock is {ahead_ms / 1000:.0f} s ahead of most members, who would hold back what it "
            f"writes for so long: {_REMEDY}"
        )

    def status(self) -> dict[str, Any]:
        """step_s: how far the machine's clock is from the node's. ahead_s: the node's from its members'."""
        ahead_ms = self._clock.ahead_ms()
        return {
            "step_s": self._clock.step_ms / 1000,
            "ahead_s": None if ahead_ms is None else ahead_ms / 1000,
        }

    def _tell(self, said: Said) -> None:
        if isinstance(said, Stepped):
            text = (
                f"this machine's clock stepped by {said.by_ms / 1000:+.1f} s; the node goes on by its own time until "
                f"members have the new one too. If the clock is wrong, {_REMEDY}"
            )
            self._incidents.note("clock", text)
        elif isinstance(said, Adopted):
            by = f"{said.members} members have it too" if said.members else "no member says otherwise"
            text = f"the node takes the time of its machine again, which stepped by {said.by_ms / 1000:+.1f} s: {by}"
            self._incidents.note("clock", text, over=True)
        elif isinstance(said, Restored):
            self._incidents.note("clock", "this machine's clock is back at the node's time", over=True)
        elif isinstance(said, Wrong) and said.ahead_ms:
            way = "ahead of" if said.ahead_ms > 0 else "behind"
            what = "; it writes nothing until that is mended" if said.ahead_ms > 0 else ""
            text = (
                f"this node's clock is {abs(said.ahead_ms) / 1000:.1f} s {way} most members{what}: {_REMEDY}"
            )
            self._incidents.note("clock", text)
        else:
            self._incidents.note(
                "clock", "this node's clock and those of most members agree again", over=True
            )
