"""Rows as the text that COPY reads. Pure, and the loop in which a sink spends its time: measured before it is changed.

A column's writer gives the text of one value, or None where the value does not fit the column's type.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any, Final

from mycelium.sinks.jsontext import float_text, json_text
from mycelium.sinks.schema import Layout
from mycelium.sinks.values import Values, Writer

NULL: Final = "\\N"

_SPECIAL: Final = re.compile(r"[\\\t\n\r]").search
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_EXACT_MAX: Final = 2**53


def escaped(text: str) -> str:
    """Text between two tabs."""
    return text if _SPECIAL(text) is None else text.translate(_ESCAPES)


def bytes_text(data: bytes) -> str:
    """A bytea."""
    return "\\\\x" + data.hex()


def _boolean(value: Any) -> str | None:
    return ("t" if value else "f") if value is True or value is False else None


def _integer(bits: int) -> Writer:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1)

    def write(value: Any) -> str | None:
        return str(value) if type(value) is int and low <= value < high else None

    return write


def _numeric(value: Any) -> str | None:
    if type(value) is int:
        return str(value)
    return repr(value) if type(value) is float and math.isfinite(value) else None


def _double(value: Any) -> str | None:
    if type(value) is float:
        return repr(value) if math.isfinite(value) else float_text(value)
    return str(value) if type(value) is int and -_EXACT_MAX <= value <= _EXACT_MAX else None


def _text(value: Any) -> str | None:
    return escaped(value) if type(value) is str and "\0" not in value else None


def _bytea(value: Any) -> str | None:
    return bytes_text(value) if type(value) is bytes else None


def _time(value: Any) -> str | None:
    return value.isoformat() if isinstance(value, datetime) else _text(value)


def _json(value: Any) -> str | None:
    return escaped(json_text(value))


def _other(value: Any) -> str | None:
    """What this does not know, PostgreSQL reads from text: dates, uuids, addresses, enums."""
    return str(value) if type(value) in (int, float) else _time(value)


_WRITERS: Final[dict[str, Writer]] = {
    "boolean": _boolean,
    "bool": _boolean,
    "smallint": _integer(16),
    "int2": _integer(16),
    "integer": _integer(32),
    "int": _integer(32),
    "int4": _integer(32),
    "bigint": _integer(64),
    "int8": _integer(64),
    "numeric": _numeric,
    "decimal": _numeric,
    "real": _double,
    "float4": _double,
    "double precision": _double,
    "float8": _double,
    "text": _text,
    "varchar": _text,
    "character varying": _text,
    "bytea": _bytea,
    "jsonb": _json,
    "json": _json,
}


def writer(kind: str) -> Writer:
    """How values are written to a column of a type."""
    base = re.sub(r" ?\(.*?\)", "", kind)
    return _WRITERS.get(base, _other)


class ValueText(Values):
    """The columns of a layout and `_rest`, as fields with a tab between them, of one payload after the other."""

    def __init__(self, name: str, layout: Layout) -> None:
        super().__init__(name, layout, writer, NULL, _json)

    def __call__(self, payload: bytes) -> str:
        """SchemaConflict where a value does not fit what was given."""
        return "\t".join(self.fields(payload))
