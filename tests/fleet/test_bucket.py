"""The bucket on a real server, and what a watch of it makes of messages that are missing, late or of another kind."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from jskit import connected, until
from natskit import Servers
from nodekit import run

from mycelium.config.fleet import FLEET_WATCH_HEARTBEAT_MS, FLEET_WATCH_MISSED_MAX
from mycelium.errors import BrokerError, BrokerUnreachable, BrokerUnsafe
from mycelium.fleet.bucket import Bucket, Seen, _Watching, publish
from mycelium.jetstream import layout, streams


@pytest.fixture
def nats(tmp_path):
    with Servers.of(tmp_path) as found:
        yield found


def bucket():
    return Bucket("fleet", 1, check=streams.check_kept)


def test_an_entry_is_written_by_compare_and_set(nats):
    async def main():
        async with connected(nats) as session:
            one = bucket()
            birth = await one.ensure(session)
            assert await one.ensure(session) == birth
            first = await one.put(session, "a", 0, b"1")
            assert await one.put(session, "a", 0, b"2") is None
            assert await one.put(session, "a", first + 7, b"2") is None
            second = await one.put(session, "a", first, b"2")
            assert second > first
            found = await session.js.get_last_msg("KV_fleet", "$KV.fleet.a")
            assert found.data == b"2"

    run(main())


def test_the_next_bucket_of_that_name_has_other_revisions(nats):
    async def main():
        async with connected(nats) as session:
            one = bucket()
            birth = await one.ensure(session)
            first = await one.put(session, "a", 0, b"1")
            await session.api("STREAM.DELETE.KV_fleet")
            assert await one.ensure(session) != birth
            assert await one.put(session, "a", first, b"2") is None
            assert abs(await one.put(session, "a", 0, b"2") - first) > 1_000

    run(main())


def test_members_that_begin_at_once_make_one_bucket(nats):
    async def main():
        async with connected(nats) as first, connected(nats) as second:
            births = await asyncio.gather(*(bucket().ensure(session) for session in (first, second) * 3))
            assert len(set(births)) == 1

    run(main())


def test_a_bucket_in_memory_is_refused(nats):
    async def main():
        async with connected(nats) as session:
            config = {"name": "KV_fleet", "subjects": ["$KV.fleet.>"], "storage": "memory"}
            await session.api("STREAM.CREATE.KV_fleet", config)
            with pytest.raises(BrokerUnsafe, match="in memory"):
                await bucket().ensure(session)

    run(main())


def test_a_watch_shows_what_is_there_and_then_what_comes(nats):
    async def main():
        async with connected(nats) as session:
            one = bucket()
            await one.ensure(session)
            seen = []
            watching = asyncio.create_task(one.watch(session, seen.append))
            await until(lambda: seen == [None])  # it is empty
            a = await one.put(session, "a", 0, b"1")
            b = await one.put(session, "b.c", 0, b"2")
            await until(lambda: len(seen) == 3)
            assert seen[1:] == [Seen("a", a, b"1", True), Seen("b.c", b, b"2", True)]
            watching.cancel()
            again = []
            second = asyncio.create_task(one.watch(session, again.append))
            await until(lambda: len(again) == 2)
            assert again == [Seen("a", a, b"1", False), Seen("b.c", b, b"2", True)]
            # What deletes the consumer, ends the watch: it is made anew.
            await session.api("STREAM.DELETE.KV_fleet")
            with pytest.raises(BrokerUnreachable, match="the watch of the fleet's bucket"):
                await asyncio.wait_for(
                    second, 2 * FLEET_WATCH_HEARTBEAT_MS * FLEET_WATCH_MISSED_MAX / 1000 + 2
                )

    run(main())


def test_an_answer_to_a_publish_that_is_none_is_not_known(nats):
    async def main():
        async with connected(nats) as session:

            async def answer(message):
                await message.respond(b"{}")

            await session.nc.subscribe("nobody", cb=answer)
            with pytest.raises(BrokerError, match="does not parse"):
                await publish(session, "nobody", b"", {layout.EXPECTED: "0"}, 1)
            with pytest.raises(BrokerError, match=r"no stream|nobody answers"):
                await publish(session, "void", b"", {layout.EXPECTED: "0"}, 1)

    run(main())


# --- a watch, message by message --------------------------------------------------------------------------


def entry(number, revision=10, pending=0):
    sequence = SimpleNamespace(consumer=number, stream=revision)
    meta = SimpleNamespace(sequence=sequence, num_pending=pending)
    return SimpleNamespace(subject="$KV.fleet.a", data=b"1", headers=None, metadata=meta)


def word(status, last=None):
    headers = {"Status": status} | ({} if last is None else {"Nats-Last-Consumer": str(last)})
    return SimpleNamespace(subject="_INBOX.x", data=b"", headers=headers)


@pytest.mark.parametrize(
    ("messages", "lost"),
    [
        ([entry(1), entry(2), word("100", 2)], ""),
        ([entry(1), entry(3)], "entries are missing"),
        ([entry(1), entry(1)], "entries are missing"),
        ([entry(1), word("100", 2)], "entries are missing"),
        ([entry(1), word("409")], r"the server ended the watch \(409\)"),
    ],
    ids=["fine", "a gap", "a repeat", "the last is missing", "ended"],
)
def test_a_watch_that_misses_something_is_over(messages, lost):
    async def main():
        seen = []
        watching = _Watching("$KV.fleet.", seen.append)
        for message in messages:
            await watching.arrived(message)
        await watching.arrived(entry(watching.last + 1))
        session = SimpleNamespace(held=lambda work: work)
        # Nothing is shown after what is missing; and a watch that is fine is over when it is silent.
        assert len(seen) == (3 if not lost else 1)
        with pytest.raises(BrokerUnreachable, match=lost or "nothing was heard"):
            await watching.until_lost(session)

    run(main())
