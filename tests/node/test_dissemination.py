"""Pushes and relays of a node, with links that only record; then real nodes that have sessions with neighbours only."""

from __future__ import annotations

import asyncio
import time

import kit
import pytest
from node.replkit import message, world
from nodekit import Author, Hostile, Mesh, places, run, until

from mycelium._core import codec
from mycelium.config import CLOCK_AHEAD_MS, GOSSIP_BYTES, PING_INTERVAL_MS
from mycelium.config.peer import PASSED_OVER_BURST, TREE_HELD_MAX, TREE_HOPS_MAX
from mycelium.database.memory import MemoryStore
from mycelium.errors import StoreFull, Unauthorised
from mycelium.node.dissemination import ref_of
from mycelium.peer.pushmode import Mode
from mycelium.protocol.messages import BatchRefs, Branch, MessageType, Ping, Tree

MALLORY = kit.keypair("mallory")
OTHER = kit.keypair("other")
FAR = "somebody is out of reach"


# --- with links that record -------------------------------------------------------------------------------


def pushed(link):
    """(batches, hops) of each push on a link."""
    return [codec.decode_gossip(payload) for payload in link.of(MessageType.GOSSIP)]


def said(link):
    return [Tree.decode(payload) for payload in link.of(MessageType.TREE)]


def gossip(batches, hops=0):
    return codec.encode_gossip([(one.batch.raw, one.signature) for one in batches], hops)


def along_a_tree(replicator):
    replicator.dissemination.pushmode.decide(1, 1, FAR, time.monotonic_ns() // 1_000_000)
    assert replicator.dissemination.pushmode.mode is Mode.TREE


def playing(peers, play, store=None):
    """Run `play(database, replicator, links)` on a loop; the links' own greetings are forgotten."""

    async def main():
        database, replicator, links = world(peers, store)
        for link in links:
            link.posted.clear()
        try:
            await play(database, replicator, links)
        finally:
            replicator.close()
            await database.close()

    asyncio.run(main())


def receive(replicator, link, payload, kind=MessageType.GOSSIP):
    replicator.message(link, message(link, kind, payload))


def test_a_direct_push_goes_to_everybody_and_asks_nobody_to_pass_it_on():
    async def play(database, replicator, links):
        await database.table("scores").put("k", 1)
        assert all([hops for _, hops in pushed(link)] == [0] for link in links)
        assert not any(said(link) for link in links)

    playing(12, play)


def test_along_a_tree_it_goes_to_few_and_is_announced_to_others():
    async def play(database, replicator, links):
        along_a_tree(replicator)
        await database.table("scores").put("k", 1)
        eager = [link for link in links if pushed(link)]
        assert len(eager) == 4
        assert all([hops for _, hops in pushed(link)] == [TREE_HOPS_MAX] for link in eager)
        await until(lambda: any(said(link) for link in links))
        lazy = [link for link in links if said(link)]
        assert not set(lazy) & set(eager)
        (tree,) = said(lazy[0])
        assert [(one.space, one.account, one.spans) for one in tree.have] == [
            ("main", database.engine.origin.account, [(1, 1)])
        ]

    playing(12, play)


def test_a_relay_passes_on_before_its_own_disk_has_it():
    async def play(database, replicator, links):
        one = kit.write(kit.engine("peer 0"), kit.put("k"))
        receive(replicator, links[0], gossip([one], hops=9))
        # Nothing was awaited: no sync of the disk can have happened.
        assert database.committer.durable < database.engine.feed_last
        assert pushed(links[0]) == []
        assert [pushed(link) for link in links[1:]] == [[([(one.batch.raw, one.signature)], 8)]] * 3

    playing(4, play)


def test_what_came_straight_from_its_origin_is_not_passed_on():
    async def play(database, replicator, links):
        one = kit.write(kit.engine("peer 0"), kit.put("k"))
        receive(replicator, links[0], gossip([one]))
        receive(replicator, links[1], gossip([one], hops=9))
        assert not any(pushed(link) for link in links)
        assert database.engine.counts == {"applied": 1, "changes": 1, "duplicate": 1}

    playing(4, play)


def test_a_second_copy_is_not_passed_on_and_prunes_who_sent_it():
    async def play(database, replicator, links):
        one = kit.write(kit.engine("peer 0"), kit.put("k"))
        receive(replicator, links[0], gossip([one], hops=9))
        receive(replicator, links[1], gossip([one], hops=9))
        assert [len(pushed(link)) for link in links] == [0, 1, 1]
        await until(lambda: said(links[1]))
        assert said(links[1]) == [Tree([], [], [Branch("main", one.batch.account)])]
        assert not said(links[0])

    playing(3, play)


def test_many_batches_with_one_way_before_them_go_on_in_one_message():
    async def play(database, replicator, links):
        engine = kit.engine("peer 0")
        many = [kit.write(engine, kit.put(f"k{n}")) for n in range(20)]
        receive(replicator, links[0], gossip(many, hops=9))
        for link in links[1:]:
            ((batches, hops),) = pushed(link)
            assert [raw for raw, _ in batches] == [one.batch.raw for one in many]
            assert hops == 8

    playing(3, play)


def test_a_message_is_not_filled_beyond_its_size():
    async def play(database, replicator, links):
        engine = kit.engine("peer 0")
        many = [kit.write(engine, kit.put(f"k{n}", "x" * (GOSSIP_BYTES // 3))) for n in range(5)]
        batches = [(one.batch.raw, one.signature) for one in many]
        assert replicator.dissemination._publish(batches, links[1:], 3) == []
        assert [len(found) for found, _ in pushed(links[1])] == [2, 2, 1]

    playing(2, play)


def test_good_batches_go_on_though_a_later_one_of_the_message_is_forged():
    async def play(database, replicator, links):
        engine = kit.engine("peer 0")
        good, bad = kit.write(engine, kit.put("a")), kit.write(engine, kit.put("b"))
        payload = codec.encode_gossip([(good.batch.raw, good.signature), (bad.batch.raw, bytes(64))], 5)
        with pytest.raises(Exception, match="does not verify"):
            receive(replicator, links[1], payload)
        assert [len(pushed(link)) for link in links] == [1, 0, 1]

    playing(3, play)


def test_what_is_not_due_yet_goes_on_when_it_is():
    async def play(database, replicator, links):
        ahead_ms = kit.NOW_MS + 60_000 + CLOCK_AHEAD_MS + 500
        one = kit.write(kit.engine("peer 0"), kit.put("k"), now_ms=ahead_ms)
        receive(replicator, links[0], gossip([one], hops=9))
        assert database.engine.held == 1
        assert not any(pushed(link) for link in links)
        assert database.engine.release(ahead_ms) == 1
        assert [len(pushed(link)) for link in links] == [0, 1, 1]

    playing(3, play)


def test_what_waits_to_be_due_is_bounded():
    async def play(database, replicator, links):
        ahead_ms = kit.NOW_MS + 60_000 + CLOCK_AHEAD_MS + 500
        held = replicator.dissemination._held
        held.update(dict.fromkeys(range(TREE_HELD_MAX)))
        one = kit.write(kit.engine("peer 0"), kit.put("k"), now_ms=ahead_ms)
        receive(replicator, links[0], gossip([one], hops=9))
        assert len(held) == TREE_HELD_MAX
        assert ref_of(one.batch) in held
        assert database.engine.release(ahead_ms) == 1
        assert len(pushed(links[1])) == 1

    playing(2, play)


def test_a_graft_is_answered_from_the_log():
    async def play(database, replicator, links):
        one = kit.write(kit.engine("peer 0"), kit.put("k"))
        receive(replicator, links[0], gossip([one], hops=9))
        refs = BatchRefs("main", one.batch.account, one.batch.generation, [(1, 1)])
        for link in links[1:]:
            link.posted.clear()
            receive(replicator, link, Tree([], [refs], []).encode(), MessageType.TREE)
            assert pushed(link) == [([(one.batch.raw, one.signature)], 8)]

    playing(3, play)


def test_a_graft_of_what_does_not_exist_is_no_offence_and_gives_nothing():
    async def play(database, replicator, links):
        for refs in (
            BatchRefs("main", database.engine.origin.account, database.generation, [(1, 1), (7, 2**64 - 1)]),
            BatchRefs("nowhere", bytes(32), 0, [(1, 1)]),
        ):
            receive(replicator, links[0], Tree([refs], [refs], []).encode(), MessageType.TREE)
        assert links[0].posted == []

    playing(2, play)


def test_a_push_that_found_a_queue_full_is_announced_instead():
    async def play(database, replicator, links):
        slow = links[1]
        post = slow.post
        slow.post = lambda kind, payload, klass: kind != MessageType.GOSSIP and post(kind, payload, klass)
        one = kit.write(kit.engine("peer 0"), kit.put("k"))
        receive(replicator, links[0], gossip([one], hops=9))
        await until(lambda: said(slow))
        (tree,) = said(slow)
        assert tree.have[0].spans == [(1, 1)]

    playing(3, play)


def test_what_was_announced_and_does_not_come_is_asked_for():
    async def play(database, replicator, links):
        one = kit.write(kit.engine("peer 0"), kit.put("k"))
        refs = BatchRefs("main", one.batch.account, one.batch.generation, [(1, 1)])
        receive(replicator, links[1], Tree([refs], [], []).encode(), MessageType.TREE)
        await until(lambda: said(links[1]))
        assert said(links[1]) == [Tree([], [refs], [])]

    playing(2, play)


def test_what_was_announced_and_came_by_sync_is_not_asked_for():
    async def play(database, replicator, links):
        one = kit.write(kit.engine("peer 0"), kit.put("k"))
        refs = BatchRefs("main", one.batch.account, one.batch.generation, [(1, 1)])
        receive(replicator, links[1], Tree([refs], [], []).encode(), MessageType.TREE)
        receive(replicator, links[0], gossip([one]))
        tree = replicator.dissemination.plumtree
        await until(lambda: tree.due_ms is None)
        assert said(links[1]) == []

    playing(2, play)


def test_beyond_a_gap_it_is_known_what_is_held():
    async def play(database, replicator, links):
        engine = kit.engine("peer 0")
        one, two, three = (kit.write(engine, kit.put(f"k{n}")) for n in range(3))
        receive(replicator, links[0], gossip([three]))
        holds = replicator.dissemination._holds
        assert [holds(ref_of(each.batch)) for each in (one, two, three)] == [False, False, True]

    playing(1, play)


def test_a_relay_is_not_to_blame_for_what_an_origin_signed_until_it_is_too_much():
    async def play(database, replicator, links):
        stranger = kit.engine("stranger")
        bad = [kit.write(stranger, kit.put(f"k{n}")) for n in range(PASSED_OVER_BURST + 50)]
        receive(replicator, links[0], gossip(bad[:100], hops=9))
        assert replicator.dissemination.passed_over == {"unauthorised": 100}
        with pytest.raises(Unauthorised):
            receive(replicator, links[0], gossip(bad[100:], hops=9))
        receive(replicator, links[1], gossip(bad[:10], hops=9))
        assert not any(pushed(link) for link in links)

    playing(2, play)


class FullStore(MemoryStore):
    full = False

    def commit(self, batch):
        if self.full:
            raise StoreFull("no space left")
        super().commit(batch)


def test_what_cannot_be_stored_is_not_passed_on_and_is_nobodys_fault():
    store = FullStore()

    async def play(database, replicator, links):
        engine = kit.engine("peer 0")
        one, two = kit.write(engine, kit.put("a")), kit.write(engine, kit.put("b"))
        store.full = True
        receive(replicator, links[0], gossip([one], hops=9))
        assert not any(pushed(link) for link in links)
        store.full = False
        receive(replicator, links[0], gossip([two], hops=9))
        assert [len(pushed(link)) for link in links] == [0, 1]

    playing(2, play, store)


# --- real nodes -------------------------------------------------------------------------------------------


def without_sync(mesh):
    """What arrives from now on came by a push."""
    for node in mesh.nodes:
        node.replicator.sync.digest_seen = lambda *seen: None


async def along_trees(mesh):
    """Wait until each node that is not connected with all knows that it must push along a tree."""
    for node in mesh.nodes:
        node.replicator.dissemination.absence.patience_ms = 0
    lacking = [node for node in mesh.nodes if len(node.replicator.members()) < len(mesh.nodes) - 1]
    await until(lambda: all(far(node) for node in lacking), "who is out of reach")
    return lacking


def far(node):
    return node.replicator.dissemination.absence.why("main", node.hub.clock_ns() // 1_000_000)


LINE = {n: [n + 1] for n in range(4)}
STAR = {n: [0] for n in range(1, 5)}


@pytest.mark.parametrize("shape", [LINE, STAR], ids=["line", "star"])
def test_a_change_crosses_a_network_of_neighbours_without_sync(tmp_path, shape):
    async def main():
        async with Mesh(places(tmp_path, 5, dials=shape)) as mesh:
            await mesh.start()
            await mesh.connected(1)
            lacking = await along_trees(mesh)
            assert len(lacking) == (5 if shape is LINE else 4)
            without_sync(mesh)
            loop = asyncio.get_running_loop()
            took_s = []
            for number, node in enumerate(mesh.nodes):
                key = f"k{number}"
                began_s = loop.time()
                await node.database.table("scores").put(key, number)
                for other in mesh.nodes:
                    row = other.database.table("scores")
                    await until_async(row, key, number)
                took_s.append(loop.time() - began_s)
            # The quickest of five, as others use this machine too.
            assert min(took_s) < PING_INTERVAL_MS / 1000 / 2
            modes = {node.status()["dissemination"]["mode"] for node in lacking}
            assert modes == {"tree"}
            assert sum(node.database.engine.counts["applied"] for node in mesh.nodes) == 20

    run(main())


async def until_async(table, key, value):
    async with asyncio.timeout(30):
        while await table.get(key) != value:
            await asyncio.sleep(0.002)


def test_in_a_full_mesh_pushes_stay_direct_also_while_a_member_is_silent_for_everybody(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 3, extra=[MALLORY])) as mesh:
            await mesh.start()
            await mesh.connected()
            absences = [node.replicator.dissemination.absence for node in mesh.nodes]
            for absence in absences:
                absence.patience_ms = 0
            await until(lambda: all(absence.answers >= 2 for absence in absences), "answers")
            assert not any(far(node) for node in mesh.nodes)
            await mesh[0].database.table("scores").put("k", 1, ack=2)
            assert {node.status()["dissemination"]["mode"] for node in mesh.nodes} == {"direct"}
            rendered = "\n".join(str(family.samples) for family in mesh[0].metrics.collect())
            assert "mycelium_push_tree" in rendered

    run(main())


def test_a_member_that_others_hear_is_waited_for_before_it_makes_a_tree(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 3, dials={0: [1], 1: [2]})) as mesh:
            await mesh.start()
            await mesh.connected(1)
            absence = mesh[0].replicator.dissemination.absence
            await until(lambda: mesh[2].account in absence.heard, "it is heard by others")
            assert far(mesh[0]) == ""
            absence.patience_ms = 0
            assert "others hear" in far(mesh[0])

    run(main())


# --- members that misbehave -------------------------------------------------------------------------------


async def answered(hostile):
    """The node has read what was sent so far."""
    await hostile.send(hostile.message(MessageType.PING, Ping(77, 1, []).encode()))
    await hostile.receive(MessageType.PONG)


def refs_of(author, *spans):
    return BatchRefs("main", author.keypair.account, author.generation, list(spans), 2**32 - 1)


def test_hops_of_a_hostile_member_are_clamped(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 1, extra=[MALLORY, OTHER])) as mesh:
            node = await mesh.start()
            async with Hostile.open(node, MALLORY) as mallory, Hostile.open(node, OTHER) as other:
                await until(lambda: len(node.replicator.members()) == 2)
                batch = Author(node, MALLORY).batch()
                payload = codec.encode_gossip([batch], 65_535)
                await mallory.send(mallory.message(MessageType.GOSSIP, payload))
                found = await other.receive(MessageType.GOSSIP)
                assert codec.decode_gossip(found.payload) == ([batch], TREE_HOPS_MAX - 1)

    run(main())


def test_floods_of_announcements_and_grafts_end_no_session_and_cost_little(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 1, extra=[MALLORY])) as mesh:
            node = await mesh.start()
            async with Hostile.open(node, MALLORY) as hostile:
                author = Author(node, MALLORY)
                await hostile.gossip(author.batch())
                for n in range(12):
                    spans = [(n * 3_000 + at, n * 3_000 + at) for at in range(1, 3_000)]
                    tree = Tree([refs_of(author, *spans)], [], [])
                    await hostile.send(hostile.message(MessageType.TREE, tree.encode()))
                    tree = Tree([], [refs_of(author, *spans)], [Branch("x", bytes(32))] * 100)
                    await hostile.send(hostile.message(MessageType.TREE, tree.encode()))
                await answered(hostile)
                remembered = node.replicator.dissemination.plumtree.remembered
                assert remembered["missing"] <= 512
                assert remembered["trees"] == 0
                assert node.replicator.dissemination.plumtree.counts["have-flood"] > 0
                assert node.status()["rejects"] == {}

    run(main())
