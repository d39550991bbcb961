"""Settings of the benchmarks: fresh extensions only, and at the end each number beside its target."""

from __future__ import annotations

from pathlib import Path

import pytest
from freshness import stale

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config):
    problems = stale(ROOT / "mycelium" / "_core")
    if problems:
        raise pytest.UsageError("; ".join(problems) + ". Run `make build` and try again.")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, config):
    """What a benchmark put into `extra_info`: sizes and rates that the table of times has no column for."""
    session = getattr(config, "_benchmarksession", None)
    noted = [bench for bench in session.benchmarks if bench.extra_info] if session else []
    if noted:
        terminalreporter.section("noted beside the times")
    for bench in sorted(noted, key=lambda bench: bench.fullname):
        notes = ", ".join(f"{name} = {value}" for name, value in bench.extra_info.items())
        terminalreporter.write_line(f"{bench.name}: {notes}")
