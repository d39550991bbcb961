"""One nats-server for the tests of a module; each begins without streams."""

from __future__ import annotations

import pytest
from jetstream.followkit import connected
from natskit import Servers
from nodekit import run


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Servers.of(tmp_path_factory.mktemp("nats")) as servers:
        yield servers


@pytest.fixture
def clean(server):
    """The server without streams and buckets."""

    async def empty():
        async with connected(server.url) as client:
            jetstream = client.jetstream()
            for one in await jetstream.streams_info():
                await jetstream.delete_stream(one.config.name)

    run(empty())
    return server
