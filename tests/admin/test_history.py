"""Rates of the last minutes, and how late the loop is."""

from __future__ import annotations

import asyncio
import time

from hypothesis import given
from hypothesis import strategies as st

from mycelium.admin.history import History
from mycelium.admin.looplag import LoopLag
from mycelium.config.admin import HISTORY_SAMPLES, LAG_PERIOD_S


def test_counts_become_rates_and_levels_stay() -> None:
    history = History(0.0)
    history.add({"bytes": 100}, {"lag": 3.0}, 1.0)
    assert history.latest() == {}, "one look is no rate"
    assert history.series() == {}
    history.add({"bytes": 300}, {"lag": 4.0}, 3.0)
    assert history.latest() == {"bytes": 100.0, "lag": 4.0}
    history.add({"bytes": 300}, {"lag": 5.0}, 3.0)
    assert history.latest()["lag"] == 4.0, "no time has passed"
    history.add({"bytes": 310}, {"lag": 6.0}, 4.0)
    assert history.series() == {"bytes": [100.0, 10.0], "lag": [4.0, 6.0]}


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=2 * HISTORY_SAMPLES))
def test_the_last_ones_are_kept(steps: list[int]) -> None:
    history, total = History(0.0), 0
    for second, step in enumerate(steps, 1):
        total += step
        history.add({"n": total}, {}, float(second))
    assert history.series().get("n", []) == [float(step) for step in steps[1:]][-HISTORY_SAMPLES:]


def test_a_loop_that_stands_still_is_late_once() -> None:
    async def main() -> None:
        lag, began_s = LoopLag(), time.monotonic()
        lag.start()
        await asyncio.sleep(LAG_PERIOD_S / 2)
        time.sleep(3 * LAG_PERIOD_S)
        await asyncio.sleep(2.5 * LAG_PERIOD_S)
        lag.stop()
        worst_s = lag.worst_s()
        assert 2 * LAG_PERIOD_S < worst_s < time.monotonic() - began_s
        assert lag.worst_s() == 0.0, "since it was asked last"
        assert lag.lags.total_ns >= 2 * LAG_PERIOD_S * 1e9
        before = lag.lags.cumulative()[-1]
        await asyncio.sleep(2 * LAG_PERIOD_S)
        assert lag.lags.cumulative()[-1] == before, "stopped"

    asyncio.run(main())
