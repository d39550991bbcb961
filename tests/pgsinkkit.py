"""Shared by the tests of the PostgreSQL sink: runs one, and reads back what it wrote as a node shows it."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import psycopg.types.string
from sinkkit import APPEND, COUNTER, SET, TABLES, FakeNode, until

from mycelium.sinks.postgres.sink import PostgresSink
from mycelium.sinks.runner import Runner
from mycelium.sinks.schema import WHOLE
from mycelium.sinks.schemafile import Given, read
from mycelium.sinks.source import key_bytes


def given(tmp_path: Path, text: str) -> Given:
    path = tmp_path / "tables.toml"
    path.write_text(text)
    return read(path)


class Running:
    """A sink that runs: what it said, and how far it is."""

    def __init__(self, runner: Runner, said: list[str], task: asyncio.Task) -> None:
        self.runner = runner
        self.said = said
        self.task = task

    async def caught_up(self, node: FakeNode, seconds: float = 20) -> None:
        """Until the sink has what the node has; raises what ended the sink."""

        def done() -> bool:
            position = self.runner.progress.position
            at = (
                self.runner.progress.phase == "live"
                and position is not None
                and position.cursor == node.cursor
            )
            return at or self.task.done()

        await until(done, seconds)
        if self.task.done():
            self.task.result()


@asynccontextmanager
async def sinking(node: FakeNode, dsn: str, *, spaces=None, tables=None, sleep=None, **more):
    """A runner with a PostgreSQL sink, ended at the end of the block."""
    said: list[str] = []
    sink = PostgresSink(dsn, say=said.append, **more)

    async def nap(_seconds: float) -> None:
        await asyncio.sleep(0.01)

    runner = Runner(node.dial, sink, spaces, tables, say=said.append, sleep=sleep or nap)
    task = asyncio.create_task(runner.run())
    try:
        yield Running(runner, said, task)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def query(dsn: str, statement: str, *parameters) -> list[tuple]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description is not None else []


def state(dsn: str, sink: str = "main") -> dict[tuple[str, str], dict]:
    """As `FakeNode.state`: read from the tables, with values put together from columns and `_rest`."""
    found = {}
    listed = query(
        dsn,
        "SELECT space, name, merge, relation_schema, relation_name, columns FROM mycelium.tables WHERE sink = %s",
        sink,
    )
    for space, name, merge, schema, relation, columns in listed:
        rows = _rows(dsn, f'SELECT * FROM "{schema}"."{relation}" ORDER BY _hlc')
        table: dict = {}
        for row in rows:
            key = key_bytes(row["key"])
            if merge == COUNTER:
                assert key not in table
                table[key] = int(row["value"])
            elif merge == SET:
                assert row["_dots"]
                table.setdefault(key, []).append(value(row, columns))
            elif merge == APPEND:
                table.setdefault(key, []).append(value(row, columns))
            else:
                assert key not in table
                table[key] = value(row, columns)
        if table:
            found[space, name] = table
    return found


def _rows(dsn: str, statement: str) -> list[dict]:
    with psycopg.connect(dsn) as connection:
        # A null of JSON and one of SQL look the same in Python.
        connection.adapters.register_loader("jsonb", psycopg.types.string.TextLoader)
        cursor = connection.execute(statement)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def value(row: dict, columns: list) -> object:
    """The value of which a row was made; an object's members that are null are left out."""
    rest = None if row["_rest"] is None else json.loads(row["_rest"])
    whole = next((name for name, _, member, _ in columns if member == WHOLE), None)
    if whole is not None and row[whole] is not None:
        return _plain(row[whole], dict(zip([one[0] for one in columns], columns, strict=True))[whole][1])
    members = {
        member: _plain(row[name], kind)
        for name, kind, member, _ in columns
        if member != WHOLE and row[name] is not None
    }
    kept = from_json(rest)
    if row["_rest"] is None or isinstance(kept, dict):
        return {**members, **(kept or {})}
    assert not members
    return kept


def _plain(item, kind: str):
    if isinstance(item, Decimal):
        return int(item) if item == item.to_integral_value() and "." not in str(item) else float(item)
    return from_json(json.loads(item)) if kind == "jsonb" else item


def from_json(item):
    """The inverse of `mycelium.sinks.jsontext`."""
    if isinstance(item, list):
        return [from_json(one) for one in item]
    if not isinstance(item, dict):
        return item
    if len(item) == 1:
        ((name, inner),) = item.items()
        if name == "$bytes":
            return base64.b64decode(inner)
        if name == "$utf8":
            return base64.b64decode(inner).decode()
        if name == "$float":
            return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}[inner]
        if name == "$time":
            return datetime.fromisoformat(inner)
        if name == "$pairs":
            return {_hashable(from_json(one)): from_json(other) for one, other in inner}
    return {name: from_json(one) for name, one in item.items()}


def _hashable(item):
    return tuple(item) if isinstance(item, list) else item


def shown(found: dict) -> list:
    """A state in a form in which equal ones are equal: an object's members that are null are left out."""
    return canonical(
        {
            name: {key: _SHOWN.get(name[1], _top)(item) for key, item in table.items()}
            for name, table in found.items()
        }
    )


_SHOWN = {
    "events": lambda items: [_top(one) for one in items],
    "tags": lambda items: sorted((canonical(_top(one)) for one in items), key=repr),
}


def _top(item):
    return {name: one for name, one in item.items() if one is not None} if isinstance(item, dict) else item


def canonical(item):
    """Equal for equal values, whatever the order of members, and whether a whole number is an int or a float."""
    if isinstance(item, dict):
        return sorted(([canonical(name), canonical(one)] for name, one in item.items()), key=repr)
    if isinstance(item, list | tuple):
        return ["list", *(canonical(one) for one in item)]
    if isinstance(item, bool) or not isinstance(item, float | int):
        return item
    if isinstance(item, float) and item.is_integer() and abs(item) < 2**64:
        return int(item)
    return repr(float(item)) if isinstance(item, float) or abs(item) >= 2**64 else item


__all__ = ["TABLES", "Running", "from_json", "given", "query", "shown", "sinking", "state", "value"]
