"""What goes wrong around a replica: its server, its stream, what others put into it, its disk."""

from __future__ import annotations

import asyncio
import logging

import kit
import pytest
from jetstream.followkit import connected
from natskit import Servers
from nodekit import Author, Mesh, places, run, until
from replica.replicakit import NETWORK, bridged, equal, replica, replica_file, streams

from mycelium.identity import signing
from mycelium.jetstream import layout

READER, MEMBER = kit.keypair("reader"), kit.keypair("member")


async def put(client, raw, signature, *, author, space="main"):
    subject = NETWORK.subject(space, author.keypair.account, author.generation)
    await client.jetstream().publish(subject, layout.body(raw, signature))


def test_what_is_injected_into_the_stream_is_refused_and_named(tmp_path, clean, caplog):
    """By someone who may publish: forged, altered, foreign, unauthorised, stale, and a second history of a member."""

    async def main():
        (place,) = places(tmp_path, 1, extra=[MEMBER, kit.keypair("liar")])
        path = replica_file(place)
        async with Mesh([place]) as mesh, connected(clean.url) as client:
            node = await mesh.start()
            await streams(client)
            async with bridged(node, client), replica(path, client) as one:
                await node.database.table("scores").put("k", 1)
                await equal(one, node)
                member, liar = Author(node, MEMBER), Author(node, kit.keypair("liar"))
                stranger = Author(node, kit.keypair("stranger"))
                raw, signature = member.batch("true")
                await put(client, raw, signature, author=member)
                await until(lambda: one.database.engine.head("main", member.origin) == 1)
                before = await one.database.state_digests()
                raw, signature = member.batch("good", keep=True)
                await put(client, raw, kit.keypair("thief").sign(signing.BATCH, raw), author=member)
                await put(client, raw[:-3] + bytes((raw[-3] ^ 1,)) + raw[-2:], signature, author=member)
                await put(client, *member.batch("x", netuid=99, keep=True), author=member)
                await put(client, *liar.batch("x", hlc_first=(node.now_ms() - 9_000_000) << 16), author=liar)
                await put(client, *stranger.batch("x"), author=stranger)
                await until(lambda: sum(one.tails["main"].intake.refused.values()) == 5)
                assert await one.database.state_digests() == before
                reasons = one.tails["main"].intake.refused
                assert reasons["wrong-network"] == reasons["unauthorised"] == reasons["stale"] == 1
                assert reasons["bad-signature"] >= 1
                # Two histories of one origin freeze it, here as on any node.
                await put(client, *member.batch("good"), author=member)
                member.seq -= 1
                await put(client, *member.batch("other", prev_digest=bytes(32)), author=member)
                await until(lambda: one.database.engine.frozen.get("main", member.origin) is not None)
                # And the replica follows on.
                await node.database.table("scores").put("later", 2)
                while await one.database.table("scores").get("later") != 2:
                    await asyncio.sleep(0.01)
                found = one.status()["replica"]["main"]
                assert {each["reason"] for each in found["refusals"]} >= {"wrong-network", "unauthorised"}
                assert found["waiting"] == 0

    with caplog.at_level(logging.WARNING):
        run(main())
    assert "of the stream of 'main' is refused" in caplog.text


@pytest.mark.parametrize("gone", ["killed", "deleted"])
def test_the_server_or_the_stream_goes_and_comes(tmp_path, gone):
    async def main(servers):
        (place,) = places(tmp_path, 1)
        path = replica_file(place)
        async with Mesh([place]) as mesh, connected(servers.url) as client:
            node = await mesh.start()
            await streams(client)
            async with bridged(node, client), replica(path, client) as one:
                table = node.database.table("scores")
                for number in range(20):
                    await table.put(f"k{number}", number)
                await equal(one, node)
                if gone == "killed":
                    servers.servers[0].kill()
                else:
                    await client.jetstream().delete_stream(NETWORK.stream("main"))
                for number in range(20, 40):
                    await table.put(f"k{number}", number)
                # What it has it serves.
                assert await one.database.table("scores").get("k5") == 5
                if gone == "killed":
                    servers.servers[0].start()
                    await servers.ready()
                else:
                    await until(lambda: one.tails["main"].follower.state == "no stream")
                    await streams(client, ["main"])
                    async with bridged(node, client):
                        await equal(one, node)
                await equal(one, node)
                assert await one.database.state_digests() == await node.database.state_digests()

    with Servers.of(tmp_path / "server") as servers:
        run(main(servers))


def test_policies_and_other_spaces_may_come_in_any_order(tmp_path, clean, monkeypatch):
    """Batches wait for the policy of their epoch, which comes in the stream of another space."""
    from mycelium.identity.keys import digest
    from mycelium.metagraph.membership import Epoch, StaticSource

    policy = (
        b'{"version": 1, "rules": [{"who": "validator", "tables": "*", "may": ["read", "put", "delete"]}]}'
    )
    monkeypatch.setattr(
        StaticSource, "epoch_at", lambda self, number: Epoch(number, self.members, digest(policy))
    )

    async def main():
        import mycelium

        (place,) = places(tmp_path, 1)
        path = replica_file(place)
        async with Mesh([place]) as mesh, connected(clean.url) as client:
            node = await mesh.start()
            async with mycelium.connect(node.url, place.keypair) as own:
                await own.publish_policy(policy)
            for number in range(5):
                await node.database.table("scores").put(f"k{number}", number)
            await streams(client, ["main"])
            jetstream = client.jetstream()
            policies = []
            async for batch in node.feed(after="start"):
                if batch.space == "sys":
                    policies.append(batch)
                    continue
                subject = NETWORK.subject(batch.space, batch.account, batch.generation)
                await jetstream.publish(subject, layout.body(batch.raw, batch.signature))
                if batch.cursor.index == batch.newest:
                    break
            async with replica(path, client) as one:
                await until(lambda: one.tails["main"].intake.waiting == 5)
                assert one.status()["waiting"] == 5
                await streams(client, ["sys"])
                for batch in policies:
                    subject = NETWORK.subject("sys", batch.account, batch.generation)
                    await jetstream.publish(subject, layout.body(batch.raw, batch.signature))
                await equal(one, node)
                assert one.tails["main"].intake.position == 5

    run(main())


def test_a_store_that_takes_nothing_is_waited_for(tmp_path, clean, caplog):
    async def main():
        (place,) = places(tmp_path, 1)
        path = replica_file(place)
        async with Mesh([place]) as mesh, connected(clean.url) as client:
            node = await mesh.start()
            await streams(client)
            async with bridged(node, client), replica(path, client) as one:
                await node.database.table("scores").put("k", 1)
                await equal(one, node)
                store = one.database.store
                genuine, store.commit = store.commit, lambda batch: store._check_space() or genuine(batch)
                store._reserve_bytes = 2**62
                await node.database.table("scores").put("more", 2)
                await until(lambda: one.tails["main"].follower.state == "the store refuses")
                assert await one.database.table("scores").get("k") == 1
                store.commit, store._reserve_bytes = genuine, 0
                await equal(one, node)

    with caplog.at_level(logging.ERROR):
        run(main())
    assert "the store refuses what comes of the stream" in caplog.text


def test_two_replicas_of_one_node_are_the_same(tmp_path, clean):
    async def main():
        (place,) = places(tmp_path, 1)
        paths = [replica_file(place, name) for name in ("one", "two")]
        async with Mesh([place]) as mesh, connected(clean.url) as client:
            node = await mesh.start()
            await streams(client)
            async with (
                bridged(node, client),
                replica(paths[0], client) as one,
                replica(paths[1], client) as two,
            ):
                await asyncio.gather(
                    *(node.database.table("scores").put(f"k{number}", number) for number in range(500))
                )
                await equal(one, node)
                await equal(two, node)
                assert one.account != two.account
                assert await one.database.state_digests() == await two.database.state_digests()

    run(main())
