"""How Mycelium's names and keys are written in PostgreSQL. Pure.

A key is text where it can be: in the order of the collation "C", which is the order of bytes. What PostgreSQL cannot
hold as text (no UTF-8, or with a NUL), and what begins with \\x itself, is \\x and the bytes in hex: no two keys have
one text, and `decode(substr(key, 3), 'hex')` gives the bytes.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NamedTuple

from mycelium.protocol.messages import MergeType
from mycelium.sinks.schemafile import Given

BOOKS: Final = "mycelium"
"""The schema of the sinks' own tables."""
_NAME_BYTES_MAX: Final = 63
_HEX: Final = "\\x"


class Source(NamedTuple):
    """A table of Mycelium: its whole identity."""

    space: str
    table: str
    merge: MergeType

    def __str__(self) -> str:
        return f"{self.space}/{self.table}"


class Relation(NamedTuple):
    """A table of PostgreSQL."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def key_text(key: bytes) -> str:
    """A key as it stands in the column `key`."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return _HEX + key.hex()
    return text if "\0" not in text and not text.startswith(_HEX) else _HEX + key.hex()


def key_bytes(text: str) -> bytes:
    """The key that `key_text` wrote."""
    return bytes.fromhex(text[len(_HEX) :]) if text.startswith(_HEX) else text.encode()


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
