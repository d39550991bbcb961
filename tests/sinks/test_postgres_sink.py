"""The PostgreSQL sink on a real server: what a node shows is what the tables hold, in whatever portions it comes."""

from __future__ import annotations

import asyncio

import nodekit
import pytest
from hypothesis import HealthCheck, given, settings
from pgsinkkit import query, shown, sinking, state
from sinkkit import FakeNode, until
from sinksteps import STEPS, later, play, some

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
        said = await sunk(node, dsn, spaces=["other"], wanted="other")
        assert set(state(dsn)) == {("other", "aside")}, "asked for less, the rest is gone"
        assert said[0].startswith("other spaces or tables are asked for than before")

    run(main())


def test_system_space_is_left_out_unless_named(dsn):
    async def main():
        node = FakeNode()
        node.set("policy", "p", "x", space="sys")
        node.set("scores", "a", 1)
        await sunk(node, dsn)
        node.set("policy", "q", "x", space="sys")
        node.set("sys.grants", "g", b"token")
        await sunk(node, dsn)
        assert set(state(dsn)) == {("main", "scores")}

    run(main())


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
            else:
                play(node, *step)
        assert shown(state(dsn)) == shown(node.state())

    run(main())


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
    await until(lambda: any(text in line for line in sink.said) or sink.task.done())
    assert [line for line in sink.said if text in line], sink.said


def test_large_values_make_small_groups_and_no_sample_holds_them_all(dsn):
    async def main():
        node = FakeNode()
        for number in range(40):
            node.set("scores", f"k{number}", "x" * 500_000)
        await sunk(node, dsn)
        for number in range(40):
            node.set("scores", f"k{number}", "y" * 500_000)
        async with sinking(node, dsn) as sink:
            await sink.caught_up(node)
        found = query(
            dsn, "SELECT count(*), sum(length(value)) FROM mycelium_main.scores WHERE value LIKE 'y%'"
        )
        assert found == [(40, 20_000_000)]

    run(main())
