"""One nats-server for the tests of a module; each begins without streams."""

from __future__ import annotations

import pytest
from natskit import Servers, emptied
from nodekit import run


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Servers.of(tmp_path_factory.mktemp("nats")) as servers:
        yield servers


@pytest.fixture
def clean(server):
    """The server without streams and buckets."""

    run(emptied(server.url))
    return server
