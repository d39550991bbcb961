"""PostgreSQL killed, full, locked, refusing: the sink says one clear line, waits, and is never half applied."""

from __future__ import annotations

import asyncio
import signal

import nodekit
import pgkit
import psycopg
import pytest
from pgsinkkit import given, query, shown, sinking, state
from sinkkit import FakeNode, until

from mycelium.errors import ConfigError, SchemaConflict


def run(main):
    return nodekit.run(main, 55)


@pytest.fixture
def own():
    """A server of the test's own, which may be hurt."""
    with pgkit.Server.running() as server:
        yield server


async def said(sink, text: str) -> str:
    await until(lambda: any(text in line for line in sink.said) or sink.task.done())
    lines = [line for line in sink.said if text in line]
    if not lines:
        sink.task.result()
    assert lines, sink.said
    return lines[0]


def some(node: FakeNode, number: int) -> None:
    node.set("scores", f"k{number % 5}", {"score": float(number)})
    node.add("hits", "all", number)
    node.insert("tags", "t", f"e{number % 4}")
    node.remove("tags", "t", f"e{(number + 1) % 4}")
    node.set("events", "log", {"n": number})
    if number % 7 == 0:
        node.delete("scores", f"k{number % 5}")


@pytest.mark.parametrize(
    "how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL], ids=["restart", "crash", "kill -9"]
)
def test_a_server_that_goes_and_comes_back(own, how):
    async def main():
        dsn = own.database()
        node = FakeNode()
        some(node, 0)
        async with sinking(node, dsn) as sink:
            await sink.caught_up(node)
            stop = own.kill if how is signal.SIGKILL else lambda: own.stop(how)
            await asyncio.to_thread(stop)
            for number in range(1, 20):
                some(node, number)
            await said(sink, "waiting: PostgreSQL at 127.0.0.1")
            await asyncio.to_thread(own.start)
            await sink.caught_up(node)
            await said(sink, "it goes on: live")
        assert [line.partition(":")[0] for line in sink.said] == ["waiting", "it goes on"], sink.said
        assert shown(state(dsn)) == shown(node.state())
        assert node.exports == [None], "nothing was filled again"

    run(main())


@pytest.mark.parametrize("times", [4, pytest.param(30, marks=pytest.mark.soak)])
def test_killed_again_and_again_under_load(own, times):
    """Each time the sink finds its position beside its rows: no change is lost, no addition counted twice."""

    async def main():
        dsn = own.database()
        node = FakeNode()
        some(node, 0)
        async with sinking(node, dsn) as sink:
            await sink.caught_up(node)
            sink.runner._sink.gather_changes = 5
            number = 1
            for _ in range(times):
                for _ in range(15):
                    some(node, number)
                    number += 1
                    await asyncio.sleep(0.002)
                await asyncio.to_thread(own.kill)
                some(node, number)
                number += 1
                await asyncio.to_thread(own.start)
            await sink.caught_up(node)
        assert shown(state(dsn)) == shown(node.state())
        assert node.exports == [None]

    run(main())


def test_the_sink_itself_killed_anywhere(dsn):
    """Cancelled in the midst of a fill and of transactions, started again each time."""

    async def main():
        node = FakeNode()
        for number in range(300):
            some(node, number)
        for wait in (0.0, 0.01, 0.03, 0.05, 0.08):
            async with sinking(node, dsn):
                await asyncio.sleep(wait)
            some(node, 300)
        async with sinking(node, dsn) as sink:
            sink.runner._sink.gather_changes = 3
            await sink.caught_up(node)
        for number in range(301, 320):
            async with sinking(node, dsn) as sink:
                sink.runner._sink.gather_changes = 2
                some(node, number)
                await asyncio.sleep(0.004 * (number % 5))
        async with sinking(node, dsn) as sink:
            await sink.caught_up(node)
        assert shown(state(dsn)) == shown(node.state())
        left = query(dsn, "SELECT tablename FROM pg_tables WHERE tablename LIKE 'fill%'")
        assert left == []

    run(main())


def _raises(dsn: str, code: str, table: str = "mycelium_main.scores") -> None:
    """Whoever writes the table is told this SQLSTATE."""
    query(
        dsn,
        f"CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '{code}'; END $$",
    )
    query(dsn, f"CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION refuse()")


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("53100", "its disk is full (could not extend file"),
        ("53200", "it is out of memory"),
        ("40001", "another transaction was in the way"),
        ("40P01", "a deadlock"),
        ("57014", "a statement took longer than it allows"),
        ("25006", "it is a standby"),
        ("58030", "it failed"),
    ],
)
def test_what_passes_is_waited_for_and_nothing_is_half_applied(dsn, code, line):
    async def main():
        node = FakeNode()
        some(node, 1)
        async with sinking(node, dsn) as sink:
            await sink.caught_up(node)
            _raises(dsn, code)
            before = state(dsn)
            position = query(dsn, "SELECT position FROM mycelium.sinks")
            node.put(
                *[
                    (
                        batch.changes[0].table,
                        batch.changes[0].op,
                        batch.changes[0].key,
                        batch.changes[0].value,
                    )
                    for batch in (node.add("hits", "all", 3), node.set("scores", "k9", {"score": 9.0}))
                ]
            )
            assert (await said(sink, "waiting: ")).startswith("waiting: PostgreSQL at 127.0.0.1")
            assert any(line in one for one in sink.said), sink.said
            assert (state(dsn), query(dsn, "SELECT position FROM mycelium.sinks")) == (before, position)
            query(dsn, "DROP TRIGGER refuse ON mycelium_main.scores")
            await sink.caught_up(node)
        assert shown(state(dsn)) == shown(node.state())

    run(main())


def test_a_real_limit_on_disk(own):
    """temp_file_limit is the one quota that PostgreSQL keeps itself: of temporary files, which a large sort needs."""

    async def main():
        dsn = own.database()
        node = FakeNode()
        for number in range(4_000):
            node.insert("tags", f"t{number}", "x" * 200)
        own.execute("ALTER SYSTEM SET work_mem = '64kB'")
        own.execute("ALTER SYSTEM SET temp_file_limit = '64kB'")
        own.execute("SELECT pg_reload_conf()")
        async with sinking(node, dsn) as sink:
            line = await said(sink, "waiting: ")
            assert "a limit of its configuration is reached (temporary file size exceeds" in line
            assert state(dsn) == {}
            own.execute("ALTER SYSTEM SET temp_file_limit = -1")
            own.execute("SELECT pg_reload_conf()")
            await sink.caught_up(node)
        assert shown(state(dsn)) == shown(node.state())

    run(main())


def test_a_locked_table_is_waited_for(dsn, monkeypatch):
    monkeypatch.setattr(
        "mycelium.sinks.postgres.sink._SESSION", ("SET lock_timeout = '50ms'", "SET timezone = 'UTC'")
    )

    async def main():
        node = FakeNode()
        some(node, 1)
        async with sinking(node, dsn) as sink:
            await sink.caught_up(node)
            with psycopg.connect(dsn) as other:
                other.execute("LOCK TABLE mycelium_main.scores")
                some(node, 2)
                await said(sink, "another transaction holds a lock")
                other.rollback()
            await sink.caught_up(node)
        assert shown(state(dsn)) == shown(node.state())

    run(main())


def test_too_many_connections_are_waited_for(pg):
    async def main():
        dsn = pg.database()
        name = dsn.rpartition("/")[2]
        pg.execute("CREATE ROLE crowded LOGIN")
        pg.execute(f"ALTER DATABASE {name} OWNER TO crowded")
        pg.execute("ALTER ROLE crowded CONNECTION LIMIT 0")
        node = FakeNode()
        some(node, 1)
        async with sinking(node, pg.url(name, "crowded")) as sink:
            await said(sink, "too many connections")
            pg.execute("ALTER ROLE crowded CONNECTION LIMIT -1")
            await sink.caught_up(node)
        assert shown(state(dsn)) == shown(node.state())

    run(main())


def test_a_dropped_table_is_made_and_filled_anew(dsn):
    async def main():
        node = FakeNode()
        some(node, 1)
        async with sinking(node, dsn) as sink:
            await sink.caught_up(node)
            query(dsn, "DROP TABLE mycelium_main.scores")
            some(node, 2)
            await said(sink, "a table is not there any more")
            await sink.caught_up(node)
        assert shown(state(dsn)) == shown(node.state())
        assert len(node.exports) == 2

    run(main())


def test_a_node_that_goes_and_comes_back(dsn):
    async def main():
        node = FakeNode()
        some(node, 1)
        async with sinking(node, dsn) as sink:
            await sink.caught_up(node)
            node.go()
            await said(sink, "waiting: the node")
            some(node, 2)
            node.up = True
            await sink.caught_up(node)
        assert shown(state(dsn)) == shown(node.state())

    run(main())


# --- what an operator must mend -----------------------------------------------------------------------------


async def stops(node: FakeNode, dsn: str, **more) -> Exception:
    """Run a sink until it stops."""
    async with sinking(node, dsn, **more) as sink:
        await until(sink.task.done)
        return sink.task.exception()


def test_a_value_that_a_given_column_does_not_take(dsn, tmp_path):
    columns = given(tmp_path, '[tables.scores.columns]\nscore = "bigint"\n')

    async def main():
        node = FakeNode()
        node.set("scores", "a", {"score": 1})
        async with sinking(node, dsn, given=columns) as sink:
            await sink.caught_up(node)
        node.set("scores", "b", {"score": 2})
        node.set("scores", "c", {"score": "much"})
        error = await stops(node, dsn, given=columns)
        assert isinstance(error, SchemaConflict)
        assert str(error).startswith("main/scores: 'much' does not fit the column score of type bigint\n")
        assert "strict = false" in error.remedy
        assert query(dsn, "SELECT key, score FROM mycelium_main.scores") == [("a", 1)]
        # Two ways out: another type, after which everything is filled anew, ...
        query(dsn, "ALTER TABLE mycelium_main.scores ALTER COLUMN score TYPE text")
        mended = given(tmp_path, '[tables.scores]\nstrict = false\n[tables.scores.columns]\nscore = "text"\n')
        async with sinking(node, dsn, given=mended) as sink:
            await sink.caught_up(node)
        found = query(dsn, "SELECT key, score, _rest FROM mycelium_main.scores ORDER BY key")
        assert found == [("a", None, {"score": 1}), ("b", None, {"score": 2}), ("c", "much", None)]

    run(main())


def test_what_does_not_fit_a_table_that_is_not_strict_is_kept(dsn, tmp_path):
    columns = given(tmp_path, '[tables.scores]\nstrict = false\n[tables.scores.columns]\nscore = "bigint"\n')

    async def main():
        node = FakeNode()
        node.set("scores", "c", {"score": "much", "b": 2})
        async with sinking(node, dsn, given=columns) as sink:
            await sink.caught_up(node)
        assert query(dsn, "SELECT score, _rest FROM mycelium_main.scores") == [
            (None, {"score": "much", "b": 2})
        ]

    run(main())


def test_a_value_that_postgresql_itself_refuses(dsn, tmp_path):
    columns = given(tmp_path, '[tables.scores.columns]\nday = "date"\n')

    async def main():
        node = FakeNode()
        node.set("scores", "a", {"day": "2026-02-03"})
        node.set("scores", "b", {"day": "some day"})
        error = await stops(node, dsn, given=columns)
        assert isinstance(error, SchemaConflict)
        assert 'invalid input syntax for type date: "some day"' in str(error)
        assert "column day" in str(error)
        assert "\n" not in error.what
        node.set("scores", "b", {"day": "2026-02-04"})
        async with sinking(node, dsn, given=columns) as sink:
            await sink.caught_up(node)
        assert len(query(dsn, "SELECT day FROM mycelium_main.scores WHERE day > '2026-02-01'")) == 2

    run(main())


def test_an_unknown_type(dsn, tmp_path):
    columns = given(tmp_path, '[tables.scores.columns]\nday = "dates"\n')

    async def main():
        node = FakeNode()
        node.set("scores", "a", {"day": "2026-02-03"})
        error = await stops(node, dsn, given=columns)
        assert isinstance(error, SchemaConflict)
        assert 'type "dates" does not exist' in str(error)

    run(main())


@pytest.mark.parametrize(
    ("definition", "line"),
    [
        ("(id int)", "has no column key"),
        ("(LIKE model)", "has no unique index on (key)"),
        (
            "(LIKE model INCLUDING ALL, extra int NOT NULL)",
            "has a column extra of its own that must not be null",
        ),
    ],
)
def test_a_table_of_somebody_else(dsn, definition, line):
    async def main():
        node = FakeNode()
        node.set("scores", "a", {"score": 1.5})
        async with sinking(node, dsn) as sink:
            await sink.caught_up(node)
        query(dsn, "ALTER TABLE mycelium_main.scores SET SCHEMA public")
        query(dsn, "ALTER TABLE public.scores RENAME TO model")
        query(dsn, f"CREATE TABLE mycelium_main.scores {definition}")
        error = await stops(node, dsn)
        assert isinstance(error, SchemaConflict)
        assert f"main/scores is to be written to mycelium_main.scores, which {line}" in str(error)
        query(dsn, "DROP TABLE mycelium_main.scores")
        query(dsn, "CREATE TABLE mycelium_main.scores (LIKE model INCLUDING ALL, extra int DEFAULT 5)")
        node.set("scores", "b", {"score": 2.5})
        async with sinking(node, dsn, again=True) as sink:
            await sink.caught_up(node)
        assert query(dsn, "SELECT key, score, extra FROM mycelium_main.scores ORDER BY key") == [
            ("a", 1.5, 5),
            ("b", 2.5, 5),
        ]

    run(main())


def test_a_column_of_another_type(dsn):
    async def main():
        node = FakeNode()
        node.set("scores", "a", {"score": 1.5})
        async with sinking(node, dsn) as sink:
            await sink.caught_up(node)
        query(dsn, "ALTER TABLE mycelium_main.scores ALTER COLUMN score TYPE text")
        error = await stops(node, dsn)
        assert isinstance(error, SchemaConflict)
        assert "has a column score of type text, not double precision" in str(error)
        assert "ALTER COLUMN score TYPE double precision" in error.remedy

    run(main())


def test_a_column_that_is_given_later_is_added_and_filled(dsn, tmp_path):
    async def main():
        node = FakeNode()
        node.set("scores", "a", {"score": 1.5, "name": "x"})
        first = given(tmp_path, '[tables.scores.columns]\nscore = "float8"\n')
        async with sinking(node, dsn, given=first) as sink:
            await sink.caught_up(node)
        assert query(dsn, "SELECT _rest FROM mycelium_main.scores") == [({"name": "x"},)]
        second = given(tmp_path, '[tables.scores.columns]\nscore = "float8"\nname = "varchar(10)"\n')
        async with sinking(node, dsn, given=second) as sink:
            await sink.caught_up(node)
        assert query(dsn, "SELECT name, _rest FROM mycelium_main.scores") == [("x", None)]
        third = given(tmp_path, '[tables.scores.columns]\nname = "varchar(10)"\n')
        async with sinking(node, dsn, given=third) as sink:
            await sink.caught_up(node)
            assert sink.said == ["mycelium_main.scores.score is not written any more: drop the column"]
        assert query(dsn, "SELECT name, _rest FROM mycelium_main.scores") == [("x", {"score": 1.5})]

    run(main())


@pytest.fixture(scope="module")
def refusing():
    """A server that wants passwords."""
    with pgkit.Server.running() as own:
        yield _refusing(own)


def _refusing(own):
    own.execute("CREATE ROLE writer LOGIN PASSWORD 'sesame-open'")
    (((path,),)) = own.execute("SHOW hba_file")
    with open(path, "w") as file:  # noqa: PTH123 - it belongs to another user
        file.write("host all postgres 127.0.0.1/32 trust\nhost all writer 127.0.0.1/32 scram-sha-256\n")
    own.execute("SELECT pg_reload_conf()")
    return own


@pytest.mark.parametrize(
    ("password", "database", "line"),
    [
        ("wrong-sesame", "postgres", "refuses the connection: .*password authentication failed"),
        ("sesame-open", "nowhere", 'refuses the connection: .*database "nowhere" does not exist'),
        ("sesame-open", "postgres", "permission denied for database postgres"),
    ],
    ids=["password", "database", "rights"],
)
def test_a_connection_that_is_refused(refusing, password, database, line):
    import re

    async def main():
        node = FakeNode()
        error = await stops(node, refusing.url(database, "writer", password))
        assert isinstance(error, ConfigError)
        assert re.search(line, str(error)), str(error)
        assert "sesame" not in str(error) + repr(error) + error.remedy
        assert error.remedy

    run(main())


def test_a_database_in_another_encoding(pg):
    pg.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")

    async def main():
        error = await stops(FakeNode(), pg.url("latin"))
        assert isinstance(error, SchemaConflict)
        assert "is encoded as LATIN1" in str(error)

    run(main())
