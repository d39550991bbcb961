"""Keys against ranges in the bytes of a batch, against the obvious loop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.allow import SPAN, disjoint, pack, slow

from mycelium._core.allow import first_outside
from mycelium.errors import MalformedMessage

KEYS = st.binary(min_size=1, max_size=4)
RANGES = st.lists(st.tuples(st.binary(max_size=3), st.none() | st.binary(max_size=3)), max_size=4)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), KEYS), max_size=12),
    st.dictionaries(st.tuples(st.integers(0, 2), st.integers(0, 1)), st.none() | RANGES.map(disjoint)),
)
def test_against_the_obvious_loop(changes, rules):
    rules = {(table, op): rules.get((table, op), []) for table in range(3) for op in range(2)}
    asked = []

    def find(table, op):
        asked.append((table, op))
        pairs = rules[table, op]
        return None if pairs is None else (tuple(one for one, _ in pairs), tuple(two for _, two in pairs))

    assert first_outside(*pack(changes), find) == slow(changes, rules)
    assert len(asked) == len(set(asked)), "a pair is asked once"


def test_no_change_is_no_change_outside():
    assert first_outside(b"", b"", None) == -1


def everything(table, op):
    return (b"",), (None,)


@pytest.mark.parametrize(
    "spans",
    [
        SPAN.pack(0, 0, 0, 0, 5, 0, 0),
        SPAN.pack(0, 0, 0, 2**32 - 1, 1, 0, 0),
        SPAN.pack(0, 0, 0, 1, 2**32 - 1, 0, 0),
        SPAN.pack(0, 0, 0, 0, 1, 0, 0)[:-1],
    ],
)
def test_spans_that_leave_the_batch(spans):
    with pytest.raises(MalformedMessage):
        first_outside(b"four", spans, everything)


@pytest.mark.parametrize(
    ("ranges", "error"),
    [
        (((b"a",), ()), ValueError),
        ((("a",), (None,)), TypeError),
        (((b"",), (5,)), TypeError),
        (7, TypeError),
    ],
)
def test_ranges_that_are_none(ranges, error):
    with pytest.raises(error):
        first_outside(*pack([(0, 0, b"key")]), lambda table, op: ranges)


def test_what_the_finder_raises_is_raised():
    def find(table, op):
        raise KeyError(table)

    with pytest.raises(KeyError):
        first_outside(*pack([(0, 0, b"key")]), find)
