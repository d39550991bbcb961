"""What the sinks of a database say of themselves: position, lag and tables. Reads their own tables, and no rows."""

from __future__ import annotations

from typing import Any

from mycelium.protocol.messages import MergeType
from mycelium.sinks.interface import Position
from mycelium.sinks.postgres.failures import Failures, driver
from mycelium.sinks.postgres.names import BOOKS, Relation
from mycelium.sinks.source import Source


def read(dsn: str) -> list[dict[str, Any]]:
    """Each sink, in the order of names. SinkUnreachable, SchemaConflict, ConfigError."""
    failures = Failures(dsn)
    with failures.explained(connecting=True), driver().connect(dsn, connect_timeout=10) as connection:
        if not _there(connection):
            return []
        rows = connection.execute(
            f"SELECT name, position, newest, changes, extract(epoch FROM now() - written)::float8 "
            f"FROM {BOOKS}.sinks ORDER BY name"
        ).fetchall()
        found = []
        for name, position, newest, changes, ago in rows:
            cursor = None if position is None else Position.parse(position).cursor
            found.append(
                {
                    "name": name,
                    "cursor": None if cursor is None else str(cursor),
                    "lag": None if cursor is None else max(0, newest - cursor.index),
                    "changes": changes,
                    "written_s_ago": ago,
                    "tables": [
                        {
                            "table": str(source),
                            "merge": source.merge.name.lower(),
                            "relation": str(relation),
                            "columns": {column[0]: column[1] for column in columns},
                        }
                        for source, relation, columns in _tables(connection, name)
                    ],
                }
            )
        return found


def tables(dsn: str, name: str) -> list[tuple[Source, Relation]]:
    """What one sink writes to. The same errors."""
    failures = Failures(dsn)
    with failures.explained(connecting=True), driver().connect(dsn, connect_timeout=10) as connection:
        if not _there(connection):
            return []
        return [(source, relation) for source, relation, _ in _tables(connection, name)]


def _there(connection: Any) -> bool:
    (there,) = connection.execute(
        f"SELECT to_regclass('{BOOKS}.sinks') IS NOT NULL AND to_regclass('{BOOKS}.tables') IS NOT NULL"
    ).fetchone()
    return bool(there)


def _tables(connection: Any, name: str) -> list[tuple[Source, Relation, list[list[Any]]]]:
    rows = connection.execute(
        f"SELECT space, name, merge, relation_schema, relation_name, columns FROM {BOOKS}.tables "
        "WHERE sink = %s ORDER BY space, name, merge",
        (name,),
    ).fetchall()
    return [
        (Source(space, table, MergeType(merge)), Relation(schema, relation), columns)
        for space, table, merge, schema, relation, columns in rows
    ]
