"""The TOML file in which an operator gives the columns of a sink's tables, and where they lie.

    schema_prefix = "mycelium_"                # space `main` is the schema mycelium_main

    [tables.scores]                            # or ["tables"."main/scores"], where two spaces have one
    into = "public.scores"                     # else mycelium_main.scores
    strict = true                              # false: what does not fit a given column goes to _rest

    [tables.scores.columns]
    score = "double precision"
    miner_key = { type = "text", from = "key" }   # a member whose name a column cannot have
    raw = { type = "jsonb", from = "$" }          # the value as a whole

Every mistake is reported with its line. ConfigError.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mycelium.sinks.schema import KEY, TYPE, WHOLE, Column, Layout, usable
from mycelium.tomlfile import Section, TomlFile

PREFIX: Final = "mycelium_"
_ALIASES: Final = {
    "bool": "boolean",
    "int2": "smallint",
    "int": "integer",
    "int4": "integer",
    "int8": "bigint",
    "decimal": "numeric",
    "float4": "real",
    "float8": "double precision",
    "timestamp with time zone": "timestamptz",
}
_TYPE_SAID: Final = 'a type of PostgreSQL, like "double precision" or "numeric(20, 9)"'


@dataclass(frozen=True, slots=True)
class Given:
    """What the file says. tables: by `table` or `space/table`."""

    tables: dict[str, Layout] = field(default_factory=dict)
    prefix: str = PREFIX

    def of(self, space: str, table: str) -> Layout | None:
        """What is given for a table; None where nothing is."""
        return self.tables.get(f"{space}/{table}", self.tables.get(table))


def read(path: Path) -> Given:
    """Read the file. ConfigError with every mistake in it."""
    file = TomlFile(path, "file of a sink's tables")
    prefix = file.root.text("schema_prefix", "what the schemas' names begin with", PREFIX)
    tables = file.root.section("tables", "[tables.NAME]", required=False)
    found = {name: _layout(section) for name, section in tables.subsections()}
    file.root.finish()
    file.check()
    return Given(found, prefix)


def _layout(section: Section) -> Layout:
    into = section.text("into", "SCHEMA.NAME", "") or None
    if into is not None and (into.count(".") != 1 or not all(into.split("."))):
        section.mistake("into", f"is {into!r}", 'write schema and name, like "public.scores"')
    strict = section.flag("strict", True)
    columns = section.section("columns", "[columns]", required=False)
    found = []
    for name in columns.names():
        column = _column(columns, name)
        if not usable(name):
            columns.mistake(
                name, "cannot be a column's name", f'write another, and where it is from: from = "{name}"'
            )
        elif TYPE.fullmatch(column.type) is None:
            columns.mistake(name, f"has the type {column.type!r}", f"write {_TYPE_SAID}")
        else:
            found.append(column)
    section.finish()
    return Layout(tuple(found), strict, into)


def _column(columns: Section, name: str) -> Column:
    given: Any = columns.file.data
    for part in columns.where:
        given = given[part]
    if isinstance(given[name], dict):
        one = columns.section(name, "a type")
        kind, member = one.text("type", _TYPE_SAID), one.text("from", "the member's name", name)
        one.finish()
    else:
        kind, member = columns.text(name, _TYPE_SAID), name
    kind = " ".join(kind.lower().split())
    return Column(name, _ALIASES.get(kind, kind), member, given=True)


__all__ = ["KEY", "PREFIX", "WHOLE", "Given", "read"]
