"""Exports: exactly what a space holds at one moment, and that a feed from there on tells exactly the rest."""

from __future__ import annotations

import asyncio

import kit
import pytest
from feed.test_reader import feed_of
from hypothesis import given, settings
from hypothesis import strategies as st
from snapshotkit import LATER_MS, history, rows

from mycelium.database import value
from mycelium.database.horizon import Horizon
from mycelium.database.memory import MemoryStore
from mycelium.database.ranges import prefixed
from mycelium.database.store import Column
from mycelium.errors import NotDurable, StoreCorrupt
from mycelium.feed import export as exporting
from mycelium.feed.export import Export, SignedExport
from mycelium.protocol.messages import MergeType


def run(main):
    return asyncio.run(asyncio.wait_for(main, 30))


async def exported(export):
    return [row async for page in export.pages() for row in page]


def shown(rows):
    """What people see of exported rows: (table, key) -> value."""
    found = {}
    for row in rows:
        at = row.table, value.key_of(row.key)
        if row.merge is MergeType.COUNTER:
            found[at] = found.get(at, 0) + int.from_bytes(row.value, "big", signed=True)
        elif row.merge in (MergeType.SET, MergeType.APPEND):
            found.setdefault(at, []).append(value.value_of(row.value))
        else:
            found[at] = value.value_of(row.value)
    return found


async def filled(database):
    for key in ("a", "ab", "b\0c", "ü"):
        await database.table("scores").put(key, {"of": key})
        await database.table("hits").add(key, 2)
        await database.table("hits").add(key, 3)
        await database.table("tags").insert(key, "x")
        await database.table("tags").insert(key, "y")
        await database.table("events").put(key, "one")
        await database.table("events").put(key, "two")
        await database.table("aside").put(key, 1)
    await database.table("scores").delete("ab")
    await database.table("tags").remove("a", "x")


def test_every_kind_of_row_is_what_a_scan_shows(monkeypatch):
    monkeypatch.setattr(exporting, "EXPORT_SLICE_ROWS", 3)

    async def main():
        database = kit.database("a")
        await filled(database)
        export = Export(database, ["main", "other"])
        found = shown(await exported(export))
        wanted = {
            (name, row.key): row.value
            for name in ("scores", "hits", "tags", "events", "aside")
            async for row in database.table(name).scan()
        }
        assert {at: sorted(v) if isinstance(v, list) else v for at, v in found.items()} == wanted
        assert export.cursor.index == database.engine.feed_last
        await database.close()

    run(main())


def test_it_is_of_one_moment_whatever_is_written_meanwhile():
    async def main():
        database = kit.database("a")
        await filled(database)
        export = Export(database, ["main", "other"])
        pages = export.pages()
        before = {
            (name, row.key): row.value
            for name in ("scores", "aside")
            async for row in database.table(name).scan()
        }
        await database.table("scores").put("a", "changed")
        await database.table("aside").put("new", 1)
        found = shown([row async for page in pages for row in page])
        assert {at: v for at, v in found.items() if at[0] in ("scores", "aside")} == before
        feed = feed_of(database, export.cursor)
        rest = [await anext(feed) for _ in range(2)]
        assert [(one.changes[0].table, one.changes[0].key) for one in rest] == [
            ("scores", b"a"),
            ("aside", b"new"),
        ]
        await database.close()

    run(main())


def test_only_some_tables_and_only_what_may_be_seen():
    async def main():
        database = kit.database("a")
        await filled(database)
        found = await exported(Export(database, ["main"], ["scores", "hits"]))
        assert {row.table for row in found} == {"scores", "hits"}
        within = {"scores": prefixed(b"a"), "tags": prefixed(b"b")}
        narrow = Export(database, ["main"], within=lambda space, table: within.get(table, prefixed(b"none")))
        assert {(row.table, row.key) for row in await exported(narrow)} == {
            ("scores", b"a"),
            ("tags", b"b\0c"),
        }
        await database.close()

    run(main())


def test_nothing_is_given_before_it_is_durable():
    async def main():
        store = kit.GatedStore()
        database = kit.database("a", store)
        store.gate.clear()
        await database.table("scores").put("k", 1, ack="applied")
        export = Export(database, ["main"])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(exported(export), 0.05)
        store.full = True
        store.gate.set()
        with pytest.raises(NotDurable):
            await exported(Export(database, ["main"]))
        store.full = False
        await database.close()

    run(main())


def test_a_damaged_row_is_not_passed_on():
    async def main():
        database = kit.database("a")
        await database.table("scores").put("k", 1)
        ((key, _),) = kit.rows(database.store)
        write = database.store.batch()
        write.put(key, b"short", database.store.column(Column.LIVE))
        database.store.commit(write)
        with pytest.raises(StoreCorrupt, match="main/scores"):
            await exported(Export(database, ["main"]))
        await database.close()

    run(main())


async def signed(database):
    export = SignedExport(database, database.engine._authority, "main")
    await export.prepare()
    found = [one async for page in export.pages() for one in page]
    assert len(found) == export.batches
    return export, found


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 25), st.booleans())
def test_whoever_takes_the_signed_batches_holds_the_same(seed, batches, trimmed):
    async def main():
        one = history(seed, batches)[0]
        if trimmed:
            one._authority.present = lambda: 10**6
            await Horizon(one._store, one, one._authority, 0).walk(LATER_MS)
        database = kit.database("a", one._store)
        export, found = await signed(database)
        other = kit.engine("other")
        for record in found:
            other.receive(record.raw, record.signature, LATER_MS, record.void_first)
        assert rows(other) == rows(database.engine)
        assert other.vector_digest("main") == database.engine.vector_digest("main")
        assert export.cursor.index == database.engine.feed_last
        await database.close()

    run(main())


def test_a_log_with_a_gap_keeps_it_and_takes_it_for_no_void():
    author = kit.engine("author")
    sent = [kit.write(author, kit.put(f"k{number}")) for number in range(4)]
    database = kit.database("a")

    async def main():
        for number in (0, 1, 3):
            database.engine.receive(sent[number].batch.raw, sent[number].signature, kit.NOW_MS)
        _, found = await signed(database)
        assert [record.void_first for record in found] == [0, 0, 0]
        other = kit.engine("other")
        for record in found:
            other.receive(record.raw, record.signature, kit.NOW_MS, record.void_first)
        assert other.vector("main") == database.engine.vector("main")
        await database.close()

    run(main())


def test_a_batch_that_is_dropped_meanwhile_lies_in_a_void(monkeypatch):
    monkeypatch.setattr(exporting, "EXPORT_SLICE_BATCHES", 1)

    async def main():
        store = MemoryStore()
        database = kit.database("a", store)
        await database.table("scores").put("first", 1)
        await database.table("scores").put("k", 1)
        await database.table("scores").put("last", 1)
        export = SignedExport(database, database.engine._authority, "main")
        await export.prepare()
        pages = export.pages()
        found = list(await anext(pages))
        await database.table("scores").put("k", 2)
        database.engine._authority.present = lambda: 10**6
        assert (await Horizon(store, database.engine, database.engine._authority, 0).walk(LATER_MS)).dropped
        found += [one async for page in pages for one in page]
        assert [one.void_first for one in found] == [0, 2]
        other = kit.engine("other")
        for record in found:
            other.receive(record.raw, record.signature, kit.NOW_MS, record.void_first)
        assert other.head("main", database.engine.origin) == 3
        await database.close()

    run(main())
