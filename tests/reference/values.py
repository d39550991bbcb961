"""Values of every wire table for tests: Hypothesis strategies, the golden vectors, and one door to both codecs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from reference import codec as oracle

from mycelium._core import codec, schema

VECTORS = Path(__file__).parents[2] / "schemas" / "vectors"
KINDS = oracle.KINDS

SCALAR_BITS = {"ubyte": 8, "ushort": 16, "uint": 32, "ulong": 64}
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789_.-", min_size=1, max_size=64)
texts = st.text(st.characters(codec="utf-8"), max_size=20)


def encode(kind: str, values: Any) -> bytes:
    """By the codec; a Message with its tag."""
    if kind == "Message":
        return codec.encode_message(*values)
    return codec.encode(schema.KINDS[kind], values)


def decode(kind: str, data: bytes) -> Any:
    """By the codec, in the oracle's form."""
    if kind == "Message":
        return codec.decode_message(data).fields()
    return codec.decode(schema.KINDS[kind], data)


def oracle_encode(kind: str, values: Any) -> bytes:
    return oracle.encode_message(values) if kind == "Message" else oracle.encode(kind, values)


def oracle_decode(kind: str, data: bytes) -> Any:
    return oracle.decode_message(data) if kind == "Message" else oracle.decode(kind, data)


def to_json(kind: str, values: Any) -> bytes:
    if kind == "Message":
        return codec.encode_message(*values, encoding=1)
    return codec.to_json(schema.KINDS[kind], values)


def from_json(kind: str, data: bytes) -> Any:
    if kind == "Message":
        return codec.decode_message(data).fields()
    return codec.from_json(schema.KINDS[kind], data)


def vectors(kind: str) -> dict[str, Any]:
    """The golden file of a table."""
    found: dict[str, Any] = json.loads((VECTORS / f"{kind}.json").read_text())
    return found


def samples(kind: str) -> list[Any]:
    """The values of its valid golden vectors."""
    return [decode(kind, bytes.fromhex(item["flatbuffers"])) for item in vectors(kind)["valid"]]


@st.composite
def ranges(draw: st.DrawFn) -> list[tuple[int, int]]:
    edges = sorted(draw(st.sets(st.integers(0, 2**64 - 1), max_size=6)))
    return list(zip(edges[::2], edges[1::2], strict=False))


def _column(kind: str, column: oracle.Column) -> st.SearchStrategy[Any]:
    if column.type == "bool":
        return st.booleans()
    if column.type in oracle.ENUMS:
        return st.integers(0, oracle.ENUMS[column.type] - 1)
    if column.type in SCALAR_BITS:
        return st.integers(0, 2 ** SCALAR_BITS[column.type] - 1)
    if column.type == "string":
        return names if (kind, column.name) in oracle.NAMES else texts
    if column.type == "[ubyte]":
        low, high = oracle.WIDTHS.get(column.name, (0, 40))
        present = st.binary(min_size=low, max_size=min(high, 100))
        return present if column.required else st.just(b"") | present
    if column.type in oracle.TABLES:
        return table(column.type) if column.required else st.none() | table(column.type)
    item = column.type[1:-1]
    if item == "SeqRange":
        return ranges()
    items = {"ushort": st.integers(0, 65535), "string": texts}.get(item)
    return st.lists(table(item) if items is None else items, max_size=4)


@st.composite
def _batch(draw: st.DrawFn, base: st.SearchStrategy[Any]) -> Any:
    values = list(draw(base))
    tables = values[11] = values[11] or [("t", 0)]
    changes = [(draw(st.integers(0, len(tables) - 1)), *change[1:]) for change in values[12]]
    values[12] = changes or [(0, 0, b"k", b"")]
    values[6] = len(values[12])
    values[5] = max(1, min(values[5], 2**64 - len(changes or [0])))
    values[10] = min(values[10], 2**64 - len(changes or [0]))
    return tuple(values)


def table(kind: str) -> st.SearchStrategy[Any]:
    """Valid values of a table, as codec.decode gives them."""
    columns = [_column(kind, column) for column in oracle.TABLES[kind]]
    base = columns[0] if len(columns) == 1 else st.tuples(*columns)
    return _batch(base) if kind == "Batch" else base
