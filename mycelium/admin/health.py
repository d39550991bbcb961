"""Whether a node is ready: what it lacks, since when, and what to do. Sans-IO: facts and time are passed in.

ready: its finalised head is fresh, the present epoch is loaded, the store takes writes and is caught up, and the clock
is good enough to stamp them.
Liveness is not judged here: a process that answers is alive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mycelium.config.admin import ALONE_MS, BEHIND_MS, EPOCH_LATE_MS

CHAIN: Final = "chain"
EPOCH: Final = "epoch"
STORE: Final = "store"
SYNC: Final = "sync"
CLOCK: Final = "clock"
CHECKS: Final = (CHAIN, EPOCH, STORE, SYNC, CLOCK)


@dataclass(frozen=True, slots=True)
class Facts:
    """One look at a node.

    chain_fresh: new batches can refer to a block that is recent enough. problems: the chain's, each with its remedy.
    epoch: the newest one that is loaded, -1 for none. epoch_due: the one that the newest block lies in.
    policy_missing: the policy in force is not here yet. store_failure: why the disk takes no writes, "" if it
    does. others: members that hold the store too. sessions: with how many of them there is a session. in_step_ms: of
    each space that one of them spoke of, how long ago nothing was lacking; None for never. clock_refusal: why nothing
    is stamped with this machine's time now.
    """

    chain_fresh: bool = True
    problems: tuple[str, ...] = ()
    epoch: int = 0
    epoch_due: int = 0
    policy_missing: bool = False
    store_failure: str = ""
    clock_refusal: str = ""
    others: int = 0
    sessions: int = 0
    in_step_ms: Mapping[str, int | None] = field(default_factory=dict)


class Check(NamedTuple):
    """name: one of CHECKS. since_ms: wall clock, when it became what it is. text: what is wrong, "" if nothing is."""

    name: str
    ok: bool
    since_ms: int
    text: str
    remedy: str


class Health:
    """The judge of one node. `look` once a second."""

    def __init__(self, now_ms: int) -> None:
        self._began_ms = now_ms
        self._late_ms: int | None = None
        self._was_in_step = False
        self.checks = {name: Check(name, False, now_ms, "not looked at yet", "wait") for name in CHECKS}

    @property
    def ready(self) -> bool:
        return all(check.ok for check in self.checks.values())

    def missing(self) -> list[Check]:
        """What keeps the node from being ready."""
        return [check for check in self.checks.values() if not check.ok]

    def look(self, facts: Facts, now_ms: int) -> bool:
        """Judge anew. Whether readiness changed."""
        was = self.ready
        for name, (text, remedy) in (
            (CHAIN, self._chain(facts)),
            (EPOCH, self._epoch(facts, now_ms)),
            (STORE, self._store(facts)),
            (SYNC, self._sync(facts, now_ms)),
            (
                CLOCK,
                (
                    facts.clock_refusal,
                    "set this machine's clock, and let it follow a time server",
                ),
            ),
        ):
            old = self.checks[name]
            since_ms = old.since_ms if old.ok == (not text) else now_ms
            self.checks[name] = Check(name, not text, since_ms, text, remedy if text else "")
        return self.ready != was

    def _chain(self, facts: Facts) -> tuple[str, str]:
        if facts.chain_fresh:
            return "", ""
        said = "; ".join(facts.problems) or "no finalised block is recent enough to write with"
        return said, "check the endpoints in [chain] and this machine's clock: mycelium doctor"

    def _epoch(self, facts: Facts, now_ms: int) -> tuple[str, str]:
        if facts.epoch < 0:
            return "no epoch is loaded yet", "wait for the chain's endpoint, or set another in [chain]"
        if facts.epoch >= facts.epoch_due:
            self._late_ms = None
        elif self._late_ms is None or now_ms < self._late_ms:
            self._late_ms = now_ms
        if self._late_ms is not None and now_ms - self._late_ms >= EPOCH_LATE_MS:
            said = f"epoch {facts.epoch_due} has begun, and {facts.epoch} is the newest that is loaded"
            return said, "the endpoint in [chain] answers with heads and not with state: set another"
        if facts.policy_missing:
            said = "the policy in force is not here yet"
            return said, "wait for a peer that has it, or publish it again: mycelium policy publish"
        return "", ""

    def _store(self, facts: Facts) -> tuple[str, str]:
        return facts.store_failure, "free some space, or mend the disk; nothing that was acknowledged is lost"

    def _sync(self, facts: Facts, now_ms: int) -> tuple[str, str]:
        behind = sorted(
            space for space, ago_ms in facts.in_step_ms.items() if ago_ms is None or ago_ms > BEHIND_MS
        )
        if behind:
            return f"behind in {', '.join(behind)}", "wait while it catches up; see /sync for how far it is"
        if facts.sessions and facts.in_step_ms:
            self._was_in_step = True
        # Who has been in step and lost its peers serves what it has; so does who finds nobody.
        if self._was_in_step or not facts.others or now_ms - self._began_ms >= ALONE_MS:
            return "", ""
        if facts.sessions:
            return "no peer has said yet what it holds", "wait a few seconds"
        return "no other member is connected yet", "see /status, unreachable, for what was tried"
