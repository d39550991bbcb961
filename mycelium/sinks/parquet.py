"""Parquet files as a sink: the change log of each table, in files that are whole or not there.

    DIR/manifest.json                      the position, and each table's columns and files, in order
    DIR/<space>/<table>-<merge>/<number>.parquet

A file is written under another name, synced, and renamed; then the manifest is replaced, which makes it count. What the
manifest does not name is of a process that was killed, and is removed. Reading the files of a table in the manifest's
order and applying `op` by `op` gives what the node shows (docs say how, a test does it).

Columns: op (put, delete, add, insert, remove), key, those of the values, _rest (JSON), _dots (of a remove: which
insertions it takes away), _hlc, _time, _account, _generation, _seq, _feed. A fill begins each table anew, with the
rows that there are as the puts, adds and inserts that make them.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from mycelium import wholefile
from mycelium.config.sinks import SINK_PARQUET_BYTES, SINK_PARQUET_ROWS, SINK_PARQUET_S, SINK_SAMPLE_ROWS
from mycelium.database import grants
from mycelium.database.clock import time_ms_of
from mycelium.database.value import value_of
from mycelium.errors import ConfigError, SchemaConflict, SinkUnreachable
from mycelium.extras import load, need
from mycelium.feed.batch import ExportRow, FeedBatch
from mycelium.feed.cursor import Cursor
from mycelium.identity import account as accounts
from mycelium.protocol.messages import MergeType, Op
from mycelium.sinks.interface import Position
from mycelium.sinks.jsontext import json_text
from mycelium.sinks.schema import REST, Layout, Sample, described_columns
from mycelium.sinks.schemafile import Given
from mycelium.sinks.source import Source, key_text
from mycelium.sinks.values import Values, Writer

T = TypeVar("T")
FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
_DOT_BYTES: Final = 48
_OPS: Final = {op: op.name.lower() for op in Op}
_MADE_BY: Final = {MergeType.COUNTER: "add", MergeType.SET: "insert"}
_EXACT_MAX: Final = 2**53


def _exactly(*kinds: type) -> Writer:
    return lambda value: value if type(value) in kinds else None


def _whole(bits: int) -> Writer:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1)
    return lambda value: value if type(value) is int and low <= value < high else None


def _float(value: Any) -> float | None:
    if type(value) is float:
        return value
    return float(value) if type(value) is int and -_EXACT_MAX <= value <= _EXACT_MAX else None


def _time(value: Any) -> datetime | None:
    return value if isinstance(value, datetime) and value.tzinfo is not None else None


_WRITERS: Final[dict[str, tuple[str, Writer]]] = {
    "boolean": ("bool_", _exactly(bool)),
    "smallint": ("int16", _whole(16)),
    "integer": ("int32", _whole(32)),
    "bigint": ("int64", _whole(64)),
    # A number that no double holds exactly stays in _rest, as it is.
    "numeric": ("float64", _float),
    "real": ("float32", _float),
    "double precision": ("float64", _float),
    "text": ("string", _exactly(str)),
    "bytea": ("binary", _exactly(bytes)),
    "timestamptz": ("", _time),
    "jsonb": ("string", json_text),
}
"""Type of a column: its name in Arrow, and what writes it."""


class _Table:
    """One table: its columns, its files, and rows that are not in a file yet."""

    def __init__(self, source: Source, layout: Layout, files: list[dict[str, Any]]) -> None:
        self.source = source
        self.values = Values(str(source), layout, lambda kind: _WRITERS[kind][1], None, json_text)
        self.files = files
        self.filled: list[dict[str, Any]] = []

    @property
    def layout(self) -> Layout:
        return self.values.layout


class Rows:
    """Changes of one table, in the order of the feed, as (op, key, payload, hlc, account, generation, seq, feed)."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.rows: list[tuple[str, bytes, bytes, int, bytes, int, int, int]] = []
        self.size = 0
        """Bytes of keys and values, while a fill gathers them."""

    def payloads(self) -> Iterable[bytes]:
        return (row[2] for row in self.rows if row[0] in ("put", "insert"))


class ParquetSink:
    """directory: made where it is not. every_s, rows_max: when a file is written, whichever comes first.

    given: columns of tables, of the types in `_WRITERS`. wanted, say: as of `PostgresSink`.
    """

    gather_bytes = SINK_PARQUET_BYTES

    def __init__(
        self,
        directory: Path,
        given: Given | None = None,
        *,
        every_s: float = SINK_PARQUET_S,
        rows_max: int = SINK_PARQUET_ROWS,
        wanted: str = "",
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        need("parquet", "pyarrow")
        self._directory = directory
        self._given = given or Given()
        self._wanted = wanted
        self._say = say
        self.gather_s = every_s
        self.gather_changes = rows_max
        self._tables: dict[Source, _Table] = {}
        self._filling: dict[Source, Rows] = {}
        self._spaces: set[str] | None = None
        self._at = 0
        self._made = 0
        self._lock: int | None = None
        self._told: set[tuple[Source, str]] = set()
        for name, layout in self._given.tables.items():
            for column in layout.columns:
                if column.type not in _WRITERS:
                    raise ConfigError(
                        f"{name}: the column {column.name} has the type {column.type}, which these files have not",
                        f"write one of: {', '.join(_WRITERS)}",
                    )

    # --- the directory ------------------------------------------------------------------------------------

    async def open(self) -> Position | None:
        """Read the manifest, and remove what it does not name. SinkUnreachable, SchemaConflict."""
        await self.close()
        return await self._on_disk(self._open)

    def _open(self) -> Position | None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._directory / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SinkUnreachable(
                f"{self._directory}: another process writes there; this one stands by"
            ) from None
        position = self._read()
        named = {file["name"] for table in self._tables.values() for file in table.files}
        for path in self._directory.glob("*/*/*.parquet*"):
            if path.relative_to(self._directory).as_posix() not in named:
                path.unlink()
        return position

    def _read(self) -> Position | None:
        self._tables, self._made = {}, 0
        path = self._directory / MANIFEST
        if not path.exists():
            return None
        try:
            found = json.loads(path.read_bytes())
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']}")
            as_it_was = found["wanted"] == self._wanted
            self._made = int(found["made"])
            for one in found["tables"]:
                source = Source(one["space"], one["table"], MergeType[one["merge"].upper()])
                columns = described_columns(one["columns"])
                given = self._given.of(source.space, source.table)
                layout = Layout(columns, given.strict if given is not None else True)
                if given is not None and given.columns and given.columns != columns:
                    layout, as_it_was = given, False
                self._tables[source] = _Table(source, layout, one["files"])
            return Position.parse(found["position"]) if as_it_was and found["position"] else None
        except (ValueError, KeyError, TypeError) as error:
            raise SchemaConflict(
                f"{path} is no manifest of this release: {error!r}", "name another --dir, or remove that one"
            ) from None

    async def close(self) -> None:
        """Let somebody else write."""
        self._filling = {}
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # --- live ---------------------------------------------------------------------------------------------

    async def prepare(self, batches: Sequence[FeedBatch]) -> dict[Source, Rows]:
        """The changes of each table."""
        found: dict[Source, Rows] = {}
        for batch in batches:
            for change in batch.changes:
                place, table, merge, op, key, payload, wins = change
                if table == grants.TABLE or not (wins or merge is MergeType.COUNTER):
                    continue
                source = Source(batch.space, table, merge)
                rows = found.get(source)
                if rows is None:
                    rows = found[source] = Rows(source)
                origin = (batch.hlc_first + place, batch.account, batch.generation, batch.seq_first + place)
                rows.rows.append((_OPS[op], key, payload, *origin, batch.cursor.index))
            await asyncio.sleep(0)
        return found

    async def apply(self, prepared: dict[Source, Rows], position: Position) -> None:
        """A file for each table that has changes, and then the manifest."""
        await self._on_disk(lambda: self._apply(prepared, position))
        self._tell()

    def _apply(self, prepared: dict[Source, Rows], position: Position) -> None:
        written = [(self._table(source, rows), rows) for source, rows in prepared.items()]
        added = [(table, self._write(table, rows)) for table, rows in written]
        for table, file in added:
            table.files.append(file)
        self._keep(position)

    def _table(self, source: Source, rows: Rows) -> _Table:
        found = self._tables.get(source)
        if found is None:
            given = self._given.of(source.space, source.table)
            if source.merge is MergeType.COUNTER:
                layout = Layout()
            elif given is not None and given.columns:
                layout = given
            else:
                sample = Sample()
                for _, payload in zip(range(SINK_SAMPLE_ROWS), rows.payloads(), strict=False):
                    sample.see(value_of(payload))
                layout = sample.layout()
            found = self._tables[source] = _Table(source, layout, [])
        return found

    # --- filling ------------------------------------------------------------------------------------------

    async def begin(self, spaces: Iterable[str] | None, cursor: Cursor) -> None:
        """Files of a fill that did not end are removed."""
        self._spaces = None if spaces is None else set(spaces)
        self._at = cursor.index
        self._filling = {}
        for table in self._tables.values():
            for file in table.filled:
                (self._directory / file["name"]).unlink(missing_ok=True)
            table.filled = []

    async def fill(self, rows: Sequence[ExportRow]) -> None:
        """Rows wait until they make a file."""
        for row in rows:
            if row.table == grants.TABLE:
                continue
            source = Source(row.space, row.table, row.merge)
            waiting = self._filling.setdefault(source, Rows(source))
            made_by = _MADE_BY.get(row.merge, "put")
            origin = (row.hlc, row.account, row.generation, row.seq)
            waiting.size += len(row.key) + len(row.value)
            waiting.rows.append((made_by, row.key, row.value, *origin, self._at))
        # Rows come table by table: those of all but the last are complete.
        last = next(reversed(self._filling), None)
        for source in list(self._filling):
            waiting = self._filling[source]
            if (
                source != last
                or len(waiting.rows) >= self.gather_changes
                or waiting.size >= self.gather_bytes
            ):
                await self._on_disk(partial(self._fill, self._filling.pop(source)))

    def _fill(self, rows: Rows) -> None:
        table = self._table(rows.source, rows)
        table.filled.append(self._write(table, rows))

    async def finish(self, position: Position) -> None:
        """The manifest names the new files instead of the old, which are removed then."""
        await self._on_disk(lambda: self._finish(position))
        self._tell()

    def _finish(self, position: Position) -> None:
        for rows in self._filling.values():
            self._fill(rows)
        self._filling = {}
        old: list[dict[str, Any]] = []
        for source, table in self._tables.items():
            if self._spaces is None or source.space in self._spaces:
                old += table.files
                table.files, table.filled = table.filled, []
        self._keep(position)
        for file in old:
            (self._directory / file["name"]).unlink(missing_ok=True)

    # --- files --------------------------------------------------------------------------------------------

    def _write(self, table: _Table, rows: Rows) -> dict[str, Any]:
        """Write one file; its entry in the manifest."""
        arrow, parquet = load("pyarrow", "parquet"), load("pyarrow.parquet", "parquet")
        source = rows.source
        folder = self._directory / source.space / f"{source.table}-{source.merge.name.lower()}"
        folder.mkdir(parents=True, exist_ok=True)
        last = rows.rows[-1][-1]
        self._made += 1
        path = folder / f"{self._made:010d}.parquet"
        temporary = path.with_suffix(".parquet.tmp")
        data = arrow.table(_columns(rows, table.values), schema=_schema(arrow, source.merge, table.layout))
        with temporary.open("wb") as file:
            parquet.write_table(data, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        for directory in (folder, folder.parent, self._directory):
            _sync(directory)
        return {
            "name": path.relative_to(self._directory).as_posix(),
            "rows": len(rows.rows),
            "bytes": path.stat().st_size,
            "feed_first": rows.rows[0][-1],
            "feed_last": last,
        }

    def _keep(self, position: Position) -> None:
        """Replace the manifest: from then on the new files count."""
        tables = [
            {
                "space": source.space,
                "table": source.table,
                "merge": source.merge.name.lower(),
                "columns": table.layout.described(),
                "files": table.files,
            }
            for source, table in sorted(self._tables.items())
        ]
        content = {
            "format": FORMAT,
            "wanted": self._wanted,
            "made": self._made,
            "position": str(position),
            "written_ms": time.time_ns() // 1_000_000,
            "tables": tables,
        }
        wholefile.write(self._directory / MANIFEST, json.dumps(content, indent=1).encode())
        _sync(self._directory)

    async def _on_disk(self, work: Callable[[], T]) -> T:
        """Run in a thread what waits for the disk. SinkUnreachable where it is full or refuses."""
        working = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(working)
        except OSError as error:
            raise SinkUnreachable(f"{self._directory}: {error.strerror or error}") from None
        except asyncio.CancelledError:
            # A thread cannot be stopped, and nobody else may write before it has ended.
            await asyncio.wait({working})
            raise

    def _tell(self) -> None:
        for source, table in self._tables.items():
            for column, shown in table.values.misfits.items():
                if (source, column) not in self._told:
                    self._told.add((source, column))
                    self._say(
                        f"{source}: {shown} does not fit the inferred column {column}, and is kept in _rest -- "
                        "give the column a type in the file of tables, and the sink begins anew"
                    )
            table.values.misfits.clear()


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _columns(rows: Rows, values: Values) -> dict[str, list[Any]]:
    """The columns of a file."""
    counted = rows.source.merge is MergeType.COUNTER
    empty: list[Any] = [None] * (len(values.layout.columns) + 1)
    found: dict[str, list[Any]] = {
        "op": [row[0] for row in rows.rows],
        "key": [key_text(row[1]) for row in rows.rows],
    }
    if counted:
        found["value"] = [int.from_bytes(row[2], "big", signed=True) for row in rows.rows]
    else:
        fields = [values.fields(row[2]) if row[0] in ("put", "insert") else empty for row in rows.rows]
        names = [column.name for column in values.layout.columns]
        columns = zip(*fields, strict=True)
        found |= dict(zip([*names, REST], map(list, columns), strict=True))
    if rows.source.merge is MergeType.SET:
        found["_dots"] = [_dots(row[2]) if row[0] == "remove" else None for row in rows.rows]
    found |= {
        "_hlc": [row[3] for row in rows.rows],
        "_time": [time_ms_of(row[3]) for row in rows.rows],
        "_account": [accounts.format(row[4]) for row in rows.rows],
        "_generation": [row[5] for row in rows.rows],
        "_seq": [row[6] for row in rows.rows],
        "_feed": [row[7] for row in rows.rows],
    }
    return found


def _dots(payload: bytes) -> list[bytes]:
    return [payload[at : at + _DOT_BYTES] for at in range(0, len(payload) - _DOT_BYTES + 1, _DOT_BYTES)]


def _schema(arrow: Any, merge: MergeType, layout: Layout) -> Any:
    words = arrow.dictionary(arrow.int32(), arrow.string())
    fields = [("op", words), ("key", arrow.string())]
    if merge is MergeType.COUNTER:
        # A sum has 128 bits, which is one digit more than a decimal of 128 bits takes.
        fields.append(("value", arrow.decimal256(39, 0)))
    else:
        for column in layout.columns:
            name = _WRITERS[column.type][0]
            kind = getattr(arrow, name)() if name else arrow.timestamp("us", tz="UTC")
            fields.append((column.name, kind))
        fields.append((REST, arrow.string()))
    if merge is MergeType.SET:
        fields.append(("_dots", arrow.list_(arrow.binary())))
    return arrow.schema(
        [
            *fields,
            ("_hlc", arrow.uint64()),
            ("_time", arrow.timestamp("ms", tz="UTC")),
            ("_account", words),
            ("_generation", arrow.uint64()),
            ("_seq", arrow.uint64()),
            ("_feed", arrow.uint64()),
        ]
    )
