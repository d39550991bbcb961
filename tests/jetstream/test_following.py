"""A stream on a real server read into an engine: resumed, made anew, cut off, full, and with what is no batch in it."""

from __future__ import annotations

import asyncio
import logging

import kit
import pytest
from jetstream.followkit import (
    NETWORK,
    NOW_MS,
    STREAM,
    broker,
    connected,
    following,
    publish,
    put,
    same,
    stream,
    written,
)
from natskit import Servers, emptied
from nodekit import run, until

from mycelium.database.memory import MemoryStore
from mycelium.jetstream import layout, place, streams
from mycelium.jetstream.following import FULL, NO_STREAM, READING


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Servers.of(tmp_path_factory.mktemp("nats")) as servers:
        yield servers


@pytest.fixture
def clean(server):
    """The server without streams."""

    run(emptied(server.url))
    return server


def test_it_reads_what_is_there_and_what_comes(clean):
    async def main():
        author, reader = kit.engine("a"), kit.engine("reader")
        async with connected(clean.url) as client:
            await stream(client)
            await publish(client, written(author, 20))
            async with following(client, reader) as follower:
                await same(reader, author)
                last = await publish(client, written(author, 20, "later"))
                async with asyncio.timeout(20):
                    await follower.reached(last)
                assert reader.vector("main") == author.vector("main")
                assert kit.rows(reader._store) == kit.rows(author._store)
                await until(lambda: follower.lag == 0, "the lag is gone")
                assert follower.state == READING
                assert follower.intake.position == last

    run(main())


@pytest.mark.parametrize("size_bytes", [2_000, 10**6], ids=["by bytes", "by messages"])
def test_more_than_one_request_asks_for(clean, monkeypatch, size_bytes):
    """And one consumer gives it all."""
    monkeypatch.setattr("mycelium.jetstream.pulling.PULL_MESSAGES", 7)
    monkeypatch.setattr("mycelium.jetstream.pulling.PULL_BYTES", size_bytes)

    async def main():
        author, reader = kit.engine("a"), kit.engine("reader")
        async with connected(clean.url) as client:
            await stream(client)
            await publish(client, written(author, 200))
            async with following(client, reader) as follower:
                began = []
                monkeypatch.setattr(follower, "_consume", counted(follower._consume, began))
                await same(reader, author)
                assert len(began) == 1

    run(main())


def counted(function, calls):
    async def called(*arguments):
        calls.append(arguments)
        return await function(*arguments)

    return called


def test_it_goes_on_where_it_was(clean):
    async def main():
        author, store = kit.engine("a"), MemoryStore()
        async with connected(clean.url) as client:
            await stream(client)
            await publish(client, written(author, 10))
            reader = kit.engine("reader", store)
            async with following(client, reader):
                await same(reader, author)
            await publish(client, written(author, 5, "later"))
            reader = kit.engine("reader", store)
            async with following(client, reader) as follower:
                await same(reader, author)
                assert follower.intake.read == 15
                assert reader.counts["duplicate"] == 0
                assert reader.counts["applied"] == 5

    run(main())


@pytest.mark.parametrize("lost", [0, 1, 3, 9, 17])
def test_a_crash_loses_nothing(clean, lost):
    """Whatever end of its writes a store loses, the position among them, all of it is read again."""

    async def main():
        author, store = kit.engine("a"), MemoryStore()
        async with connected(clean.url) as client:
            await stream(client)
            await publish(client, written(author, 16))
            reader = kit.engine("reader", store)
            store.sync()
            async with following(client, reader):
                await same(reader, author)
            reader = kit.engine("reader", store.crash(lost))
            async with following(client, reader):
                await same(reader, author)
            assert kit.rows(reader._store) == kit.rows(author._store)

    run(main())


def test_what_waits_is_read_again_after_a_restart(clean):
    async def main():
        author, store, chain = kit.engine("a"), MemoryStore(), kit.FixedAuthority(blocks_known=0)
        async with connected(clean.url) as client:
            await stream(client)
            await publish(client, written(author, 6))
            async with following(client, kit.engine("reader", store, chain)) as follower:
                await follower.reached(6)
                assert (follower.intake.position, follower.lag) == (0, 6)
            chain.blocks_known = 2**62
            reader = kit.engine("reader", store, chain)
            async with following(client, reader) as follower:
                await same(reader, author)
                await until(lambda: follower.intake.position == 6)

    run(main())


def test_an_epoch_that_becomes_known_lets_a_full_one_go_on(clean, monkeypatch, caplog):
    monkeypatch.setattr("mycelium.jetstream.intake.INTAKE_WAITING_MAX", 4)

    async def main():
        author, chain = kit.engine("a"), kit.FixedAuthority(blocks_known=0)
        reader = kit.engine("reader", authority=chain)
        async with connected(clean.url) as client:
            await stream(client)
            await publish(client, written(author, 30))
            async with following(client, reader) as follower:
                await until(lambda: follower.state == FULL)
                assert follower.intake.read == 4
                assert follower.lag >= 26
                follower.tick()
                assert follower.state == FULL
                chain.blocks_known = 2**62
                reader.known(NOW_MS)
                follower.tick(hurry=True)
                await same(reader, author)
                await until(lambda: follower.intake.position == 30)

    with caplog.at_level(logging.WARNING):
        run(main())
    assert caplog.text.count("no more of the stream") == 1


def test_what_is_no_batch_of_ours_stops_nothing(clean):
    async def main():
        author, reader, seen = kit.engine("a"), kit.engine("reader"), []
        async with connected(clean.url) as client:
            await stream(client)
            first = written(author, 3)
            await publish(client, first)
            body = layout.body(first[0].batch.raw, first[0].signature)
            await put(client, b"")
            await put(client, b"short")
            await put(client, body[:-1] + b"\xff")
            await put(client, layout.body(*kit.forge(author, netuid=99)))
            await put(client, body, headers={"Status": "409", "Description": "Consumer Deleted"})
            await put(client, b"over", headers={layout.KIND: layout.SEAL})
            await publish(client, written(author, 3, "later"))
            async with following(client, reader, control=seen.append) as follower:
                await same(reader, author)
                assert follower.intake.position == 12
                assert sum(follower.intake.refused.values()) == 4
                assert [(one.kind, one.sequence, one.body) for one in seen] == [("seal", 9, b"over")]
                assert seen[0].subject.endswith(".aa.01")
                assert reader.counts["duplicate"] == 1, "a header of a message is no word of the server"

    run(main())


def test_a_stream_that_is_not_there_yet_is_waited_for(clean, caplog):
    """Without a word about it: it is made with the first batch. One that was there and is gone is another matter."""

    async def main():
        author, reader = kit.engine("a"), kit.engine("reader")
        async with connected(clean.url) as client, following(client, reader) as follower:
            await until(lambda: follower.state == NO_STREAM)
            assert caplog.text == ""
            await stream(client)
            await publish(client, written(author, 3))
            await same(reader, author)
            await client.jetstream().delete_stream(STREAM)
            await until(lambda: follower.state == NO_STREAM)

    with caplog.at_level(logging.WARNING):
        run(main())
    assert f"the stream {STREAM} cannot be read" in caplog.text


@pytest.mark.parametrize("running", [True, False])
def test_a_stream_that_is_deleted_and_made_again_is_read_from_its_first(clean, running):
    """Also one that has more messages than the old one had."""

    async def main():
        author, other, store = kit.engine("a"), kit.engine("b"), MemoryStore()
        reasons = []

        async def behind(found, why):
            reasons.append(why)
            return found.first - 1

        async def again(client):
            await client.jetstream().delete_stream(STREAM)
            await stream(client)
            await publish(client, [*written(other, 9, "b")])

        reader = kit.engine("reader", store)
        async with connected(clean.url) as client:
            await stream(client)
            await publish(client, written(author, 4))
            async with following(client, reader, behind=behind) as follower:
                await same(reader, author)
                if running:
                    await again(client)
                    await until(lambda: reader.head("main", other.origin) == 9)
                    assert follower.intake.position == 9
            if not running:
                await again(client)
                reader = kit.engine("reader", store)
                async with following(client, reader, behind=behind):
                    await until(lambda: reader.head("main", other.origin) == 9)
        assert reasons == ["nothing of it was read yet", "another stream stands in its place"]
        assert reader.head("main", author.origin) == 4, "what it had is kept"

    run(main())


def test_messages_that_the_stream_dropped_are_told(clean):
    async def main():
        author, store = kit.engine("a"), MemoryStore()
        reasons = []

        async def behind(found, why):
            reasons.append((found.first, why))
            return found.first - 1

        async with connected(clean.url) as client:
            await stream(client, max_msgs=10)
            await publish(client, written(author, 5))
            async with following(client, kit.engine("reader", store), behind=behind) as follower:
                await follower.reached(5)
            await publish(client, written(author, 15, "later"))
            reader = kit.engine("reader", store)
            async with following(client, reader, behind=behind) as follower:
                await follower.reached(20)
            assert reasons[1:] == [(11, "message 6 comes next, and 11 is the oldest that it keeps")]
            # What was dropped is a gap, and what is beyond it is held.
            assert reader.vector("main")[author.origin].spans() == [(1, 5), (11, 20)]

    run(main())


def test_a_stream_that_was_purged_after_it_was_read_lacks_nothing(clean):
    async def main():
        author, store, reasons = kit.engine("a"), MemoryStore(), []

        async def behind(found, why):
            reasons.append(why)
            return found.first - 1

        async with connected(clean.url) as client:
            await stream(client)
            await publish(client, written(author, 5))
            async with following(client, kit.engine("reader", store), behind=behind) as follower:
                await follower.reached(5)
            await client.jetstream().purge_stream(STREAM)
            await publish(client, written(author, 2, "later"))
            reader = kit.engine("reader", store)
            async with following(client, reader, behind=behind):
                await same(reader, author)
        assert reasons == ["nothing of it was read yet"]

    run(main())


@pytest.mark.parametrize("more", [0, 3])
def test_a_server_that_lost_the_end_of_a_stream_is_found_out(clean, more):
    """Its numbers were given to other messages, or will be: by the last message that was read one tells."""

    async def main():
        author, store, reasons = kit.engine("a"), MemoryStore(), []

        async def behind(found, why):
            reasons.append(why)
            return found.first - 1

        async with connected(clean.url) as client:
            await stream(client)
            batches = written(author, 8)
            await publish(client, batches)
            async with following(client, kit.engine("reader", store), behind=behind) as follower:
                await follower.reached(8)
            created = place.load(store, "main").created
            # As if the last three had been acknowledged and never written, and others were published since.
            await client.jetstream().delete_stream(STREAM)
            await stream(client)
            await publish(client, batches[:5])
            fresh = written(author, 10, "later")
            await publish(client, fresh[:more])
            async with broker(client) as connections:
                info = await streams.look(await connections.ready(), STREAM)
            found = place.load(store, "main")
            assert created == found.created
            place.save(store, "main", place.Place(info.created, found.position, found.read, found.mark))
            reader = kit.engine("reader", store)
            async with following(client, reader, behind=behind):
                await until(lambda: reader.counts["duplicate"] == 5)
                await publish(client, fresh[more:])
                await same(reader, author)
        assert len(reasons) == 2
        assert ("another one than was read" if more else "lost its end") in reasons[1]

    run(main())


def test_the_consumer_is_made_anew_when_it_is_lost(clean):
    async def main():
        author, reader = kit.engine("a"), kit.engine("reader")
        async with connected(clean.url) as client:
            await stream(client)
            await publish(client, written(author, 3))
            async with following(client, reader):
                await same(reader, author)
                jetstream = client.jetstream()
                (consumer,) = await jetstream.consumers_info(STREAM)
                await jetstream.delete_consumer(STREAM, consumer.name)
                await publish(client, written(author, 3, "later"))
                await same(reader, author)

    run(main())


def test_a_message_that_is_lost_on_its_way_is_read_again(clean, monkeypatch):
    """As when the client drops what it has no room for."""

    async def main():
        author, reader = kit.engine("a"), kit.engine("reader")
        async with connected(clean.url) as client:
            await stream(client)
            await publish(client, written(author, 30))
            async with following(client, reader) as follower:
                genuine, dropped = follower._received, []

                def received(pulling, message):
                    if (
                        message.reply.startswith("$JS.ACK")
                        and message.metadata.sequence.stream == 35
                        and not dropped
                    ):
                        dropped.append(message)
                        return
                    genuine(pulling, message)

                monkeypatch.setattr(follower, "_received", received)
                await follower.reached(30)
                await publish(client, written(author, 10, "later"))
                await same(reader, author)
                assert len(dropped) == 1
                assert kit.rows(reader._store) == kit.rows(author._store)

    run(main())


@pytest.mark.parametrize("full", [False, True])
def test_it_can_be_told_to_begin_again(clean, monkeypatch, full):
    """Also while there is no room for what it has in hand."""
    if full:
        monkeypatch.setattr("mycelium.jetstream.intake.INTAKE_WAITING_MAX", 2)

    async def main():
        author, chain, reasons = kit.engine("a"), kit.FixedAuthority(), []
        chain.blocks_known = 0 if full else 2**62
        reader = kit.engine("reader", authority=chain)

        async def behind(found, why):
            reasons.append(why)
            return found.first - 1

        async with connected(clean.url) as client:
            await stream(client)
            await publish(client, written(author, 6))
            async with following(client, reader, behind=behind) as follower:
                await until(lambda: follower.state == FULL if full else follower.intake.read == 6)
                chain.blocks_known = 2**62
                follower.again("a word was missed")
                await until(lambda: len(reasons) == 2)
                reader.known(NOW_MS)
                follower.tick(hurry=True)
                await until(lambda: follower.intake.position == 6)
                assert reasons[1] == "a word was missed"
                assert reader.vector("main") == author.vector("main")

    run(main())


def test_a_store_that_is_full_is_waited_for(clean):
    async def main():
        author, store = kit.engine("a"), MemoryStore()
        reader = kit.engine("reader", store)
        async with connected(clean.url) as client:
            await stream(client)
            await publish(client, written(author, 5))
            async with following(client, reader) as follower:
                await same(reader, author)
                store.full = True
                await publish(client, written(author, 5, "later"))
                await until(lambda: follower.state == "the store refuses")
                store.full = False
                follower._room.set()
                await same(reader, author)

    run(main())


def test_it_leaves_no_consumer_behind(clean):
    async def main():
        async with connected(clean.url) as client:
            await stream(client)
            async with following(client, kit.engine("reader")) as follower:
                await until(lambda: follower.state == READING)
                await until(lambda: follower.stream is not None)
            await client.flush()
            assert await client.jetstream().consumers_info(NETWORK.stream("main")) == []

    run(main())
