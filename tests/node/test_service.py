"""The API of a node, without a network between: what a program asks is what the database answers."""

import asyncio
from contextlib import aclosing

import kit
import pytest

from mycelium.config import CALL_BYTES_MAX, VALUE_BYTES_MAX
from mycelium.database.schema import TableSpec
from mycelium.errors import (
    CallFailed,
    KeyRefused,
    LinkClosed,
    MalformedMessage,
    MyceliumError,
    StoreClosed,
    StoreError,
    Unauthorised,
    UnknownTable,
    UsageError,
    ValueRefused,
    WatchBroken,
    WrongMergeType,
)
from mycelium.identity import account as accounts
from mycelium.node import calls
from mycelium.node.remote import RemoteDatabase
from mycelium.node.service import Service
from mycelium.protocol.messages import MergeType


class Link:
    def __init__(self, account):
        self.account = account


class Direct:
    """Hands calls to the service as a CallServer does: errors travel as the name of their class and a text."""

    def __init__(self, service, account):
        self.service = service
        self.link = Link(account)
        self.calls = 0
        self.lost = asyncio.Event()

    async def call(self, method, body, timeout_s):
        self.calls += 1
        assert timeout_s > 0
        try:
            return await self.service.handlers[method](self.link, body)
        except MyceliumError as error:
            raise CallFailed(type(error).__name__, str(error)) from None

    async def stream(self, method, body, window_bytes=0):
        try:
            async with aclosing(self.service.streams[method](self.link, body)) as messages:
                async for message in messages:
                    if self.lost.is_set():
                        raise LinkClosed("cut")
                    yield message
        except LinkClosed:
            raise
        except MyceliumError as error:
            raise CallFailed(type(error).__name__, str(error)) from None


def world(scenario, **service_options):
    """Run `scenario(database, remote, channel)` over a fresh database."""

    async def main():
        database = kit.database("one")
        service = Service(database, lambda: {"up": True}, **service_options)
        channel = Direct(service, database.account)
        remote = RemoteDatabase(channel, database.tables, 5.0)
        try:
            return await scenario(database, remote, channel)
        finally:
            await database.close()

    return asyncio.run(asyncio.wait_for(main(), 30))


async def _put_all(database, puts):
    async with database.batch() as batch:
        for table, key, value in puts:
            batch.put(table, key, value)


async def _fail_in_batch(database):
    async with database.batch() as batch:
        batch.put("scores", "c", 1)
        raise RuntimeError("no")


def test_values_come_back_as_they_were():
    values = [
        b"\x00\xff bytes",
        "text",
        0,
        -1,
        2**63,
        1.5,
        None,
        True,
        [1, [2, b"in"]],
        {"score": 0.93, "epoch": 812, "raw": b"\x80"},
        "",
        b"",
    ]

    async def scenario(database, remote, channel):
        table = remote.table("scores")
        for number, value in enumerate(values):
            await table.put(f"k{number}", value, ack="applied")
            assert await table.get(f"k{number}") == value
            assert await database.table("scores").get(f"k{number}") == value
        rows = [row async for row in table.scan()]
        assert rows == [row async for row in database.table("scores").scan()]
        assert len(rows) == len(values)

    world(scenario)


def test_text_and_bytes_keys_stay_what_they_are():
    async def scenario(database, remote, channel):
        table = remote.table("scores")
        await table.put("ключ", 1)
        await table.put(b"\xff\x00", 2)
        await table.put(b"plain", 3)
        assert [row.key async for row in table.scan()] == ["plain", "ключ", b"\xff\x00"]
        assert await table.get("plain") == 3
        assert [row.key async for row in table.scan(prefix=b"\xff")] == [b"\xff\x00"]

    world(scenario)


def test_every_merge_type_through_the_api():
    async def scenario(database, remote, channel):
        hits, tags, events = (remote.table(name) for name in ("hits", "tags", "events"))
        assert await hits.get("h") == 0
        assert await tags.get("t") == []
        assert await events.get("e") == []
        await hits.add("h")
        await hits.add("h", -5)
        await tags.insert("t", {"a": 1})
        await tags.insert("t", b"b")
        await tags.remove("t", {"a": 1})
        await events.put("e", 1)
        await events.put("e", "two")
        assert await hits.get("h") == -4
        assert await tags.get("t") == [b"b"]
        assert await events.get("e") == [1, "two"]
        own = accounts.format(database.account) + "/name"
        await remote.table("profile").put(own, "me")
        assert await remote.table("profile").get(own) == "me"
        await remote.table("profile").delete(own)
        assert await remote.table("profile").get(own) is None
        assert await remote.table("scores").count() == 0
        assert await tags.count() == 1

    world(scenario)


def test_a_counter_beyond_64_bits():
    async def scenario(database, remote, channel):
        table = remote.table("hits")
        for _ in range(3):
            await table.add("big", 2**63 - 1)
            await table.add("small", -(2**63))
        assert await table.get("big") == 3 * (2**63 - 1)
        assert await table.get("small") == -3 * 2**63
        assert {row.key: row.value async for row in table.scan()} == {
            "big": 3 * (2**63 - 1),
            "small": -3 * 2**63,
        }

    world(scenario)


def test_a_list_larger_than_one_answer():
    async def scenario(database, remote, channel):
        fact = b"f" * 300_000
        for _ in range(5):
            await remote.table("events").put("e", fact, ack="applied")
        await remote.table("events").put("f", 1)
        assert await remote.table("events").get("e") == [fact] * 5
        assert [(row.key, len(row.value)) async for row in remote.table("events").scan()] == [
            ("e", 5),
            ("f", 1),
        ]

    world(scenario)


def test_scan_bounds_limit_and_order():
    async def scenario(database, remote, channel):
        async with remote.batch() as batch:
            for number in range(700):
                batch.put("scores", f"k{number:03d}", number)
        table = remote.table("scores")
        assert [row.value async for row in table.scan()] == list(range(700))
        assert [row.value async for row in table.scan(reverse=True)] == list(range(699, -1, -1))
        assert [row.value async for row in table.scan(start="k100", end="k103")] == [100, 101, 102]
        assert [row.value async for row in table.scan(prefix="k69", limit=2)] == [690, 691]
        assert [row.value async for row in table.scan(prefix="x")] == []
        assert channel.calls == 1

    world(scenario)


def test_a_batch_is_one_call_and_all_or_nothing():
    async def scenario(database, remote, channel):
        async with remote.batch(ack="durable") as batch:
            batch.put("scores", "a", 1)
            batch.add("hits", "h", 2)
            batch.insert("tags", "t", "x")
            batch.put("scores", "b", 2)
            batch.delete("scores", "b")
        assert channel.calls == 1
        assert await remote.table("scores").get("a") == 1
        assert await remote.table("scores").get("b") is None
        assert await remote.table("hits").get("h") == 2
        async with remote.batch() as batch:
            batch.remove("tags", "t", "x")
        assert await remote.table("tags").get("t") == []
        with pytest.raises(RuntimeError, match="no"):
            await _fail_in_batch(remote)
        async with remote.batch():
            pass
        with pytest.raises(UsageError, match="one space"):
            await _put_all(remote, [("scores", "c", 1), ("aside", "c", 1)])
        assert await remote.table("scores").get("c") is None

    world(scenario)


def test_mistakes_raise_what_the_local_table_raises():
    async def scenario(database, remote, channel):
        scores = remote.table("scores")
        with pytest.raises(UnknownTable, match=r"declared: .*scores"):
            remote.table("score")
        with pytest.raises(KeyRefused, match="empty"):
            await scores.put("", 1)
        with pytest.raises(KeyRefused, match="1025"):
            await scores.get("k" * 1025)
        with pytest.raises(ValueRefused):
            await scores.put("k", object())
        with pytest.raises(ValueRefused):
            await scores.put("k", b"v" * VALUE_BYTES_MAX)
        third = b"v" * (CALL_BYTES_MAX // 3)
        with pytest.raises(ValueRefused, match="go together"):
            await _put_all(remote, [("scores", str(number), third) for number in range(3)])
        with pytest.raises(ValueRefused, match="whole numbers"):
            await remote.table("hits").add("k", 1.5)
        with pytest.raises(UsageError, match="ack"):
            await scores.put("k", 1, ack="soon")
        assert channel.calls == 0, "each of these was refused before a call"
        with pytest.raises(WrongMergeType, match="has no add"):
            await scores.add("k", 1)
        with pytest.raises(KeyRefused, match="begin with"):
            await remote.table("profile").put("not-mine", 1)
        assert await scores.count() == 0

    world(scenario)


def test_a_table_that_the_node_dropped_since():
    async def scenario(database, remote, channel):
        stale = RemoteDatabase(channel, {"gone": TableSpec("gone", "main", MergeType.LWW)}, 5.0)
        with pytest.raises(UnknownTable, match="'gone'"):
            await stale.table("gone").get("k")
        with pytest.raises(UnknownTable, match="'gone'"):
            [row async for row in stale.table("gone").scan()]
        with pytest.raises(UnknownTable, match="'gone'"):
            await stale.table("gone").watch().start()

    world(scenario)


def test_watch_begins_now_and_shows_each_change_once():
    async def scenario(database, remote, channel):
        table = remote.table("scores")
        await table.put("before", 0)
        watch = table.watch(prefix="w")
        began = await watch.start()
        assert began == await watch.start()
        await database.table("scores").put("w1", 1)
        await table.put("other", 1)
        await table.delete("w1")
        first, second = await anext(watch), await anext(watch)
        assert (first.key, first.op, first.value) == ("w1", "put", 1)
        assert (second.key, second.op, second.value) == ("w1", "delete", None)
        assert first.account == database.account
        assert began < first.cursor < second.cursor == watch.cursor
        await watch.aclose()
        again = table.watch(after=first.cursor)
        assert [(await anext(again)).key for _ in range(2)] == ["other", "w1"]
        await again.aclose()

    world(scenario)


def test_a_watch_of_many_changes_is_whole_and_in_order():
    async def scenario(database, remote, channel):
        watch = remote.table("scores").watch(after=0)
        for first in range(0, 5000, 500):
            async with database.batch(ack="applied") as batch:
                for number in range(first, first + 500):
                    batch.put("scores", f"{number:05d}", b"v" * 200)
        assert [int((await anext(watch)).key) for _ in range(5000)] == list(range(5000))
        await watch.aclose()

    world(scenario)


def test_a_timeout_around_a_watch_loses_nothing():
    async def scenario(database, remote, channel):
        table = remote.table("scores")
        watch = table.watch()
        await watch.start()
        for number in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(watch), 0.01)
            await table.put("k", number)
            assert (await anext(watch)).value == number
        await watch.aclose()

    world(scenario)


def test_a_lost_connection_breaks_a_watch_with_its_cursor():
    async def scenario(database, remote, channel):
        table = remote.table("scores")
        watch = table.watch()
        await watch.start()
        await table.put("a", 1)
        seen = await anext(watch)
        channel.lost.set()
        await table.put("b", 2)
        with pytest.raises(WatchBroken, match=f"resume with after={seen.cursor}") as caught:
            await anext(watch)
        assert caught.value.cursor == seen.cursor
        channel.lost.clear()
        resumed = table.watch(after=caught.value.cursor)
        assert (await anext(resumed)).key == "b"
        await resumed.aclose()

    world(scenario)


def test_a_closed_database_ends_a_watch():
    async def scenario(database, remote, channel):
        watch = remote.table("scores").watch()
        await watch.start()
        next_change = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        await database.close()
        with pytest.raises((StoreClosed, WatchBroken)):
            await next_change

    world(scenario)


def test_only_the_own_account_and_listed_clients_may_call():
    listed, stranger = kit.keypair("listed").account, kit.keypair("stranger").account

    async def scenario(database, remote, channel):
        service = channel.service
        assert service.may_call(database.account)
        assert service.may_call(listed)
        assert not service.may_call(stranger)
        channel.link = Link(stranger)
        with pytest.raises(Unauthorised, match="clients"):
            await remote.table("scores").put("k", 1)
        with pytest.raises(Unauthorised):
            [row async for row in remote.table("scores").scan()]
        channel.link = Link(listed)
        await remote.table("scores").put("k", 1)
        assert [row.key async for row in remote.table("scores").scan()] == ["k"]

    world(scenario, clients=frozenset({listed}))


def test_backups_are_for_the_own_account(tmp_path):
    listed = kit.keypair("listed").account

    async def scenario(database, remote, channel):
        with pytest.raises(UsageError, match="absolute"):
            await remote.checkpoint("backup")
        with pytest.raises(StoreError, match="exists"):
            await remote.checkpoint(tmp_path)
        (tmp_path / "file").write_text("")
        for path in (tmp_path / "file" / "backup", tmp_path / ("x" * 300), str(tmp_path) + "/\0"):
            with pytest.raises(StoreError, match="cannot be written"):
                await remote.checkpoint(path)
        channel.link = Link(listed)
        with pytest.raises(Unauthorised, match="own account"):
            await remote.checkpoint(tmp_path / "backup")
        assert not (tmp_path / "backup").exists()

    world(scenario, clients=frozenset({listed}))


def test_digests_status_and_tables():
    async def scenario(database, remote, channel):
        await remote.table("scores").put("k", 1)
        state = await remote.state()
        assert state["main"]["rows"] == 1
        assert await remote.state_digests() == await database.state_digests()
        assert await remote.ask(calls.STATUS, b"", dict) == {"up": True}
        tables = await remote.ask(calls.TABLES, b"", list[calls.TableInfo])
        assert {info.name: (info.space, info.merge) for info in tables}["aside"] == ("other", "lww")

    world(scenario)


@pytest.mark.parametrize("method", [calls.GET, calls.WRITE, calls.COUNT, calls.CHECKPOINT])
@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x93\x01", b"\x92\x01\x02", b"\x91\xa1\xff", b"\x91" * 2000]
)
def test_a_malformed_body_is_refused(method, body):
    async def scenario(database, remote, channel):
        with pytest.raises(MalformedMessage):
            await remote.ask(method, body, None)

    world(scenario)


def test_an_unknown_operation_is_refused():
    async def scenario(database, remote, channel):
        with pytest.raises(UsageError, match="no operation 'drop'"):
            await remote.write([("drop", "scores", b"k", None)], "applied")
        with pytest.raises(UsageError, match="no operation '__init__'"):
            await remote.write([("put", "scores", b"k", 1), ("__init__", "scores", b"k", 1)], "applied")
        assert await remote.table("scores").count() == 0

    world(scenario)


def test_records_are_put_together_from_any_cuts():
    bodies = [{"n": number, "fill": "x" * (number * 37)} for number in range(50)]
    whole = b"".join(calls.record(body) for body in bodies)
    for size in (1, 3, 64, 1000, len(whole)):
        records = calls.Records(10_000)
        found = [
            calls.decode(record, dict)
            for at in range(0, len(whole), size)
            for record in records.feed(whole[at : at + size])
        ]
        assert found == bodies
        assert records.whole
    assert b"".join(calls.cut(whole * 9)) == whole * 9
    assert max(map(len, calls.cut(whole * 9))) <= calls.STREAM_CHUNK_BYTES


def test_a_record_beyond_the_bound_is_refused_before_it_is_held():
    records = calls.Records(100)
    assert records.feed(b"\x64\x00\x00\x00") == []
    assert not records.whole
    with pytest.raises(MalformedMessage, match="101 bytes"):
        calls.Records(100).feed(b"\x65\x00\x00\x00")


def test_an_unknown_extension_is_refused():
    with pytest.raises(MalformedMessage):
        calls.decode(b"\x92\xd4\x07\x00\xc2", calls.Got)
