"""Ranges of keys against sets of keys."""

from __future__ import annotations

from itertools import pairwise, product

from hypothesis import given
from hypothesis import strategies as st

from mycelium.database.ranges import EVERYTHING, NOTHING, Ranges, prefixed

ALPHABET = (b"\x00", b"a", b"\xff")
UNIVERSE = [b"".join(letters) for size in range(4) for letters in product(ALPHABET, repeat=size)]
BOUND = st.sampled_from(UNIVERSE)
PAIRS = st.lists(st.tuples(BOUND, st.none() | BOUND), max_size=5)


def keys(pairs):
    return {
        key for key in UNIVERSE if any(start <= key and (stop is None or key < stop) for start, stop in pairs)
    }


def members(ranges):
    return {key for key in UNIVERSE if key in ranges}


@given(PAIRS, PAIRS)
def test_as_sets(one, two):
    left, right = Ranges(one), Ranges(two)
    assert members(left) == keys(one)
    assert members(left | right) == keys(one) | keys(two)
    assert members(left & right) == keys(one) & keys(two)
    assert (left & right) == (right & left)
    assert (left | right) == (right | left)
    assert bool(left) == any(stop is None or start < stop for start, stop in one)


@given(PAIRS)
def test_they_are_sorted_and_do_not_touch(pairs):
    found = list(Ranges(pairs))
    for (_, stop), (start, _) in pairwise(found):
        assert stop is not None
        assert stop < start
    assert Ranges(found) == Ranges(pairs)
    assert hash(Ranges(found)) == hash(Ranges(pairs))
    assert (Ranges(pairs) & EVERYTHING) == Ranges(pairs)
    assert (Ranges(pairs) | EVERYTHING).whole
    assert not Ranges(pairs) & NOTHING


@given(st.binary(max_size=3), st.binary(max_size=5))
def test_prefixes(prefix, key):
    assert (key in prefixed(prefix)) == key.startswith(prefix)
    assert prefixed(prefix).whole == (prefix == b"")


def test_a_picture_for_people():
    assert repr(Ranges([(b"a", b"c"), (b"b", None)])) == "Ranges([(b'a', None)])"
    assert Ranges() != 5
