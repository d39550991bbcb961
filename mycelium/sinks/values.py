"""A value as the fields of a row: its columns, and last what is left. Pure; `Values` is told how a field is written.

The loop in which a sink spends its time: measured before it is changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mycelium.database.value import value_of
from mycelium.errors import SchemaConflict
from mycelium.sinks.schema import WHOLE, Column, Layout

Writer = Callable[[Any], Any]
"""What stands in a row for a value that is not None; None where the value does not fit the column."""

_MISSING: Final = object()
_SHOWN_MAX: Final = 60


class Values:
    """writer: of a column, by its type. null: what stands for nothing. rest: writes what is left."""

    def __init__(
        self, name: str, layout: Layout, writer: Callable[[str], Writer], null: Any, rest: Writer
    ) -> None:
        self.layout = layout
        self.misfits: dict[str, str] = {}
        """Column: the first value that did not fit it since this was emptied."""
        self._name = name
        self._null = null
        self._rest = rest
        self._members = [
            (column.member, writer(column.type), column)
            for column in layout.columns
            if column.member != WHOLE
        ]
        self._whole = layout.whole
        self._write_whole = None if self._whole is None else writer(self._whole.type)
        self._whole_at = -1 if self._whole is None else layout.columns.index(self._whole)
        self._width = len(layout.columns)

    def fields(self, payload: bytes) -> list[Any]:
        """One for each column, and what is left. SchemaConflict where a value does not fit what was given."""
        value = value_of(payload)
        if type(value) is dict and self._members:
            return self._object(value)
        return self._alone(value)

    def _object(self, value: dict[Any, Any]) -> list[Any]:
        null = self._null
        fields: list[Any] = []
        add = fields.append
        left = len(value)
        misfit: list[str] | None = None
        for member, write, column in self._members:
            item = value.get(member, _MISSING)
            if item is _MISSING:
                add(null)
                continue
            left -= 1
            if item is None:
                add(null)
                continue
            written = write(item)
            if written is None:
                written = null
                self._refuse(column, item)
                misfit = [member] if misfit is None else [*misfit, member]
            add(written)
        if self._write_whole is not None:
            written = self._write_whole(value)
            fields.insert(self._whole_at, null if written is None else written)
            if written is not None:
                left, misfit = 0, None
        add(null if left == 0 and misfit is None else self._rest(self._left(value, misfit or [])))
        return fields

    def _left(self, value: dict[Any, Any], misfit: list[str]) -> dict[Any, Any]:
        """The members that are in no column."""
        known = {member for member, _, _ in self._members if member not in misfit}
        return {name: item for name, item in value.items() if name not in known}

    def _alone(self, value: Any) -> list[Any]:
        """A value that is no object, or an object where none has columns: in its column, or else what is left."""
        fields = [self._null] * (self._width + 1)
        written = None
        if self._write_whole is not None and value is not None:
            written = self._write_whole(value)
            if written is None and self._whole is not None:
                self._refuse(self._whole, value)
        if written is None:
            fields[-1] = self._rest(value)
        else:
            fields[self._whole_at] = written
        return fields

    def _refuse(self, column: Column, item: Any) -> None:
        """A given column takes nothing else, unless its table is not strict."""
        shown = repr(item)[:_SHOWN_MAX]
        if column.given and self.layout.strict:
            raise SchemaConflict(
                f"{self._name}: {shown} does not fit the column {column.name} of type {column.type}",
                f"give {column.name} a type that takes it, or the table strict = false, and start again",
            )
        self.misfits.setdefault(f"{column.name} {column.type}", shown)
