"""Who is there: suspicion of members that fall silent, and what others have heard of them. Sans-IO.

    ALIVE   --nothing heard for SUSPECT_MISSES pings------------------> SUSPECT: three others are asked to probe
    SUSPECT --one of them hears it: only our way to it is broken------> SUSPECT, and the session is to be made anew
    SUSPECT --nobody hears it, or nobody answers in time---------------> DEAD
    SUSPECT, DEAD --heard-------------------------------------------> ALIVE

As in SWIM (Das, Gupta, Motivala, DSN 2002) with the self-awareness of Lifeguard (Dadgar, Phillips, Currey 2018): a node
whose own clock shows that it stood still, or to which half of its members fall silent at once, has itself to blame. It
accuses nobody then, and waits longer for a while.

What is said here is this node's own view, for its dialling and its people. Only the chain removes a member; nothing is
claimed to others.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum

from mycelium.config import (
    LIVENESS_HEALTH_MAX,
    LIVENESS_LAG_MS,
    LIVENESS_PROBE_MS,
    LIVENESS_PROBERS,
    LIVENESS_RECOVERY_MS,
    PING_INTERVAL_MS,
    SUSPECT_MISSES,
)
from mycelium.config.peer import LIVENESS_RECONNECT_MS


class Standing(Enum):
    """What this node thinks of a member."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Probe:
    """Effect: ask the member `via` how long ago it heard `target`, and give what it says to `answered`."""

    via: bytes
    target: bytes


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Effect: others hear it and we do not: end the session, and dial anew."""

    target: bytes


@dataclass(frozen=True, slots=True)
class Changed:
    """Effect: what is thought of a member is another now."""

    target: bytes
    standing: Standing


Effect = Probe | Reconnect | Changed


@dataclass(slots=True)
class _Member:
    heard_ms: int
    standing: Standing = Standing.ALIVE
    asked_ms: int = 0
    waiting: set[bytes] = field(default_factory=set)
    reconnected: bool = False
    reconnect_ms: int | None = None


class Liveness:
    """One node's view of the members that it has, or wants, sessions with. Times are of a clock that never goes back.

    rng: the choice of who is asked. health: 0 for a node that is well, up to LIVENESS_HEALTH_MAX; times grow with it.
    """

    def __init__(self, rng: random.Random) -> None:
        self.health = 0
        self._rng = rng
        self._members: dict[bytes, _Member] = {}
        self._ticked_ms: int | None = None
        self._worse_ms = 0

    # --- who is watched -----------------------------------------------------------------------------------

    def watch(self, account: bytes, now_ms: int) -> None:
        """A member that is to be watched from now on. One that is watched already stays as it is."""
        if account not in self._members:
            self._members[account] = _Member(now_ms)

    def keep(self, accounts: Collection[bytes]) -> None:
        """Forget everybody else: who has left the epoch is no member any more."""
        for account in sorted(self._members.keys() - set(accounts)):
            del self._members[account]

    def standing(self, account: bytes) -> Standing | None:
        """None for who was never heard."""
        member = self._members.get(account)
        return None if member is None else member.standing

    def standings(self) -> dict[bytes, Standing]:
        """Of all that are watched."""
        return {account: member.standing for account, member in self._members.items()}

    def heard_ago_ms(self, account: bytes, now_ms: int) -> int | None:
        """For others who probe it through us; None for who was never heard."""
        member = self._members.get(account)
        return None if member is None else max(0, now_ms - member.heard_ms)

    @property
    def patience_ms(self) -> int:
        """Silence of this long makes a suspect."""
        return SUSPECT_MISSES * PING_INTERVAL_MS * (1 + self.health)

    # --- what happens -------------------------------------------------------------------------------------

    def heard(self, account: bytes, now_ms: int) -> list[Effect]:
        """Anything authenticated came of it, at that time. What is told again is no news."""
        member = self._members.get(account)
        if member is None or now_ms <= member.heard_ms:
            return []
        member.heard_ms = now_ms
        if member.standing is Standing.ALIVE:
            return []
        return [self._become(account, member, Standing.ALIVE)]

    def tick(self, now_ms: int) -> list[Effect]:
        """Time has passed; call every PING_INTERVAL_MS."""
        late_ms = 0 if self._ticked_ms is None else now_ms - self._ticked_ms - PING_INTERVAL_MS
        self._ticked_ms = now_ms
        silent = [
            account
            for account, member in self._members.items()
            if member.standing is Standing.ALIVE and now_ms - member.heard_ms > self.patience_ms
        ]
        alive = sum(member.standing is Standing.ALIVE for member in self._members.values())
        if late_ms > LIVENESS_LAG_MS or (alive > 2 and 2 * len(silent) > alive):
            # What did not come may lie in our own buffers, unread.
            self._blame_self(now_ms)
            return self._give_up(now_ms)
        self._recover(now_ms)
        # All of them first, so that no suspect is asked about another.
        effects: list[Effect] = [
            self._become(account, self._members[account], Standing.SUSPECT) for account in silent
        ]
        for account in silent:
            effects += self._ask(account, now_ms)
        return effects + self._give_up(now_ms)

    def answered(self, via: bytes, target: bytes, heard_ago_ms: int | None, now_ms: int) -> list[Effect]:
        """What a member that was asked says: how long ago it heard the target, None for never or no answer."""
        member = self._members.get(target)
        if member is None or member.standing is not Standing.SUSPECT or via not in member.waiting:
            return []
        member.waiting.discard(via)
        since_ms = now_ms - member.heard_ms
        if heard_ago_ms is not None and 0 <= heard_ago_ms < min(self.patience_ms, since_ms):
            member.waiting.clear()
            # It lives. It stays a suspect, for us, until it is heard here.
            lately = member.reconnect_ms is not None and now_ms - member.reconnect_ms < LIVENESS_RECONNECT_MS
            if member.reconnected or lately:
                # A new session did not help. Of who says nothing, everybody hears the handshakes that others make.
                return []
            member.reconnected = True
            member.reconnect_ms = now_ms
            return [Reconnect(target)]
        if not member.waiting and not member.reconnected:
            return [self._become(target, member, Standing.DEAD)]
        return []

    # --- inside -------------------------------------------------------------------------------------------

    def _ask(self, account: bytes, now_ms: int) -> list[Probe]:
        member = self._members[account]
        others = sorted(
            other
            for other, one in self._members.items()
            if other != account and one.standing is Standing.ALIVE
        )
        chosen = self._rng.sample(others, min(LIVENESS_PROBERS, len(others)))
        member.asked_ms, member.waiting, member.reconnected = now_ms, set(chosen), False
        return [Probe(via, account) for via in chosen]

    def _give_up(self, now_ms: int) -> list[Effect]:
        """Suspects that nobody has spoken for in time."""
        wait_ms = LIVENESS_PROBE_MS * (1 + self.health)
        effects: list[Effect] = []
        for account, member in self._members.items():
            if member.standing is Standing.SUSPECT and now_ms - member.asked_ms > wait_ms:
                effects.append(self._become(account, member, Standing.DEAD))
        return effects

    def _become(self, account: bytes, member: _Member, standing: Standing) -> Changed:
        member.standing = standing
        if standing is not Standing.SUSPECT:
            member.waiting.clear()
        return Changed(account, standing)

    def _blame_self(self, now_ms: int) -> None:
        self.health = min(self.health + 1, LIVENESS_HEALTH_MAX)
        self._worse_ms = now_ms
        for member in self._members.values():
            if member.standing is Standing.ALIVE:
                # Its silence is counted from now on: ours was no time to be heard in.
                member.heard_ms = max(member.heard_ms, now_ms - self.patience_ms // 2)

    def _recover(self, now_ms: int) -> None:
        if self.health and now_ms - self._worse_ms > LIVENESS_RECOVERY_MS:
            self.health -= 1
            self._worse_ms = now_ms
