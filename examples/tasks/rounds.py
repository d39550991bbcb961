"""How tasks, seed and scores follow from what validators wrote: pure functions, the same for all who hold the same.

stakes: SS58 account -> stake, of the validators of the epoch. What others wrote is data, and may be anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import TypeVar

import msgspec

from mycelium.database.rows import Row

VOTE_AT = 2
"""Blocks into an epoch: by then the last proposals have come, and each validator votes for what it has."""
SEED_AT = 8
"""Blocks into an epoch: the one whose hash is the seed. It does not exist when votes are cast, so that nobody proposes
tasks to suit it; as blocks are final some time after they are made, it is not the next one."""
TASKS_MAX = 8
"""Of one validator's proposal: nobody may crowd out the others."""
T = TypeVar("T")


class Proposal(msgspec.Struct, frozen=True):
    """block: the newest that its validator knew. Tasks for an epoch are proposed before the epoch begins."""

    block: int
    tasks: list[str]


class Vote(msgspec.Struct, frozen=True):
    """The tasks of an epoch, as one validator saw them when the proposals closed."""

    tasks: list[str]


class Scores(msgspec.Struct, frozen=True):
    """What one validator measured: a miner's account -> 0 to 1."""

    scores: dict[str, float]


def of_epoch(rows: Iterable[Row], epoch: int, kind: type[T], stakes: Mapping[str, int]) -> dict[str, T]:
    """Account -> what it wrote for the epoch; leaves out who is no validator, and what is no `kind`."""
    found = {}
    for row in rows:
        account, _, number = str(row.key).partition("/")
        if account in stakes and number == str(epoch):
            try:
                found[account] = msgspec.convert(row.value, kind)
            except msgspec.ValidationError:
                continue
    return found


def ballot(proposals: Mapping[str, Proposal], first_block: int) -> tuple[list[str], list[str]]:
    """The tasks to vote for, and whose proposals came too late: those made in the epoch itself."""
    late = sorted(account for account, one in proposals.items() if one.block >= first_block)
    in_time = [one for account, one in proposals.items() if account not in late]
    return sorted({task for one in in_time for task in one.tasks[:TASKS_MAX]}), late


def decided(votes: Mapping[str, Vote], stakes: Mapping[str, int]) -> list[str] | None:
    """The tasks for which more than half of all stake voted, exactly alike; None while there are none such.

    There can be no two such lists, so whoever sees one needs not wait for the votes that are still to come.
    """
    weight: defaultdict[tuple[str, ...], int] = defaultdict(int)
    for account, vote in votes.items():
        weight[tuple(vote.tasks)] += stakes[account]
    return next((list(tasks) for tasks, held in weight.items() if 2 * held > sum(stakes.values())), None)


def drawn(tasks: Iterable[str], seed: str, count: int) -> list[str]:
    """As many of the tasks, in the order that the seed gives them."""
    return sorted(tasks, key=lambda task: sha256(f"{seed}/{task}".encode()).digest())[:count]


def combined(scores: Mapping[str, Scores], stakes: Mapping[str, int]) -> dict[str, float]:
    """For each miner the median of what validators measured, weighted by stake: a minority cannot move it far."""
    found: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for miner in sorted({miner for one in scores.values() for miner in one.scores}):
        # Who did not measure a miner says 0 of it.
        found[miner] = [(one.scores.get(miner, 0.0), stakes[who]) for who, one in scores.items()]
    return {miner: _median(weighed) for miner, weighed in found.items()}


def _median(weighed: list[tuple[float, int]]) -> float:
    half, passed = sum(stake for _, stake in weighed) / 2, 0
    for value, stake in sorted(weighed):
        passed += stake
        if passed >= half:
            return value
    return 0.0
