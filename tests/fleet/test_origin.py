"""An origin on a real server: what is published is in the stream once, or certainly not, whatever becomes of it."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager

import pytest
from fleet.memberkit import SPACE, batch, messages, token
from jskit import NETWORK, ORIGIN, settings, until
from natskit import Servers
from nodekit import run

from mycelium.errors import Fenced
from mycelium.fleet import events
from mycelium.fleet.origin import Origins
from mycelium.jetstream import layout, streams
from mycelium.jetstream.client import Broker

GENERATION = 0xA1


@pytest.fixture
def nats(tmp_path):
    with Servers.of(tmp_path) as found:
        yield found


@asynccontextmanager
async def origin(nats, generation=GENERATION, opened=None):
    """An origin and what it told."""
    told = []
    wanted = settings(nats)

    async def ensure(session, space):
        return await streams.ensure(session, NETWORK, space, wanted)

    async with Broker(wanted, "test") as broker:
        found = Origins(broker, NETWORK, ORIGIN, generation, token(), ensure, told.append, opened)
        found.broker = broker
        yield found, told


async def bodies(found):
    return [body[64:] for _, kind, _, body in await messages(found.broker.session) if not kind]


def test_a_term_is_opened_and_batches_follow_it(nats):
    async def main():
        async with origin(nats) as (found, told):
            await found.open(SPACE, "0" * 16)
            assert told == [events.Opened(SPACE, "0" * 16, 1, found.stream(SPACE))]
            assert [await found.publish(SPACE, *batch(f"b{number}")) for number in range(3)] == [2, 3, 4]
            assert found.last(SPACE) == 4
            stored = await messages(found.broker.session)
            assert [kind for _, kind, _, _ in stored] == [layout.OPEN, "", "", ""]
            assert stored[1][2] == batch("b0")[2].hex()
            assert stored[1][3] == bytes(64) + b"b0"

    run(main())


def test_without_a_term_nothing_is_published(nats):
    async def main():
        async with origin(nats) as (found, _):
            with pytest.raises(Fenced, match="no term"):
                await found.publish(SPACE, *batch("b"))

    run(main())


def test_who_was_closed_cannot_publish_and_a_new_term_goes_on(nats):
    async def main():
        async with origin(nats) as (old, told), origin(nats, 0xB2) as (other, said):
            first, second = token(), token()
            await old.open(SPACE, first)
            await old.publish(SPACE, *batch("b1"))
            await other.close(SPACE, f"{GENERATION:016x}", first, 1)
            assert said == [events.Closed(SPACE, f"{GENERATION:016x}", first, 3, old.stream(SPACE))]
            with pytest.raises(Fenced, match="nothing was written"):
                await old.publish(SPACE, *batch("b2"))
            assert told[-1] == events.Fenced(SPACE, first)
            await other.close(SPACE, f"{GENERATION:016x}", first, 1)
            assert said[-1] == said[0]
            await old.open(SPACE, second)
            await old.publish(SPACE, *batch("b2"))
            assert await bodies(old) == [b"b1", b"b2"]

    run(main())


def test_a_second_process_with_the_same_generation_ends_the_first(nats):
    async def main():
        async with origin(nats) as (first, _), origin(nats) as (second, _):
            await first.open(SPACE, token())
            await first.publish(SPACE, *batch("b1"))
            await second.open(SPACE, token())
            with pytest.raises(Fenced):
                await first.publish(SPACE, *batch("b2"))
            await second.publish(SPACE, *batch("b3"))
            assert await bodies(first) == [b"b1", b"b3"]

    run(main())


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(signal.SIGKILL, id="kill"),
        pytest.param(signal.SIGSTOP, id="stop", marks=pytest.mark.nightly),
    ],
)
def test_what_is_published_while_the_server_goes_is_there_once(nats, how):
    async def main():
        (server,) = nats.servers
        async with origin(nats) as (found, _):
            await found.open(SPACE, token())
            done = []

            async def write():
                for number in range(200):
                    seq = await found.publish(SPACE, *batch(f"b{number}"))
                    done.append(seq)

            writing = asyncio.create_task(write())
            for reached in (40, 90, 140):
                await until(lambda reached=reached: len(done) >= reached, 10, 0.001)
                assert not writing.done()
                if how == signal.SIGKILL:
                    await asyncio.to_thread(server.kill)
                    server.start()
                else:
                    server.send(how)
                    await asyncio.sleep(1.2)
                    server.send(signal.SIGCONT)
                await nats.ready()
            await asyncio.wait_for(writing, 20)
            assert await bodies(found) == [b"b%d" % number for number in range(200)]
            stored = [seq for seq, kind, _, _ in await messages(found.broker.session) if not kind]
            assert stored == done

    run(main())


def test_a_stream_that_is_deleted_is_made_anew_and_what_was_under_way_is_carried_over(nats):
    async def main():
        async with origin(nats) as (found, told):
            first = token()
            await found.open(SPACE, first)
            await found.publish(SPACE, *batch("b1"))
            before = found.stream(SPACE)
            await found.broker.session.api(f"STREAM.DELETE.{NETWORK.stream(SPACE)}")
            writing = asyncio.create_task(found.publish(SPACE, *batch("b2")))
            await until(lambda: events.Fenced(SPACE, first) in told)
            assert not writing.done()
            await found.open(SPACE, token())
            assert await asyncio.wait_for(writing, 5) == 2
            assert found.stream(SPACE) != before
            assert await bodies(found) == [b"b2"]
            # What is closed of the stream that is gone is closed.
            await found.close(SPACE, "00000000000000b2", token(), 0)
            assert told[-1].stream == found.stream(SPACE)

    run(main())


def test_whatever_is_under_way_finds_one_and_the_same_new_stream(nats):
    async def main():
        async with origin(nats) as (found, told):
            await found.open(SPACE, token())
            before = found.stream(SPACE)
            for _ in range(5):
                await found.broker.session.api(f"STREAM.DELETE.{NETWORK.stream(SPACE)}")
                await asyncio.gather(
                    found.look(SPACE, before),
                    found.close(SPACE, "00000000000000b2", token(), 0),
                    found.open(SPACE, token()),
                    found.close_others(SPACE, ()),
                    found.look(SPACE, before),
                )
                now = found.stream(SPACE)
                assert {event.stream for event in told[-5:] if not isinstance(event, events.Fenced)} == {now}
                assert now != before
                before = now
                await asyncio.wait_for(found.publish(SPACE, *batch("b")), 5)

    run(main())


def test_an_older_answer_does_not_take_the_place_of_a_newer_one(nats):
    async def main():
        async with origin(nats) as (found, _):
            await found.open(SPACE, token())
            before, ensure, gate, asked = found.stream(SPACE), found._ensure, asyncio.Event(), []

            async def first_is_late(session, space):
                asked.append(await ensure(session, space))
                if len(asked) == 1:
                    await gate.wait()
                    return asked[0]
                return asked[-1]

            found._ensure = first_is_late
            late = asyncio.create_task(found.look(SPACE, before))
            await until(lambda: len(asked) == 1)
            await found.broker.session.api(f"STREAM.DELETE.{NETWORK.stream(SPACE)}")
            looking = asyncio.create_task(found.look(SPACE, before))
            await asyncio.sleep(0.05)
            gate.set()
            await asyncio.gather(late, looking)
            assert found.stream(SPACE) != before

    run(main())


def test_what_was_carried_over_is_never_given_up(nats):
    """Others may have applied it from the stream that is gone: its number must not be given to another batch."""

    async def main():
        async with origin(nats) as (found, told), origin(nats, 0xB2) as (other, _):
            await found.open(SPACE, token())
            await found.broker.session.api(f"STREAM.DELETE.{NETWORK.stream(SPACE)}")
            writing = asyncio.create_task(found.publish(SPACE, *batch("b1")))
            await until(lambda: any(isinstance(event, events.Fenced) for event in told))
            # The next term is ended before it is used, and the next stream is deleted too.
            second = token()
            publish, blocked = found._send, asyncio.Event()

            async def held_up(session, ask):
                if not ask.message.body:
                    return await publish(session, ask)
                await blocked.wait()
                return await publish(session, ask)

            found._send = held_up
            await found.open(SPACE, second)
            await other.close(SPACE, f"{GENERATION:016x}", second, found.last(SPACE))
            blocked.set()
            await until(lambda: events.Fenced(SPACE, second) in told)
            assert not writing.done()
            await found.broker.session.api(f"STREAM.DELETE.{NETWORK.stream(SPACE)}")
            await found.open(SPACE, token())
            assert await asyncio.wait_for(writing, 5) > 0
            assert await bodies(found) == [b"b1"]

    run(main())


def test_what_the_store_has_and_the_stream_lacks_is_published_before_the_term_is_told(nats):
    async def main():
        told_then = []

        async def opened(space, term, stream):
            told_then.append(list(told))
            await found.publish(space, *batch("old"), carry=False)

        async with origin(nats, opened=opened) as (found, told):
            await found.open(SPACE, token())
            assert told_then == [[]]
            assert [type(event) for event in told] == [events.Opened]
            assert await bodies(found) == [b"old"]

    run(main())


def test_a_full_stream_makes_it_wait_and_say_why(nats):
    async def main():
        async with origin(nats) as (found, _):
            await found.open(SPACE, token())
            name = NETWORK.stream(SPACE)
            state = await streams.look(found.broker.session, name)
            full = {**state.config, "max_msgs": 1, "discard": "new"}
            await found.broker.session.api(f"STREAM.UPDATE.{name}", full)
            writing = asyncio.create_task(found.publish(SPACE, *batch("b1")))
            await until(lambda: "maximum messages exceeded" in found.problem)
            assert not writing.done()
            await found.broker.session.api(f"STREAM.UPDATE.{name}", dict(state.config))
            await asyncio.wait_for(writing, 5)
            assert found.problem == ""

    run(main())
