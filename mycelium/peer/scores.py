"""Local scores: how much somebody has misbehaved of late, as this node has seen it. Never shared. Sans-IO.

A score is 0 or less. Every broken rule takes its weight away, nothing earns anything back, and it recovers with time
alone: so nobody can make up for misbehaviour by serving well, and whoever keeps misbehaving ends below the line. Points
are thousandths of a plain failure, integers, so that nothing depends on rounding.

Owns the weights. Decides nothing: `blacklist` does about accounts, `Addresses` about who may knock.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeVar

from mycelium.config.peer import ADDRESS_BAN_MS, ADDRESS_FAILURES, ADDRESSES_SCORED_MAX
from mycelium.errors import (
    Blacklisted,
    BrokenSeal,
    LogSealed,
    ReplayTableFull,
    Silence,
    Unproven,
    VersionRefused,
)

POINT: Final = 1000
"""One plain failure."""
FALSE_CLAIM: Final = "foreign-claim"
"""Passing on the word of somebody who is no member: it may be a matter of who entered the epoch first."""

_WEIGHTS: Final = {
    # Nobody's fault, or nobody knows whose: a line that is cut, an older version, a full table, our own decision.
    Silence.reason: 0,
    VersionRefused.reason: 0,
    ReplayTableFull.reason: 0,
    Blacklisted.reason: 0,
    # Somebody on the way can cause it, too.
    BrokenSeal.reason: POINT // 5,
    LogSealed.reason: POINT // 5,
    FALSE_CLAIM: POINT // 5,
    Unproven.reason: POINT // 5,  # it holds there and not here, as where the members file differs
}


def weight(reason: str) -> int:
    """Points of a `ProtocolError.reason`: POINT, unless something else was decided about it."""
    return _WEIGHTS.get(reason, POINT)


Key = TypeVar("Key", bytes, str)


class Scores(Generic[Key]):
    """Points of many. failures: so many plain ones, one soon after another, put somebody below the line; in forget_ms
    as many are forgotten, evenly. The line is above failures - 1, as a little is forgotten from the first to the last.

    Times are ms of any clock; one that is set back forgets nothing meanwhile. entries_max: who misbehaved longest ago
    gives way.
    """

    def __init__(self, failures: int, forget_ms: int, entries_max: int) -> None:
        self._whole = failures * POINT
        self._forget_ms = forget_ms
        self._entries_max = entries_max
        self._points: OrderedDict[Key, tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._points)

    def allow(self, failures: int) -> None:
        """Another line, from now on."""
        self._whole = failures * POINT

    def points(self, key: Key, now_ms: int) -> int:
        """What is held against somebody now; 0 for whoever did nothing of late."""
        found = self._points.get(key)
        return 0 if found is None else self._left(found, now_ms)

    def score(self, key: Key, now_ms: int) -> float:
        """For people, in plain failures: 0 or less."""
        return -round(self.points(key, now_ms) / POINT, 3)

    def fault(self, key: Key, points: int, now_ms: int) -> bool:
        """Hold something against somebody; whether that is below the line now."""
        total = self.points(key, now_ms) + points
        if points > 0:
            # No deeper than twice the line: what follows from it is decided there, and it must end some time.
            self._points[key] = min(total, 2 * self._whole), now_ms
            self._points.move_to_end(key)
            if len(self._points) > self._entries_max:
                self._points.popitem(last=False)
        return total > self._whole - POINT

    def forgive(self, key: Key) -> None:
        """Hold nothing against somebody any more."""
        self._points.pop(key, None)

    def keys(self) -> list[Key]:
        """Of whom something was held, the one that misbehaved last at the end."""
        return list(self._points)

    def _left(self, found: tuple[int, int], now_ms: int) -> int:
        points, at_ms = found
        return max(0, points - max(0, now_ms - at_ms) * self._whole // self._forget_ms)


class Addresses:
    """IP groups (`admission.address_group`) that failed to shake hands: bans that are local, and short."""

    def __init__(
        self,
        failures: int = ADDRESS_FAILURES,
        ban_ms: int = ADDRESS_BAN_MS,
        entries_max: int = ADDRESSES_SCORED_MAX,
    ) -> None:
        self._scores: Scores[str] = Scores(failures, ban_ms, entries_max)
        self._banned: OrderedDict[str, int] = OrderedDict()
        self._ban_ms = ban_ms
        self._entries_max = entries_max

    def failed(self, address: str, reason: str, now_ms: int) -> bool:
        """A connection of it ended before there was a session, by its fault; whether it is banned from now on."""
        if not self._scores.fault(address, weight(reason), now_ms):
            return False
        self._scores.forgive(address)
        self._banned[address] = now_ms + self._ban_ms
        self._banned.move_to_end(address)
        if len(self._banned) > self._entries_max:
            self._banned.popitem(last=False)
        return True

    def banned(self, address: str, now_ms: int) -> bool:
        """Whether nothing is to be heard from it now."""
        until_ms = self._banned.get(address)
        if until_ms is None:
            return False
        # A clock that was set back must not make it longer than it is.
        if until_ms - self._ban_ms <= now_ms < until_ms:
            return True
        del self._banned[address]
        return False
