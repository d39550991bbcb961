"""Settings of the whole run: no test runs against extensions that are missing or older than their sources.

Where the package does not lie beside the tests they run against an installed one (ci/wheel_test.py), and those that
read its sources are skipped.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from freshness import stale
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("default", deadline=None, max_examples=100)
# The same examples each time, so that a failure there is a failure here.
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "default")


def pytest_configure(config):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A run in a shell's background ignores Ctrl-C, and so would every program that a test starts and interrupts.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    problems = stale(ROOT / "mycelium" / "_core")
    if problems:
        raise pytest.UsageError("; ".join(problems) + ". Run `make build` and try again.")


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the source tree."""
    return ROOT


@pytest.fixture(scope="session")
def sources() -> Path:
    """The directory of the package in the source tree, for tests that are about the sources and run nothing of them."""
    if not (ROOT / "mycelium").is_dir():
        pytest.skip("the package is an installed one: its sources are not here")
    return ROOT / "mycelium"
