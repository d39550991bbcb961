"""Filters of a metagraph: both ends belong to a range, and all conditions must hold at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.chain import fetch_nodes
from mycelium.chain.metagraph import Metagraph
from mycelium.chain.neurons import Neuron, Subnet
from mycelium.errors import UsageError

TAO = 10**9
AXON = {"ip": "203.0.113.7", "port": 1, "version": 1_002_003}


def metagraph(*rows):
    found = Metagraph(1)
    found._fill(Subnet(1, 10, tuple(Neuron(uid, f"h{uid}", "c", **row) for uid, row in enumerate(rows))))
    return found


THREE = metagraph(
    {"stake_rao": 5 * TAO, "active": True, "axon": AXON, "incentive": 0.1, "emission_rao": 7},
    {"stake_rao": 10 * TAO, "active": False, "prometheus": {"ip": "203.0.113.7"}, "rank": 4},
    {"stake_rao": 15 * TAO, "active": True, "trust": 0.5, "consensus": 0.5, "dividends": 0.5},
)


@pytest.mark.parametrize(
    ("name", "range_", "found"),
    [
        ("stake", (), "h0 h1 h2"),
        ("stake", (10,), "h1 h2"),
        ("stake", (None, 10), "h0 h1"),
        ("stake", (10, 10), "h1"),
        ("stake", (11, 10), ""),
        ("rank", (1,), "h1"),
        ("rank", (None, 3), "h0 h2"),
        ("trust", (0.5,), "h2"),
        ("consensus", (0.4, 0.6), "h2"),
        ("incentive", (0.05,), "h0"),
        ("dividends", (None, 0.4), "h0 h1"),
        ("emission", (7, 7), "h0"),
    ],
)
def test_ranges(name, range_, found):
    assert getattr(fetch_nodes, f"get_nodes_by_{name}")(THREE, *range_) == found.split()


@pytest.mark.parametrize(
    ("version", "found"), [("1.2.3", ["h0"]), ("1002003", ["h0"]), ("1.2.4", []), ("0", [])]
)
def test_by_version(version, found):
    assert fetch_nodes.get_nodes_by_version(THREE, version) == found


def test_what_is_no_version():
    with pytest.raises(UsageError, match="no version"):
        fetch_nodes.get_nodes_by_version(THREE, "latest")


def test_by_prometheus_and_activity():
    assert fetch_nodes.get_nodes_by_prometheus(THREE) == ["h1"]
    assert fetch_nodes.get_nodes_by_prometheus(THREE, False) == ["h0", "h2"]
    assert fetch_nodes.get_active_nodes(THREE) == ["h0", "h2"]


def test_several_conditions():
    every = fetch_nodes.get_nodes_by_multiple_criteria
    assert every(THREE) == ["h0", "h2"]
    assert every(THREE, active_only=False) == ["h0", "h1", "h2"]
    assert every(THREE, min_stake=6) == ["h2"]
    assert every(THREE, version="1.2.3", max_stake=5) == ["h0"]
    assert every(THREE, has_prometheus=True) == []
    assert every(THREE, has_prometheus=True, active_only=False, min_rank=4, max_rank=4) == ["h1"]


STAKES = st.lists(st.integers(0, 20), max_size=8)
BOUND = st.none() | st.integers(0, 20)


@given(STAKES, BOUND, BOUND, st.booleans())
def test_several_are_the_intersection_of_each(stakes, least, most, active_only):
    found = metagraph(*({"stake_rao": stake * TAO, "active": stake % 2 == 0} for stake in stakes))
    wanted = [
        f"h{uid}"
        for uid, stake in enumerate(stakes)
        if (least is None or stake >= least)
        and (most is None or stake <= most)
        and (not active_only or stake % 2 == 0)
    ]
    given_ = {"min_stake": least, "max_stake": most, "active_only": active_only}
    assert fetch_nodes.get_nodes_by_multiple_criteria(found, **given_) == wanted
