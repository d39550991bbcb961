"""Rows as the text that COPY reads. Pure, and the loop in which a sink spends its time: measured before it is changed.

A column's writer gives the text of one value, or None where the value does not fit the column's type.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from mycelium.database.value import value_of
from mycelium.errors import SchemaConflict
from mycelium.sinks import schema
from mycelium.sinks.jsontext import float_text, json_text
from mycelium.sinks.schema import WHOLE, Layout

NULL: Final = "\\N"
Writer = Callable[[Any], str | None]

_SPECIAL: Final = re.compile(r"[\\\t\n\r]").search
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_MISSING: Final = object()
_EXACT_MAX: Final = 2**53
_SHOWN_MAX: Final = 60


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


class ValueText:
    """The columns of a layout and `_rest`, of one payload after the other."""

    def __init__(self, name: str, layout: Layout) -> None:
        self._name = name
        self._strict = layout.strict
        self._members = [
            (column.member, writer(column.type), column)
            for column in layout.columns
            if column.member != WHOLE
        ]
        whole = layout.whole
        self._whole = None if whole is None else writer(whole.type)
        self._whole_column = whole
        self._whole_at = -1 if whole is None else layout.columns.index(whole)
        self._width = len(layout.columns)
        self._nothing = "\t".join([NULL] * self._width + [""])
        self.misfits: dict[str, str] = {}
        """Column: the first value that did not fit it since this was emptied."""

    def __call__(self, payload: bytes) -> str:
        """The fields, with a tab after each but the last. SchemaConflict where a value does not fit what was given."""
        value = value_of(payload)
        if type(value) is dict and self._members:
            return self._object(value)
        return self._alone(value)

    def _object(self, value: dict[Any, Any]) -> str:
        fields: list[str] = []
        add = fields.append
        left = len(value)
        misfit: list[str] | None = None
        for member, write, column in self._members:
            item = value.get(member, _MISSING)
            if item is _MISSING:
                add(NULL)
                continue
            left -= 1
            if item is None:
                add(NULL)
                continue
            text = write(item)
            if text is None:
                text = NULL
                self._refuse(column, item)
                misfit = [member] if misfit is None else [*misfit, member]
            add(text)
        if self._whole is not None:
            text = self._whole(value)
            fields.insert(self._whole_at, NULL if text is None else text)
            left, misfit = (0, None) if text is not None else (left, misfit)
        if left == 0 and misfit is None:
            add(NULL)
        else:
            add(_json(self._left(value, misfit or ())) or NULL)
        return "\t".join(fields)

    def _left(self, value: dict[Any, Any], misfit: Any) -> dict[Any, Any]:
        """The members that are in no column."""
        known = {member for member, _, _ in self._members if member not in misfit}
        return {name: item for name, item in value.items() if name not in known}

    def _alone(self, value: Any) -> str:
        """A value that is no object, or an object where none has columns: in its column, or else in `_rest`."""
        if self._whole is not None:
            text = NULL if value is None else self._whole(value)
            if text is not None:
                before, after = self._whole_at, self._width - self._whole_at - 1
                rest = "null" if value is None else NULL
                return "\t".join([NULL] * before + [text] + [NULL] * after + [rest])
            if self._whole_column is not None:
                self._refuse(self._whole_column, value)
        return self._nothing + (_json(value) or NULL)

    def _refuse(self, column: schema.Column, item: Any) -> None:
        """A given column takes nothing else, unless its table is not strict."""
        shown = repr(item)[:_SHOWN_MAX]
        if column.given and self._strict:
            raise SchemaConflict(
                f"{self._name}: {shown} does not fit the column {column.name} of type {column.type}",
                f"give {column.name} a type that takes it, or the table strict = false, and start again",
            )
        self.misfits.setdefault(f"{column.name} {column.type}", shown)
