"""Large objects and snapshots in a real object store: whole or not there, checked when read, the old ones let go."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest
from jskit import NETWORK, ORIGIN, connected, settings
from natskit import Servers
from nodekit import run

from mycelium.errors import BrokerUnreachable, LinkClosed, MalformedMessage, StreamGone
from mycelium.feed.batch import SignedRecord
from mycelium.feed.cursor import Cursor
from mycelium.jetstream import objects, snapshots, streams
from mycelium.jetstream.layout import Network
from mycelium.jetstream.snapshots import Snapshot, due
from mycelium.jetstream.streams import StreamState

BUCKET = NETWORK.snapshots("main")
PIECE = objects.OBJECT_PIECE_BYTES


@pytest.fixture(scope="module")
def nats(tmp_path_factory):
    with Servers.of(tmp_path_factory.mktemp("nats")) as found:
        yield found


@pytest.fixture
def inside(nats):
    """Runs a test with a session, and leaves nothing behind."""

    def inside(main):
        async def whole():
            async with connected(nats) as session:
                try:
                    await main(session)
                finally:
                    for name in (await session.api("STREAM.NAMES")).get("streams") or []:
                        await session.api(f"STREAM.DELETE.{name}")

        run(whole())

    return inside


async def put(session, name: str, data: bytes, **metadata):
    upload = objects.Upload(session, BUCKET, name)
    await upload.open()
    for at in range(0, len(data), 100_000):
        await upload.write(data[at : at + 100_000])
    return await upload.finish(metadata)


async def got(session, one) -> bytes:
    return b"".join([piece async for piece in objects.download(session, one)])


@pytest.mark.parametrize("size", [0, 1, PIECE, 40 * PIECE + 7], ids=["empty", "byte", "piece", "many"])
def test_an_object_is_read_as_it_was_written(inside, size):
    async def main(session):
        await objects.ensure(session, BUCKET, 1, "test")
        data = hashlib.shake_128(b"x").digest(size)
        made = await put(session, "a", data, about="it")
        (found,) = await objects.listed(session, BUCKET)
        assert found == made
        assert (found.size, found.metadata) == (size, {"about": "it"})
        assert await got(session, found) == data

    inside(main)


def test_other_clients_read_what_we_write_and_we_what_they_write(inside):
    async def main(session):
        await objects.ensure(session, BUCKET, 1, "test")
        await put(session, "ours", b"a" * 300_000)
        store = await session.js.object_store(BUCKET)
        assert (await store.get("ours")).data == b"a" * 300_000
        await store.put("theirs", b"b" * 300_000)
        theirs = next(one for one in await objects.listed(session, BUCKET) if one.name == "theirs")
        assert await got(session, theirs) == b"b" * 300_000
        await store.delete("theirs")
        assert [one.name for one in await objects.listed(session, BUCKET)] == ["ours"]

    inside(main)


def test_what_is_not_finished_is_not_there_and_is_tidied_when_it_is_old(inside):
    async def main(session):
        await objects.ensure(session, BUCKET, 1, "test")
        kept = await put(session, "kept", b"k" * 300_000)
        for ending in ("abandoned", "forgotten"):
            upload = objects.Upload(session, BUCKET, ending)
            await upload.open()
            await upload.write(b"x" * 500_000)
            await upload._until(upload._sent)
            if ending == "abandoned":
                await upload.abandon()
        assert [one.name for one in await objects.listed(session, BUCKET)] == ["kept"]
        assert len(await objects._subjects(session, BUCKET, "C")) == 2
        now_ms = int(kept.nuid[:13])
        assert await objects.tidy(session, BUCKET, now_ms) == 0
        assert await objects.tidy(session, BUCKET, now_ms + 2 * objects.OBJECT_LEFT_MS) == 1
        assert await got(session, kept) == b"k" * 300_000

    inside(main)


def test_an_object_of_which_pieces_are_gone_or_others_stand_there_is_refused(inside):
    async def main(session):
        await objects.ensure(session, BUCKET, 1, "test")
        made = await put(session, "a", b"a" * (3 * PIECE))
        stream, subject = f"OBJ_{BUCKET}", objects._pieces(BUCKET, made.nuid)
        await session.js.publish(subject, b"b" * 10)
        await session.api(f"STREAM.MSG.DELETE.{stream}", {"seq": 2})
        with pytest.raises(MalformedMessage, match="not those of its description"):
            await got(session, made)
        await session.api(f"STREAM.PURGE.{stream}", {"filter": subject})
        with pytest.raises(StreamGone, match="3 of 3 pieces"):
            await got(session, made)

    inside(main)


def test_descriptions_that_are_none_are_passed_over(inside):
    async def main(session):
        await objects.ensure(session, BUCKET, 1, "test")
        for raw in (b"{", b'{"name": 5}', b"\xff"):
            name = base64.urlsafe_b64encode(raw).decode()
            await session.js.publish(f"$O.{BUCKET}.M.{name}", raw)
        await put(session, "a", b"", space="main", stream_seq="x")
        assert [one.name for one in await objects.listed(session, BUCKET)] == ["a"]
        assert await snapshots.listed(session, NETWORK, "main") == []

    inside(main)


def test_an_upload_fails_at_once_when_the_bucket_is_gone(inside):
    async def main(session):
        upload = objects.Upload(session, BUCKET, "a")
        await upload.open()
        with pytest.raises(StreamGone):
            await upload.write(b"x" * (30 * PIECE))
            await upload.finish({})
        await upload.abandon()
        with pytest.raises(StreamGone):
            await objects.listed(session, BUCKET)

    inside(main)


class Export:
    """As a node's signed export. pages: of batches that are only looked at as bytes."""

    def __init__(self, count: int, fails: int | None = None) -> None:
        self.batches, self.changes = count, 3 * count
        self.cursor = Cursor(1, count)
        self.fails = fails
        self.records = [SignedRecord(0, bytes([number]) * 40_000, bytes(64)) for number in range(count)]

    async def prepare(self) -> None:
        pass

    async def pages(self):
        for number, record in enumerate(self.records):
            if number == self.fails:
                raise LinkClosed("the node is gone")
            yield [record]


async def make(session, export, seq: int, now_ms: int, stream=None, network=NETWORK):
    stream = stream or await streams.look(session, NETWORK.stream("main"))
    return await snapshots.make(session, network, export, [b"proof"], stream, seq, "main", now_ms, 1)


def test_a_snapshot_is_found_and_read_and_the_last_two_stay(inside, nats):
    async def main(session):
        stream = await streams.ensure(session, NETWORK, "main", settings(nats))
        assert await snapshots.newest(session, NETWORK, "main", stream) is None
        for number in range(1, 5):
            await session.js.publish(NETWORK.subject("main", ORIGIN, 1), b"x")
            await make(session, Export(number + 5), number, 1000 + number)
        stream = await streams.look(session, stream.name)
        assert [one.stream_seq for one in await snapshots.listed(session, NETWORK, "main")] == [4, 3]
        newest = await snapshots.newest(session, NETWORK, "main", stream)
        assert (newest.stream_seq, newest.batches, newest.changes, newest.cursor) == (
            4,
            9,
            27,
            str(Cursor(1, 9)),
        )
        assert snapshots.shown(newest, 6004)["age_s"] == 5.0
        reading = snapshots.Reading(session, NETWORK, newest)
        records = [record async for page in reading.pages() for record in page]
        assert records == Export(9).records
        assert reading.proofs == [b"proof"]
        assert reading.header.stream_created == stream.created
        other = snapshots.Reading(session, Network(8, NETWORK.genesis), newest)
        with pytest.raises(MalformedMessage, match="another network"):
            _ = [page async for page in other.pages()]
        lying = snapshots.Reading(session, NETWORK, replace(newest, stream_seq=3))
        with pytest.raises(MalformedMessage, match="another time"):
            _ = [page async for page in lying.pages()]

    inside(main)


def test_a_snapshot_of_another_stream_of_the_name_does_not_count(inside, nats):
    async def main(session):
        await streams.ensure(session, NETWORK, "main", settings(nats))
        await make(session, Export(1), 0, 1)
        await session.api(f"STREAM.DELETE.{NETWORK.stream('main')}")
        stream = await streams.ensure(session, NETWORK, "main", settings(nats))
        assert len(await snapshots.listed(session, NETWORK, "main")) == 1
        assert await snapshots.newest(session, NETWORK, "main", stream) is None

    inside(main)


def test_one_that_fails_on_its_way_leaves_nothing(inside, nats):
    async def main(session):
        await streams.ensure(session, NETWORK, "main", settings(nats))
        with pytest.raises(LinkClosed):
            await make(session, Export(20, fails=15), 0, 1)
        assert await snapshots.listed(session, NETWORK, "main") == []
        assert await objects._subjects(session, BUCKET, "C") == []

    inside(main)


def stream_of(first, last, messages=None) -> StreamState:
    held = last - first + 1 if messages is None else messages
    return StreamState("s", "now", held, 0, first, last, "", "", 1, (), {})


def latest(seq, made_ms=0) -> Snapshot:
    return Snapshot("main", seq, "now", "", made_ms, 0, 0, 0, objects.Object("o"))


HOUR = 3_600_000


@pytest.mark.parametrize(
    ("stream", "one", "now_ms", "hours", "why"),
    [
        (stream_of(1, 0), None, 0, 24, "none"),
        (stream_of(1, 100), latest(0), 0, 24, ""),
        (stream_of(1, 100), latest(0), 24 * HOUR, 24, "old"),
        (stream_of(1, 100), latest(100), 24 * HOUR, 24, ""),
        (stream_of(1, 100), latest(0), 10**15, None, ""),
        (stream_of(51, 150), latest(49), 0, 24, "does not reach back"),
        (stream_of(51, 150), latest(50), 0, 24, "much longer"),
        (stream_of(51, 150), latest(120), 0, 24, ""),
        (stream_of(151, 150), latest(120), 0, 24, "does not reach back"),
        (stream_of(151, 150), latest(150), 0, 24, ""),
    ],
    ids=["none", "whole", "old", "idle", "never", "gap", "soon", "fresh", "emptied", "empty"],
)
def test_when_one_is_due(stream, one, now_ms, hours, why):
    found = due(stream, one, now_ms, hours)
    assert why in found
    assert bool(found) is bool(why)


def test_a_session_that_breaks_ends_an_upload(tmp_path):
    with Servers.of(tmp_path) as nats:

        async def main():
            async with connected(nats) as session:
                await objects.ensure(session, BUCKET, 1, "test")
                upload = objects.Upload(session, BUCKET, "a")
                await upload.open()
                await upload.write(b"x" * PIECE)
                nats.servers[0].kill()
                with pytest.raises(BrokerUnreachable):
                    while True:
                        await upload.write(b"x" * PIECE)
                await upload.abandon()

        run(main())
