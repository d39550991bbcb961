"""Figures about the membership of one epoch: how many, how much stake, how evenly it lies. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from mycelium.metagraph.membership import ROLES, Epoch


@dataclass(frozen=True, slots=True)
class Statistics:
    """roles: role -> accounts. Stake in rao, of writers. reachable: writers that have an address.

    gini: 0 all have the same, 1 one has everything. nakamoto: the fewest writers that hold more than half.
    """

    epoch: int
    roles: dict[str, int]
    stake_rao: int
    stake_largest_rao: int
    reachable: int
    gini: float
    nakamoto: int


def statistics(epoch: Epoch) -> Statistics:
    """Of those who may write in the epoch."""
    count = Counter(member.role for member in epoch.members.values())
    writers = [member for member in epoch.members.values() if epoch.may_write(member.account)]
    stakes = sorted(member.stake_rao for member in writers)
    total = sum(stakes)
    return Statistics(
        epoch=epoch.number,
        roles={role: count[role] for role in ROLES},
        stake_rao=total,
        stake_largest_rao=stakes[-1] if stakes else 0,
        reachable=sum(bool(member.urls) for member in writers),
        gini=gini(stakes),
        nakamoto=nakamoto(stakes),
    )


def gini(stakes: list[int]) -> float:
    """The Gini coefficient of ascending amounts; 0.0 for none, or all zero."""
    total = sum(stakes)
    if not total:
        return 0.0
    weighted = sum(rank * stake for rank, stake in enumerate(stakes, 1))
    return (2 * weighted - (len(stakes) + 1) * total) / (len(stakes) * total)


def nakamoto(stakes: list[int]) -> int:
    """How many of the largest together hold more than half; 0 when nobody has any."""
    total, held = sum(stakes), 0
    for count, stake in enumerate(sorted(stakes, reverse=True), 1):
        held += stake
        if 2 * held > total:
            return count
    return 0
