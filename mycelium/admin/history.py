"""Rates of the last minutes, one sample a second: what a dashboard draws as lines. Owns a ring; knows no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from mycelium.config.admin import HISTORY_SAMPLES


class History:
    """`counts` that only grow become rates a second; `levels` are kept as they are."""

    def __init__(self, now_s: float) -> None:
        self._before: Mapping[str, float] = {}
        self._before_s = now_s
        self._samples: deque[dict[str, float]] = deque(maxlen=HISTORY_SAMPLES)

    def add(self, counts: Mapping[str, float], levels: Mapping[str, float], now_s: float) -> None:
        """One sample, about a second after the last."""
        passed_s = now_s - self._before_s
        if passed_s <= 0:
            return
        if self._before:
            rates: dict[str, float] = {
                name: round((value - self._before[name]) / passed_s, 3) for name, value in counts.items()
            }
            self._samples.append({**rates, **levels})
        self._before, self._before_s = dict(counts), now_s

    def latest(self) -> dict[str, float]:
        """The newest sample; {} before there is one."""
        return dict(self._samples[-1]) if self._samples else {}

    def series(self) -> dict[str, list[float]]:
        """Every sample, oldest first, by name."""
        names = self._samples[-1] if self._samples else ()
        return {name: [sample[name] for sample in self._samples] for name in names}
