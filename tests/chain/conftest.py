"""No test of the chain client reads or writes the user's own cache."""

from __future__ import annotations

import pytest

from mycelium.devnet.chain.thread import ThreadedChain


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def chain():
    """A development chain that makes blocks when there is something for them."""
    with ThreadedChain() as running:
        yield running


@pytest.fixture
def stepped():
    """A development chain whose blocks are made by hand."""
    with ThreadedChain(blocks="manual") as running:
        yield running
