"""One PostgreSQL for all tests of a process that share it, and a database for each test."""

from __future__ import annotations

import pgkit
import pytest


@pytest.fixture(scope="session")
def pg():
    with pgkit.Server.running() as server:
        yield server


@pytest.fixture
def dsn(pg) -> str:
    """A database of the test's own."""
    return pg.database()
