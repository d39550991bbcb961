"""The SQL of one table: what makes it, what stages rows, and what takes staged rows and keys into it. Pure text.

Every table has `key`, the columns of its values, `_rest`, and of the change that a row comes from: `_hlc` (its clock,
of which `_time` is the time), `_account` (SS58), `_generation` (hex), `_seq`, and `_feed`, the place in the feed at
which the row was last written. A change applies where `_feed` is less than its own place: a repeat changes nothing.

    lww, own   one row a key                     counter   one row a key, its sum in `value`
    append     one row a fact                    set       one row an element; `_dots`: the insertions that hold it
"""

from __future__ import annotations

from typing import Final

from mycelium.protocol.messages import MergeType
from mycelium.sinks.postgres.names import Relation
from mycelium.sinks.schema import NUMERIC, Column
from mycelium.sinks.source import Source

META: Final = (
    ("_hlc", "bigint"),
    ("_account", "text"),
    ("_generation", "text"),
    ("_seq", "bigint"),
    ("_feed", "bigint"),
)
_TIME: Final = ("_time", "timestamptz", "to_timestamp((_hlc >> 16) / 1000.0::float8)")
_KEYS: Final = {
    MergeType.LWW: ("key",),
    MergeType.OWN: ("key",),
    MergeType.COUNTER: ("key",),
    MergeType.SET: ("key", "_element"),
    MergeType.APPEND: ("key", "_account", "_generation", "_seq"),
}
COUNTED: Final = Column("value", NUMERIC, "")
"""The one column of a counter."""


def quoted(name: str) -> str:
    """An identifier, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def qualified(relation: Relation) -> str:
    """A relation's name."""
    return f"{quoted(relation.schema)}.{quoted(relation.name)}"


class Statements:
    """Of one table."""

    def __init__(self, source: Source, relation: Relation, columns: tuple[Column, ...]) -> None:
        self.source = source
        self.relation = relation
        self.columns = columns
        self._table = qualified(relation)
        own = [(quoted(column.name), column.type) for column in columns]
        if source.merge is not MergeType.COUNTER:
            own.append(("_rest", "jsonb"))
        element = [("_element", "bytea")] if source.merge is MergeType.SET else []
        dot = [("_dot", "bytea")] if source.merge is MergeType.SET else []
        self._values = [name for name, _ in own]
        self._staged = [("key", 'text COLLATE "C"'), *element, *own, *dot, *META]
        self._kept = [name for name, _ in [("key", ""), *element, *own, *META]]
        self._made = [("key", 'text COLLATE "C"'), *element, *own, *META, _TIME[:2]]
        if source.merge is MergeType.SET:
            self._made.append(("_dots", "bytea[]"))

    # --- making -----------------------------------------------------------------------------------------

    def create(self) -> list[str]:
        """What makes the table in its schema, and says what it is."""
        always = {"key", "_element", "_dots", "_time", *(name for name, _ in META)}
        lines = [f"{name} {kind}{' NOT NULL' if name in always else ''}" for name, kind in self._made]
        key = ", ".join(_KEYS[self.source.merge])
        found = [
            f"CREATE TABLE {self._table} ({', '.join(lines)}, PRIMARY KEY ({key}))",
            # Names of spaces and tables have no letter that would need quoting.
            f"COMMENT ON TABLE {self._table} IS 'Mycelium: {self.source}, {self.source.merge.name.lower()}'",
        ]
        if self.source.merge is MergeType.SET:
            # A removal names insertions, and a set may be large.
            found.append(f"CREATE INDEX ON {self._table} USING gin (_dots)")
        return found

    @property
    def expected(self) -> list[tuple[str, str]]:
        """The columns that the table must have, unquoted, and their types."""
        return [(_bare(name), kind.removesuffix(' COLLATE "C"')) for name, kind in self._made]

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of a unique index that it must have."""
        return _KEYS[self.source.merge]

    def add(self, column: Column) -> str:
        """What gives the table one more column."""
        return f"ALTER TABLE {self._table} ADD COLUMN {quoted(column.name)} {column.type}"

    def stage(self, name: str, *, lasting: bool) -> str:
        """What makes a table for staged rows: of the session, or one that lasts and is not logged."""
        lines = ", ".join(f"{column} {kind}" for column, kind in self._staged)
        if lasting:
            return f"CREATE UNLOGGED TABLE {name} ({lines})"
        return f"CREATE TEMPORARY TABLE {name} ({lines}) ON COMMIT DELETE ROWS"

    def copy(self, stage: str) -> str:
        """What reads rows into it."""
        return f"COPY {stage} ({', '.join(name for name, _ in self._staged)}) FROM STDIN"

    # --- writing ----------------------------------------------------------------------------------------

    def take(self, stage: str, *, whole: bool) -> list[str]:
        """What takes the staged rows into the table. whole: they are all that there is; else changes to it."""
        merge = self.source.merge
        taken = {MergeType.COUNTER: self._counted, MergeType.SET: self._elements}.get(merge, self._rows)
        return [*(self._vanished(stage) if whole else []), taken(stage, whole)]

    def _vanished(self, stage: str) -> list[str]:
        same = " AND ".join(f"s.{name} = t.{name}" for name in self.key)
        # Without numbers the planner takes a staged million for a few rows, and looks each up in the other.
        return [
            f"ANALYZE {stage}",
            f"DELETE FROM {self._table} t WHERE NOT EXISTS (SELECT FROM {stage} s WHERE {same})",
        ]

    def _insert(self, source: str, conflict: str, more: tuple[str, ...] = ()) -> str:
        names = ", ".join([*self._kept, _TIME[0], *more])
        return f"INSERT INTO {self._table} AS t ({names}) {source} ON CONFLICT ({', '.join(self.key)}) DO {conflict}"

    def _rows(self, stage: str, whole: bool) -> str:
        source = f"SELECT {', '.join(self._kept)}, {_TIME[2]} FROM {stage}"
        if self.source.merge is MergeType.APPEND:
            return self._insert(
                source, "UPDATE SET " + _set([*self._values, "_feed"]) if whole else "NOTHING"
            )
        names = [*self._values, *(name for name, _ in META), _TIME[0]]
        later = "" if whole else " WHERE t._feed < excluded._feed"
        return self._insert(source, f"UPDATE SET {_set(names)}{later}")

    def _counted(self, stage: str, whole: bool) -> str:
        """Contributions are summed by key; of the newest of them are clock and account."""
        meta = ["_hlc", "_account", "_generation", "_seq"]
        known = (
            ""
            if whole
            else f" WHERE NOT EXISTS (SELECT FROM {self._table} o WHERE o.key = s.key AND o._feed >= s._feed)"
        )
        source = (
            f"SELECT DISTINCT ON (key) key, sum(value) OVER same, {', '.join(meta)}, max(_feed) OVER same, {_TIME[2]} "
            f"FROM {stage} s{known} WINDOW same AS (PARTITION BY key) ORDER BY key, _hlc DESC"
        )
        if whole:
            return self._insert(source, f"UPDATE SET {_set(['value', *meta, '_feed', _TIME[0]])}")
        newer = ", ".join(
            f"{name} = CASE WHEN excluded._hlc > t._hlc THEN excluded.{name} ELSE t.{name} END"
            for name in [*meta, _TIME[0]]
        )
        return self._insert(
            source, f"UPDATE SET value = t.value + excluded.value, _feed = excluded._feed, {newer}"
        )

    def _elements(self, stage: str, whole: bool) -> str:
        source = (
            f"SELECT DISTINCT ON (key, _element) {', '.join(self._kept)}, {_TIME[2]}, array_agg(_dot) OVER same "
            f"FROM {stage} WINDOW same AS (PARTITION BY key, _element) ORDER BY key, _element, _hlc DESC"
        )
        names = [*self._values, *(name for name, _ in META), _TIME[0]]
        dots = "excluded._dots" if whole else "ARRAY(SELECT DISTINCT unnest(t._dots || excluded._dots))"
        return self._insert(source, f"UPDATE SET {_set(names)}, _dots = {dots}", ("_dots",))

    def delete(self) -> str:
        """What removes keys: parameters are keys, and the places in the feed of their deletes."""
        return (
            f"DELETE FROM {self._table} t USING unnest(%s::text[], %s::bigint[]) AS gone (key, feed) "
            "WHERE t.key = gone.key AND t._feed < gone.feed"
        )

    def remove(self) -> list[str]:
        """What removes insertions from a set: parameters are keys and dots. First what nothing else holds."""
        pairs = "unnest(%s::text[], %s::bytea[]) AS one (key, dot)"
        gone = f"(SELECT key, array_agg(dot) AS dots FROM {pairs} GROUP BY key)"
        same = "t.key = gone.key AND t._dots && gone.dots"
        return [
            f"DELETE FROM {self._table} t USING {gone} AS gone WHERE {same} AND t._dots <@ gone.dots",
            f"UPDATE {self._table} t SET _dots = ARRAY(SELECT unnest(t._dots) EXCEPT SELECT unnest(gone.dots)) "
            f"FROM {gone} AS gone WHERE {same}",
        ]


def _set(names: list[str]) -> str:
    return ", ".join(f"{name} = excluded.{name}" for name in names)


def _bare(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
