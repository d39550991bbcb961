"""The PostgreSQL sink on a real server: what a node shows is what the tables hold, in whatever portions it comes."""

from __future__ import annotations

import asyncio
import math

import hypothesis.strategies as st
import nodekit
import pytest
from hypothesis import HealthCheck, given, settings
from pgsinkkit import query, shown, sinking, state
from sinkkit import FakeNode

from mycelium.errors import FeedRewound
from mycelium.feed.cursor import Cursor
from mycelium.sinks.interface import Position


def run(main):
    return nodekit.run(main, 50)


async def sunk(node: FakeNode, dsn: str, **more) -> list[str]:
    """Run a sink until it has what the node has. What it said."""
    async with sinking(node, dsn, **more) as sink:
        await sink.caught_up(node)
        return sink.said


def some(node: FakeNode) -> None:
    """A little of everything."""
    node.set("scores", "a", {"score": 0.5, "name": "one"})
    node.set("scores", "b", {"score": 2.0, "name": "two"}, account=1)
    node.add("hits", "x", 5)
    node.add("hits", "x", -2, account=1)
    node.insert("tags", "t", "red")
    node.insert("tags", "t", "red", account=1)
    node.insert("tags", "t", "blue")
    node.set("events", "e", {"at": 1})
    node.set("events", "e", {"at": 2}, account=1)
    node.set("profile", "p", {"name": "me"})


def later(node: FakeNode) -> None:
    """Changes to all of that."""
    node.set("scores", "a", {"score": 0.75, "name": "one"})
    node.delete("scores", "b")
    node.set("scores", "c", {"score": 1.0, "name": "three"})
    node.add("hits", "x", 10)
    node.add("hits", "y", 1)
    node.remove("tags", "t", "red")
    node.insert("tags", "u", "green")
    node.set("events", "e", {"at": 3})
    node.set("scores", "a", {"score": 9.0, "name": "old"}, at_ms=1)


def test_what_is_there_is_filled_and_what_comes_is_followed(dsn):
    async def main():
        node = FakeNode()
        some(node)
        async with sinking(node, dsn) as sink:
            await sink.caught_up(node)
            assert shown(state(dsn)) == shown(node.state())
            later(node)
            await sink.caught_up(node)
            assert shown(state(dsn)) == shown(node.state())
            assert query(dsn, "SELECT score FROM mycelium_main.scores WHERE key = 'a'") == [(0.75,)]
            assert query(dsn, "SELECT value FROM mycelium_main.hits WHERE key = 'x'") == [(13,)]
            assert node.exports == [None]

    run(main())


def test_it_goes_on_where_it_stopped(dsn):
    async def main():
        node = FakeNode()
        some(node)
        await sunk(node, dsn)
        later(node)
        await sunk(node, dsn)
        assert shown(state(dsn)) == shown(node.state())
        assert node.exports == [None], "filled once"
        assert node.fed == list(range(11, 20)), "each batch once"

    run(main())


def test_an_older_cursor_changes_nothing(dsn):
    """Whoever sets the position back, by hand or by restoring half a backup, gets the same batches again."""

    async def main():
        node = FakeNode()
        await sunk(node, dsn)
        some(node)
        await sunk(node, dsn)
        later(node)
        await sunk(node, dsn)
        before = _dump(dsn)
        for index in (0, 3, 12, 18):
            position = str(Position(Cursor(node.generation, index)))
            query(dsn, "UPDATE mycelium.sinks SET position = %s", position)
            await sunk(node, dsn)
            assert _dump(dsn) == before
        assert node.exports == [None]

    run(main())


def _dump(dsn: str) -> dict:
    """Every column of every table."""
    listed = query(dsn, "SELECT relation_schema, relation_name FROM mycelium.tables ORDER BY 1, 2")
    return {
        name: sorted(map(repr, query(dsn, f'SELECT * FROM "{schema}"."{name}"'))) for schema, name in listed
    }


def test_a_sink_that_followed_holds_what_one_that_was_filled_holds(dsn, pg):
    async def main():
        node = FakeNode()
        some(node)
        await sunk(node, dsn)
        later(node)
        await sunk(node, dsn)
        other = pg.database()
        await sunk(node, other)
        assert shown(state(other)) == shown(state(dsn)) == shown(node.state())

    run(main())


def test_rows_that_vanished_are_deleted_by_the_next_fill(dsn):
    async def main():
        node = FakeNode()
        some(node)
        await sunk(node, dsn)
        restored = FakeNode(generation=8)
        restored.set("scores", "a", {"score": 3.5, "name": "again"})
        restored.set("scores", "z", {"score": 4.5, "name": "new"})
        said = await sunk(restored, dsn)
        assert shown(state(dsn)) == shown(restored.state())
        assert [line for line in said if "all rows are read again" in line]
        restored.set("scores", "z", {"score": 5.5, "name": "new"})
        await sunk(restored, dsn)
        assert shown(state(dsn)) == shown(restored.state()), "the new directory's indexes begin again"

    run(main())


def test_a_cursor_that_fell_behind_is_filled_anew(dsn):
    async def main():
        node = FakeNode()
        some(node)
        await sunk(node, dsn)
        later(node)
        node.oldest = 15
        await sunk(node, dsn)
        assert shown(state(dsn)) == shown(node.state())
        assert len(node.exports) == 2

    run(main())


def test_a_space_that_was_rewound_is_read_again_and_alone(dsn):
    async def main():
        node = FakeNode()
        some(node)
        node.set("aside", "k", 1, space="other")
        async with sinking(node, dsn) as sink:
            await sink.caught_up(node)
            # Rows of `main` are made anew: one vanishes, and a counter loses additions.
            gone = next(key for key in node.replica.live if b"scores" in key and key.endswith(b"a"))
            del node.replica.live[gone]
            index = len(node.batches) + 1
            node.rewind[index] = FeedRewound("a proof took batches away", str(node.cursor), "main")
            node.add("hits", "x", 7)
            node.set("aside", "k", 2, space="other")
            node.add("hits", "x", 1)
            await sink.caught_up(node)
            assert shown(state(dsn)) == shown(node.state())
            assert node.exports == [None, ["main"]]
            node.add("hits", "x", 1)
            await sink.caught_up(node)
            assert shown(state(dsn)) == shown(node.state())

    run(main())


def test_some_spaces_and_tables_only(dsn):
    async def main():
        node = FakeNode()
        some(node)
        node.set("aside", "k", 1, space="other")
        await sunk(node, dsn, spaces=["main"], tables=["scores", "hits"], wanted="main")
        later(node)
        node.set("aside", "k", 2, space="other")
        node.add("hits", "x", 1)
        await sunk(node, dsn, spaces=["main"], tables=["scores", "hits"], wanted="main")
        wanted = {name: rows for name, rows in node.state().items() if name[1] in ("scores", "hits")}
        assert shown(state(dsn)) == shown(wanted)
        await sunk(node, dsn, wanted="all")
        assert shown(state(dsn)) == shown(node.state()), "asked for more, it is filled anew"

    run(main())


def test_system_space_is_left_out_unless_named(dsn):
    async def main():
        node = FakeNode()
        node.set("policy", "p", "x", space="sys")
        node.set("scores", "a", 1)
        await sunk(node, dsn)
        node.set("policy", "q", "x", space="sys")
        await sunk(node, dsn)
        assert set(state(dsn)) == {("main", "scores")}

    run(main())


KEYS = st.sampled_from([b"a", b"b", b"\\x61", b"\xff", b"n\0l", b"t\tb", "é".encode()])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    # Beyond 2^53 the shortest text of a whole float is another integer, which reads back as the same float.
    st.floats(-(2**53), 2**53),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e300, -0.0]),
    st.text(st.characters(codec="utf-8"), max_size=5),
    st.binary(max_size=5),
    st.sampled_from(["a\0b", "\\N", "\\.", "tab\tnew\nline\\", {"$bytes": "x"}, {"$": 1}, 10**18, 0.1]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["a", "b", "score", "key", "_x", "K", "k", "ctid", "n\0"]), inner, max_size=4
        ),
    ),
    max_leaves=6,
)
ACCOUNT = st.integers(0, 3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from(["scores", "profile", "events"]), KEYS, VALUES, ACCOUNT),
        st.tuples(st.just("delete"), st.sampled_from(["scores", "profile"]), KEYS, st.none(), ACCOUNT),
        st.tuples(st.just("add"), st.just("hits"), KEYS, st.integers(-(2**63), 2**63 - 1), ACCOUNT),
        st.tuples(st.just("insert"), st.just("tags"), KEYS, VALUES, ACCOUNT),
        st.tuples(st.just("remove"), st.just("tags"), KEYS, VALUES, ACCOUNT),
        st.tuples(st.just("old"), st.just("scores"), KEYS, VALUES, ACCOUNT),
        st.just(("run",)),
    ),
    min_size=1,
    max_size=14,
)


@given(STEPS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anything_in_any_portions(pg, steps):
    """Against the oracle of merging: each row of the tables gives back the value that it was made of."""
    dsn = _emptied(pg)

    async def main():
        node = FakeNode()
        for step in [*steps, ("run",)]:
            if step[0] == "run":
                await sunk(node, dsn)
                continue
            verb, table, key, value, account = step
            if verb == "delete":
                node.delete(table, key, account=account)
            elif verb == "remove":
                node.remove(table, key, _some_element(node, key, value), account=account)
            elif verb == "old":
                node.set(table, key, value, account=account, at_ms=5)
            else:
                getattr(node, verb)(table, key, value, account=account)
        assert shown(state(dsn)) == shown(node.state())

    run(main())


def _some_element(node: FakeNode, key: bytes, otherwise):
    from mycelium.database.value import value_of

    found = [row.value for row in node.rows() if row.table == "tags" and row.key == key]
    return value_of(found[0]) if found else otherwise


_SHARED: dict[int, str] = {}


def _emptied(pg) -> str:
    """One database for all examples, empty: making one takes longer than an example."""
    dsn = _SHARED.setdefault(pg.port, "") or pg.database()
    _SHARED[pg.port] = dsn
    query(dsn, "DROP SCHEMA IF EXISTS mycelium, mycelium_main, mycelium_other CASCADE")
    return dsn


@pytest.mark.parametrize("portion", [1, 7, 1000])
def test_one_transaction_takes_a_bounded_group(dsn, portion):
    async def main():
        node = FakeNode()
        await sunk(node, dsn)
        for number in range(60):
            node.set("scores", f"k{number % 9}", {"score": float(number)})
            node.add("hits", f"k{number % 4}", number)
        async with sinking(node, dsn) as sink:
            sink.runner._sink.gather_changes = portion
            await sink.caught_up(node)
        assert shown(state(dsn)) == shown(node.state())

    run(main())


def test_a_second_process_stands_by(dsn):
    async def main():
        node = FakeNode()
        some(node)
        async with sinking(node, dsn) as first:
            await first.caught_up(node)
            async with sinking(node, dsn) as second:
                await _until_said(second, "stands by")
                later(node)
                await first.caught_up(node)
                first.task.cancel()
                await asyncio.gather(first.task, return_exceptions=True)
                node.set("scores", "after", 1)
                await second.caught_up(node)
        assert shown(state(dsn)) == shown(node.state())

    run(main())


async def _until_said(sink, text: str) -> None:
    from sinkkit import until

    await until(lambda: any(text in line for line in sink.said) or sink.task.done())
    assert [line for line in sink.said if text in line], sink.said
