"""Histograms in plain integers, against a list of everything that was recorded; and what the committer records."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.database.commit import Committer
from mycelium.database.latency import BOUNDS_S, BUCKETS, SHIFT, Latency
from mycelium.errors import NotDurable, StoreFull


@given(
    st.lists(st.integers(-(2**20), 2**40) | st.sampled_from([2**SHIFT - 1, 2**SHIFT, 2**34 - 1, 2**34, 0]))
)
def test_against_a_list(durations: list[int]) -> None:
    latency = Latency()
    for took_ns in durations:
        latency.record(took_ns)
    # A bucket's bound is not in it: a duration of exactly that many ns counts for the next.
    expected = [sum(took < 2 ** (SHIFT + at) for took in durations) for at in range(BUCKETS)]
    assert latency.cumulative() == [*expected, len(durations)]
    assert latency.total_ns == sum(max(0, took) for took in durations)


def test_bounds_are_seconds() -> None:
    assert len(BOUNDS_S) == BUCKETS
    assert BOUNDS_S[0] == pytest.approx(16.4e-6, rel=0.01)
    assert BOUNDS_S[-1] == pytest.approx(17.2, rel=0.01)


def test_the_committer_records_syncs_and_waits_and_says_why_it_fails() -> None:
    async def main() -> None:
        refused: list[Exception] = [StoreFull("no space left")]

        def sync() -> None:
            if refused:
                raise refused[0]

        committer = Committer(sync, 0)
        committer.applied(1)
        with pytest.raises(NotDurable):
            await committer.wait(1)
        assert str(committer.failure) == "no space left"
        assert committer.commits.cumulative()[-1] == 0
        refused.clear()
        committer.applied(2)
        await committer.wait(2)
        assert committer.failure is None
        await committer.close()
        assert committer.commits.cumulative()[-1] == 1
        assert committer.syncs.cumulative()[-1] == 2, (
            "a sync that failed has no time, closing syncs once more"
        )
        assert committer.commits.total_ns > 0

    asyncio.run(main())
