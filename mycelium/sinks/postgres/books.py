"""The sinks' own tables: whose position is where, and which table of Mycelium is written to which relation.

    mycelium.sinks    name, position, wanted (spaces and tables), newest, changes, written
    mycelium.tables   sink, space, name, merge, relation, columns

Knows no rows. What it is asked runs in the transaction of whoever asks.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from mycelium.errors import SchemaConflict, SinkUnreachable
from mycelium.protocol.messages import MergeType
from mycelium.sinks.interface import Position
from mycelium.sinks.postgres.names import BOOKS, Relation
from mycelium.sinks.postgres.statements import Statements, quoted
from mycelium.sinks.schema import Column, described_columns
from mycelium.sinks.source import Source

_MAKE: Final = (
    f"""CREATE TABLE IF NOT EXISTS {BOOKS}.sinks (
        name text PRIMARY KEY, position text, wanted text NOT NULL, newest bigint NOT NULL DEFAULT 0,
        changes bigint NOT NULL DEFAULT 0, written timestamptz NOT NULL DEFAULT now())""",
    f"""CREATE TABLE IF NOT EXISTS {BOOKS}.tables (
        sink text, space text, name text, merge int, relation_schema text NOT NULL, relation_name text NOT NULL,
        columns jsonb NOT NULL, PRIMARY KEY (sink, space, name, merge),
        UNIQUE (relation_schema, relation_name))""",
)
_THERE: Final = (
    f"SELECT to_regclass('{BOOKS}.sinks') IS NOT NULL AND to_regclass('{BOOKS}.tables') IS NOT NULL"
)
_COLUMNS: Final = """
    SELECT a.attname, a.atttypid::regtype::text, a.attnotnull AND NOT a.atthasdef
    FROM pg_attribute a WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped"""
_UNIQUE: Final = """
    SELECT array_agg(a.attname ORDER BY a.attname) FROM pg_index i
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
    WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indpred IS NULL GROUP BY i.indexrelid"""


class Known(NamedTuple):
    """A table that the sink writes to."""

    source: Source
    relation: Relation
    columns: tuple[Column, ...]


class Books:
    """Of one sink, over one connection."""

    def __init__(self, connection: Any, name: str) -> None:
        self._connection = connection
        self._name = name

    async def make(self) -> None:
        """Make the sinks' own tables where they are not."""
        (there,) = await self._row(_THERE)
        if not there:
            async with self._connection.transaction():
                await self.alone()
                await self.schema(BOOKS)
                for statement in _MAKE:
                    await self._connection.execute(statement)

    async def alone(self) -> None:
        """No other sink makes anything until this transaction ends: IF NOT EXISTS fails when two ask at once."""
        await self._row("SELECT pg_advisory_xact_lock(hashtextextended('mycelium sinks', 0))")

    async def schema(self, name: str) -> None:
        """Make a schema where it is not: whoever finds it there needs no right to make one."""
        (there,) = await self._row("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %s)", name)
        if not there:
            await self._connection.execute(f"CREATE SCHEMA {quoted(name)}")

    async def lock(self) -> bool:
        """Whether this session alone writes as this sink from now on."""
        (got,) = await self._row(
            "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", f"mycelium sink {self._name}"
        )
        return bool(got)

    async def position(self, wanted: str) -> tuple[Position | None, bool]:
        """Where the sink is, None where it must be filled; and whether that is as other spaces or tables are wanted."""
        rows = await self._connection.execute(
            f"SELECT position, wanted FROM {BOOKS}.sinks WHERE name = %s", (self._name,)
        )
        found = await rows.fetchone()
        if found is None or found[0] is None:
            return None, False
        return (Position.parse(found[0]), False) if found[1] == wanted else (None, True)

    async def forget(self) -> None:
        """The sink must be filled anew."""
        await self._connection.execute(
            f"UPDATE {BOOKS}.sinks SET position = NULL WHERE name = %s", (self._name,)
        )

    async def keep(self, position: Position, wanted: str, newest: int, changes: int) -> None:
        """The position from now on, whatever it was: after a fill."""
        await self._connection.execute(
            f"""INSERT INTO {BOOKS}.sinks (name, position, wanted, newest, changes) VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (name) DO UPDATE SET position = excluded.position, wanted = excluded.wanted,
            newest = excluded.newest, changes = sinks.changes + excluded.changes, written = now()""",
            (self._name, str(position), wanted, newest, changes),
        )

    async def move(self, before: Position, after: Position, newest: int, changes: int) -> None:
        """From one position to the next. SinkUnreachable where another process has moved it meanwhile."""
        done = await self._connection.execute(
            f"""UPDATE {BOOKS}.sinks SET position = %s, newest = %s, changes = changes + %s, written = now()
            WHERE name = %s AND position = %s""",
            (str(after), newest, changes, self._name, str(before)),
        )
        if done.rowcount != 1:
            raise SinkUnreachable(f"another process moved the position of the sink {self._name!r}")

    async def tables(self) -> list[Known]:
        """What the sink writes to."""
        rows = await self._connection.execute(
            f"""SELECT space, name, merge, relation_schema, relation_name, columns::text
            FROM {BOOKS}.tables WHERE sink = %s""",
            (self._name,),
        )
        return [
            Known(
                Source(space, name, MergeType(merge)),
                Relation(schema, relation),
                described_columns(json.loads(columns)),
            )
            for space, name, merge, schema, relation, columns in await rows.fetchall()
        ]

    async def taken(self) -> dict[Relation, str]:
        """The relations that sinks write to, and which of them."""
        rows = await self._connection.execute(
            f"SELECT relation_schema, relation_name, sink FROM {BOOKS}.tables"
        )
        return {Relation(schema, name): sink for schema, name, sink in await rows.fetchall()}

    async def enter(self, known: Known, described: str) -> None:
        """A table is written to from now on, or has other columns."""
        await self._connection.execute(
            f"""INSERT INTO {BOOKS}.tables (sink, space, name, merge, relation_schema, relation_name, columns)
            VALUES (%s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (sink, space, name, merge) DO UPDATE SET relation_schema = excluded.relation_schema,
            relation_name = excluded.relation_name, columns = excluded.columns""",
            (
                self._name,
                known.source.space,
                known.source.table,
                int(known.source.merge),
                *known.relation,
                described,
            ),
        )

    async def drop(self, source: Source) -> None:
        """A table is written to no more."""
        await self._connection.execute(
            f"DELETE FROM {BOOKS}.tables WHERE sink = %s AND space = %s AND name = %s AND merge = %s",
            (self._name, source.space, source.table, int(source.merge)),
        )

    # --- relations ----------------------------------------------------------------------------------------

    async def columns(self, relation: str) -> dict[str, tuple[str, bool]]:
        """Name: (type, whether a row must give it), of a relation; {} where there is none."""
        rows = await self._connection.execute(_COLUMNS, (relation,))
        return {name: (kind, must) for name, kind, must in await rows.fetchall()}

    async def normal(self, kinds: list[str]) -> dict[str, str]:
        """Types as PostgreSQL names them, without their length."""
        found = {}
        for kind in set(kinds):
            (found[kind],) = await self._row("SELECT %s::regtype::text", kind)
        return found

    async def check(self, statements: Statements, relation: str, there: dict[str, tuple[str, bool]]) -> None:
        """SchemaConflict where a table that is there is not one that the sink can write to."""
        expected = statements.expected
        normal = await self.normal([kind for _, kind in expected])
        where = f"{statements.source} is to be written to {statements.relation}, which"
        remedy = (
            "drop that table, name another with `into`, or give the columns that it has; then start again"
        )
        for name, kind in expected:
            if name not in there:
                raise SchemaConflict(f"{where} has no column {name}", remedy)
            if there[name][0] != normal[kind]:
                raise SchemaConflict(
                    f"{where} has a column {name} of type {there[name][0]}, not {kind}",
                    f"ALTER TABLE {statements.relation} ALTER COLUMN {name} TYPE {kind}, or give that type; "
                    "then start again",
                )
        names = {name for name, _ in expected}
        for name, (_, must) in there.items():
            if must and name not in names:
                raise SchemaConflict(
                    f"{where} has a column {name} of its own that must not be null",
                    "give it a default, and start again",
                )
        rows = await self._connection.execute(_UNIQUE, (relation,))
        if sorted(statements.key) not in [found for (found,) in await rows.fetchall()]:
            raise SchemaConflict(
                f"{where} has no unique index on ({', '.join(statements.key)})",
                f"CREATE UNIQUE INDEX ON {statements.relation} ({', '.join(statements.key)}), and start again",
            )

    async def _row(self, query: str, *parameters: Any) -> Any:
        rows = await self._connection.execute(query, parameters or None)
        return await rows.fetchone()
