"""Whole members over a real nats-server: who serves what, what is forwarded, what a fail-over and a move do."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import time
from functools import partial

import natskit
import pytest
from fleet.nodefleetkit import LEASE_MS, Fleet, keys_of, members, move, serving, spread, state
from jetstream.followkit import connected
from natskit import Servers, emptied
from nodekit import run, until
from replica.replicakit import snapshot

import mycelium
from mycelium.database import backup
from mycelium.errors import (
    BrokerUnreachable,
    BrokerUnsafe,
    NoOwner,
    StoreForeign,
    UnknownTable,
    Unreachable,
    UsageError,
)
from mycelium.fleet import member, routing
from mycelium.fleet.member import open_member
from mycelium.node.node import Node
from mycelium.node.settings import Settings


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    natskit.binary()
    with Servers.of(tmp_path_factory.mktemp("nats")) as found:
        yield found


@pytest.fixture
def nats(server):
    run(emptied(server.url))
    return server


def reads(node, space):
    """Whether a member reads the stream of a space."""
    return node.status()["fleet"]["streams"][space]["state"] == "reading"


def test_three_members_take_any_request_and_each_has_all_of_it(tmp_path, nats):
    async def main():
        async with Fleet(members(tmp_path, nats, "abc", third=True)) as fleet:
            nodes = [await fleet.start(number) for number in range(3)]
            one, two, three = nodes
            await until(lambda: spread(*nodes), "every shard is served")
            await asyncio.gather(
                *(nodes[at % 3].database.table("scores").put(f"k{at}", at) for at in range(60)),
                *(node.database.table("hits").add("n", 1) for node in nodes for _ in range(10)),
                *(node.database.table("tags").insert("t", at) for at, node in enumerate(nodes)),
            )
            for node in nodes:
                assert [await node.database.table("scores").get(f"k{at}") for at in range(60)] == list(
                    range(60)
                )
                assert await node.database.table("hits").get("n") == 30
                assert await node.database.table("tags").get("t") == [0, 1, 2]
            await two.database.table("tags").remove("t", 1)
            await three.database.table("tags").remove("t", "absent")
            await three.database.table("scores").delete("k0")
            assert await one.database.table("tags").get("t") == [0, 2]
            assert await one.database.table("scores").get("k0") is None
            assert len(await state(*nodes)) == 1
            assert [node.status()["fleet"]["in_flight"] for node in nodes] == [0, 0, 0]
            other = await fleet.start(3)
            assert len(await state(*nodes, other)) == 1
            await until(lambda: len(other.hub.links_of(one.account)) == 3, "a session with each")
            # One of them says where the account listens, and the others listen to it.
            speaker = next(node for node in nodes if node.discovery.speaks())
            assert [node.discovery.speaks() for node in nodes].count(True) == 1
            await until(
                lambda: other.discovery.book.get(one.account) is not None, "where the account listens"
            )
            assert other.discovery.book.get(one.account).record.generation == speaker.generation
            assert [node.discovery.announced is not None for node in nodes].count(True) == 1
            await other.database.table("scores").put("theirs", 1, ack=1)
            with pytest.raises(TimeoutError):
                # Three nodes of one account are one peer.
                async with asyncio.timeout(0.5):
                    await other.database.table("scores").put("theirs", 2, ack=2)

    run(main())


def test_a_batch_is_one_members(tmp_path, nats):
    async def main():
        async with Fleet(members(tmp_path, nats, "ab")) as fleet:
            one, two = await fleet.start(0), await fleet.start(1)
            await until(lambda: spread(one, two), "every shard is served")
            for whose in (one, two):
                first, second = keys_of(whose, 2)
                async with one.database.batch() as batch:
                    batch.put("scores", first, "x")
                    batch.put("scores", second, "y")
                read = two.database.table("scores").get
                assert [await read(first), await read(second)] == ["x", "y"]
            batches = [node.status()["fleet"]["batches"] for node in (one, two)]
            assert batches == [1, 1]
            with pytest.raises(UsageError, match=r"in the hands of 2 members \(a, b\).*shards = 1"):
                async with one.database.batch() as batch:
                    batch.put("scores", keys_of(one, 1)[0], "z")
                    batch.put("scores", keys_of(two, 1)[0], "z")
            async with one.database.batch():
                pass
            assert len(await state(one, two)) == 1

    run(main())


def test_a_space_of_one_shard_takes_batches_of_any_keys(tmp_path, nats):
    async def main():
        one_shard = "[fleet.spaces.main]\nshards = 1\n"
        async with Fleet(members(tmp_path, nats, "ab", a=one_shard, b=one_shard)) as fleet:
            one, two = await fleet.start(0), await fleet.start(1)
            await until(lambda: serving(one, two) == 2, "both shards are served")
            for node in (one, two):
                await node.database.table("tags").insert("t", "x")
                async with node.database.batch() as batch:
                    for at in range(20):
                        batch.put("scores", f"k{at}", node.account.hex())
                    batch.add("hits", "n", 2)
                    batch.remove("tags", "t", "x")
            assert await one.database.table("hits").get("n") == 4
            assert not await two.database.table("tags").get("t")

    run(main())


def test_a_member_that_ends_gives_its_shards_away_and_one_that_is_gone_loses_them(tmp_path, nats):
    async def main():
        async with Fleet(members(tmp_path, nats, "ab")) as fleet:
            one, two = await fleet.start(0), await fleet.start(1)
            await until(lambda: spread(one, two), "every shard is served")
            key = keys_of(two, 1)[0]
            await one.database.table("hits").add(key, 1)
            before = time.monotonic()
            await fleet.stop(1)
            await one.database.table("hits").add(key, 1)
            assert time.monotonic() - before < LEASE_MS / 1000 + 3
            assert one.status()["fleet"]["members"]["b"]["gone"] == "left"
            two = await fleet.start(1)
            await until(lambda: spread(one, two), "it has its shards again")
            await two.database.table("hits").add(key, 1)
            assert await one.database.table("hits").get(key) == 3
            # As after a kill: nothing is given away, and nothing is said.
            before = time.monotonic()
            await fleet.lose(1)
            await one.database.table("hits").add(key, 1)
            assert time.monotonic() - before < LEASE_MS / 1000 + 2
            assert await one.database.table("hits").get(key) == 4
            assert "no heartbeat" in one.status()["fleet"]["members"]["b"]["gone"]
            two = await fleet.start(1)
            await until(lambda: spread(one, two), "it has its shards again")
            await asyncio.gather(*(node.database.table("hits").add(key, 1) for node in (one, two)))
            assert await two.database.table("hits").get(key) == 6
            assert len(await state(one, two)) == 1

    run(main(), seconds=90)


def test_shards_are_moved_while_they_are_written_and_nobody_notices(tmp_path, nats):
    async def main():
        async with Fleet(members(tmp_path, nats, "ab")) as fleet:
            one, two = await fleet.start(0), await fleet.start(1)
            await until(lambda: spread(one, two), "every shard is served")
            written = 0
            moving = True

            async def write(node, number):
                nonlocal written
                while moving:
                    await node.database.table("hits").add(f"k{number}", 1)
                    written += 1
                    seen = await node.database.table("hits").get(f"k{number}")
                    assert seen is not None

            writers = [asyncio.create_task(write(node, number)) for number in range(8) for node in (one, two)]
            shards = one.status()["fleet"]["spaces"]["main"]["shards"]
            for owner in "bab":
                await move(one, dict.fromkeys(range(shards), owner))
                await until(
                    lambda owner=owner: (
                        set(one.status()["fleet"]["spaces"]["main"]["owners"]) == {owner}
                        and serving(one, two) == shards + 1
                    ),
                    "all shards have moved",
                )
            moving = False
            await asyncio.gather(*writers)
            total = sum([await one.database.table("hits").get(f"k{number}") for number in range(8)])
            assert total == written
            assert len(await state(one, two)) == 1

    run(main())


def test_what_is_not_held_is_asked_of_who_holds_it(tmp_path, nats, monkeypatch):
    async def main():
        places = members(tmp_path, nats, "ab", b='holds = ["other"]\n')
        for place in places:
            place.config.write_text(
                place.config.read_text() + '[tables.aside]\nmerge = "lww"\nspace = "other"\n'
            )
        async with Fleet(places) as fleet:
            one, two = await fleet.start(0), await fleet.start(1)
            await until(lambda: serving(one, two) == 33, "every shard is served")
            assert two.database.spaces == ["other", "sys"]
            scores = two.database.table("scores")
            watch = scores.watch()
            change = asyncio.ensure_future(anext(watch))
            await scores.put("k", 1)
            await scores.put("l", 2)
            assert await scores.get("k") == 1
            assert (await asyncio.wait_for(change, 10)).key in ("k", "l")
            assert [(row.key, row.value) async for row in scores.scan()] == [("k", 1), ("l", 2)]
            assert [row.key async for row in scores.scan(reverse=True, limit=1)] == ["l"]
            assert await scores.count() == 2
            with pytest.raises(UsageError, match="not held by this member"):
                scores.watch(after=7)
            await one.database.table("aside").put("k", 3)
            assert await two.database.table("aside").get("k") == 3
            await until(
                lambda: (
                    one.database.engine.vector_digest("other") == two.database.engine.vector_digest("other")
                )
            )
            with pytest.raises(UnknownTable):
                two.database.table("nothing")
            # Over the API, too.
            async with mycelium.connect(two.url, places[1].keypair) as remote:
                assert await remote.database.table("scores").count() == 2
                assert await remote.database.table("scores").get("k") == 1
            await fleet.lose(0)
            monkeypatch.setattr(routing, "FLEET_ROUTE_S", 0.2)
            with pytest.raises((NoOwner, Unreachable)):
                await scores.get("k")

    run(main())


def test_who_lacks_what_a_stream_keeps_no_more_serves_nothing_until_the_mesh_has_given_it(tmp_path, nats):
    async def main():
        places = members(tmp_path, nats, "ab", third=True)
        for place in places[:2]:
            place.config.write_text(
                place.config.read_text().replace("[nats]\n", "[nats]\nkeep_messages = 5\n")
            )
        async with Fleet(places) as fleet:
            one = await fleet.start(0)
            await until(lambda: serving(one) == 17, "every shard is served")
            for at in range(20):
                await one.database.table("hits").add(f"k{at}", 1)
            for again in (True, False):
                two = await fleet.start(1)
                await until(partial(reads, two, "main"), "it reads")
                await asyncio.sleep(0.5)
                assert two.status()["fleet"]["streams"]["main"]["lacking"] != ""
                assert one.status()["fleet"]["spaces"]["main"]["owners"] == ["a"] * 16
                # What it is asked for is asked of the other.
                assert await two.database.table("hits").get("k0") == 1
                if again:
                    await fleet.stop(1)
            other = await fleet.start(2)
            await until(lambda: spread(one, two), "it has its shards")
            assert two.status()["fleet"]["streams"]["main"]["lacking"] == ""
            assert len(await state(one, two, other)) == 1

    run(main())


def test_a_new_member_begins_with_a_snapshot_of_what_the_stream_keeps_no_more(tmp_path, nats):
    async def main():
        places = members(tmp_path, nats, "ab")
        for place in places:
            place.config.write_text(
                place.config.read_text().replace("[nats]\n", "[nats]\nkeep_messages = 5\n")
            )
        async with Fleet(places) as fleet, connected(nats.url) as client:
            one = await fleet.start(0)
            await until(lambda: serving(one) == 17, "every shard is served")
            for at in range(20):
                await one.database.table("hits").add(f"k{at}", 1)
            await snapshot(one, client)
            await one.database.table("hits").add("after", 1)
            two = await fleet.start(1)
            await until(
                lambda: spread(one, two), "it has its shards, though there is nobody else in the mesh"
            )
            assert two.status()["fleet"]["streams"]["main"]["lacking"] == ""
            assert len(await state(one, two)) == 1
            assert await two.database.table("hits").get("k0") == 1
            assert not list(two.settings.data_dir.glob("*.snapshot")), "the file is gone"

    run(main())


def test_without_nats_writes_are_refused_at_once_and_reads_and_the_mesh_go_on(tmp_path, server):
    run(emptied(server.url))

    async def main():
        async with Fleet(members(tmp_path, server, "ab", third=True)) as fleet:
            one, two, other = [await fleet.start(number) for number in range(3)]
            await until(lambda: spread(one, two), "every shard is served")
            await asyncio.gather(*(one.database.table("scores").put(f"k{at}", at) for at in range(20)))
            assert len(await state(one, two, other)) == 1
            server.servers[0].kill()
            await until(lambda: bool(one.status()["fleet"]["problem"]), "it is seen")
            await until(lambda: serving(one, two) == 0, "the leases are over")
            await until(
                lambda: any("nothing can be written" in said for said in one.status()["problems"]), "said"
            )
            for node in (one, two):
                before = time.monotonic()
                with pytest.raises(BrokerUnreachable, match="nothing can be written"):
                    await node.database.table("scores").put("k0", "late")
                assert time.monotonic() - before < 2
                assert [await node.database.table("scores").get(f"k{at}") for at in range(20)] == list(
                    range(20)
                )
            await other.database.table("scores").put("theirs", 1, ack=1)
            await until(
                lambda: len({n.database.engine.vector_digest("main") for n in (one, two, other)}) == 1
            )
            server.servers[0].start()
            await server.ready()
            await until(lambda: spread(one, two), "every shard is served again")
            await until(
                lambda: not any("nothing can be written" in said for said in one.status()["problems"]), "over"
            )
            await asyncio.gather(*(node.database.table("scores").put("k0", "again") for node in (one, two)))
            assert await two.database.table("scores").get("k0") == "again"
            assert len(await state(one, two, other)) == 1

    try:
        run(main(), seconds=90)
    finally:
        if server.servers[0].process is None:
            server.servers[0].start()
        server.wait()


def test_a_stream_that_was_deleted_is_made_and_filled_again(tmp_path, nats):
    async def main():
        async with Fleet(members(tmp_path, nats, "ab")) as fleet:
            one, two = await fleet.start(0), await fleet.start(1)
            await until(lambda: spread(one, two), "every shard is served")
            await asyncio.gather(*(one.database.table("hits").add(f"k{at}", 1) for at in range(20)))
            assert len(await state(one, two)) == 1
            await emptied(nats.url, only="MYC-7-00010203-main")
            key = keys_of(one, 1, "hits")[0]
            await one.database.table("hits").add(key, 1)
            await until(lambda: spread(one, two), "every shard is served again")
            # Who comes now finds all of it in the new stream: it has no mesh to ask.
            three = await fleet.start(2) if len(fleet.places) > 2 else None
            assert three is None
            total = sum([await two.database.table("hits").get(f"k{at}") for at in range(20)])
            assert total == 21
            assert len(await state(one, two)) == 1

    run(main())


def test_what_a_member_wrote_before_there_was_a_fleet_is_the_fleets_too_and_it_is_never_alone_again(
    tmp_path, nats
):
    async def main():
        places = members(tmp_path, nats, "ab")
        settings = Settings.load(places[0].config)
        async with Node.open(dataclasses.replace(settings, fleet=None)) as alone:
            for at in range(20):
                await alone.database.table("hits").add(f"k{at}", 1)
        async with Fleet(places) as fleet:
            one, two = await fleet.start(0), await fleet.start(1)
            assert one.generation == alone.generation
            await until(lambda: spread(one, two), "every shard is served")
            assert [await two.database.table("hits").get(f"k{at}") for at in range(20)] == [1] * 20
            await asyncio.gather(*(two.database.table("hits").add(f"k{at}", 1) for at in range(20)))
            assert len(await state(one, two)) == 1
            path = tmp_path / "backup"
            await one.database.checkpoint(path)
        with pytest.raises(StoreForeign, match=r"of a member of a fleet[\s\S]*start it with its \[fleet\]"):
            async with Node.open(dataclasses.replace(settings, fleet=None)):
                pass
        # Under another generation it owes nothing to anybody.
        await asyncio.to_thread(backup.restore, path, tmp_path / "restored")
        found = dataclasses.replace(settings, fleet=None, data_dir=tmp_path / "restored")
        async with Node.open(found) as restored:
            await restored.database.table("hits").add("k0", 1)
            assert await restored.database.table("hits").get("k0") == 3

    run(main())


def test_servers_that_would_lose_what_they_acknowledge_are_refused_at_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(member, "FLEET_START_S", 0.5)

    async def opened(place, why):
        with pytest.raises(BrokerUnsafe, match=why):
            async with open_member(place.config):
                pass

    with Servers.of(tmp_path / "unsynced", synced=False) as unsynced:
        (place,) = members(tmp_path / "one", unsynced, "a", unsynced=False)
        run(opened(place, "acknowledges before its disk has it"))
        # The node has let go of its port and its store.
        place.config.write_text(
            place.config.read_text().replace("accept_unsynced = false", "accept_unsynced = true")
        )

        async def accepted():
            async with open_member(place.config) as node:
                await until(lambda: serving(node) == 17, "every shard is served")

        run(accepted())
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        text = place.config.read_text().replace("accept_unsynced = true", "accept_unsynced = false")
        place.config.write_text(text.replace(unsynced.monitors[0], f"http://127.0.0.1:{port}"))
        run(opened(place, "cannot be learnt"))
