"""The columns of a table in a sink: given by the operator, or inferred from a sample of values. Pure; no database.

A value is an object whose members become columns, or anything else, which is one column as a whole. Nothing is lost: a
member without a column, and what does not fit an inferred one, is kept in a column `_rest` as JSON. A member that is
null and one that is absent are both NULL.

Given columns are SQL types as PostgreSQL names them; other sinks map the few that `infer` chooses from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from mycelium.config import NAME_BYTES_MAX
from mycelium.config.sinks import SINK_COLUMNS_MAX, SINK_SAMPLE_SURE

KEY: Final = "key"
REST: Final = "_rest"
WHOLE: Final = "$"
"""The member that stands for the value as a whole."""

BOOLEAN: Final = "boolean"
BIGINT: Final = "bigint"
NUMERIC: Final = "numeric"
DOUBLE: Final = "double precision"
TEXT: Final = "text"
BYTEA: Final = "bytea"
TIME: Final = "timestamptz"
JSONB: Final = "jsonb"

TYPE: Final = re.compile(r"[a-z][a-z0-9_]*( [a-z]+)*(\(\d{1,4}(, ?\d{1,4})?\))?( [a-z]+)*")
"""What a type may look like: it becomes a part of statements."""
_NAME: Final = re.compile(r"[^\0]{1,63}", re.DOTALL)
_SYSTEM: Final = frozenset({KEY, "ctid", "tableoid", "xmin", "cmin", "xmax", "cmax"})
"""Names that the sink or PostgreSQL itself gives to columns."""
_EXACT_MAX: Final = 2**53
_SHARE: Final = 10
"""A member becomes a column where one row in this many has it."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of values. member: of the object, or WHOLE. given: by the operator, not inferred."""

    name: str
    type: str
    member: str
    given: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of one table. strict: a value that does not fit a given column stops the sink.

    into: the relation, as `schema.name`, where it is not named after space and table.
    """

    columns: tuple[Column, ...] = ()
    strict: bool = True
    into: str | None = None

    @property
    def whole(self) -> Column | None:
        """The column that takes what is no object, if there is one."""
        return next((column for column in self.columns if column.member == WHOLE), None)

    def described(self) -> list[list[Any]]:
        """For keeping, as JSON has it."""
        return [[column.name, column.type, column.member, column.given] for column in self.columns]


def described_columns(found: Iterable[Any]) -> tuple[Column, ...]:
    """What `described` said."""
    return tuple(Column(*one) for one in found)


def usable(name: str) -> bool:
    """Whether a member's name can be a column's: those that begin with _ are the sink's own."""
    return (
        _NAME.fullmatch(name) is not None
        and len(name.encode(errors="replace")) < NAME_BYTES_MAX
        and name[:1] != "_"
        and name.lower() not in _SYSTEM
    )


def type_of(value: Any) -> str:
    """The type that takes the value exactly. None is the caller's to leave out."""
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, int):
        return BIGINT if -(2**63) <= value < 2**63 else NUMERIC
    if isinstance(value, float):
        return DOUBLE
    if isinstance(value, str):
        return TEXT if "\0" not in value else JSONB
    if isinstance(value, bytes):
        return BYTEA
    return TIME if isinstance(value, datetime) and value.tzinfo is not None else JSONB


@dataclass(slots=True)
class _Seen:
    """What was seen of one member: how often, and of which types."""

    count: int = 0
    type: str = ""
    exact: bool = True
    """Whether every whole number is one that a double holds."""
    first: int = 0

    def see(self, value: Any) -> None:
        self.count += 1
        if value is None:
            return
        kind = type_of(value)
        if kind in (BIGINT, NUMERIC):
            self.exact = self.exact and -_EXACT_MAX <= value <= _EXACT_MAX
        self.type = kind if not self.type else _joined(self.type, kind)

    def settled(self, sure: bool) -> str:
        """The type of the column."""
        if self.type == BIGINT and not sure:
            return NUMERIC
        if self.type == DOUBLE and not self.exact:
            return NUMERIC
        return self.type or JSONB


def _joined(one: str, other: str) -> str:
    """The least type that takes both."""
    if one == other:
        return one
    pair = {one, other}
    if pair == {BIGINT, NUMERIC}:
        return NUMERIC
    if pair in ({BIGINT, DOUBLE}, {NUMERIC, DOUBLE}):
        return DOUBLE
    return JSONB


@dataclass(slots=True)
class Sample:
    """Values of one table, and at the end its columns."""

    objects: int = 0
    others: int = 0
    _members: dict[str, _Seen] = field(default_factory=dict)
    _whole: _Seen = field(default_factory=_Seen)

    def see(self, value: Any) -> None:
        """One more value."""
        if not isinstance(value, dict):
            self.others += 1
            self._whole.see(value)
            return
        self.objects += 1
        for name, item in value.items():
            if type(name) is not str or not usable(name):
                continue
            seen = self._members.get(name)
            if seen is None:
                if len(self._members) >= SINK_COLUMNS_MAX * _SHARE:
                    continue
                seen = self._members[name] = _Seen(first=len(self._members))
            seen.see(item)

    def layout(self) -> Layout:
        """The columns. Of objects: those of their members that many have; else one that takes the values."""
        sure = self.objects + self.others >= SINK_SAMPLE_SURE
        if self.others >= self.objects:
            return Layout((Column("value", self._whole.settled(sure), WHOLE),))
        often = [(name, seen) for name, seen in self._members.items() if seen.count * _SHARE >= self.objects]
        often.sort(key=lambda one: -one[1].count)
        kept: dict[str, tuple[str, _Seen]] = {}
        for name, seen in often[:SINK_COLUMNS_MAX]:
            # Names that differ in case alone would be two columns that nobody can tell apart unquoted.
            kept.setdefault(name.lower(), (name, seen))
        ordered = sorted(kept.values(), key=lambda one: one[1].first)
        return Layout(tuple(Column(name, seen.settled(sure), name) for name, seen in ordered))
