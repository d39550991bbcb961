"""Nodes of a metagraph that meet a condition, as hotkeys in the order of their uids. Reads no chain: sync first.

Both ends of a range belong to it; None leaves it open. On chains that keep no rank and trust both are zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Dict, List, Optional, Set, Tuple  # noqa: UP035 - names kept for programs

from mycelium.chain import chain_utils
from mycelium.chain.interface import SubstrateInterface
from mycelium.chain.metagraph import Metagraph

__all__ = [
    "Dict",
    "List",
    "Metagraph",
    "Optional",
    "Set",
    "SubstrateInterface",
    "Tuple",
    "chain_utils",
    "get_active_nodes",
    "get_nodes_by_consensus",
    "get_nodes_by_dividends",
    "get_nodes_by_emission",
    "get_nodes_by_incentive",
    "get_nodes_by_multiple_criteria",
    "get_nodes_by_prometheus",
    "get_nodes_by_rank",
    "get_nodes_by_stake",
    "get_nodes_by_trust",
    "get_nodes_by_version",
]


def get_active_nodes(metagraph: Metagraph) -> list[str]:
    """Those whose weights are recent enough to count, and newly registered ones."""
    return [hotkey for hotkey in metagraph.hotkeys if metagraph.is_active(hotkey)]


def get_nodes_by_stake(
    metagraph: Metagraph, min_stake: float | None = None, max_stake: float | None = None
) -> list[str]:
    """By stake in TAO."""
    return _within(metagraph, metagraph.get_stake, min_stake, max_stake)


def get_nodes_by_rank(
    metagraph: Metagraph, min_rank: int | None = None, max_rank: int | None = None
) -> list[str]:
    """By rank, 0 to 65,535."""
    return _within(metagraph, metagraph.get_rank, min_rank, max_rank)


def get_nodes_by_trust(
    metagraph: Metagraph, min_trust: float | None = None, max_trust: float | None = None
) -> list[str]:
    """By trust, 0 to 1."""
    return _within(metagraph, metagraph.get_trust, min_trust, max_trust)


def get_nodes_by_consensus(
    metagraph: Metagraph, min_consensus: float | None = None, max_consensus: float | None = None
) -> list[str]:
    """By consensus, 0 to 1."""
    return _within(metagraph, metagraph.get_consensus, min_consensus, max_consensus)


def get_nodes_by_incentive(
    metagraph: Metagraph, min_incentive: float | None = None, max_incentive: float | None = None
) -> list[str]:
    """By incentive, 0 to 1."""
    return _within(metagraph, metagraph.get_incentive, min_incentive, max_incentive)


def get_nodes_by_dividends(
    metagraph: Metagraph, min_dividends: float | None = None, max_dividends: float | None = None
) -> list[str]:
    """By dividends, 0 to 1."""
    return _within(metagraph, metagraph.get_dividends, min_dividends, max_dividends)


def get_nodes_by_emission(
    metagraph: Metagraph, min_emission: int | None = None, max_emission: int | None = None
) -> list[str]:
    """By emission of the last epoch, in rao."""
    return _within(metagraph, metagraph.get_emission, min_emission, max_emission)


def get_nodes_by_version(metagraph: Metagraph, version: str) -> list[str]:
    """By the version that their axons publish: as in "1.2.3", or the number as the chain keeps it."""
    wanted = chain_utils.version_number(version)
    return [
        hotkey
        for hotkey in metagraph.hotkeys
        if hotkey in metagraph.axons and metagraph.axons[hotkey]["version"] == wanted
    ]


def get_nodes_by_prometheus(metagraph: Metagraph, has_prometheus: bool = True) -> list[str]:
    """With a Prometheus endpoint on chain, or without one."""
    return [
        hotkey for hotkey in metagraph.hotkeys if (hotkey in metagraph.prometheus) == bool(has_prometheus)
    ]


def get_nodes_by_multiple_criteria(
    metagraph: Metagraph,
    min_stake: float | None = None,
    max_stake: float | None = None,
    min_rank: int | None = None,
    max_rank: int | None = None,
    min_trust: float | None = None,
    max_trust: float | None = None,
    min_consensus: float | None = None,
    max_consensus: float | None = None,
    min_incentive: float | None = None,
    max_incentive: float | None = None,
    min_dividends: float | None = None,
    max_dividends: float | None = None,
    min_emission: int | None = None,
    max_emission: int | None = None,
    version: str | None = None,
    has_prometheus: bool | None = None,
    active_only: bool = True,
) -> list[str]:
    """Those that meet all conditions that are given."""
    groups = [
        get_nodes_by_stake(metagraph, min_stake, max_stake),
        get_nodes_by_rank(metagraph, min_rank, max_rank),
        get_nodes_by_trust(metagraph, min_trust, max_trust),
        get_nodes_by_consensus(metagraph, min_consensus, max_consensus),
        get_nodes_by_incentive(metagraph, min_incentive, max_incentive),
        get_nodes_by_dividends(metagraph, min_dividends, max_dividends),
        get_nodes_by_emission(metagraph, min_emission, max_emission),
    ]
    if version is not None:
        groups.append(get_nodes_by_version(metagraph, version))
    if has_prometheus is not None:
        groups.append(get_nodes_by_prometheus(metagraph, has_prometheus))
    if active_only:
        groups.append(get_active_nodes(metagraph))
    kept = set.intersection(*map(set, groups))
    return [hotkey for hotkey in metagraph.hotkeys if hotkey in kept]


def _within(
    metagraph: Metagraph, value: Callable[[str], float], least: float | None, most: float | None
) -> list[str]:
    return [
        hotkey
        for hotkey in metagraph.hotkeys
        if (least is None or value(hotkey) >= least) and (most is None or value(hotkey) <= most)
    ]
