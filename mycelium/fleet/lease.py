"""One member's own lease: when its next heartbeat is due, and until when it may rely on those that arrived. Sans-IO."""

from __future__ import annotations

from typing import Final

from mycelium.config.fleet import FLEET_LEASE_OWN, FLEET_RENEWALS, FLEET_RETRY_MS

_ATTEMPTS_MAX: Final = 64
"""Heartbeats on their way whose time of sending is remembered."""


class Lease:
    """lease_ms: for how long the others wait. beat: the number of the newest heartbeat that was sent; 0: none was."""

    def __init__(self, lease_ms: int) -> None:
        self.beat = 0
        self.regained_ms = 0
        """When it was held again after it had run out, or at first."""
        self._lease_ms = lease_ms
        self._until_ms = 0
        self._sent_ms: dict[int, int] = {}
        """Of each heartbeat whose fate is not known."""
        self._last_ms = 0

    def holds(self, now_ms: int) -> bool:
        return now_ms < self._until_ms

    def due(self, now_ms: int, *, changed: bool) -> bool:
        """Whether a heartbeat is to be sent. changed: it would say something new."""
        pause_ms = self._lease_ms // FLEET_RENEWALS
        if changed or not self.holds(now_ms):
            pause_ms = min(pause_ms, FLEET_RETRY_MS)
        return not self.beat or now_ms - self._last_ms >= pause_ms

    def sent(self, now_ms: int) -> None:
        """The next heartbeat is on its way."""
        self.beat += 1
        self._last_ms = self._sent_ms[self.beat] = now_ms
        if len(self._sent_ms) > _ATTEMPTS_MAX:
            del self._sent_ms[min(self._sent_ms)]

    def stored(self, beat: int, now_ms: int) -> None:
        """The bucket has this heartbeat: the lease counts from when it was sent, which was before."""
        sent_ms = self._sent_ms.get(beat)
        self._sent_ms = {other: at for other, at in self._sent_ms.items() if other > beat}
        if sent_ms is None:
            return
        until_ms = sent_ms + int(FLEET_LEASE_OWN * self._lease_ms)
        if self._until_ms <= now_ms < until_ms:
            # The others' heartbeats were not heard either while this member was cut off: their time begins now.
            self.regained_ms = now_ms
        self._until_ms = max(self._until_ms, until_ms)

    def end(self) -> None:
        """It was taken away."""
        self._until_ms = 0
