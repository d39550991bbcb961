"""Nodes find each other by signed records that others pass on; whoever lies about them is thrown out."""

from __future__ import annotations

import asyncio
import time

import kit
import pytest
from nodekit import Hostile, Mesh, agreed, places, run, settings, until

from mycelium import config
from mycelium.database.store import Column
from mycelium.errors import StoreFull
from mycelium.identity import signing
from mycelium.node import calls
from mycelium.node import discovery as discovery_module
from mycelium.node.discovery import Compare, Compared, Fetch, Offer
from mycelium.peer.endpoints import EndpointBook
from mycelium.protocol.messages import Call, EndpointRecord, MessageType

MALLORY = kit.keypair("mallory")


def lonely(tmp_path, count, dials, **options):
    """Nodes that dial as `dials` says, and tell the others where they listen."""
    made = places(tmp_path, count, dials=dials, **options)
    for place in made:
        place.config.write_text(settings(place))
    return made


def knows(node, other):
    return node.discovery.book.addresses(other.account, int(time.time() * 1000))


def test_nodes_that_know_one_come_to_know_all(tmp_path):
    async def main():
        async with Mesh(lonely(tmp_path, 4, {1: [0], 2: [0], 3: [0]})) as mesh:
            await mesh.start()
            await mesh.connected()
            await until(
                lambda: len({node.discovery.book.digest() for node in mesh.nodes}) == 1, "equal books"
            )
            for node in mesh.nodes:
                for other in mesh.nodes:
                    assert knows(node, other) == (other.url,)
            await mesh[3].database.table("scores").put("k", 1, ack=3)
            status = mesh[2].status()
            assert status["endpoints"] == {"announced": [mesh[2].url], "known": 4}
            assert status["rotation"] == {}

    run(main())


def test_a_bootstrap_list_is_enough(tmp_path):
    async def main():
        made = places(tmp_path, 4, dials={})
        dead = "ws://127.0.0.1:1"
        for place in made:
            # Its own address is in it too, as in a list that all share.
            urls = [dead, made[0].url, place.url]
            place.config.write_text(settings(place, node=f"bootstrap = {urls}\n".replace("'", '"')))
        async with Mesh(made) as mesh:
            await mesh.start()
            await mesh.connected()
            await agreed(mesh.nodes)
            assert all(not node.bootstrap.alone() for node in mesh.nodes)
            roles = {link.role for node in mesh.nodes for link in node.hub.links()}
            assert roles == {"validator"}, "a node that reached itself by its list leaves no session"

    run(main())


def test_a_bootstrap_list_that_nobody_answers_is_shown(tmp_path):
    async def main():
        (place,) = places(tmp_path, 1, dials={})
        place.config.write_text(settings(place, node='bootstrap = ["ws://127.0.0.1:1"]\n'))
        async with Mesh([place]) as mesh:
            node = await mesh.start()
            await until(lambda: "ws://127.0.0.1:1" in node.status()["unreachable"], "the address is named")

    run(main())


def test_a_node_that_only_dials_out_takes_part(tmp_path):
    async def main():
        made = lonely(tmp_path, 3, {1: [0], 2: [0]})
        made[2].config.write_text(settings(made[2], advertise=[]))
        async with Mesh(made) as mesh:
            await mesh.start()
            await mesh.connected()
            hidden = mesh[2]
            await until(lambda: all(knows(node, hidden) == () for node in mesh.nodes), "its record")
            for node in (mesh[0], mesh[1]):
                assert hidden.account not in node.dialer.wanted()
                assert node.hub.link_of(hidden.account).inbound
            assert set(hidden.dialer.wanted()) == {mesh[0].account, mesh[1].account}
            await hidden.database.table("scores").put("from", "hidden", ack=2)
            await mesh[0].database.table("scores").put("to", "hidden", ack=2)
            await agreed(mesh.nodes)

    run(main())


def test_records_survive_a_restart_and_are_enough_to_find_the_others(tmp_path):
    async def main():
        made = lonely(tmp_path, 3, {1: [0], 2: [0]})
        async with Mesh(made) as mesh:
            await mesh.start()
            await mesh.connected()
            await until(lambda: all(len(node.discovery.book) == 3 for node in mesh.nodes), "all records")
            seq = mesh[2].discovery.book.get(mesh[2].account).record.record_seq
            await mesh.stop(2)
            await mesh.stop(0)
            await mesh.start(2)
            assert mesh[2].discovery.book.get(mesh[2].account).record.record_seq > seq
            # Its file names node 0 alone, which is away.
            await until(lambda: mesh[2].hub.link_of(mesh[1].account) is not None, "the third node")

    run(main())


def test_who_was_away_when_a_record_changed_hears_it_from_another(tmp_path):
    async def main():
        made = lonely(tmp_path, 3, {1: [0], 2: [0, 1]})
        made[2].config.write_text(settings(made[2], advertise=[]))
        async with Mesh(made) as mesh:
            await mesh.start()
            await mesh.connected()
            await mesh.stop(2)
            mesh[0].discovery.say(["ws://127.0.0.1:1", mesh[0].url])
            await until(lambda: len(knows(mesh[1], mesh[0])) == 2, "the neighbour's copy")
            await mesh.stop(0)
            await mesh.start(2)
            await until(lambda: len(knows(mesh[2], mesh[1]) or ()) == 1, "a record")
            await until(lambda: "ws://127.0.0.1:1" in mesh[2].dialer.wanted()[made[0].account], "the new one")

    run(main())


def test_a_store_that_refuses_costs_nothing_but_the_memory_of_it(tmp_path, monkeypatch):
    async def main():
        async with Mesh(lonely(tmp_path, 2, {1: [0]})) as mesh:
            await mesh.start()
            await mesh.connected()

            def full(batch):
                raise StoreFull("no space")

            monkeypatch.setattr(mesh[1].discovery._store, "commit", full)
            mesh[0].discovery.say(["ws://127.0.0.1:1"])
            await until(lambda: knows(mesh[1], mesh[0]) == ("ws://127.0.0.1:1",), "the record")
            mesh[1].discovery.say(["ws://127.0.0.1:2"])
            await until(lambda: knows(mesh[0], mesh[1]) == ("ws://127.0.0.1:2",), "the other's")
            monkeypatch.undo()
            assert len(mesh[1].replicator.members()) == 1

    run(main())


def test_a_damaged_stored_record_is_left_out(tmp_path):
    async def main():
        made = lonely(tmp_path, 2, {1: [0]})
        async with Mesh(made) as mesh:
            await mesh.start()
            await mesh.connected()
            await until(lambda: len(mesh[1].discovery.book) == 2, "both records")
            store = mesh[1].database.store
            key = b"endpoints\0" + made[0].account
            stored = store.get(Column.META, key)
            write = store.batch()
            write.put(key, stored[:-1] + b"\xff", store.column(Column.META))
            store.commit(write)
            await mesh.stop(0)
            await mesh.stop(1)
            node = await mesh.start(1)
            assert node.discovery.book.get(made[0].account) is None
            assert node.discovery.book.get(made[1].account) is not None

    run(main())


# --- members that misbehave -------------------------------------------------------------------------------


def signed(pair=MALLORY, *, signer=None, seq=None, addresses=("ws://127.0.0.1:1",), ahead_ms=0, generation=1):
    now_ms = int(time.time() * 1000) + ahead_ms
    raw = EndpointRecord(
        pair.account,
        generation,
        now_ms if seq is None else seq,
        now_ms * 10**6,
        (now_ms + 3_600_000) * 10**6,
        list(addresses),
        0,
        bytes(32),
    ).encode()
    return raw, (signer or pair).sign(signing.ENDPOINT, raw)


async def ask(hostile, method, body):
    """One call of a member's node, by hand; (status, error or "", body)."""
    raw = body if isinstance(body, bytes) else calls.encode(body)
    await hostile.send(hostile.message(MessageType.REQUEST, Call(1, method, 0, 0, True, raw).encode()))
    answer = Call.decode((await hostile.receive(MessageType.RESPONSE)).payload)
    return answer.status, answer.method, answer.body


async def attacked(tmp_path, body):
    """A pair of nodes, and Mallory's session with the first; the pair's own session must outlive her."""
    async with Mesh(lonely(tmp_path, 2, {1: [0]}, extra=[MALLORY])) as mesh:
        await mesh.start()
        await mesh.connected()
        await until(lambda: len(mesh[0].discovery.book) == 2, "both records")
        async with Hostile.open(mesh[0], MALLORY) as hostile:
            await body(mesh, hostile)
        await until(lambda: len(mesh[0].replicator.members()) == 1, "the pair")
        assert knows(mesh[0], mesh[1]) == (mesh[1].url,)
        await mesh[0].database.table("scores").put("still", 1, ack=1)


LIES = {
    "not signed": (lambda: [(signed()[0], bytes(64))], "bad-signature"),
    "another's, signed by her": (lambda: [signed(kit.keypair("node 1"), signer=MALLORY)], "bad-signature"),
    "no record": (lambda: [(b"\xff" * 80, bytes(64))], "malformed"),
    "an address of something else": (lambda: [signed(addresses=["http://127.0.0.1:80"])], "malformed"),
    "no list": (lambda: None, "malformed"),
    "too large": (lambda: [(bytes(config.ENDPOINT_BYTES_MAX + 1), bytes(64))], "oversized"),
    "too many": (lambda: [signed()] * (config.ENDPOINTS_PER_CALL_MAX + 1), "malformed"),
    "good ones and one bad one": (lambda: [signed(), (signed(seq=2**62)[0], bytes(64))], "bad-signature"),
}
CODES = {"malformed": 4001, "oversized": 4002, "bad-signature": 4006}


@pytest.mark.parametrize("name", LIES)
def test_who_offers_what_it_should_not_loses_its_session(tmp_path, name):
    make, reason = LIES[name]

    async def body(mesh, hostile):
        offer = calls.encode(Offer(make(), True))
        await hostile.send(
            hostile.message(MessageType.REQUEST, Call(1, "endpoints.offer", 0, 0, True, offer).encode())
        )
        _, said = await hostile.closing()
        assert said.startswith(reason), said
        assert mesh[0].status()["rejects"][reason] == 1

    run(attacked(tmp_path, body))


def test_what_is_no_lie_but_of_no_use_is_not_kept(tmp_path):
    async def body(mesh, hostile):
        stranger = kit.keypair("stranger")
        early = signed(ahead_ms=config.ENDPOINT_CLOCK_SLACK_MS + 60_000)
        own = mesh[1].discovery.book.get(mesh[1].account)
        before = mesh[0].discovery.book.digest()
        offer = Offer([signed(stranger), early, (own.raw, own.signature)], True)
        assert await ask(hostile, "endpoints.offer", offer) == (0, "", b"")
        assert mesh[0].discovery.book.digest() == before
        for method in ("endpoints.compare", "endpoints.fetch"):
            assert (await ask(hostile, method, b"\xc1"))[:2] == (1, "MalformedMessage")

    run(attacked(tmp_path, body))


def test_a_member_asks_for_what_is_known(tmp_path):
    async def body(mesh, hostile):
        book = mesh[0].discovery.book
        status, _, answer = await ask(hostile, "endpoints.compare", Compare(bytes(16)))
        assert status == 0
        assert sorted(calls.decode(answer, Compared).heads) == sorted((*head,) for head in book.heads())
        _, _, answer = await ask(hostile, "endpoints.compare", Compare(book.digest()))
        assert calls.decode(answer, Compared).heads is None
        wanted = [mesh[1].account, bytes(32), b"short"]
        _, _, answer = await ask(hostile, "endpoints.fetch", Fetch(wanted))
        own = book.get(mesh[1].account)
        assert calls.decode(answer, Offer).records == [(own.raw, own.signature)]
        too_many = Fetch([bytes(32)] * (config.ENDPOINTS_PER_CALL_MAX + 1))
        assert (await ask(hostile, "endpoints.fetch", too_many))[:2] == (1, "MalformedMessage")

    run(attacked(tmp_path, body))


ANSWERS = {
    "no heads": b"\xc1",
    "heads of another shape": calls.encode(Compared([(b"", -1, b""), (b"x" * 32, 2**64 - 1, b"")])) + b"\xc0",
    "too many heads": calls.encode(Compared([(bytes(32), 1, bytes(16))] * (config.ENDPOINTS_MAX + 1))),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_who_answers_a_comparison_with_nonsense_loses_its_session(tmp_path, monkeypatch, name):
    async def body(mesh, hostile):
        monkeypatch.setattr(discovery_module, "ENDPOINT_COMPARE_MS", 1)
        mesh[0].discovery._compare_ms = 0
        while True:
            asked = Call.decode((await hostile.receive(MessageType.REQUEST)).payload)
            if asked.method == "endpoints.compare":
                break
        answer = Call(asked.id, "", 0, 0, True, ANSWERS[name]).encode()
        await hostile.send(hostile.message(MessageType.RESPONSE, answer))
        _, said = await hostile.closing()
        assert said.startswith("malformed"), said

    run(attacked(tmp_path, body))


def test_a_peer_that_claims_records_it_does_not_have_is_asked_and_nothing_comes_of_it(tmp_path, monkeypatch):
    async def body(mesh, hostile):
        monkeypatch.setattr(discovery_module, "ENDPOINT_COMPARE_MS", 1)
        mesh[0].discovery._compare_ms = 0
        before = mesh[0].discovery.book.digest()
        heads = [(mesh[1].account, 2**62, b"\xff" * 16), (bytes(32), 1, b""), (b"short", -1, b"")]
        fetched = 0
        while fetched < 2:
            asked = Call.decode((await hostile.receive(MessageType.REQUEST)).payload)
            if asked.method == "endpoints.compare":
                body = calls.encode(Compared(heads))
            else:
                assert asked.method in ("endpoints.fetch", "endpoints.offer")
                fetched += asked.method == "endpoints.fetch"
                if asked.method == "endpoints.fetch":
                    assert calls.decode(asked.body, Fetch).accounts == [mesh[1].account]
                body = calls.encode(Offer([])) if asked.method == "endpoints.fetch" else b""
            answer = Call(asked.id, "", 0, 0, True, body).encode()
            await hostile.send(hostile.message(MessageType.RESPONSE, answer))
        assert mesh[0].discovery.book.digest() == before

    run(attacked(tmp_path, body))


def test_a_flood_of_good_records_is_taken_up_to_a_limit(tmp_path):
    async def body(mesh, hostile):
        accepted = set()
        for seq in range(1, 4 * config.ENDPOINT_UPDATES_MAX):
            assert (await ask(hostile, "endpoints.offer", Offer([signed(seq=seq)], True)))[0] == 0
            accepted.add(mesh[0].discovery.book.get(MALLORY.account).record.record_seq)
        assert len(accepted) == config.ENDPOINT_UPDATES_MAX

    run(attacked(tmp_path, body))


def test_a_record_that_another_database_of_ours_signed_is_outdone(tmp_path, monkeypatch):
    """A restored backup whose clock was restored too: its peers know newer records than itself."""
    monkeypatch.setattr(discovery_module, "_REANNOUNCE_MS", 100)

    async def main():
        made = lonely(tmp_path, 2, {1: [0]})
        async with Mesh(made) as mesh:
            await mesh.start(0)
            other = EndpointBook(made[1].account, lambda account: True)
            newer = other.make(made[1].keypair, 99, ["ws://127.0.0.1:1"], int(time.time() * 1000) + 300_000)
            mesh[0].discovery.book.offer(newer.raw, newer.signature, int(time.time() * 1000))
            await mesh.start(1)
            own = made[1].account

            def both():
                return [node.discovery.book.get(own).record for node in mesh.nodes]

            await until(
                lambda: all(record.record_seq > newer.record.record_seq for record in both()), "it goes above"
            )
            assert {record.generation for record in both()} == {mesh[1].generation}
            assert knows(mesh[0], mesh[1]) == (mesh[1].url,)

    run(main())


def test_who_leaves_is_forgotten_in_the_store_too(tmp_path):
    async def main():
        made = lonely(tmp_path, 3, {1: [0], 2: [0]})
        async with Mesh(made) as mesh:
            await mesh.start()
            await until(lambda: all(len(node.discovery.book) == 3 for node in mesh.nodes), "all records")
            await mesh.stop(0)
            await mesh.stop(2)
            members = made[0].directory / "members.toml"
            kept = [part for part in members.read_text().split("[[member]]") if made[2].address not in part]
            members.write_text("[[member]]".join(kept))
            node = await mesh.start(0)
            assert node.discovery.book.get(made[2].account) is None
            assert node.database.store.get(Column.META, b"endpoints\0" + made[2].account) is None
            await asyncio.sleep(0)
            assert node.discovery.book.get(made[1].account) is not None

    run(main())
