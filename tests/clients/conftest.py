"""The chain that the clients are run against."""

from __future__ import annotations

import pytest

from mycelium.devnet.chain.thread import ThreadedChain


@pytest.fixture
def chain():
    """A development chain in this process, blocks at each extrinsic."""
    with ThreadedChain() as chain:
        yield chain
