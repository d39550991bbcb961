"""The picture of propagation: its curves against a slow oracle, its shape, and what it says of nothing."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from hypothesis import given
from hypothesis import strategies as st

from mycelium.sim.measure import Propagation, percentile
from mycelium.sim.plot import curve, svg

SVG = "{http://www.w3.org/2000/svg}"


def measured(changes=20, members=7):
    propagation = Propagation()
    for change in range(changes):
        name = change.to_bytes(4, "big")
        propagation.born(name, change * 1_000_000_000)
        for member in range(members):
            propagation.reached(name, change * 1_000_000_000 + (member + 1) * 20_000_000 + change * 1_000_000)
    return propagation


def test_it_is_an_svg_with_a_curve_bands_axes_and_a_light_ground():
    root = ElementTree.fromstring(svg(measured(), 7, "A <title> & more", "and what is below"))
    assert root.tag == f"{SVG}svg"
    texts = [node.text for node in root.iter(f"{SVG}text")]
    assert "A <title> & more" in texts
    assert "100 %" in texts
    assert any(text.startswith("p99") for text in texts)
    assert len(list(root.iter(f"{SVG}path"))) == 3
    assert next(root.iter(f"{SVG}rect")) is not None
    assert '<rect width="860" height="480" fill="#ffffff"/>' in svg(measured(), 7, "t", "s")


def test_curves_never_fall():
    reached = [sorted(spread.reached_ms) for spread in measured().spreads.values()]
    for share in (0.05, 0.5, 0.95):
        points = curve(reached, 7, share)
        assert points == sorted(points)
        assert points[-1][1] == 1.0


def test_a_run_in_which_nothing_spread_is_said_to_be_one():
    text = svg(Propagation(), 7, "t", "s")
    assert "no change reached" in text
    assert ElementTree.fromstring(text) is not None


def test_a_change_that_did_not_reach_everyone_counts_where_it_came_to():
    propagation = Propagation()
    propagation.born(b"a", 0)
    propagation.reached(b"a", 5_000_000)
    reached = [list(spread.reached_ms) for spread in propagation.spreads.values()]
    assert curve(reached, 4, 0.5) == [(5.0, 0.25)]
    assert ElementTree.fromstring(svg(propagation, 4, "t", "s")) is not None


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_percentiles_are_the_nearest_rank(values, share):
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-9
    assert sum(value < found for value in ordered) < share * len(ordered) + 1e-9


def test_copies_and_deliveries_of_nothing_are_zero():
    assert Propagation().copies_per_delivery == 0.0
    assert percentile([], 0.99) == 0.0
