"""The file of metrics: what is in it, when it is written, and that a sink does not stop for it."""

from __future__ import annotations

import logging

from prometheus_client.parser import text_string_to_metric_families

from mycelium.admin.exposition import render
from mycelium.sinks.metrics import WRITE_S, MetricsFile
from mycelium.sinks.runner import Progress


def read(path):
    families = text_string_to_metric_families(path.read_text())
    return {sample.name: (sample.labels["sink"], sample.value) for one in families for sample in one.samples}


def test_what_is_in_it_and_when(tmp_path):
    path, now = tmp_path / "sink.prom", [1000.0]
    written = MetricsFile(path, "main", render, lambda: now[0])
    progress = Progress(phase="filling", rows=5)
    written(progress)
    progress.rows = 9
    written(progress)
    assert read(path)["mycelium_sink_fill_rows"] == ("main", 5), "not for each step"
    progress.phase, progress.changes, progress.batches, progress.fills, progress.lag = "live", 7, 3, 1, 2
    written(progress)
    assert read(path) == {
        "mycelium_sink_live": ("main", 1),
        "mycelium_sink_waiting": ("main", 0),
        "mycelium_sink_lag_batches": ("main", 2),
        "mycelium_sink_fill_rows": ("main", 9),
        "mycelium_sink_looked_timestamp_seconds": ("main", 1000),
        "mycelium_sink_changes_total": ("main", 7),
        "mycelium_sink_batches_total": ("main", 3),
        "mycelium_sink_fills_total": ("main", 1),
    }
    progress.waits_for, now[0] = "the disk", 1000 + WRITE_S
    written(progress)
    assert read(path)["mycelium_sink_waiting"] == ("main", 1)


def test_what_the_disk_refuses_is_said_once(tmp_path, caplog):
    written = MetricsFile(tmp_path / "missing" / "sink.prom", "main", render)
    with caplog.at_level(logging.WARNING):
        for phase in ("filling", "live", "waiting"):
            written(Progress(phase=phase))
    assert [record.message for record in caplog.records] == [
        f"the metrics of the sink cannot be written to {tmp_path}/missing/sink.prom: No such file or directory"
    ]
