"""Causal stability: which tombstones nobody can need any more, and taking them out. Sans-IO but for the `Store`.

A tombstone must stay while a put that it beats may still arrive. When a member's vector equals ours, that member has
every batch we have, and we have every batch it made until then; whatever it makes later has a later clock than all of
them. So a tombstone within the smallest vector that every member had in common with us can go: an older put can no
longer come from anyone (design 6; the causal stability of Baquero, Almeida and Shoker 2014).

Members that were away for ABSENCE_S do not hold this up; they must start from a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mycelium.config import ABSENCE_S, STABLE_AFTER_S
from mycelium.database import schema
from mycelium.database.schema import DOT_BYTES, space_prefix
from mycelium.database.store import Column, Store, after_prefix
from mycelium.database.vector import Origin, Vector
from mycelium.protocol.messages import MergeType

COLLECT_ROWS = 2_000
"""Tombstones looked at in one step, some 2 ms; the caller yields to the loop between steps."""


@dataclass(slots=True)
class Agreement:
    """When a member's vector of a space was equal to ours, and what it was."""

    vector: Vector
    since_ms: int
    settled: Vector | None = None
    """The newest such vector that is STABLE_AFTER_S old, so that it is durable there too."""


class Stability:
    """What every member is known to have. `members` are asked for anew each time, as they change with the epoch."""

    def __init__(self, started_ms: int) -> None:
        self._started_ms = started_ms
        self._heard_ms: dict[bytes, int] = {}
        self._agreements: dict[tuple[bytes, str], Agreement] = {}

    def heard(self, member: bytes, now_ms: int) -> None:
        """The member is there."""
        self._heard_ms[member] = now_ms

    def equal(self, member: bytes, space: str, vector: Vector, now_ms: int) -> None:
        """The member's ping said that its vector of the space equals ours, which is `vector`."""
        held = self._agreements.get((member, space))
        if held is None:
            self._agreements[member, space] = Agreement(vector, now_ms)
        elif now_ms - held.since_ms >= STABLE_AFTER_S * 1000:
            # The older agreement has settled; the newer one begins to.
            held.settled, held.vector, held.since_ms = held.vector, vector, now_ms

    def frontier(self, space: str, members: Iterable[bytes], now_ms: int) -> Vector | None:
        """The vector that all `members` (this node not among them) have had; None while one of them has not said."""
        settled: list[Vector] = []
        for member in members:
            if now_ms - self._heard_ms.get(member, self._started_ms) >= ABSENCE_S * 1000:
                continue
            agreement = self._agreements.get((member, space))
            if agreement is None or agreement.settled is None:
                return None
            settled.append(agreement.settled)
        if not settled:
            return None
        first, *others = settled
        return {
            origin: min((vector[origin] for vector in settled), key=lambda held: held.head)
            for origin in first
            if all(origin in vector for vector in others)
        }


def collect(store: Store, space: str, frontier: Vector, after: bytes | None) -> tuple[int, bytes | None]:
    """Take out tombstones within the frontier, one step: (how many went, where to go on or None at the end).

    `after` is the last key looked at, None to begin. StoreFull, StoreClosed.
    """
    prefix = space_prefix(space)
    start = prefix if after is None else after + b"\0"
    column = store.column(Column.DEAD)
    batch = store.batch()
    gone, last = 0, None
    for looked_at, (key, row) in enumerate(store.scan(Column.DEAD, start, after_prefix(prefix))):
        if looked_at == COLLECT_ROWS:
            break
        last = key
        if _stable(key, row, len(prefix), frontier):
            batch.delete(key, column)
            gone += 1
    else:
        last = None
    if gone:
        store.commit(batch)
    return gone, last


def _stable(key: bytes, row: bytes, at: int, frontier: Vector) -> bool:
    header = schema.row_header(row)
    if not _within(frontier, header.account, header.generation, header.seq):
        return False
    merge = key[key.index(b"\0", at) + 1]
    if merge != MergeType.SET:
        return True
    # A set's tombstone also stands for the insertion it names, which must not come after it has gone.
    dot = key[-DOT_BYTES:]
    return _within(frontier, dot[:32], int.from_bytes(dot[32:40], "big"), int.from_bytes(dot[40:], "big"))


def _within(frontier: Vector, account: bytes, generation: int, seq: int) -> bool:
    held = frontier.get(Origin(account, generation))
    return held is not None and seq <= held.head
