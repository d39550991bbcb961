"""What a feed may tell a bridge: batches without a signature, rows made anew, a cursor that is none; what is noted."""

from __future__ import annotations

import asyncio
import logging

import pytest
from bridgekit import world
from jskit import NETWORK, connected, settings
from natskit import Servers
from nodekit import run, until

from mycelium.errors import ConfigError, FeedRewound
from mycelium.feed.batch import FeedBatch
from mycelium.feed.cursor import Cursor
from mycelium.jetstream import keeper as keeping
from mycelium.jetstream import marks
from mycelium.jetstream.keeper import Keeper
from mycelium.jetstream.marks import Mark
from mycelium.jetstream.problems import Problems
from mycelium.node.remotefeed import RemoteFeed


@pytest.fixture(scope="module")
def nats(tmp_path_factory):
    with Servers.of(tmp_path_factory.mktemp("nats")) as found:
        yield found


@pytest.fixture
def served(tmp_path, nats):
    def served(main):
        async def inside():
            async with world(tmp_path / "node", nats) as one:
                await main(one)
            async with connected(nats) as session:
                for name in (await session.api("STREAM.NAMES")).get("streams") or []:
                    await session.api(f"STREAM.DELETE.{name}")

        run(inside(), 30)

    return served


def test_a_batch_of_which_it_may_read_a_part_alone_ends_it_with_the_remedy(served, monkeypatch):
    whole = RemoteFeed.__anext__

    async def part(feed):
        found = await whole(feed)
        return FeedBatch(
            found.cursor, found.newest, found.id, found.space, found.account, found.generation, 1, 1, 0, 0, ()
        )

    async def main(one):
        await one.write(1)
        monkeypatch.setattr(RemoteFeed, "__anext__", part)
        with pytest.raises(ConfigError, match="may not read all of the space 'main'") as raised:
            async with one.bridge():
                await asyncio.wait((one.task,))
        assert "[auth] clients" in raised.value.remedy

    served(main)


def test_rows_that_were_made_anew_make_a_snapshot_and_the_feed_goes_on(served, monkeypatch, caplog):
    whole, told = RemoteFeed.__anext__, []

    async def rewound(feed):
        found = await whole(feed)
        if found.cursor.index == 3 and not told:
            told.append(found)
            raise FeedRewound("rows were made anew", str(Cursor(found.cursor.generation, 2)), "main")
        return found

    async def main(one):
        monkeypatch.setattr(RemoteFeed, "__anext__", rewound)
        await one.write(6)
        async with one.bridge() as bridge:
            await one.caught_up(bridge)
            await until(lambda: bridge.status()["snapshots"] > 0)
            found, wanted = await one.stored(), await one.wanted("main")
            assert found.ids == [batch.id.hex() for batch in wanted]
            assert told

    served(main)
    assert "rows of 'main' were made anew" in caplog.text


def test_a_cursor_that_the_node_does_not_know_begins_again(served):
    """As after a restored backup: what was noted lies beyond what the node has."""

    async def main(one):
        await one.write(5)
        key = marks.key_of(one.node.account, one.generation)
        async with connected(one.nats) as session:
            await marks.ensure(session, one.network, settings(one.nats))
            await marks.save(session, one.network, key, Mark(str(Cursor(one.generation, 9_999))))
        async with one.bridge() as bridge:
            await until(lambda: bridge.published >= 5)
            await one.caught_up(bridge)
            found, wanted = await one.stored(), await one.wanted("main")
            assert found.ids == [batch.id.hex() for batch in wanted]

    served(main)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'{"cursor": 5}', b"\xff"], ids=["none", "cut", "list", "type", "bytes"]
)
def test_a_note_that_is_none_counts_as_nothing(nats, raw, caplog):
    async def main():
        async with connected(nats) as session:
            await marks.ensure(session, NETWORK, settings(nats))
            await session.js.publish(f"$KV.{NETWORK.cursors()}.a.b", raw)
            assert await marks.load(session, NETWORK, "a.b") is None
            await marks.save(session, NETWORK, "c.d", Mark("x", problem="p" * 1000))
            found = await marks.all_of(session, NETWORK)
            assert found.keys() == {"c.d"}
            assert len(found["c.d"].problem) == 300
            await session.api(f"STREAM.DELETE.KV_{NETWORK.cursors()}")
            assert await marks.all_of(session, NETWORK) == {}

    run(main())


def test_problems_are_said_when_they_begin_change_and_end(caplog):
    log = logging.getLogger("tests.problems")
    problems = Problems(log)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            problems.say("it", "is full\n  make room")
        problems.say("it", "nats://me:hunter22@host is away")
        problems.over("it")
        problems.over("it")
    said = [record.message for record in caplog.records]
    assert said == [
        "it: is full\n  make room",
        "it: nats://[hidden]@host is away",
        "it: works again",
    ]
    problems.say("it", "is full\n  make room")
    assert problems.texts == ["it: is full -- make room"]


class Node:
    def __init__(self) -> None:
        self.asked = 0

    async def node(self):
        self.asked += 1
        raise OSError("the node is away")


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "calm"])
def test_a_snapshot_that_nobody_lacks_is_put_off_while_there_is_better_to_do(nats, busy, monkeypatch):
    now = [1_000_000]
    source = Node()

    async def main():
        keeper = Keeper(
            NETWORK,
            settings(nats),
            source,
            Problems(logging.getLogger("t")),
            lambda: now[0],
            lambda: busy,
            0.1,
            0,
        )
        async with connected(nats) as session:
            await keeper.meet(session, "main")

            async def look():
                await keeper._snapshot(session, "main", await keeper._look(session, "main"))
                return source.asked

            assert await look() == (0 if busy else 1)
            now[0] += 599_000
            assert await look() == (0 if busy else 2)
            now[0] += 2_000
            assert await look() == (1 if busy else 2), "one that failed is tried again after a while"
            keeper.ask("main", "rows were made anew")
            before = source.asked
            assert await look() == before + 1, "what is asked for is not put off"
            await session.api(f"STREAM.DELETE.{NETWORK.stream('main')}")

    run(main())


class Member:
    """A node that is a member of a fleet, as far as a keeper asks it."""

    def __init__(self, **streams):
        self.told = {"fleet": {"streams": streams}} if streams else {}

    async def status(self):
        return self.told


@pytest.mark.parametrize(
    ("node", "covers"),
    [
        (Member(), 90),
        (Member(main={"lacking": "", "position": 40}), 40),
        (Member(main={"lacking": "its stream keeps message 7 and later ones", "position": 40}), 0),
        (Member(other={"lacking": "", "position": 40}), 0),
    ],
    ids=["alone", "member", "lacking", "not held"],
)
def test_a_snapshot_of_a_member_covers_no_more_than_the_member_has_read(node, covers):
    assert asyncio.run(keeping._followed(node, "main", 90)) == covers
