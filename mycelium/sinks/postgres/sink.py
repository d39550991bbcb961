"""The sink itself: one connection, one transaction for each group of batches with its position.

A fill goes to staging tables that no reader looks at; what ends it is one transaction, in which the staged rows take
the place of what was there. Until then nothing has happened, so a fill that was killed begins again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mycelium.config.sinks import (
    SINK_CONNECT_S,
    SINK_GROUP_BYTES_MAX,
    SINK_GROUP_CHANGES,
    SINK_LOCK_WAIT_S,
    SINK_SAMPLE_ROWS,
)
from mycelium.database import grants
from mycelium.database.value import value_of
from mycelium.errors import ConfigError, SchemaConflict, SinkUnreachable, UsageError
from mycelium.feed.batch import ExportRow, FeedBatch
from mycelium.feed.cursor import Cursor
from mycelium.protocol.messages import MergeType
from mycelium.sinks.interface import Position
from mycelium.sinks.postgres.books import Books, Known
from mycelium.sinks.postgres.copytext import ValueText
from mycelium.sinks.postgres.failures import Failures, driver
from mycelium.sinks.postgres.gathering import TableChanges, origin_text
from mycelium.sinks.postgres.names import BOOKS, relation_of
from mycelium.sinks.postgres.statements import COUNTED, Statements, qualified, quoted
from mycelium.sinks.schema import Layout, Sample
from mycelium.sinks.schemafile import Given
from mycelium.sinks.source import Source, key_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_SESSION: Final = (
    f"SET lock_timeout = '{SINK_LOCK_WAIT_S}s'",
    "SET standard_conforming_strings = on",
    "SET datestyle = 'ISO'",
    "SET timezone = 'UTC'",
)
_CHUNK: Final = 500
"""Rows joined into one piece of COPY data, some 100 KiB and 2 ms."""


class _Target:
    """A table that this session writes to. stage: its temporary table, "" until it is made."""

    def __init__(self, known: Known, layout: Layout) -> None:
        self.known = known
        self.statements = Statements(known.source, known.relation, known.columns)
        self.values = ValueText(str(known.source), layout)
        self.stage = ""


class Prepared(NamedTuple):
    """A group of batches, as tables take it. changes: how many. newest: the index of the node's newest batch."""

    tables: list[TableChanges]
    changes: int
    newest: int


class PostgresSink:
    """dsn: as libpq takes it. name: of this sink among those of the database. given: columns and relations.

    wanted: what of the feed it is given, as text: with other spaces or tables than before it is filled anew.
    again: fill it anew in any case. say: is told of what an operator should know, one line each.
    """

    gather_s = 0.0
    gather_changes = SINK_GROUP_CHANGES
    gather_bytes = SINK_GROUP_BYTES_MAX

    def __init__(
        self,
        dsn: str,
        name: str = "main",
        given: Given | None = None,
        *,
        wanted: str = "",
        again: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._dsn = dsn
        self._failures = Failures(dsn)
        self._name = name
        self._given = given or Given()
        self._wanted = wanted
        self._again = again
        self._say = say
        self._connection: Any = None
        self._books: Any = None
        self._position: Position | None = None
        self._targets: dict[Source, _Target] = {}
        self._filled: set[str] | None = None
        self._filled_at = 0
        self._staged: dict[Source, str] = {}
        self._waiting: dict[Source, TableChanges] = {}
        self._told: set[tuple[Source, str]] = set()
        self._connected_once = False

    def __repr__(self) -> str:
        return f"<PostgresSink {self._name!r}>"

    @property
    def where(self) -> str:
        """The server and database, for people."""
        return self._failures.where

    # --- the session ------------------------------------------------------------------------------------

    async def open(self) -> Position | None:
        """Connect, and look whether everything is as it was left. SinkUnreachable, SchemaConflict, ConfigError."""
        await self.close()
        psycopg = driver()
        with self._failures.explained(connecting=not self._connected_once):
            self._connection = await psycopg.AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                connect_timeout=SINK_CONNECT_S,
                application_name=f"mycelium sink {self._name}",
                # A server that is gone without a word is noticed, and not waited for.
                keepalives_idle=SINK_CONNECT_S,
                keepalives_interval=SINK_CONNECT_S,
                keepalives_count=3,
                tcp_user_timeout=SINK_CONNECT_S * 3_000,
            )
        self._connected_once = True
        self._books = Books(self._connection, self._name)
        with self._failures.explained():
            for statement in _SESSION:
                await self._connection.execute(statement)
            await self._check_server()
            if not await self._books.lock():
                raise SinkUnreachable(
                    f"{self.where}: another process writes as the sink {self._name!r}; this one stands by"
                )
            await self._books.make()
            await self._drop_stages()
            async with self._connection.transaction():
                # Kept with what was changed: who is killed before the fill must find that it is due.
                if not await self._load() or self._again:
                    await self._books.forget()
            self._again = False
            self._position, others = await self._books.position(self._wanted)
        if others:
            self._say("other spaces or tables are asked for than before, so all rows are read again")
        return self._position

    async def _check_server(self) -> None:
        if self._connection.info.server_version < 120_000:
            raise ConfigError(f"{self.where} is older than 12", "use a later PostgreSQL")
        encoding = self._connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise SchemaConflict(
                f"{self.where} is encoded as {encoding}",
                "CREATE DATABASE one with ENCODING 'UTF8' for the sink",
            )

    async def _load(self) -> bool:
        """Look at the tables that the sink has. False where they lack rows: one is gone, or has a new column."""
        as_it_was = True
        self._targets = {}
        for known in await self._books.tables():
            source = known.source
            given = self._given.of(source.space, source.table)
            there = await self._books.columns(qualified(known.relation))
            into = given.into if given is not None else None
            moved = into not in (None, str(known.relation))
            if not there or moved:
                await self._books.drop(source)
                as_it_was = False
                if there:
                    self._say(f"{source} is written to {into} now; {known.relation} is left as it is")
                continue
            target, added = await self._amended(known, given, there)
            as_it_was = as_it_was and not added
            self._targets[source] = target
        return as_it_was

    async def _amended(
        self, known: Known, given: Layout | None, there: dict[str, tuple[str, bool]]
    ) -> tuple[_Target, bool]:
        """A table as it now is to be, and whether it got columns that its rows have no values in."""
        layout = self._layout(known.source, known.columns)
        if given is not None and given.columns and known.source.merge is not MergeType.COUNTER:
            layout = given
        now = known._replace(columns=layout.columns)
        statements = Statements(now.source, now.relation, now.columns)
        added = [column for column in layout.columns if column.name not in there]
        for column in added:
            await self._connection.execute(statements.add(column))
        relation = qualified(known.relation)
        await self._books.check(statements, relation, await self._books.columns(relation) if added else there)
        kept = {column.name for column in now.columns}
        for column in known.columns:
            if column.name not in kept:
                self._say(f"{known.relation}.{column.name} is not written any more: drop the column")
        if now != known:
            await self._books.enter(now, json.dumps(layout.described()))
        return _Target(now, layout), now != known

    def _layout(self, source: Source, columns: tuple[Any, ...]) -> Layout:
        """Those columns, with what is given besides."""
        given = self._given.of(source.space, source.table) or Layout()
        return Layout(columns, given.strict, given.into)

    async def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        self._position, self._filled = None, None
        self._staged, self._waiting = {}, {}
        if connection is not None:
            with suppress(OSError, driver().Error):
                await connection.close()

    # --- live -------------------------------------------------------------------------------------------

    async def prepare(self, batches: Sequence[FeedBatch]) -> Prepared:
        """The rows as text, of tables whose columns are known: PostgreSQL works on the group before meanwhile."""
        found: dict[Source, TableChanges] = {}
        named: dict[tuple[str, str, MergeType], TableChanges] = {}
        count = 0
        for batch in batches:
            origin = origin_text(batch.account, batch.generation)
            for change in batch.changes:
                name = (batch.space, change.table, change.merge)
                table = named.get(name)
                if table is None:
                    if change.table == grants.TABLE:
                        continue
                    source = Source(*name)
                    table = named[name] = found[source] = TableChanges(source)
                table.change(change, batch, origin)
            count += len(batch.changes)
            await asyncio.sleep(0)
        for source, table in found.items():
            target = self._targets.get(source)
            if target is not None:
                table.lines = await _lines(table, target)
        return Prepared(list(found.values()), count, batches[-1].newest if batches else 0)

    async def apply(self, prepared: Prepared, position: Position) -> None:
        """All of it and the position in one transaction."""
        if self._position is None:
            raise UsageError("a sink is filled before it follows")
        with self._failures.explained(f"sink {self._name!r}"):
            async with self._transaction():
                for found in prepared.tables:
                    await self._write(found)
                newest = max(prepared.newest, position.cursor.index)
                await self._books.move(self._position, position, newest, prepared.changes)
        self._position = position
        self._tell_misfits()

    async def _write(self, changes: TableChanges) -> None:
        source = changes.source
        target = self._targets.get(source)
        if target is None:
            if not changes.writes:
                return  # it was never here, so there is nothing to take out of it
            target = await self._make(source, changes.payloads())
        statements = target.statements
        execute = self._connection.execute
        if changes.deletes:
            keys, places = zip(*changes.deletes.items(), strict=True)
            await execute(statements.delete(), (_texts(keys), list(places)))
        if changes.removes:
            keys, dots = zip(*changes.removes, strict=True)
            for statement in statements.remove():
                await execute(statement, (_texts(keys), list(dots)))
        if changes.writes:
            await self._copy(target, target.stage or await self._stage(target), changes)
            for statement in statements.take(target.stage, whole=False):
                await execute(statement)

    async def _stage(self, target: _Target) -> str:
        name = f"pg_temp.mycelium_stage_{len([one for one in self._targets.values() if one.stage])}"
        await self._connection.execute(target.statements.stage(name, lasting=False))
        target.stage = name
        return name

    async def _copy(self, target: _Target, stage: str, changes: TableChanges) -> None:
        lines = changes.lines if changes.lines is not None else await _lines(changes, target)
        async with (
            self._connection.cursor() as cursor,
            cursor.copy(target.statements.copy(stage)) as copy,
        ):
            for piece in lines:
                await copy.write(piece)

    async def _make(self, source: Source, payloads: Iterable[bytes]) -> _Target:
        """The target of a table that is new: its relation is made, or looked at where it is there."""
        given = self._given.of(source.space, source.table)
        if source.merge is MergeType.COUNTER:
            layout = self._layout(source, (COUNTED,))
        elif given is not None and given.columns:
            layout = given
        else:
            sample = Sample()
            for _, payload in zip(range(SINK_SAMPLE_ROWS), payloads, strict=False):
                sample.see(value_of(payload))
            layout = self._layout(source, sample.layout().columns)
        await self._books.alone()
        taken = await self._books.taken()
        own = frozenset(relation for relation, sink in taken.items() if sink == self._name)
        relation = relation_of(source, self._given, own)
        if relation in taken:
            raise SchemaConflict(
                f"{source} is to be written to {relation}, which the sink {taken[relation]!r} writes to",
                "name another with `into`, or another schema_prefix, in the file of tables, and start again",
            )
        known = Known(source, relation, layout.columns)
        target = _Target(known, layout)
        there = await self._books.columns(qualified(relation))
        if there:
            await self._books.check(target.statements, qualified(relation), there)
        else:
            await self._books.schema(relation.schema)
            for statement in target.statements.create():
                await self._connection.execute(statement)
        await self._books.enter(known, json.dumps(layout.described()))
        self._targets[source] = target
        return target

    def _tell_misfits(self) -> None:
        for source, target in self._targets.items():
            for column, shown in target.values.misfits.items():
                if (source, column) not in self._told:
                    self._told.add((source, column))
                    self._say(
                        f"{source}: {shown} does not fit the inferred column {column}, and is kept in _rest -- "
                        "give the column a type in the file of tables, and the sink fills it anew"
                    )
            target.values.misfits.clear()

    # --- filling ----------------------------------------------------------------------------------------

    async def begin(self, spaces: Iterable[str] | None, cursor: Cursor) -> None:
        """Make room for rows of these spaces, or of all."""
        self._filled = None if spaces is None else set(spaces)
        self._filled_at = cursor.index
        with self._failures.explained():
            await self._drop_stages()

    async def fill(self, rows: Sequence[ExportRow]) -> None:
        """Stage some rows."""
        found: dict[Source, TableChanges] = {}
        for row in rows:
            if row.table == grants.TABLE:
                continue
            source = Source(row.space, row.table, row.merge)
            changes = found.get(source)
            if changes is None:
                waiting = self._waiting.pop(source, None)
                changes = found[source] = waiting or TableChanges(source)
            changes.row(row, origin_text(row.account, row.generation), self._filled_at)
        last = next(reversed(found), None)
        with self._failures.explained(f"sink {self._name!r}"):
            # Rows come table by table: only the last one may go on.
            waiting_before, self._waiting = self._waiting, {}
            for changes in [*waiting_before.values(), *found.values()]:
                ends = changes.source != last or _enough(changes)
                await self._stage_rows(changes, enough=ends)

    async def _stage_rows(self, changes: TableChanges, *, enough: bool) -> None:
        """Into the staging table, which needs to know the columns: of a new table they wait for a sample."""
        source = changes.source
        target = self._targets.get(source)
        if target is None and not enough:
            self._waiting = {source: changes}
            return
        if target is None:
            target = await self._made(changes)
        stage = self._staged.get(source)
        if stage is None:
            stage = f"{BOOKS}.{quoted(f'fill_{self._name}_{len(self._staged)}')}"
            await self._connection.execute(target.statements.stage(stage, lasting=True))
            self._staged[source] = stage
        await self._copy(target, stage, changes)

    async def _made(self, changes: TableChanges) -> _Target:
        async with self._transaction():
            return await self._make(changes.source, changes.payloads())

    async def finish(self, position: Position) -> None:
        """The staged rows take the place of what was there."""
        with self._failures.explained(f"sink {self._name!r}"):
            for changes in list(self._waiting.values()):
                await self._stage_rows(changes, enough=True)
            self._waiting = {}
            async with self._transaction():
                for source, target in self._targets.items():
                    if self._filled is None or source.space in self._filled:
                        await self._replace(target, self._staged.get(source))
                await self._books.keep(position, self._wanted, position.cursor.index, 0)
            self._position = position
            await self._drop_stages()
        self._tell_misfits()

    async def _replace(self, target: _Target, stage: str | None) -> None:
        if stage is None:
            await self._connection.execute(f"DELETE FROM {qualified(target.known.relation)}")
            return
        for statement in target.statements.take(stage, whole=True):
            await self._connection.execute(statement)

    async def _drop_stages(self) -> None:
        """Also those that a process left which was killed."""
        self._staged, self._waiting = {}, {}
        rows = await self._connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s AND starts_with(tablename, %s)",
            (BOOKS, f"fill_{self._name}_"),
        )
        for (name,) in await rows.fetchall():
            await self._connection.execute(f"DROP TABLE {BOOKS}.{quoted(name)}")

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        """All of it or nothing; tables that were made within are forgotten when it fails."""
        before = dict(self._targets)
        stages = {source: target.stage for source, target in before.items()}
        try:
            async with self._connection.transaction():
                yield
        except BaseException:
            self._targets = before
            for source, target in before.items():
                target.stage = stages[source]
            raise


async def _lines(changes: TableChanges, target: _Target) -> list[str]:
    """The rows in pieces of COPY data. Lets others have their turn between them. SchemaConflict."""
    rows = changes.text(target.values)
    pieces = []
    while piece := "".join(islice(rows, _CHUNK)):
        pieces.append(piece)
        await asyncio.sleep(0)
    return pieces


def _enough(changes: TableChanges) -> bool:
    """Whether the rows are sample enough, or more than one holds back."""
    sizes = [len(payload) for payload in changes.payloads()]
    return len(sizes) + len(changes.adds) >= SINK_SAMPLE_ROWS or sum(sizes) >= SINK_GROUP_BYTES_MAX


def _texts(keys: Iterable[bytes]) -> list[str]:
    return [key_text(key) for key in keys]
