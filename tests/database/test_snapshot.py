"""Snapshots: who joins by one, from whoever, holds the same rows and the same vector as who has the whole log."""

from __future__ import annotations

import asyncio

import kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from snapshotkit import KINDS, LATER_MS, SINGLE, Server, engine, fetched, history, rows, trim, written

from mycelium._core.codec import decode_batch
from mycelium.database import horizon, snapshot
from mycelium.database.schema import batch_of, log_key, row_header
from mycelium.database.snapshot import Page
from mycelium.database.store import Column
from mycelium.database.vector import Origin
from mycelium.errors import Overloaded
from mycelium.protocol.messages import MergeType

ROW = st.tuples(st.sampled_from(KINDS), st.integers(0, 3), st.integers(0, 3), st.integers(0, 6))
STEP = st.tuples(st.integers(0, 2), st.lists(ROW, min_size=1, max_size=3), st.booleans())


def full(authors):
    """The oracle: an engine that applied everything in full, and drops nothing."""
    one = engine("full")
    kit.exchange([*authors, one], LATER_MS)
    return one


@settings(deadline=None, max_examples=60)
@given(
    st.lists(STEP, min_size=1, max_size=30),
    st.lists(STEP, max_size=10),
    st.randoms(use_true_random=False),
    st.integers(1, 2_000),
)
def test_who_joins_by_a_snapshot_holds_what_a_full_replay_gives(steps, tail, rng, page_bytes):
    authors = [engine(name) for name in "abc"]
    written(authors, steps)
    replayed = full(authors)
    for one in authors:
        if rng.random() < 0.6:
            trim(one)
    joiner = engine("joiner")
    servers = {
        one.origin.account: Server(one, page_bytes) for one in rng.sample(authors, rng.randrange(1, 4))
    }
    fetch, lied = fetched(joiner, servers, rng=rng)
    assert fetch.complete
    assert not lied
    assert joiner.vector_digest("main") == replayed.vector_digest("main")
    assert rows(joiner) == rows(replayed)
    written(authors, tail, LATER_MS - 10_000)
    kit.exchange([*authors, joiner, replayed], LATER_MS)
    assert joiner.vector_digest("main") == replayed.vector_digest("main") == authors[0].vector_digest("main")
    assert rows(joiner) == rows(replayed) == rows(authors[0])


# --- the survey -------------------------------------------------------------------------------------------


def survey(one, space="main", **more):
    return asyncio.run(snapshot.survey(one._store, one, one._authority, space, **more))


def keys_of(found) -> set[bytes]:
    return {log_key("main", origin, first) for origin, firsts in found.batches.items() for first in firsts}


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 100_000), st.integers(1, 30), st.sampled_from([SINGLE, KINDS, ("events",)]))
def test_a_survey_gives_out_all_but_what_is_superseded(seed, batches, tables):
    one = history(seed, batches, tables=tables)[0]
    found = survey(one)
    sources = {
        (head.account, head.generation, head.seq)
        for column in (Column.LIVE, Column.DEAD)
        for head in (row_header(row) for _, row in kit.rows(one._store, column))
    }
    wanted = set()
    for key, record in kit.rows(one._store, Column.LOG):
        batch = batch_of(record)
        last = batch.seq_first + batch.count - 1
        if (
            not all(merge in (MergeType.LWW, MergeType.OWN) for _, merge in batch.tables)
            or last == one.vector("main")[Origin(batch.account, batch.generation)].head
            or any(
                (batch.account, batch.generation, batch.seq_first + at) in sources
                for at in range(batch.count)
            )
        ):
            wanted.add(key)
    assert keys_of(found) == wanted
    assert found.size == len(wanted)
    assert found.vector == one.vector("main")
    assert all(list(firsts) == sorted(firsts) for firsts in found.batches.values())


def test_numbers_that_are_far_apart_are_told_apart():
    one = engine("a")
    for number in range(700):
        kit.write(one, kit.put("same" if number % 5 else f"k{number}"))
    found = survey(one)
    assert [*found.batches[one.origin]] == sorted({*range(1, 701, 5), 700})


def test_what_is_written_while_it_is_made_comes_with_the_tail():
    author, joiner = engine("a"), engine("joiner")
    for number in range(200):
        kit.write(author, kit.put(f"k{number % 40}", str(number)))

    async def main():
        task = asyncio.create_task(snapshot.survey(author._store, author, author._authority, "main"))
        number = 0
        while not task.done():
            kit.write(author, kit.put(f"k{number % 40}", f"later {number}"))
            number += 1
            await asyncio.sleep(0)
        return await task

    found = asyncio.run(main())
    assert author.own_head("main") > 201
    assert 200 <= found.vector[author.origin].head < author.own_head("main")
    server = Server(author)
    server.survey = found
    fetched(joiner, {author.origin.account: server})
    kit.exchange([author, joiner], LATER_MS)
    assert rows(joiner) == rows(author)


def test_what_is_dropped_after_the_survey_is_superseded_since():
    author, joiner = engine("a"), engine("joiner")
    for number in range(60):
        kit.write(author, kit.put(f"k{number % 20}", str(number)))
    server = Server(author)
    assert server.surveyed().size == 20
    for number in range(20):
        kit.write(author, kit.put(f"k{number}", "newest"))
    assert trim(author).dropped == 60
    fetch, lied = fetched(joiner, {author.origin.account: server})
    assert not lied
    kit.exchange([author, joiner], LATER_MS)
    assert not joiner.vector("main")[author.origin].head, "what is beyond the survey needs a new one"
    fetched(joiner, {author.origin.account: Server(author)})
    assert joiner.vector_digest("main") == author.vector_digest("main")
    assert rows(joiner) == rows(author)
    assert fetch.news == 0


def test_a_survey_is_bounded():
    one = history(1, 30, tables=("events",))[0]
    with pytest.raises(Overloaded):
        survey(one, batches_max=20)
    with pytest.raises(Overloaded):
        asyncio.run(snapshot._mark({}, kit.rows(one._store), 2))


def test_a_survey_lets_others_have_their_turn():
    one = engine("a")
    for number in range(700):
        kit.write(one, kit.put(f"k{number}"))

    async def main():
        turns = 0
        task = asyncio.create_task(snapshot.survey(one._store, one, one._authority, "main"))
        while not task.done():
            turns += 1
            await asyncio.sleep(0)
        return turns

    assert asyncio.run(main()) > 10


def test_before_a_batch_under_a_quota_there_is_no_void(monkeypatch):
    one = engine("a")
    for number in range(20):
        kit.write(one, kit.put("k", str(number)))
    assert [*survey(one).batches[one.origin]] == [20]
    monkeypatch.setattr(horizon, "counted", lambda batch, authority: batch.seq_first == 9)
    assert [*survey(one).batches[one.origin]] == [8, 9, 20]


# --- pages ------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 5_000), st.integers(1, 3_000), st.integers(1, 80), st.integers(0, 80))
def test_pages_are_the_range_in_pieces(seed, page_bytes, first, last):
    one = history(seed, 30)[0]
    found = survey(one)
    for origin in found.vector:
        at, seen = first, []
        while at:
            page = snapshot.page(one._store, found, origin, at, last, page_bytes)
            sizes = [len(raw) + len(sig) for raw, sig in page.batches]
            assert len(sizes) <= 1 or sum(sizes) <= page_bytes
            assert page.batches or not page.following
            seen += [decode_batch(raw).seq_first for raw, _ in page.batches]
            assert page.following == 0 or page.following > at
            at = page.following
        assert seen == [seq for seq in found.batches.get(origin, ()) if first <= seq <= last]


def test_of_an_origin_that_is_not_known_there_is_nothing():
    one = history(1, 5)[0]
    assert snapshot.page(one._store, survey(one), Origin(bytes(32), 9), 1, 2**64 - 1, 1000) == Page([], 0)


# --- sources ----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 5_000), st.integers(1, 2_000))
def test_the_sources_of_rows_are_what_makes_them(seed, page_bytes):
    one = history(seed, 25, tables=("scores", "profile", "tags", "events"))[0]
    keys = [key for column in (Column.LIVE, Column.DEAD) for key, _ in kit.rows(one._store, column)]
    bare, at = engine("bare"), 0
    while at < len(keys):
        batches, done = snapshot.sources(one._store, "main", keys[at:], page_bytes)
        assert 0 < done <= len(keys) - at
        assert len(batches) <= 1 or sum(len(raw) + len(sig) for raw, sig in batches) <= page_bytes
        at += done
        for raw, sig in batches:
            bare.receive(raw, sig, LATER_MS)
    assert {key: row for key, row in rows(bare)[0] if key in keys} == dict(rows(one)[0])


def test_keys_that_are_no_rows_have_no_sources():
    one = history(1, 5)[0]
    assert snapshot.sources(one._store, "main", [b"main\0scores\0\0nothing", b"", b"x" * 99], 1000) == ([], 3)
    write = one._store.batch()
    write.put(b"main\0short", b"x", Column.LIVE)
    write.put(b"main\0lost", bytes(60), Column.LIVE)
    one._store.commit(write)
    assert snapshot.sources(one._store, "main", [b"main\0short", b"main\0lost"], 1000) == ([], 2)
