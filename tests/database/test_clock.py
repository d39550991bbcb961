"""The hybrid logical clock never goes back and stays above what it saw."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.database.clock import Clock, hlc_of, time_ms_of
from mycelium.errors import StoreError

steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 1000), st.integers(0, 2**41)),
        st.tuples(st.just("observe"), st.integers(0, 2**57), st.just(0)),
    )
)


@given(steps)
def test_values_only_grow(moves: list[tuple[str, int, int]]) -> None:
    clock, highest = Clock(), 0
    for kind, number, now_ms in moves:
        if kind == "observe":
            clock.observe(number)
            highest = max(highest, number)
        else:
            first = clock.take(number, now_ms)
            assert first > highest
            assert time_ms_of(first) >= now_ms
            highest = first + number - 1
        assert clock.last == highest


def test_the_counter_runs_into_the_next_millisecond() -> None:
    clock = Clock(hlc_of(7, 0xFFFF))
    assert clock.take(1, 5) == hlc_of(8)


def test_a_clock_that_has_run_out_says_so() -> None:
    with pytest.raises(StoreError, match="far future"):
        Clock(2**64 - 3).take(5, 0)
