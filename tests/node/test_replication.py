"""Meshes of whole nodes in this process: what one writes all come to hold, whoever is away or not connected."""

from __future__ import annotations

import asyncio
import random
import threading
from functools import partial

import pytest
from nodekit import Mesh, Node, agreed, places, run, until

import mycelium
from mycelium.database.database import Database
from mycelium.errors import KeyRefused, StoreFull
from mycelium.node import node as node_module
from mycelium.peer.greeting import Local
from mycelium.protocol.messages import MessageType

CHAIN = {0: [1], 1: [2], 2: [3]}
"""Each node dials the next: the ends hear of each other by the nodes between."""


def test_a_write_is_pushed_to_all(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 4)) as mesh:
            await mesh.start()
            await mesh.connected()
            await mesh[0].database.table("scores").put("k", {"a": 1}, ack=3)
            for node in mesh.nodes:
                assert await node.database.table("scores").get("k") == {"a": 1}
            await agreed(mesh.nodes)
            heads = mesh[0].database.acks.heads("main")
            assert heads == {place.account: 1 for place in mesh.places[1:]}

    run(main())


def test_ack_of_more_peers_than_there_are_waits_for_them(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 3)) as mesh:
            await mesh.start(0, 1)
            await mesh.connected()
            writing = asyncio.ensure_future(mesh[0].database.table("scores").put("k", 1, ack=2))
            await until(lambda: mesh[0].database.acks.heads("main"), "the first ack")
            assert not writing.done()
            await mesh.start(2)
            await writing
            assert await mesh[2].database.table("scores").get("k") == 1

    run(main())


def test_every_merge_type_across_nodes(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 3)) as mesh:
            await mesh.start()
            await mesh.connected()

            async def write(number: int, node: Node) -> None:
                table = node.database.table
                address = mesh.places[number].address
                for step in range(20):
                    await table("scores").put("shared", [number, step], ack="applied")
                    await table("hits").add("shared", number + 1, ack="applied")
                    await table("tags").insert("shared", f"{number}.{step % 5}", ack="applied")
                    await table("events").put("shared", [number, step], ack="applied")
                    await table("profile").put(f"{address}/x", step, ack="applied")
                await table("tags").remove("shared", f"{number}.0")
                with pytest.raises(KeyRefused):
                    await table("profile").put(f"{mesh.places[(number + 1) % 3].address}/x", 0)

            await asyncio.gather(*(write(number, node) for number, node in enumerate(mesh.nodes)))
            await agreed(mesh.nodes)
            for node in mesh.nodes:
                table = node.database.table
                assert (await table("scores").get("shared"))[1] == 19
                assert await table("hits").get("shared") == 20 * (1 + 2 + 3)
                wanted = sorted(f"{number}.{step}" for number in range(3) for step in range(1, 5))
                assert await table("tags").get("shared") == wanted
                facts = await table("events").get("shared")
                assert sorted(facts) == [[number, step] for number in range(3) for step in range(20)]
                for number in range(3):
                    assert [step for of, step in facts if of == number] == list(range(20))
                    assert await table("profile").get(f"{mesh.places[number].address}/x") == 19

    run(main())


@pytest.mark.parametrize("seed", range(2))
def test_concurrent_writers_of_the_same_keys_converge(tmp_path, seed):
    async def main():
        async with Mesh(places(tmp_path, 4)) as mesh:
            await mesh.start()
            await mesh.connected()

            async def write(number: int, node: Node) -> None:
                rng = random.Random(seed * 10 + number)
                for _ in range(15):
                    async with node.database.batch(ack="applied") as batch:
                        for _ in range(rng.randrange(1, 40)):
                            key = f"k{rng.randrange(30)}"
                            choice = rng.random()
                            if choice < 0.5:
                                batch.put("scores", key, rng.randrange(3))
                            elif choice < 0.7:
                                batch.delete("scores", key)
                            elif choice < 0.8:
                                batch.insert("tags", key, rng.randrange(4))
                            elif choice < 0.9:
                                batch.remove("tags", key, rng.randrange(4))
                            else:
                                batch.add("hits", key, rng.randrange(-5, 5))
                    await asyncio.sleep(0)

            await asyncio.gather(*(write(number, node) for number, node in enumerate(mesh.nodes)))
            await agreed(mesh.nodes)
            assert all(not node.metrics.rejects for node in mesh.nodes)

    run(main())


def test_a_node_that_was_away_catches_up_by_vectors(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 3)) as mesh:
            await mesh.start()
            await mesh.connected()
            scores = mesh[0].database.table("scores")
            await scores.put("before", 1, ack=2)
            generation = mesh[2].generation
            await mesh.stop(2)
            for number in range(300):
                async with mesh[number % 2].database.batch(ack="applied") as batch:
                    for row in range(10):
                        batch.put("scores", f"{number}.{row}", "x" * 500)
            # Durable at both, and so no longer on its way to anyone.
            for node in mesh.nodes:
                await node.database.table("scores").put(f"last of {node.url}", 1, ack=1)
            await mesh.start(2)
            assert mesh[2].generation == generation
            await agreed(mesh.nodes)
            assert await mesh[2].database.table("scores").count() == 3003
            assert mesh[2].metrics.messages_in[MessageType.DB_SYNC_RESP] > 0

    run(main())


def test_a_partial_mesh_converges_through_relays(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 4, dials=CHAIN)) as mesh:
            await mesh.start()
            await mesh.connected(1)
            await asyncio.gather(
                *(
                    node.database.table("scores").put(f"{number}.{row}", row)
                    for number, node in enumerate(mesh.nodes)
                    for row in range(50)
                )
            )
            await agreed(mesh.nodes)
            ends = [[link.account for link in mesh[number].replicator.members()] for number in (0, 3)]
            assert ends == [[mesh.places[1].account], [mesh.places[2].account]]
            assert await mesh[3].database.table("scores").count() == 200

    run(main())


def test_ack_counts_a_peer_that_got_the_batch_by_a_relay_once_it_is_met(tmp_path):
    """The acknowledgement that could not be sent when the batch became durable is made up for on connect."""

    async def main():
        async with Mesh(places(tmp_path, 3, dials={0: [1], 2: [1]})) as mesh:
            await mesh.start()
            await mesh.connected(1)
            writing = asyncio.ensure_future(mesh[0].database.table("scores").put("k", 1, ack=2))
            await until(lambda: mesh[2].database.committer.durable == 1, "durable")
            assert not writing.done()
            mesh[2].dialer.want(mesh.places[0].account, [mesh.places[0].url])
            await asyncio.wait_for(writing, 15)

    run(main())


class Gate:
    """Stands before a node's `Store.sync`: while it is shut, each `passes.release()` lets one through."""

    def __init__(self, database: Database):
        self.passes = threading.Semaphore(0)
        self.waiting = 0
        self._sync = database.committer._sync
        database.committer._sync = self.sync

    def sync(self) -> None:
        self.waiting += 1
        passed = self.passes.acquire(timeout=30)
        self.waiting -= 1
        if not passed:
            raise StoreFull("the test never opened the gate")
        self._sync()

    def open(self) -> None:
        self.passes.release(1000)


def test_an_acknowledgement_lost_with_its_session_is_given_again(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 2)) as mesh:
            await mesh.start()
            await mesh.connected()
            writer, peer = mesh.nodes
            gate = Gate(peer.database)
            writing = asyncio.ensure_future(writer.database.table("scores").put("k", 1, ack=1))
            await until(lambda: gate.waiting == 1, "the sync")
            end = peer.hub.link_of(writer.account)
            writer.hub.link_of(peer.account).close(text="the test cuts it")
            # Not that there is none: the next one may be there before anybody looks.
            await until(end.closed.done, "the end of the session")
            gate.open()
            await until(lambda: peer.database.committer.durable == 1, "durable")
            await asyncio.wait_for(writing, 15)

    run(main())


def test_a_peer_acknowledges_only_what_is_durable_there(tmp_path):
    """A batch that came while the sync ran is not covered by it."""

    async def main():
        async with Mesh(places(tmp_path, 2)) as mesh:
            await mesh.start()
            await mesh.connected()
            writer, peer = mesh.nodes
            gate = Gate(peer.database)
            scores = writer.database.table("scores")
            first = asyncio.ensure_future(scores.put("1", 1, ack=1))
            await until(lambda: gate.waiting == 1, "the first sync")
            second = asyncio.ensure_future(scores.put("2", 2, ack=1))
            await until(lambda: peer.database.engine.counts["applied"] == 2, "the second batch")
            gate.passes.release()
            await first
            await until(lambda: gate.waiting == 1, "the second sync")
            # An acknowledgement that came too early would be here with the answer to a ping.
            pings = writer.metrics.messages_in[MessageType.PONG]
            await until(lambda: writer.metrics.messages_in[MessageType.PONG] > pings, "a pong")
            heads, early = writer.database.acks.heads("main"), second.done()
            gate.open()
            await second
            assert heads == {peer.account: 1}
            assert not early

    run(main())


def test_no_peer_is_given_a_batch_that_a_crash_could_still_undo(tmp_path):
    """Else its sequence numbers could be signed a second time, for something else: an equivocation."""

    async def main():
        async with Mesh(places(tmp_path, 2)) as mesh:
            await mesh.start(0)
            gate = Gate(mesh[0].database)
            scores = mesh[0].database.table("scores")
            await scores.put("early", 1, ack="applied")
            await mesh.start(1)
            await mesh.connected()
            await scores.put("late", 1, ack="applied")
            # Three pings, and more than the second for which sync leaves a batch to the push.
            pings = mesh[1].metrics.messages_in[MessageType.PING] + 3
            await until(lambda: mesh[1].metrics.messages_in[MessageType.PING] >= pings, "pings")
            given = [row.key async for row in mesh[1].database.table("scores").scan()]
            gate.open()
            assert given == []
            await agreed(mesh.nodes)
            assert await mesh[1].database.table("scores").count() == 2

    run(main())


def test_a_remote_watch_sees_each_change_once_across_a_reconnect(tmp_path):
    """It watches one node while another is written to; the node it watches restarts in the middle."""

    async def main():
        async with Mesh(places(tmp_path, 2)) as mesh:
            await mesh.start()
            await mesh.connected()
            place = mesh.places[1]
            seen, cursor = [], None
            wanted = 120

            async def write() -> None:
                for number in range(wanted):
                    await mesh[0].database.table("scores").put(f"w{number:03d}", number)

            async with mycelium.connect(place.url, place.keypair) as remote:
                watch = remote.database.table("scores").watch(prefix="w")
                cursor = await watch.start()
                writing = asyncio.ensure_future(write())
                async for change in watch:
                    seen.append(change.key)
                    cursor = change.cursor
                    if len(seen) == 40:
                        break
                await watch.aclose()
            await mesh.stop(1)
            await mesh.start(1)
            async with mycelium.connect(place.url, place.keypair) as remote:
                watch = remote.database.table("scores").watch(prefix="w", after=cursor)
                async for change in watch:
                    assert change.account == mesh.places[0].account
                    assert change.value == int(change.key[1:])
                    seen.append(change.key)
                    if len(set(seen)) == wanted:
                        break
                await watch.aclose()
            await writing
            assert sorted(seen) == [f"w{number:03d}" for number in range(wanted)]

    run(main())


def test_a_broken_watch_says_where_to_go_on(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 1)) as mesh:
            await mesh.start()
            place = mesh.places[0]
            async with mycelium.connect(place.url, place.keypair) as remote:
                watch = remote.database.table("scores").watch()
                await watch.start()
                await remote.database.table("scores").put("a", 1)
                first = await anext(watch)
                await mesh.stop(0)
                with pytest.raises(mycelium.errors.WatchBroken) as broken:
                    await anext(watch)
                assert broken.value.cursor == first.cursor
            await mesh.start()
            await mesh[0].database.table("scores").put("b", 2)
            async with mycelium.connect(place.url, place.keypair) as remote:
                watch = remote.database.table("scores").watch(after=first.cursor)
                assert (await anext(watch)).key == "b"
                await watch.aclose()

    run(main())


@pytest.mark.parametrize(
    ("options", "auth_mode"),
    [({"encodings": (1,)}, "session"), ({}, "signed"), ({"encodings": (1,)}, "signed")],
)
def test_json_sessions_and_signed_messages_replicate_alike(tmp_path, monkeypatch, options, auth_mode):
    monkeypatch.setattr(node_module, "Local", partial(Local, **options))

    async def main():
        async with Mesh(places(tmp_path, 3, auth_mode=auth_mode)) as mesh:
            await mesh.start(0, 1)
            await mesh.connected()
            encodings = {link.session.encoding for node in mesh.nodes for link in node.replicator.members()}
            assert encodings == set(options.get("encodings", (2,)))
            for number in range(20):
                await mesh[number % 2].database.table("scores").put(f"{number}", {"n": number}, ack=1)
            await mesh.start(2)
            await mesh.connected()
            await mesh[2].database.table("scores").put("last", b"\x00\xff" * 500, ack=2)
            await agreed(mesh.nodes)
            assert await mesh[2].database.table("scores").count() == 21
            assert all(not node.metrics.rejects for node in mesh.nodes)
            place = mesh.places[1]
            async with mycelium.connect(place.url, place.keypair) as remote:
                assert await remote.database.table("scores").get("last") == b"\x00\xff" * 500

    run(main())
