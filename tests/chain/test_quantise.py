"""Weights to u16: what the chain would refuse is never made where it can be avoided, and order is kept."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.chain import quantise
from mycelium.chain.quantise import U16_MAX
from mycelium.errors import UsageError

WEIGHTS = st.lists(st.floats(0, 1e300, allow_nan=False), min_size=1, max_size=60)


@given(WEIGHTS, st.integers(1, U16_MAX))
def test_the_largest_is_full_and_the_limit_is_kept(weights, limit):
    uids, values = quantise.quantise(list(enumerate(weights)), limit)
    positive = sum(weight > 0 for weight in weights)
    if not positive:
        assert (uids, values) == ([], [])
        return
    assert max(values) == U16_MAX
    assert min(values) > 0
    assert all(weights[uid] > 0 for uid in uids)
    if positive >= quantise.needed(limit):
        assert not quantise.exceeds(values, limit)


@given(WEIGHTS, st.integers(1, U16_MAX))
def test_a_larger_weight_is_never_a_smaller_value(weights, limit):
    uids, values = quantise.quantise(list(enumerate(weights)), limit)
    ranked = sorted((weights[uid], value) for uid, value in zip(uids, values, strict=True))
    assert all(one[1] <= other[1] for one, other in pairwise(ranked))


@given(WEIGHTS)
def test_without_a_limit_it_is_what_bittensors_sdk_makes(weights):
    top = max(weights)
    wanted = [(uid, round(weight / top * U16_MAX)) for uid, weight in enumerate(weights) if top]
    uids, values = quantise.quantise(list(enumerate(weights)))
    assert list(zip(uids, values, strict=True)) == [(uid, value) for uid, value in wanted if value]


def test_too_few_uids_for_a_limit_are_even_and_known_to_exceed_it():
    uids, values = quantise.quantise([(3, 1.0), (5, 2.0)], U16_MAX // 4)
    assert (uids, values) == ([3, 5], [U16_MAX, U16_MAX])
    assert quantise.exceeds(values, U16_MAX // 4)
    assert quantise.needed(U16_MAX // 4) == 5
    assert quantise.needed(0) > U16_MAX


@pytest.mark.parametrize(
    ("weights", "values", "wanted"),
    [
        ({2: 1, 1: 3}, None, [(1, 3.0), (2, 1.0)]),
        ({"2": 1, "1": 3}, None, [(1, 3.0), (2, 1.0)]),
        ([2, 1], [0.5, 0], [(1, 0.0), (2, 0.5)]),
    ],
)
def test_both_shapes(weights, values, wanted):
    assert quantise.pairs(weights, values) == wanted


@pytest.mark.parametrize(
    ("weights", "values", "why"),
    [
        ({1: 1}, [1], "not both"),
        ([1], None, "as many values"),
        ([1, 2], [1], "2 uids and 1 values"),
        ([1, 1], [1, 2], "twice"),
        ({1: 1, "1": 1}, None, "twice"),
        ({-1: 1}, None, "not a uid"),
        ({65_536: 1}, None, "not a uid"),
        ({True: 1}, None, "not a uid"),
        ({1.5: 1}, None, "not a uid"),
        ({"x": 1}, None, "not a uid"),
        ({1: -1}, None, "not negative"),
        ({1: math.nan}, None, "finite"),
        ({1: math.inf}, None, "finite"),
        ({1: "1"}, None, "finite"),
        ({1: True}, None, "finite"),
        ({1: None}, None, "finite"),
        ({1: 10**400}, None, "finite"),
    ],
)
def test_what_are_no_weights(weights, values, why):
    with pytest.raises(UsageError, match=why):
        quantise.pairs(weights, values)


def test_numpy_arrays_are_taken():
    numpy = pytest.importorskip("numpy")
    assert quantise.pairs(numpy.array([1, 0]), numpy.array([0.5, 1], dtype="float32")) == [(0, 1.0), (1, 0.5)]
