"""schema.py, the enums and the error numbers say what schemas/wire.fbs says, by two independent readings of it."""

from __future__ import annotations

import re

import pytest
from reference import codec as oracle

from mycelium._core import schema
from mycelium.protocol.messages import MergeType, MessageType, Op

TYPES = {
    "bool": "bool",
    "ushort": "u16",
    "uint": "u32",
    "ulong": "u64",
    "[ushort]": "u16s",
    "[string]": "strings",
}
TYPES |= {"[SeqRange]": "ranges", "[ubyte]": "bytes"}


def as_schema(kind: str, column: oracle.Column) -> tuple[str, str]:
    """The type and the nested table that schema.py should give for a column of the .fbs file."""
    if column.type == "string":
        return ("name" if (kind, column.name) in oracle.NAMES else "string"), ""
    if column.type in oracle.ENUMS:
        return "u8", ""
    if column.type in oracle.TABLES:
        return "table", column.type
    if column.type[1:-1] in oracle.TABLES:
        return "tables", column.type[1:-1]
    return TYPES[column.type], ""


def test_tables_in_order():
    assert [table.name for table in schema.TABLES] == list(oracle.TABLES)


@pytest.mark.parametrize("kind", oracle.KINDS)
def test_fields(kind):
    described = schema.TABLES[schema.KINDS[kind]].fields
    columns = oracle.TABLES[kind]
    assert [field.name for field in described] == [column.name for column in columns]
    for field, column in zip(described, columns, strict=True):
        assert (field.type, field.table) == as_schema(kind, column), field.name
        assert field.required == column.required, field.name
        assert len(field.enum) == oracle.ENUMS.get(column.type, 0), field.name
        if field.type == "bytes":
            assert (field.low, min(field.high, 2**32)) == oracle.WIDTHS.get(field.name, (0, 2**32 - 1)), (
                field.name
            )


@pytest.mark.parametrize("kind", oracle.KINDS)
def test_caps(kind):
    expected = oracle.CAPS.get(kind, oracle.config.CONTROL_BYTES_MAX)
    # A message's own cap counts its tag.
    assert schema.TABLES[schema.KINDS[kind]].bytes_max == (2**20 - 1 if kind == "Message" else expected)


def _enum(name: str) -> dict[str, int]:
    body = re.search(rf"enum {name} : ubyte \{{([^}}]*)\}}", oracle.FBS.read_text())
    assert body is not None
    return {key: int(value) for key, value in re.findall(r"(\w+) = (\d+)", body[1])}


@pytest.mark.parametrize(
    ("name", "described", "enum"),
    [
        ("MessageType", schema.MESSAGE_TYPES, MessageType),
        ("MergeType", schema.MERGE_TYPES, MergeType),
        ("Op", schema.OPS, Op),
    ],
)
def test_enums(name, described, enum):
    declared = _enum(name)
    assert {key: number for number, key in enumerate(described)} == declared
    assert {item.name.replace("_", "").lower(): int(item) for item in enum} == {
        key.lower(): value for key, value in declared.items()
    }


def test_no_table_contains_itself():
    assert [schema.depth(kind) for kind in range(len(schema.TABLES))][schema.SYNC_REQUEST] == 3
    assert len(schema.SIZE_MAX) == len(schema.MESSAGE_TYPES)
