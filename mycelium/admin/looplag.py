"""How late the event loop is: a timer that measures by how much it was missed. Owns the timer and its histogram."""

from __future__ import annotations

import asyncio
import time

from mycelium.config.admin import LAG_PERIOD_S
from mycelium.database.latency import Latency


class LoopLag:
    """start(), then `lags` fills; `worst_s()` is the worst since it was asked last."""

    def __init__(self) -> None:
        self.lags = Latency()
        self._worst_s = 0.0
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._arm(asyncio.get_running_loop())

    def _late(self, loop: asyncio.AbstractEventLoop) -> None:
        lag_s = max(0.0, time.monotonic() - self._due_s)
        self._worst_s = max(self._worst_s, lag_s)
        self.lags.record(int(lag_s * 1e9))
        # From now on and not from when it was due: a loop that stood still once was late once.
        self._arm(loop)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not the loop's own time: uvloop's stands still while a callback runs, and counts whole milliseconds.
        self._due_s = time.monotonic() + LAG_PERIOD_S
        self._timer = loop.call_later(LAG_PERIOD_S, self._late, loop)

    def worst_s(self) -> float:
        worst_s, self._worst_s = self._worst_s, 0.0
        return worst_s

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
