"""The horizon of the log: what may be dropped and what never, after crashes, beside watchers, and under quotas."""

from __future__ import annotations

import asyncio

import kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from snapshotkit import HOUR_MS, KINDS, LATER_MS, NOW_MS, SINGLE, engine, history, logged, rows, trim, written

from mycelium._core.codec import decode_batch
from mycelium.config.database import HORIZON_WRITE_BATCHES
from mycelium.database import feed, horizon, voids
from mycelium.database.access import SYS
from mycelium.database.engine import Engine
from mycelium.database.horizon import Horizon
from mycelium.database.memory import MemoryStore
from mycelium.database.schema import META_VOIDS, TableSpec, log_key, row_header
from mycelium.database.store import Column
from mycelium.database.vector import Origin
from mycelium.errors import StoreFull
from mycelium.protocol.messages import MergeType, Op


def batches_of(one: Engine) -> list[voids.Logged]:
    return [voids.logged(*row) for row in kit.rows(one._store, Column.LOG)]


def sources(one: Engine) -> set[tuple[bytes, int, int]]:
    """(account, generation, number) of each change that a row is from."""
    heads = [
        row_header(row) for column in (Column.LIVE, Column.DEAD) for _, row in kit.rows(one._store, column)
    ]
    return {(head.account, head.generation, head.seq) for head in heads}


def may_go(one: Engine) -> set[bytes]:
    """The obvious oracle, from what the module says: keys of batches that are superseded."""
    found, standing = set(), sources(one)
    for logged_one in batches_of(one):
        batch = logged_one.batch
        origin = Origin(batch.account, batch.generation)
        if (
            all(merge in (MergeType.LWW, MergeType.OWN) for _, merge in batch.tables)
            and not any(
                (batch.account, batch.generation, batch.seq_first + place) in standing
                for place in range(batch.count)
            )
            and logged_one.last != one.vector("main")[origin].head
        ):
            found.add(logged_one.key)
    return found


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 100_000), st.integers(1, 25), st.sampled_from([SINGLE, KINDS]))
def test_exactly_what_is_superseded_goes_and_nothing_else_changes(seed, batches, tables):
    one = history(seed, batches, tables=tables)[0]
    before, state, digest = logged(one), rows(one), one.vector_digest("main")
    wanted = may_go(one)
    found = trim(one)
    assert before.keys() - logged(one).keys() == wanted
    assert found.dropped == len(wanted)
    assert found.dropped_bytes == sum(len(before[key]) - 64 for key in wanted)
    assert (rows(one), one.vector_digest("main")) == (state, digest)
    again = engine("a", one._store)
    assert (again.vector_digest("main"), again.voided) == (digest, {"main"} if wanted else set())
    assert trim(again).dropped == 0
    # All that the feed still names is there, in its order.
    entries = list(feed.entries(one._store, 1, one.feed_last))
    assert len(entries) == len(logged(one))
    assert [entry.feed_index for entry in entries] == sorted(entry.feed_index for entry in entries)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 100_000), st.integers(0, 3))
def test_what_was_dropped_is_not_needed_to_make_rows_anew(seed, damaged):
    one = history(seed, 16)[0]
    state = rows(one)
    trim(one)
    keys = [key for key, _ in (*state[0], *state[1])]
    for key in keys[:damaged]:
        write = one._store.batch()
        write.delete(key, Column.LIVE)
        one._store.commit(write)
    asyncio.run(one.rederive("main", keys))
    assert rows(one) == state


def test_nothing_goes_unless_the_operator_says_so_and_not_before_its_time():
    one = history(1, 20)[0]
    walk = Horizon(one._store, one, one._authority, None).walk(LATER_MS)
    assert asyncio.run(walk) == (0, 0, 0)
    assert trim(one, keep_ms=100 * HOUR_MS).dropped == 0, "written a hundred hours ago, less some ms"
    assert trim(one, keep_ms=99 * HOUR_MS).dropped > 0


def test_of_the_newest_epochs_nothing_goes():
    authors = [kit.engine(name) for name in "ab"]  # an authority whose present epoch is 0
    written(authors, [(0, [("scores", 1, 1, n)], False) for n in range(5)])
    assert trim(authors[0]).dropped == 0


def test_what_was_overwritten_a_moment_ago_is_kept():
    one = engine("a")
    written([one], [(0, [("scores", 1, 1, n)], False) for n in range(3)])
    written([one], [(0, [("scores", 1, 1, 6), ("events", 1, 1, 1)], False)], LATER_MS - HOUR_MS)
    written([one], [(0, [("scores", 2, 1, 6)], False)], LATER_MS - HOUR_MS)
    assert trim(one, keep_ms=2 * HOUR_MS).dropped == 0, "what stands in their place may still be given up"
    assert trim(one, keep_ms=0).dropped == 3


@pytest.mark.parametrize(
    "table",
    [TableSpec("sys.grants", "main", MergeType.LWW), TableSpec("policy", SYS, MergeType.LWW)],
    ids=["grants", "sys"],
)
def test_reserved_tables_and_the_space_sys_are_kept(table):
    assert horizon.droppable_kind(kit.write(engine("a"), kit.put("k")).batch)
    one = engine("a")
    raw, _ = kit.forge(one, [(0, int(Op.PUT), b"k", b"\0v")], space=table.space, tables=[(table.name, 0)])
    assert not horizon.droppable_kind(decode_batch(raw))


def test_a_damaged_row_keeps_the_batch_that_it_may_be_from():
    one = engine("a")
    written([one], [(0, [("scores", 1, 1, n)], False) for n in range(4)])
    kit.write(one, kit.put("another"), now_ms=NOW_MS + 100)
    kit.write(one, kit.put("and another"), now_ms=NOW_MS + 101)
    key = kit.TABLES["scores"].prefix + b"k1"
    row = one._store.get(Column.LIVE, key)
    for damaged in (
        b"short",
        row[:48] + (2).to_bytes(8, "big") + row[56:],
        row[:48] + (5).to_bytes(8, "big") + row[56:],
        row[:48] + (99).to_bytes(8, "big") + row[56:],
        (2**63).to_bytes(8, "big") + row[8:],
    ):
        write = one._store.batch()
        write.put(key, damaged, Column.LIVE)
        one._store.commit(write)
        trim(one)
        assert log_key("main", one.origin, 4) in logged(one), damaged
    asyncio.run(one.rederive("main", [key]))
    assert one._store.get(Column.LIVE, key) == row


def test_under_a_quota_the_log_stays_whole(monkeypatch):
    one = history(4, 30, writers=1)[0]
    without = len(may_go(one))
    assert without > 4
    limited = {batch.first for batch in batches_of(one)[5:9]}
    monkeypatch.setattr(horizon, "counted", lambda batch, authority: batch.seq_first in limited)
    kept = limited | {batches_of(one)[4].first}
    trim(one)
    assert kept <= {batch.first for batch in batches_of(one)}
    assert len(batches_of(one)) >= 30 - without


def test_a_policy_that_is_not_known_counts_as_a_quota():
    one = engine("a")
    batch = kit.write(one, kit.put("k")).batch
    assert not horizon.counted(batch, one._authority)
    assert horizon.counted(batch, kit.FixedAuthority(blocks_known=0))


# --- crashes ----------------------------------------------------------------------------------------------


def many(batches: int = 3 * HORIZON_WRITE_BATCHES) -> Engine:
    one = engine("a")
    written([one], [(0, [("scores", n % 3, 1, n % 7)], False) for n in range(batches)])
    one._store.sync()
    return one


@pytest.mark.parametrize("lost", range(5))
def test_a_crash_while_it_drops_leaves_a_store_that_is_whole(lost):
    one = many()
    state, digest, going = rows(one), one.vector_digest("main"), len(may_go(one))
    assert trim(one).dropped == going
    again = engine("a", one._store.crash(lost))
    assert (rows(again), again.vector_digest("main")) == (state, digest)
    assert ("main" in again.voided) == (len(logged(again)) < 3 * HORIZON_WRITE_BATCHES)
    assert len(list(feed.entries(again._store, 1, again.feed_last))) == len(logged(again))
    trim(again)
    assert len(logged(again)) == 3 * HORIZON_WRITE_BATCHES - going


def test_a_full_disk_stops_it_and_harms_nothing():
    one = many()
    before = logged(one)
    one._store.full = True
    with pytest.raises(StoreFull):
        trim(one)
    assert logged(one) == before
    one._store.full = False
    assert trim(one).dropped > 0


# --- beside others ----------------------------------------------------------------------------------------


def test_others_get_their_turn():
    one = many(400)
    turns = 0

    async def main():
        nonlocal turns
        ticks = iter(range(10**9))
        walk = Horizon(one._store, one, one._authority, 0, clock_ns=lambda: next(ticks) * 1_000_000)
        task = asyncio.create_task(walk.walk(LATER_MS))
        while not task.done():
            turns += 1
            kit.write(one, kit.put("k1", str(turns)), now_ms=LATER_MS)
            await asyncio.sleep(0)
        return await task

    found = asyncio.run(main())
    assert turns > 50
    assert found.dropped > 200
    assert one._store.get(Column.LIVE, kit.TABLES["scores"].prefix + b"k1").endswith(str(turns).encode())


def test_a_watcher_that_was_away_sees_what_is_left():
    async def main():
        store = MemoryStore()
        database = kit.database("a", store)
        table = database.table("scores")
        for number in range(5):
            await table.put("k", number)
        await table.put("other", 1)
        watch = table.watch(after=0)
        assert (await anext(watch)).value == 0
        database.engine._authority.present = lambda: 10**6
        found = await Horizon(store, database.engine, database.engine._authority, 0).walk(LATER_MS)
        assert found.dropped == 4
        # From wherever it goes on, also in the midst of what is gone: the rest is the rest.
        for cursor in (0, watch.cursor):
            later = table.watch(after=cursor)
            assert [(await anext(later)).value for _ in range(2)] == [4, 1]
        await table.put("k", 9)
        assert (await anext(later)).value == 9
        await database.close()

    asyncio.run(main())


def test_the_note_is_of_one_space_and_written_once():
    one = many(10)
    assert trim(one).dropped
    prefix = META_VOIDS
    noted = [key for key, _ in kit.rows(one._store, Column.META) if key.startswith(prefix)]
    assert noted == [prefix + b"main"]
