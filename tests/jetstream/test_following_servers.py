"""A follower while its server is killed: alone, and as the one of three that leads the stream."""

from __future__ import annotations

import asyncio
import time

import kit
import nats
import pytest
from jetstream.followkit import STREAM, connected, following, publish, same, stream, written
from natskit import Servers
from nodekit import run, until

from mycelium.jetstream import streams
from mycelium.jetstream.client import Broker
from mycelium.node.nats_settings import NatsSettings


def test_a_server_that_is_killed_and_comes_back(tmp_path):
    async def main(servers):
        author, reader = kit.engine("a"), kit.engine("reader")
        async with connected(servers.url) as client:
            await stream(client)
            await publish(client, written(author, 10))
            async with following(client, reader) as follower:
                await same(reader, author)
                for turn in range(3):
                    servers.servers[0].kill()
                    await asyncio.sleep(0.05 * turn)
                    servers.servers[0].start()
                    await servers.ready()
                    await until(lambda: client.is_connected)
                    await publish(client, written(author, 5, f"turn {turn} "))
                    await same(reader, author)
                assert follower.intake.position == 25
                assert reader.counts["applied"] == 25

    with Servers.of(tmp_path) as servers:
        run(main(servers))


@pytest.mark.soak
def test_a_server_of_a_cluster_that_is_killed(tmp_path):
    """The one that leads the stream, each time: what it had of our consumer is gone with it."""

    async def main(servers):
        author, reader = kit.engine("a"), kit.engine("reader")
        urls = NatsSettings(urls=tuple(servers.urls))
        async with connected(servers.url) as client:
            await stream(client, num_replicas=3)
            await publish(client, written(author, 20))
        took = []
        connections = Broker(urls, "test", environ={})
        async with following(None, reader, connections=connections):
            await same(reader, author)
            for turn in range(2):
                session = await connections.ready()
                leader = (await streams.look(session, STREAM)).peers[0][0]
                victim = servers.servers[int(leader[1:])]
                victim.kill()
                alive = next(one.url for one in servers.servers if one is not victim)
                async with connected(alive) as client:
                    await persist(client, written(author, 10, f"turn {turn} "))
                began_s = time.monotonic()
                await same(reader, author)
                took.append(time.monotonic() - began_s)
                victim.start()
                await servers.ready()
        assert max(took) < 5

    with Servers.of(tmp_path, 3) as servers:
        run(main(servers), 90)


async def persist(client, batches) -> None:
    """Publish again and again until there is a leader that takes it; the server drops repeats."""
    for one in batches:
        while True:
            try:
                await publish(client, [one])
                break
            except (nats.errors.Error, TimeoutError):
                await asyncio.sleep(0.05)
