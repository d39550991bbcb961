"""A replica that begins with a snapshot and the tail behind it: trimmed, damaged, of another stream, and while writes
go on."""

from __future__ import annotations

import asyncio
import base64
import logging

import kit
import pytest
from jetstream.followkit import broker, connected
from nodekit import Author, Mesh, places, run, until
from replica.replicakit import NETWORK, bridged, equal, replica, replica_file, snapshot, streams

from mycelium.jetstream import objects, snapshots

MEMBER = kit.keypair("member")


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr("mycelium.replica.replica.SNAPSHOT_LOOK_MS", 100)


def world(tmp_path, server, scenario, **config):
    async def main():
        (place,) = places(tmp_path, 1, extra=[MEMBER])
        path = replica_file(place)
        async with Mesh([place]) as mesh, connected(server.url) as client:
            node = await mesh.start()
            await streams(client, **config)
            await scenario(node, client, path)

    run(main())


async def puts(node, count, name="k"):
    table = node.database.table("scores")
    for number in range(count):
        await table.put(f"{name}{number}", number, ack="applied")
    await table.put(f"{name}{count}", count)


async def published(node, client):
    """Until the stream has all that the node does."""
    last = node.database.engine.own_head("main")

    async def sequence() -> int:
        return (await client.jetstream().stream_info(NETWORK.stream("main"))).state.last_seq

    while await sequence() < last:
        await asyncio.sleep(0.01)


def test_a_snapshot_and_the_tail(tmp_path, clean):
    """The stream keeps less than there was: only the snapshot has the rest."""

    async def scenario(node, client, path):
        async with bridged(node, client):
            await puts(node, 30)
            await published(node, client)
            made = await snapshot(node, client)
            assert made.stream_seq == 31
            await puts(node, 5, "tail")
            await published(node, client)
            async with replica(path, client) as one:
                await equal(one, node)
                assert await one.database.state_digests() == await node.database.state_digests()
                found = one.status()["replica"]["main"]
                assert found["snapshot"]["stream_seq"] == 31
                assert found["position"] == 37
                assert one.tails["main"].intake.counts.total() == 31 + 6
                assert list(one.settings.data_dir.glob("*.snapshot")) == []
            # The next start needs none.
            async with replica(path, client) as one:
                await until(lambda: one.tails["main"].follower.state == "reading")
                assert one.status()["replica"]["main"]["snapshot"] is None
                assert one.tails["main"].intake.read == 37

    world(tmp_path, clean, scenario, max_msgs=10)


def test_it_is_made_while_writes_go_on(tmp_path, clean):
    """What is in the snapshot and in the tail too is a duplicate."""

    async def scenario(node, client, path):
        stop = asyncio.Event()

        async def writing():
            number = 0
            while not stop.is_set():
                await node.database.table("scores").put(f"w{number % 40}", number, ack="applied")
                await node.database.table("hits").add("all", 1, ack="applied")
                number += 1

        task = asyncio.create_task(writing())
        async with bridged(node, client):
            await asyncio.sleep(0.3)
            await snapshot(node, client)
            async with replica(path, client) as one:
                await until(lambda: one.tails["main"].began is not None)
                await asyncio.sleep(0.3)
                stop.set()
                await task
                await equal(one, node)
                assert await one.database.state_digests() == await node.database.state_digests()

    world(tmp_path, clean, scenario)


def test_a_log_that_was_trimmed_is_taken_with_its_voids(tmp_path, clean, monkeypatch):
    """Superseded batches are nowhere: vectors are equal all the same, and what follows chains on."""
    from mycelium.database.horizon import Horizon

    async def scenario(node, client, path):
        async with bridged(node, client):
            for turn in range(6):
                await puts(node, 4, "same")
                assert turn >= 0
            await published(node, client)
            horizon = Horizon(node.database.store, node.database.engine, node.authority, 0)
            monkeypatch.setattr("mycelium.database.horizon.LOG_KEEP_EPOCHS_MIN", -1)
            trimmed = await horizon.walk(node.now_ms() + 10)
            assert trimmed.dropped > 5
            await snapshot(node, client)
            await client.jetstream().purge_stream(NETWORK.stream("main"))
            await puts(node, 3, "tail")
            await published(node, client)
            async with replica(path, client) as one:
                await equal(one, node)
                assert await one.database.state_digests() == await node.database.state_digests()
                assert "main" in one.database.engine.voided
                # It was read from the snapshot, and the superseded batches are in neither.
                assert one.tails["main"].intake.counts.total() < 30

    world(tmp_path, clean, scenario)


async def damage(client, one, how: str) -> None:
    """Replace a piece of a snapshot's object, or its description's digest with it, as one who may write there."""
    jetstream = client.jetstream()
    bucket = NETWORK.snapshots("main")
    subject = f"$O.{bucket}.C.{one.object.nuid}"
    found = await jetstream.get_last_msg(f"OBJ_{bucket}", subject)
    if how == "gone":
        await jetstream.purge_stream(f"OBJ_{bucket}", subject=subject)
        return
    piece = bytearray(found.data)
    await jetstream.purge_stream(f"OBJ_{bucket}", subject=subject)
    if how == "cut":
        piece = piece[:-40]
    elif how == "grown":
        piece += bytes(40)
    else:
        piece[len(piece) // 2] ^= 0x40
    forged = {"Status": "503"} if how == "as a word of the server" else None
    await jetstream.publish(subject, bytes(piece), headers=forged)
    if how == "resealed":
        # Whoever can write there can also make the object store's own digest right again.
        import hashlib

        import msgspec

        digest = base64.urlsafe_b64encode(hashlib.sha256(piece).digest()).decode()
        fresh = msgspec.structs.replace(one.object, digest=f"SHA-256={digest}", size=len(piece))
        name = base64.urlsafe_b64encode(one.object.name.encode()).decode()
        await jetstream.publish(
            f"$O.{bucket}.M.{name}", msgspec.json.encode(fresh), headers={"Nats-Rollup": "sub"}
        )


@pytest.mark.parametrize("how", ["altered", "cut", "grown", "gone", "resealed", "as a word of the server"])
@pytest.mark.parametrize("older", [True, False], ids=["with an older one", "alone"])
def test_a_damaged_snapshot_is_left_out_and_named(tmp_path, clean, caplog, how, older):
    """The one before it is used, or the stream from its first message."""

    async def scenario(node, client, path):
        async with bridged(node, client):
            await puts(node, 10)
            await published(node, client)
            if older:
                await snapshot(node, client)
            await puts(node, 10, "more")
            await published(node, client)
            newest = await snapshot(node, client)
            await damage(client, newest, how)
            await puts(node, 3, "tail")
            with caplog.at_level(logging.WARNING):
                async with replica(path, client) as one:
                    await equal(one, node)
                    assert await one.database.state_digests() == await node.database.state_digests()
                    found = one.status()["replica"]["main"]
                    assert found["damaged_snapshots"] == 1
                    assert (found["snapshot"] or {}).get("stream_seq") == (11 if older else None)
            assert f"snapshot {newest.object.name} of 'main' is left out" in caplog.text

    world(tmp_path, clean, scenario)


def test_a_stream_that_was_made_again_and_a_snapshot_that_comes_later(tmp_path, clean):
    """What was published to the old stream alone, and never read here, comes by the first snapshot of the new one."""

    async def scenario(node, client, path):
        async with bridged(node, client):
            await puts(node, 5)
            await published(node, client)
            async with replica(path, client) as one:
                await equal(one, node)
        await puts(node, 5, "unread")
        cursor = node.database.engine.feed_last
        await client.jetstream().delete_stream(NETWORK.stream("main"))
        await streams(client, ["main"])
        from mycelium.feed.cursor import Cursor

        async with bridged(node, client, Cursor(node.database.generation, cursor)):
            await puts(node, 5, "new")
            async with replica(path, client) as one:
                table = one.database.table("scores")
                while await table.get("new5") != 5:
                    await asyncio.sleep(0.01)
                assert await table.get("unread3") is None
                await snapshot(node, client)
                await equal(one, node)
                assert await table.get("unread3") == 3
                assert await one.database.state_digests() == await node.database.state_digests()
                await until(lambda: one.tails["main"].began is not None)
                assert one.status()["replica"]["main"]["snapshot"]["whole"]
                # Another one changes nothing more.
                began = one.tails["main"].began
                await snapshot(node, client)
                await asyncio.sleep(0.5)
                assert one.tails["main"].began is began

    world(tmp_path, clean, scenario)


def test_a_snapshot_of_another_stream_gives_what_it_has(tmp_path, clean):
    """Its numbers mean nothing: the stream that there is now is read from its first message."""

    async def scenario(node, client, path):
        async with bridged(node, client):
            await puts(node, 5)
            await published(node, client)
            await snapshot(node, client)
        cursor = node.database.engine.feed_last
        await client.jetstream().delete_stream(NETWORK.stream("main"))
        await streams(client, ["main"])
        from mycelium.feed.cursor import Cursor

        async with bridged(node, client, Cursor(node.database.generation, cursor)):
            await puts(node, 9, "new")
            async with replica(path, client) as one:
                await equal(one, node)
                assert one.status()["replica"]["main"]["snapshot"]["whole"] is False

    world(tmp_path, clean, scenario)


def test_a_proof_in_a_snapshot_freezes_its_origin_here_too(tmp_path, clean):
    """The nodes had it from each other; the batch that contradicts was never in the stream."""

    async def scenario(node, client, path):
        member = Author(node, MEMBER)
        first, second = member.batch("one", keep=True), member.batch("two")
        node.database.engine.receive(*first, node.now_ms())
        async with bridged(node, client), replica(path, client) as one:
            await until(lambda: one.database.engine.head("main", member.origin) == 1)
            await equal(one, node)
            node.database.engine.frozen.accuse(first, second)
            assert node.database.engine.head("main", member.origin) == 0
            await puts(node, 3)
            await published(node, client)
            await snapshot(node, client)
            await until(lambda: one.database.engine.frozen.get("main", member.origin) is not None)
            await equal(one, node)
            assert await one.database.state_digests() == await node.database.state_digests()

    world(tmp_path, clean, scenario)


def test_a_replica_killed_within_a_snapshot_begins_it_again(tmp_path, clean, monkeypatch):
    async def scenario(node, client, path):
        async with bridged(node, client):
            await puts(node, 30)
            await published(node, client)
            await snapshot(node, client)
            await client.jetstream().purge_stream(NETWORK.stream("main"))
            given = []

            async def stuck(tail, raw, signature, void_first):
                given.append(raw)
                if len(given) > 10:
                    await asyncio.Event().wait()
                return await genuine(tail, raw, signature, void_first)

            from mycelium.replica.tail import Tail

            genuine = Tail.offer
            with monkeypatch.context() as patched:
                patched.setattr(Tail, "offer", stuck)
                async with replica(path, client) as one:
                    await until(lambda: len(given) > 10)
                    assert one.status()["replica"]["main"]["state"] == "beginning"
            async with replica(path, client) as one:
                await equal(one, node)
                assert one.tails["main"].intake.position == 31

    world(tmp_path, clean, scenario)


def test_a_snapshot_for_which_there_is_no_room_is_waited_for(tmp_path, clean, monkeypatch, caplog):
    async def scenario(node, client, path):
        async with bridged(node, client):
            await puts(node, 5)
            await published(node, client)
            await snapshot(node, client)
            usage = type("Usage", (), {"free": 2**20})
            with monkeypatch.context() as patched:
                patched.setattr("shutil.disk_usage", lambda path: usage)
                async with replica(path, client) as one:
                    await until(lambda: one.tails["main"].follower.state == "the store refuses")
                    patched.undo()
                    await equal(one, node)

    with caplog.at_level(logging.ERROR):
        world(tmp_path, clean, scenario)
    assert "a snapshot of 0 MiB does not fit into the 1 MiB that are free" in caplog.text


def test_what_is_missing_everywhere_is_said(tmp_path, clean, caplog):
    async def scenario(node, client, path):
        async with bridged(node, client):
            await puts(node, 20)
            await published(node, client)
            async with replica(path, client) as one:
                await until(lambda: one.tails["main"].intake.read == 21)

    with caplog.at_level(logging.WARNING):
        world(tmp_path, clean, scenario, max_msgs=5)
    assert "what the stream of 'main' had before message 17 may be missing here" in caplog.text


def test_snapshots_are_looked_at_while_the_server_is_away(tmp_path, clean):
    """What cannot be looked at is looked at later: nothing ends."""

    async def scenario(node, client, path):
        async with bridged(node, client), replica(path, client) as one:
            await puts(node, 3)
            await equal(one, node)
            bucket = NETWORK.snapshots("main")
            async with broker(client) as connections:
                session = await connections.ready()
                await objects.ensure(session, bucket, 1, "")
                await client.jetstream().publish(f"$O.{bucket}.M.bm9uZQ==", b"no description")
                assert await snapshots.listed(session, NETWORK, "main") == []
            await asyncio.sleep(0.3)
            await puts(node, 3, "later")
            await equal(one, node)

    world(tmp_path, clean, scenario)
