"""Tables as people use them: every merge type, batching, acknowledgements, scans, digests, closing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import kit
import pytest

from mycelium.config import BATCH_CHANGES_HARD_MAX, BATCH_CHANGES_MAX, DOTS_PER_REMOVE_MAX
from mycelium.database.database import Database
from mycelium.database.engine import Applied
from mycelium.database.memory import MemoryStore
from mycelium.errors import (
    KeyRefused,
    NotDurable,
    StoreClosed,
    StoreFull,
    UnknownTable,
    UsageError,
    ValueRefused,
    WrongMergeType,
)
from mycelium.identity.account import format as ss58


def run(body: Callable[[Database], Awaitable[None]], store: MemoryStore | None = None) -> list[Applied]:
    """Run `body` on a new database; returns the batches it applied."""
    made: list[Applied] = []

    async def main() -> None:
        database = kit.database("a", store)
        database.engine.on_applied.append(made.append)
        try:
            await body(database)
        finally:
            await database.close()

    asyncio.run(main())
    return made


def test_lww() -> None:
    async def body(database: Database) -> None:
        table = database.table("scores")
        assert await table.get("k") is None
        await table.put("k", {"score": 0.93, "epoch": 812})
        assert await table.get("k") == {"score": 0.93, "epoch": 812}
        await table.put(b"\xff\0", b"raw")
        assert await table.get(b"\xff\0") == b"raw"
        await table.delete("k")
        await table.delete("never there")
        assert await table.get("k") is None
        assert await table.count() == 1

    run(body)


def test_counter() -> None:
    async def body(database: Database) -> None:
        table = database.table("hits")
        assert await table.get("k") == 0
        await asyncio.gather(*(table.add("k", n) for n in (5, -7, 2**63 - 1, 2**63 - 1)))
        await table.add("k")
        assert await table.get("k") == 2**64 - 3

    run(body)


def test_set() -> None:
    async def body(database: Database) -> None:
        table = database.table("tags")
        assert await table.get("k") == []
        for element in ("b", "a", "b", {"x": 1}):
            await table.insert("k", element)
        assert await table.get("k") == ["a", "b", {"x": 1}] or sorted(map(str, await table.get("k"))) == [
            "a",
            "b",
            "{'x': 1}",
        ]
        await table.remove("k", "b")
        await table.remove("k", "never there")
        assert "b" not in await table.get("k")
        await table.insert("k", "b")
        assert "b" in await table.get("k")

    run(body)


def test_a_set_removal_of_very_many_insertions() -> None:
    async def body(database: Database) -> None:
        table = database.table("tags")
        async with database.batch() as batch:
            for _ in range(DOTS_PER_REMOVE_MAX + 5):
                batch.insert("tags", "k", "same")
        assert await table.get("k") == ["same"]
        await table.remove("k", "same")
        assert await table.get("k") == []

    run(body)


def test_append_keeps_every_fact_in_order() -> None:
    async def body(database: Database) -> None:
        table = database.table("events")
        for number in range(5):
            await table.put("k", number, ack="applied")
        await table.put("k", 0)
        assert await table.get("k") == [0, 1, 2, 3, 4, 0]

    run(body)


def test_own() -> None:
    async def body(database: Database) -> None:
        table = database.table("profile")
        mine = ss58(database.account)
        await table.put(mine, 1)
        await table.put(f"{mine}/port", 2)
        assert [row.key async for row in table.scan(prefix=mine)] == [mine, f"{mine}/port"]
        for key in ("port", mine + "x", ss58(kit.keypair("b").account)):
            with pytest.raises(KeyRefused, match="begin with"):
                await table.put(key, 1)
            with pytest.raises(KeyRefused):
                await table.delete(key)

    run(body)


@pytest.mark.parametrize(
    ("table", "verb", "has"),
    [
        ("scores", "add", "put, delete"),
        ("scores", "insert", "put, delete"),
        ("hits", "put", "add"),
        ("hits", "delete", "add"),
        ("tags", "put", "insert, remove"),
        ("events", "delete", "put"),
        ("events", "remove", "put"),
        ("profile", "add", "put, delete"),
    ],
)
def test_verbs_that_a_table_has_not(table: str, verb: str, has: str) -> None:
    async def body(database: Database) -> None:
        arguments = ("k",) if verb == "delete" else ("k", 1)
        with pytest.raises(WrongMergeType, match=f"it has {has}"):
            await getattr(database.table(table), verb)(*arguments)

    assert run(body) == []


def test_what_is_refused_leaves_nothing() -> None:
    async def body(database: Database) -> None:
        with pytest.raises(UnknownTable, match="declared: aside"):
            database.table("nope")
        table = database.table("scores")
        for refused in (KeyRefused, ValueRefused, UsageError):
            with pytest.raises(refused):
                if refused is KeyRefused:
                    await table.put("", 1)
                elif refused is ValueRefused:
                    await table.put("k", object())
                else:
                    await table.put("k", 1, ack="soon")
        for ack in (0, -1, True, 1.5, None):
            with pytest.raises(UsageError, match="ack is"):
                await table.put("k", 1, ack=ack)  # type: ignore[arg-type]

    assert run(body) == []


def test_single_writes_share_batches() -> None:
    async def body(database: Database) -> None:
        table = database.table("scores")
        await asyncio.gather(*(table.put(f"k{n}", n) for n in range(BATCH_CHANGES_MAX + 10)))

    assert [one.batch.count for one in run(body)] == [BATCH_CHANGES_MAX, 10]


def test_a_batch_is_flushed_by_size_too() -> None:
    async def body(database: Database) -> None:
        await asyncio.gather(*(database.table("scores").put(f"k{n}", bytes(30_000)) for n in range(6)))

    assert [one.batch.count for one in run(body)] == [3, 3]


def test_a_cancelled_writer_does_not_cancel_the_others() -> None:
    async def body(database: Database) -> None:
        table = database.table("scores")
        writers = [asyncio.ensure_future(table.put(f"k{n}", n)) for n in range(3)]
        await asyncio.sleep(0)
        writers[1].cancel()
        await asyncio.gather(writers[0], writers[2])
        assert await table.count() == 3

    assert len(run(body)) == 1


def test_an_atomic_batch() -> None:
    async def body(database: Database) -> None:
        scores = database.table("scores")
        early = asyncio.ensure_future(scores.put("k", "early"))
        await asyncio.sleep(0)
        async with database.batch() as batch:
            batch.put("scores", "k", "late")
            batch.put("scores", "other", 1)
            batch.delete("scores", "other")
            batch.add("hits", "h", 3)
            batch.insert("tags", "t", "x")
        await early
        assert await scores.get("k") == "late"
        assert await scores.get("other") is None
        assert await database.table("hits").get("h") == 3
        async with database.batch() as batch:
            batch.remove("tags", "t", "x")
        assert await database.table("tags").get("t") == []
        async with database.batch():
            pass

    assert [one.batch.count for one in run(body)] == [1, 5, 1]


def test_an_exception_in_a_batch_writes_nothing() -> None:
    async def body(database: Database) -> None:
        with pytest.raises(ZeroDivisionError):
            async with database.batch() as batch:
                batch.put("scores", "k", 1)
                raise ZeroDivisionError
        with pytest.raises(WrongMergeType):
            async with database.batch() as batch:
                batch.put("scores", "k", 1)
                batch.add("scores", "k", 1)
        with pytest.raises(UsageError, match="one space"):
            async with database.batch() as batch:
                batch.put("scores", "k", 1)
                batch.put("aside", "k", 1)
        with pytest.raises(ValueRefused, match="at most"):
            async with database.batch() as batch:
                for n in range(BATCH_CHANGES_HARD_MAX + 1):
                    batch.put("scores", f"{n}", 1)
        with pytest.raises(ValueRefused, match="too large"):
            async with database.batch() as batch:
                for n in range(3):
                    batch.put("scores", f"{n}", bytes(500_000))

    assert run(body) == []


def test_scan() -> None:
    async def body(database: Database) -> None:
        table = database.table("scores")
        keys = [f"{n:04}" for n in range(600)]
        async with database.batch() as batch:
            for key in keys:
                batch.put("scores", key, key)
        everything = [row async for row in table.scan()]
        assert [row.key for row in everything] == [row.value for row in everything] == keys
        assert {row.account for row in everything} == {database.account}
        assert [row.key async for row in table.scan(reverse=True)] == keys[::-1]
        assert [row.key async for row in table.scan(prefix="05", limit=3)] == ["0500", "0501", "0502"]
        assert [row.key async for row in table.scan(start="0100", end="0103")] == ["0100", "0101", "0102"]
        assert [row.key async for row in table.scan(prefix="01", start="0198", end="0300")] == [
            "0198",
            "0199",
        ]
        assert [row.key async for row in table.scan(start="0598", reverse=True)] == ["0599", "0598"]
        assert [row async for row in table.scan(start="b", end="a")] == []
        assert [row async for row in table.scan(limit=0)] == []
        assert len([row async for row in table.scan(limit=512, reverse=True)]) == 512

    run(body)


@pytest.mark.parametrize("name", ["hits", "tags", "events"])
def test_scan_groups_what_belongs_to_one_key(name: str) -> None:
    keys = ["a", "a\0", "a\0b", "ab", "b", "\0", "é"]

    async def body(database: Database) -> None:
        table = database.table(name)
        async with database.batch() as batch:
            for times in range(3):
                for key in keys:
                    if name == "hits":
                        batch.add(name, key, 2)
                    elif name == "tags":
                        batch.insert(name, key, times % 2)
                    else:
                        batch.put(name, key, times)
        value: Any = {"hits": 6, "tags": [0, 1], "events": [0, 1, 2]}[name]
        wanted = sorted(keys, key=str.encode)
        assert [(row.key, row.value) async for row in table.scan()] == [(key, value) for key in wanted]
        assert [row.key async for row in table.scan(reverse=True)] == wanted[::-1]
        assert {str(row.value) async for row in table.scan(reverse=True)} == {str(value)}
        assert [row.key async for row in table.scan(prefix="a")] == ["a", "a\0", "a\0b", "ab"]
        assert [row.key async for row in table.scan(start="a\0", end="b")] == ["a\0", "a\0b", "ab"]
        assert await table.count() == len(keys)

    run(body)


def test_a_paged_scan_of_groups() -> None:
    async def body(database: Database) -> None:
        table = database.table("hits")
        async with database.batch() as batch:
            for n in range(600):
                batch.add("hits", f"{n:04}", n)
        wanted = [(f"{n:04}", n) for n in range(600)]
        assert [(row.key, row.value) async for row in table.scan()] == wanted
        assert [(row.key, row.value) async for row in table.scan(reverse=True)] == wanted[::-1]

    run(body)


def test_a_full_disk_reaches_every_writer_and_is_over_when_it_is() -> None:
    store = MemoryStore()

    async def body(database: Database) -> None:
        table = database.table("scores")
        store.full = True
        results = await asyncio.gather(*(table.put(f"k{n}", n) for n in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [StoreFull] * 3
        assert await table.count() == 0
        store.full = False
        await table.put("k", 1)
        assert await table.count() == 1

    run(body, store)


def test_a_failed_sync_is_told_to_those_who_wait_and_tried_again() -> None:
    store = kit.GatedStore()

    async def body(database: Database) -> None:
        table = database.table("scores")
        store.gate.clear()
        await table.put("a", 1, ack="applied")
        store.full = True
        store.gate.set()
        with pytest.raises(NotDurable):
            await database.committer.wait(1)
        assert database.committer.durable == 0
        store.full = False
        await table.put("b", 1)
        assert database.committer.durable == 2
        assert len(store._synced) == 3

    run(body, store)


def test_acks() -> None:
    store = kit.GatedStore()

    async def body(database: Database) -> None:
        table = database.table("scores")
        store.gate.clear()
        await table.put("applied", 1, ack="applied")
        assert len(store._unsynced) == 1
        store.gate.set()
        await table.put("durable", 1)
        assert store._unsynced == []
        two = asyncio.ensure_future(table.put("at two peers", 1, ack=2))
        await database.committer.advanced()
        database.acks.record("main", b"p" * 32, 3)
        database.acks.record("main", b"q" * 32, 2)
        await asyncio.sleep(0)
        assert not two.done()
        database.acks.record("main", b"q" * 32, 3)
        await two
        await database.acks.wait("main", 3, 2)
        assert database.acks.heads("main") == {b"p" * 32: 3, b"q" * 32: 3}

    run(body, store)


def test_state_digests_are_equal_when_the_rows_are() -> None:
    async def main() -> None:
        one, two = kit.database("a"), kit.database("b")
        await one.table("scores").put("k", 1)
        await two.table("hits").add("h", 1)
        assert await one.state_digests() != await two.state_digests()
        kit.exchange([one.engine, two.engine])
        assert await one.state_digests() == await two.state_digests()
        assert (await one.state_digest("main"))[1] == 2
        await one.close()
        await two.close()

    asyncio.run(main())


def test_the_digest_of_many_rows_is_the_digest_of_their_bytes() -> None:
    from blake3 import blake3

    async def body(database: Database) -> None:
        async with database.batch() as batch:
            for n in range(4500):
                batch.put("scores", f"{n}", n)
        hasher = blake3()
        for key, row in kit.rows(database.store):
            hasher.update(len(key).to_bytes(4, "big") + key + len(row).to_bytes(4, "big") + row)
        assert await database.state_digest("main") == (hasher.hexdigest(), 4500)

    run(body)


def test_closing() -> None:
    store = MemoryStore()

    async def main() -> None:
        database = kit.database("a", store)
        late = asyncio.ensure_future(database.table("scores").put("k", 1))
        await asyncio.sleep(0)
        await database.close()
        await database.close()
        await late
        assert store._unsynced == []
        with pytest.raises(StoreClosed):
            await database.table("scores").put("k", 2)
        with pytest.raises(StoreClosed):
            async with database.batch():
                pass

    asyncio.run(main())


def test_a_checkpoint_holds_what_was_written_before_it(tmp_path: Path) -> None:
    async def body(database: Database) -> None:
        pending = asyncio.ensure_future(database.table("scores").put("k", 1))
        await asyncio.sleep(0)
        await database.checkpoint(tmp_path / "copy")
        await pending
        assert b"main\0scores".hex() in (tmp_path / "copy" / "rows.json").read_text()

    run(body)


def test_status_counts() -> None:
    async def body(database: Database) -> None:
        await database.table("scores").put("k", 1)
        status = database.status()
        assert status["feed"] == status["durable"] == status["changes"] == 1
        assert status["origins"] == {"main": 1, "other": 0, "sys": 0}

    run(body)
