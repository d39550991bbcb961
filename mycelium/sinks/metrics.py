"""What a sink's process does, as a file for node_exporter's textfile collector: whole at any moment, and no open port.

Owns the names of the metrics and how often the file is written. Raises nothing: a sink does not stop for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from mycelium import wholefile
from mycelium.sinks.runner import Progress

log = logging.getLogger(__name__)

WRITE_S: Final = 5.0
"""Between two writes of the file while the phase stays the same."""


def families(sink: str, progress: Progress, now_s: float) -> list[Metric]:
    """now_s: since the Unix epoch."""
    found: list[Metric] = []
    gauges = [
        ("live", "1 while the sink follows the feed.", float(progress.phase == "live")),
        (
            "waiting",
            "1 while it waits for the node or for what it writes to.",
            float(bool(progress.waits_for)),
        ),
        ("lag_batches", "Batches that the node had and the sink had not, when it last wrote.", progress.lag),
        ("fill_rows", "Rows read by the fill that is under way, or was the last.", progress.rows),
        ("looked_timestamp_seconds", "When this file was written.", now_s),
    ]
    counters = [
        ("changes", "Changes written.", progress.changes),
        ("batches", "Batches written.", progress.batches),
        ("fills", "Fills that ended.", progress.fills),
    ]
    for name, text, value in gauges:
        gauge = GaugeMetricFamily(f"mycelium_sink_{name}", text, labels=["sink"])
        gauge.add_metric([sink], value)
        found.append(gauge)
    for name, text, value in counters:
        counter = CounterMetricFamily(f"mycelium_sink_{name}", text, labels=["sink"])
        counter.add_metric([sink], value)
        found.append(counter)
    return found


class MetricsFile:
    """Called after each step of a runner. render: families to the text of a scrape."""

    def __init__(
        self,
        path: Path,
        sink: str,
        render: Callable[[list[Metric]], bytes],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._sink = sink
        self._render = render
        self._clock = clock
        self._written: tuple[str, float] = ("", 0.0)
        self._failed = False

    def __call__(self, progress: Progress) -> None:
        """Write the file, if it is time. What the disk refuses is logged once."""
        now_s = self._clock()
        if progress.phase == self._written[0] and now_s - self._written[1] < WRITE_S:
            return
        self._written = (progress.phase, now_s)
        try:
            wholefile.write(self._path, self._render(families(self._sink, progress, now_s)))
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning("the metrics of the sink cannot be written to %s: %s", self._path, error.strerror)
            self._failed = True
