"""The feed and exports as others read them: under random policies exactly what is allowed, and what ends them."""

from __future__ import annotations

import asyncio

import kit
import pytest
from feed.test_export import filled, shown
from hypothesis import given, settings
from hypothesis import strategies as st
from node.test_service import Direct
from node.test_service_access import KEYS, RULES, policy
from nodekit import Mesh, places, run, until

import mycelium
from mycelium.database import feed as feeds
from mycelium.database.access import Rights
from mycelium.database.memory import MemoryStore
from mycelium.database.policy import MINER, Action
from mycelium.errors import (
    CursorForeign,
    FeedBehind,
    FeedRewound,
    LinkClosed,
    MalformedMessage,
    Unauthorised,
    UsageError,
)
from mycelium.feed.cursor import Cursor
from mycelium.feed.retention import Retention
from mycelium.identity.keys import digest
from mycelium.node import calls, feedcalls, feeding
from mycelium.node.feeding import Feeding
from mycelium.node.remote import RemoteDatabase
from mycelium.node.remotefeed import RemoteExport, RemoteFeed, RemoteSignedExport
from mycelium.node.service import Service

MINE = kit.keypair("reader").account
READ_ALL = [{"who": "miner", "tables": "*", "may": ["read"]}]


def world(scenario, rules=None, account=MINE, store=None):
    """Run `scenario(database, channel, ruling)`. rules None: the account may do everything."""

    async def main():
        database = kit.database("one", store)
        ruling = [policy(rules or [])]
        service = Service(database, dict, rights_now=lambda account: Rights(ruling[0], MINER, account))
        if rules is None:
            service.allow(frozenset({account}))
        service.feeding = Feeding(
            database, database.engine._authority, service._rights_now, service.may_everything
        )
        channel = Direct(service, account)
        remote = RemoteDatabase(channel, database.tables, 5.0)
        try:
            return await asyncio.wait_for(scenario(database, remote.messages, ruling), 30)
        finally:
            await database.close()

    return asyncio.run(main())


async def until_end(feed):
    """All that comes until nothing does any more."""
    found = []
    while True:
        try:
            found.append(await asyncio.wait_for(anext(feed), 0.05))
        except TimeoutError:
            return found


@settings(max_examples=40, deadline=None)
@given(RULES, st.none() | st.sampled_from([["scores"], ["hits", "aside"]]))
def test_a_feed_and_an_export_show_exactly_what_is_allowed(rules, tables):
    async def scenario(database, messages, ruling):
        rights = Rights(ruling[0], MINER, MINE)
        for key in KEYS:
            await database.table("scores").put(key, 1)
            async with database.batch() as batch:
                batch.put("scores", key, 2)
                batch.add("hits", key, 1)
                batch.insert("tags", key, "x")
            await database.table("aside").put(key, 3)

        def allowed(table, key):
            space = database.tables[table].space
            return (tables is None or table in tables) and key in rights.ranges(Action.READ, space, table)

        try:
            feed = RemoteFeed(messages, "start", None, tables)
            await feed.start()
        except Unauthorised:
            assert not any(rights.whole(Action.READ, space) for space in database.spaces)
            assert not any(
                rights.ranges(Action.READ, spec.space, name) for name, spec in database.tables.items()
            )
            return
        found = await until_end(feed)
        await feed.aclose()
        wanted = []
        for key in KEYS:
            for changes in (["scores"], ["scores", "hits", "tags"], ["aside"]):
                seen = [(name, key.encode()) for name in changes if allowed(name, key.encode())]
                wanted += [seen] if seen else []
        assert [[(one.table, one.key) for one in batch.changes] for batch in found] == wanted
        for batch in found:
            whole = rights.whole(Action.READ, batch.space)
            assert (batch.raw is not None) == whole
            assert not whole or batch.id == digest(batch.raw)
        ids = [digest(record[64:]) for _, record in sorted(database.store.scan(2, b"", None))]
        assert {batch.id for batch in found} <= set(ids), "the same id whether whole or in part"
        export = RemoteExport(messages, None, tables)
        rows = [row async for page in export.pages() for row in page]
        assert {(row.table, row.key) for row in rows} == {
            (name, key.encode())
            for name in ("scores", "hits", "tags", "aside")
            for key in KEYS
            if allowed(name, key.encode())
        }

    world(scenario, rules)


def test_a_client_reads_everything_as_the_node_itself_does():
    async def scenario(database, messages, ruling):
        del ruling
        await filled(database)
        remote = RemoteFeed(messages, "start")
        here = Feeding(database, database.engine._authority, lambda account: None, lambda account: True)
        count = database.engine.feed_last
        local = here.feed("start")
        assert [await anext(remote) for _ in range(count)] == [await anext(local) for _ in range(count)]
        assert remote.spaces == ["main", "other", "sys"]
        assert (remote.cursor, remote.newest) == (local.cursor, count)
        export = RemoteExport(messages)
        assert await export.start() == export.cursor == local.cursor
        rows = [row async for page in export.pages() for row in page]
        assert rows == [row async for page in here.export().pages() for row in page]
        assert shown(rows)
        signed, mine = RemoteSignedExport(messages, "main"), here.signed_export("main")
        await signed.prepare()
        await mine.prepare()
        assert (signed.cursor, signed.batches, signed.changes) == (mine.cursor, mine.batches, mine.changes)
        assert [one async for page in signed.pages() for one in page] == [
            one async for page in mine.pages() for one in page
        ]
        for stream in (remote, export, signed):
            await stream.aclose()

    world(scenario)


def test_a_right_that_ends_ends_the_feed():
    async def scenario(database, messages, ruling):
        await database.table("scores").put("a", 1)
        feed = RemoteFeed(messages, "start")
        assert (await anext(feed)).changes[0].key == b"a"
        ruling[0] = policy([])
        await database.table("scores").put("b", 1)
        assert await until_end(feed) == []

    world(scenario, READ_ALL)


@pytest.mark.parametrize("stream", [RemoteFeed, RemoteExport, RemoteSignedExport])
def test_who_may_read_nothing_is_refused(stream):
    async def scenario(database, messages, ruling):
        del database, ruling
        opened = stream(messages, "main") if stream is RemoteSignedExport else stream(messages)
        with pytest.raises(Unauthorised, match=r"may (read nothing|not read all)"):
            await (opened.prepare() if stream is RemoteSignedExport else opened.start())

    world(scenario, [])


def test_a_space_that_one_may_not_read_is_as_one_that_is_not_there():
    async def scenario(database, messages, ruling):
        del database, ruling
        for name in ("other", "nowhere"):
            with pytest.raises(Unauthorised, match=f"may not read a space '{name}'"):
                await RemoteFeed(messages, None, [name]).start()
        await RemoteFeed(messages, None, ["main"]).start()

    world(scenario, [{"who": "miner", "tables": "main/scores", "may": ["read"]}])


def test_a_part_of_a_space_cannot_be_taken_signed():
    async def scenario(database, messages, ruling):
        del database, ruling
        with pytest.raises(Unauthorised, match="all of the space"):
            await RemoteSignedExport(messages, "main").prepare()

    world(scenario, [{"who": "miner", "tables": "main/scores", "may": ["read"]}])


def test_a_space_that_is_not_there_is_said_to_who_may_know():
    async def scenario(database, messages, ruling):
        del database, ruling
        with pytest.raises(UsageError, match="no space 'nowhere'; it has main, other, sys"):
            await RemoteFeed(messages, None, ["nowhere"]).start()

    world(scenario)


def test_why_a_feed_cannot_go_on_is_told_with_where_it_can():
    async def scenario(database, messages, ruling):
        del ruling
        for number in range(3):
            await database.table("scores").put(str(number), number)
        with pytest.raises(CursorForeign):
            await RemoteFeed(messages, Cursor(1, 1)).start()
        with pytest.raises(UsageError, match="no cursor"):
            await RemoteFeed(messages, "yesterday").start()
        open_ = RemoteFeed(messages, "start")
        await open_.start()
        keeping = Retention(database.store, 0)
        keeping.mark(0)
        await keeping.prune(1)
        with pytest.raises(FeedBehind) as told:
            await anext(open_)
        assert told.value.cursor == str(Cursor(database.generation, 2))
        resumed = RemoteFeed(messages, told.value.cursor)
        assert (await anext(resumed)).changes[0].key == b"2"
        write = database.store.batch()
        database.engine.feed_last = feeds.mark_rewound(database.store, "main", write)
        database.store.commit(write)
        database.committer.applied(database.engine.feed_last)
        with pytest.raises(FeedRewound) as rewound:
            await anext(resumed)
        assert (rewound.value.space, rewound.value.cursor) == ("main", str(Cursor(database.generation, 4)))
        await database.table("scores").put("after", 1)
        assert (await anext(RemoteFeed(messages, rewound.value.cursor))).changes[0].key == b"after"

    world(scenario, store=MemoryStore())


def test_a_reader_for_whom_there_is_nothing_hears_how_far_it_is(monkeypatch):
    monkeypatch.setattr(feeding, "FEED_PROGRESS_S", 0.0)

    async def scenario(database, messages, ruling):
        del ruling
        feed = RemoteFeed(messages, "start", ["other"])
        await database.table("scores").put("a", 1)
        await database.table("scores").put("b", 1)
        assert await until_end(feed) == []
        assert feed.cursor.index == 2
        await database.table("aside").put("c", 1)
        assert (await anext(feed)).cursor.index == 3, "a wait that was cut short lost nothing"

    world(scenario)


@pytest.mark.parametrize(
    ("records", "error", "text"),
    [
        ([feedcalls.Progress(1, 1)], MalformedMessage, "where it begins"),
        ([feedcalls.Started(1, 1, 1, []), feedcalls.Rows([])], MalformedMessage, "a record Rows"),
        ([feedcalls.Started(1, 1, 1, [])], LinkClosed, "ended the feed"),
        ([feedcalls.Started(1, 1, 1, []), feedcalls.Ended(0, "odd", "x")], MalformedMessage, "'odd'"),
        (
            [
                feedcalls.Started(1, 1, 1, []),
                feedcalls.Part(1, 1, b"", "s", b"", 1, 1, 1, 1, 1, [(0, "t", 99, 0, b"", b"", True)]),
            ],
            MalformedMessage,
            "merge type 99",
        ),
        (
            [
                feedcalls.Started(1, 1, 1, []),
                feedcalls.Part(1, 1, b"", "s", b"", 1, 1, 1, 1, 1, [(0, "t", 0, 99, b"", b"", True)]),
            ],
            MalformedMessage,
            "kind 99",
        ),
    ],
    ids=["no start", "rows", "end", "odd end", "merge", "op"],
)
def test_a_feed_that_breaks_its_rules_is_refused(records, error, text):
    async def messages(method, body):
        for record in records:
            yield calls.record(record)

    async def main():
        with pytest.raises(error, match=text):
            await anext(RemoteFeed(messages))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("records", "error", "text"),
    [
        ([feedcalls.Ended(0)], MalformedMessage, "of when it is"),
        ([feedcalls.Started(1, 1, 1, [])], LinkClosed, "before its end"),
        ([feedcalls.Started(1, 1, 1, []), feedcalls.Ended(3)], MalformedMessage, "3 of which 0 came"),
        ([feedcalls.Started(1, 1, 1, []), feedcalls.Progress(1, 1)], MalformedMessage, "record Progress"),
    ],
    ids=["no start", "cut", "count", "kind"],
)
@pytest.mark.parametrize("kind", [RemoteExport, lambda messages: RemoteSignedExport(messages, "main")])
def test_an_export_that_is_not_whole_is_refused(records, error, text, kind):
    async def messages(method, body):
        for record in records:
            yield calls.record(record)

    async def main():
        with pytest.raises(error, match=text):
            async for _ in kind(messages).pages():
                pass

    asyncio.run(main())


def test_another_process_follows_a_real_node(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 2)) as mesh:
            await mesh.start()
            one, other = mesh.nodes
            async with mycelium.connect(one.url, mesh.places[0].keypair) as node:
                feed = node.feed("start", ["main"])
                await feed.start()
                await one.database.table("scores").put("k", {"score": 1})
                await other.database.table("scores").put("l", {"score": 2})
                found = [await anext(feed) for _ in range(2)]
                assert [batch.changes[0].key for batch in found] == [b"k", b"l"]
                assert {batch.account for batch in found} == {one.account, other.account}
                assert await node.proofs("main") == one.proofs("main") == []
                export = node.export(["main"])
                rows = [row async for page in export.pages() for row in page]
                assert [row.key for row in rows] == [b"k", b"l"]
                again = one.feed(found[0].cursor, ["main"])
                assert (await anext(again)).id == found[1].id
                signed = one.signed_export("main")
                await signed.prepare()
                assert signed.batches == 2
                assert one.export(["main"]).cursor.index == one.database.engine.feed_last
                (reader,) = one.feeding.status()["readers"]
                assert (reader["account"], reader["behind"]) == (mesh.places[0].address, 0)
                assert (reader["spaces"], reader["cursor"]) == (["main"], str(feed.cursor))
                await feed.aclose()
                await until(lambda: not one.feeding.status()["readers"], "it is gone when it is closed")
                assert one.status()["feed"] == {
                    "newest": str(feed.cursor),
                    "kept_from": str(Cursor(one.generation, 0)),
                    "readers": [],
                }

    run(main())
