"""A node, the real bridge and replicas: what is written at the one is read at the others, whatever happens between."""

from __future__ import annotations

import asyncio
import json

import bridgekit
import kit
import pytest
from jskit import settings as nats_settings
from natskit import Servers
from nodekit import Author, run, until
from replica.replicakit import ReplicaProcess, replica_file
from replica.test_replica_run import caught_up, get

from mycelium.jetstream.client import Broker
from mycelium.node.settings import Settings
from mycelium.replica.replica import Replica


def opened(path, nats):
    broker = Broker(nats_settings(nats), "replica")

    class Both:
        async def __aenter__(self):
            await broker.__aenter__()
            self.replica = Replica.open(Settings.load(path), broker)
            return await self.replica.__aenter__()

        async def __aexit__(self, *error):
            await self.replica.__aexit__(*error)
            await broker.__aexit__(*error)

    return Both()


async def equal(one, node, seconds=30):
    def vectors(database):
        return [database.engine.vector_digest(space) for space in database.spaces]

    await until(
        lambda: vectors(one.database) == vectors(node.database), "the replica lacks something", seconds
    )
    assert await one.database.state_digests() == await node.database.state_digests()


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr("mycelium.replica.replica.SNAPSHOT_LOOK_MS", 100)
    monkeypatch.setattr("mycelium.jetstream.keeper.SNAPSHOT_PAUSE_MIN_MS", 200)


def test_a_process_is_ready_when_it_is_in_step(tmp_path):
    """Also in the spaces to which nothing was ever written."""

    async def main(servers):
        async with bridgekit.world(tmp_path, servers) as world:
            path = replica_file(world.place, nats=servers.url, clients=[kit.keypair("client")])
            path.write_text(
                path.read_text().replace("enabled = false", 'listen = "127.0.0.1:0"') + bridgekit.TABLES
            )
            await world.write(5)
            async with world.bridge(accept_unsynced=True), ReplicaProcess(path) as process:
                ready = await process.start()
                await caught_up(ready, world.node)
                async with asyncio.timeout(20):
                    while (await asyncio.to_thread(get, ready["admin"] + "readyz"))[0] != 200:
                        await asyncio.sleep(0.05)
                found = json.loads((await asyncio.to_thread(get, ready["admin"] + "status"))[1])
                assert sorted(found["replica"]) == ["main", "other", "sys"]
                assert found["lag_messages"] == 0

    with Servers.of(tmp_path / "nats") as servers:
        run(main(servers))


def test_the_stream_is_deleted_under_bridge_and_replica(tmp_path):
    async def main(servers):
        async with bridgekit.world(tmp_path, servers) as world:
            path = replica_file(world.place)
            path.write_text(path.read_text() + bridgekit.TABLES)
            async with world.bridge() as bridge, opened(path, servers) as one:
                for turn in range(3):
                    await world.write(10, f"turn {turn} ")
                    await equal(one, world.node)
                    async with bridgekit.connected(servers) as session:
                        await session.js.delete_stream(world.network.stream("main"))
                    await world.write(10, f"meanwhile {turn} ")
                    await world.write(2, "aside", table="aside")
                    await equal(one, world.node)
                assert bridge.status() is not None

    with Servers.of(tmp_path / "nats") as servers:
        run(main(servers))


def test_new_replicas_of_a_stream_that_keeps_little(tmp_path):
    """Each begins with the snapshot that the bridge made, and lacks nothing."""

    async def main(servers):
        async with bridgekit.world(tmp_path, servers) as world, world.bridge(keep_messages=20) as bridge:
            for turn in range(3):
                await world.write(30, f"turn {turn} ")
                await world.caught_up(bridge)
                async with bridgekit.connected(servers) as session:
                    async with asyncio.timeout(20):
                        while (await covered(session, world)) is False:
                            await asyncio.sleep(0.05)
                path = replica_file(world.place, f"replica{turn}")
                path.write_text(path.read_text() + bridgekit.TABLES)
                async with opened(path, servers) as one:
                    await equal(one, world.node)
                    await until(lambda: one.tails["main"].began is not None)
                    assert one.tails["main"].began.whole

    with Servers.of(tmp_path / "nats") as servers:
        run(main(servers))


async def covered(session, world) -> bool:
    """Whether the newest snapshot and the stream together have everything."""
    state = await bridgekit.streams.look(session, world.network.stream("main"))
    newest = await bridgekit.snapshots.newest(session, world.network, "main", state)
    return newest is not None and newest.stream_seq + 1 >= state.first_seq


def test_batches_that_nodes_gave_up_are_given_up_here(tmp_path):
    """A proof comes to the node over the mesh. The bridge makes a snapshot with it, and running replicas look there."""

    async def main(servers):
        async with bridgekit.world(tmp_path, servers) as world:
            node = world.node
            # The replica's node is the only member: its own other history is what a restored backup would make.
            member = Author(node, world.place.keypair, generation=99)
            path = replica_file(world.place)
            path.write_text(path.read_text() + bridgekit.TABLES)
            first, second = member.batch("one", keep=True), member.batch("two")
            async with world.bridge(), opened(path, servers) as one:
                await world.write(3)
                node.database.engine.receive(*first, node.now_ms())
                await equal(one, node)
                assert one.database.engine.head("main", member.origin) == 1
                node.database.engine.frozen.accuse(first, second)
                await until(lambda: one.database.engine.frozen.get("main", member.origin) is not None)
                await world.write(3, "later")
                await equal(one, node)
                assert one.database.engine.head("main", member.origin) == 0

    with Servers.of(tmp_path / "nats") as servers:
        run(main(servers))
