"""Yuma consensus reduced to its core: what the weights of permitted validators add up to. Pure functions.

As the real epoch (`epoch/run_epoch.rs`): who is inactive or has no permit does not count, nor do weights for oneself
(but the owner's) and for a uid that changed hands since; consensus is the stake-weighted median, weights are clipped to
it, and what is left is the incentive. Simplified: bonds have no memory, so that dividends follow this epoch alone;
stake that weighs less than a weight's resolution is not rounded as the real fixed point numbers are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

U16_MAX: Final = 65_535


@dataclass(frozen=True, slots=True)
class Terms:
    """What an epoch gives each uid. consensus, trust, incentive, dividends: shares of one."""

    consensus: list[float]
    trust: list[float]
    incentive: list[float]
    dividends: list[float]


def terms(
    size: int, stakes: Mapping[int, int], rows: Mapping[int, Sequence[tuple[int, int]]], majority: float
) -> Terms:
    """stakes: of the uids that count. rows: their weights, without those that do not count."""
    total = sum(stakes.values())
    share = {uid: stake / total for uid, stake in stakes.items() if stake} if total else {}
    given = {uid: _normal(rows.get(uid, ())) for uid in share}
    consensus = [
        _median([(given[v].get(uid, 0.0), share[v]) for v in share], majority) for uid in range(size)
    ]
    clipped = {v: {uid: min(w, consensus[uid]) for uid, w in row.items()} for v, row in given.items()}
    ranks = [0.0] * size
    trust = [0.0] * size
    for v, row in clipped.items():
        trust[v] = sum(row.values())
        for uid, weight in row.items():
            ranks[uid] += share[v] * weight
    incentive = _shares(ranks)
    dividends = [0.0] * size
    for v, row in clipped.items():
        dividends[v] = sum(
            incentive[uid] * share[v] * weight / ranks[uid] for uid, weight in row.items() if ranks[uid]
        )
    return Terms(consensus, trust, incentive, _shares(dividends))


def u16(shares: Sequence[float]) -> list[int]:
    """Shares of one as the chain keeps them."""
    return [min(U16_MAX, int(share * U16_MAX)) for share in shares]


def _normal(row: Sequence[tuple[int, int]]) -> dict[int, float]:
    total = sum(weight for _, weight in row)
    return {uid: weight / total for uid, weight in row} if total else {}


def _median(given: list[tuple[float, float]], majority: float) -> float:
    """The largest weight that at least `majority` of the stake has given, or more."""
    above = 0.0
    for weight, share in sorted(given, reverse=True):
        above += share
        # Sums of shares are not exact: what is a majority but for the last bits is one.
        if above >= majority - 1e-9:
            return weight
    return 0.0


def _shares(values: Sequence[float]) -> list[float]:
    total = sum(values)
    return [value / total for value in values] if total else [0.0] * len(values)
