"""How Mycelium's tables are named in PostgreSQL. Pure."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NamedTuple

from mycelium.sinks.schemafile import Given
from mycelium.sinks.source import Source

BOOKS: Final = "mycelium"
"""The schema of the sinks' own tables."""
_NAME_BYTES_MAX: Final = 63


class Relation(NamedTuple):
    """A table of PostgreSQL."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def relation_of(source: Source, given: Given, taken: frozenset[Relation] = frozenset()) -> Relation:
    """Where a table is written to: what is given, else by its space and name.

    taken: relations of other tables; a table of the same name that merges otherwise has that in its name.
    """
    layout = given.of(source.space, source.table)
    if layout is not None and layout.into is not None:
        schema, _, name = layout.into.partition(".")
        return Relation(schema, name)
    schema = _short(given.prefix + source.space)
    found = Relation(schema, _short(source.table))
    return (
        found
        if found not in taken
        else Relation(schema, _short(f"{source.table}__{source.merge.name.lower()}"))
    )


def _short(name: str) -> str:
    """PostgreSQL cuts longer names without a word; two could become one."""
    if len(name.encode()) <= _NAME_BYTES_MAX:
        return name
    return f"{name[:48]}_{blake2b(name.encode(), digest_size=6).hexdigest()}"
