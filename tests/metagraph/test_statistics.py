"""Figures about an epoch's members."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metagraph.epochkit import epoch

from mycelium.metagraph.statistics import gini, nakamoto, statistics


def test_of_a_small_network():
    found = statistics(epoch(4, 10, 30, 60, 0, 0))
    assert (found.epoch, found.roles["validator"], found.roles["miner"], found.reachable) == (4, 3, 2, 0)
    assert (found.stake_rao, found.stake_largest_rao, found.nakamoto) == (100 * 10**9, 60 * 10**9, 1)
    assert found.gini == pytest.approx(1 / 3)


def test_of_nobody():
    found = statistics(epoch(0))
    assert (found.stake_rao, found.stake_largest_rao, found.gini, found.nakamoto) == (0, 0, 0.0, 0)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_against_the_definitions(stakes):
    stakes.sort()
    total, count = sum(stakes), len(stakes)
    differences = sum(abs(one - other) for one in stakes for other in stakes)
    assert gini(stakes) == pytest.approx(differences / (2 * count * total) if total else 0.0)
    fewest = nakamoto(stakes)
    assert (2 * sum(stakes[count - fewest :]) > total) == bool(total)
    if total:
        assert 2 * sum(stakes[count - fewest + 1 :] if fewest > 1 else []) <= total
