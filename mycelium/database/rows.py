"""Reading LIVE rows: from the bytes that `_core.merge` wrote to keys and values, for every merge type.

Read-only. One key of an `lww` or `own` table is one row; of the other types it is the rows of its contributions.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, islice
from typing import Any, NamedTuple

from mycelium._core import merge
from mycelium.database import schema, value
from mycelium.database.ranges import EVERYTHING, Ranges
from mycelium.database.schema import DOT_BYTES, ROW_HEADER_BYTES, TableSpec
from mycelium.database.store import Column, Store, after_prefix
from mycelium.protocol.messages import MergeType

PAGE_ROWS = 256
_Raw = tuple[bytes, bytes]
_SINGLE = (MergeType.LWW, MergeType.OWN)


class Row(NamedTuple):
    """A key and its value as of now; `account` and `hlc` are of its newest contribution."""

    key: str | bytes
    value: Any
    account: bytes
    hlc: int


def read(store: Store, table: TableSpec, key: bytes) -> Any:
    """The value of one key; None when it has none (0 for a counter, [] for a set or an append table)."""
    if table.merge in _SINGLE:
        found = store.get(Column.LIVE, table.prefix + key)
        return None if found is None else value.value_of(found[ROW_HEADER_BYTES:])
    rows = list(key_rows(store, table, key))
    if rows:
        return _joined(table, rows)
    return 0 if table.merge is MergeType.COUNTER else []


def key_rows(store: Store, table: TableSpec, key: bytes) -> Iterator[_Raw]:
    """The LIVE rows of one key of a counter, set or append table."""
    prefix = table.prefix + merge.escape(key)
    return store.scan(Column.LIVE, prefix, after_prefix(prefix))


def observed(store: Store, table: TableSpec, key: bytes, element: bytes) -> bytes:
    """The dots of the insertions of `element` that are visible here: what a set removal carries."""
    return b"".join(
        row_key[-DOT_BYTES:]
        for row_key, row in key_rows(store, table, key)
        if row[ROW_HEADER_BYTES:] == element
    )


def bounds(
    table: TableSpec, prefix: bytes | None, start: bytes | None, end: bytes | None
) -> tuple[bytes, bytes | None]:
    """The half-open range of row keys for start <= key < end among the keys that begin with `prefix`."""
    base = table.prefix
    low = base + _ordered(table, prefix or b"")
    high = after_prefix(low)
    if start is not None:
        low = max(low, base + _ordered(table, start))
    if end is not None:
        stop = base + _ordered(table, end)
        high = stop if high is None else min(high, stop)
    return low, high


def spans(
    table: TableSpec,
    prefix: bytes | None,
    start: bytes | None,
    end: bytes | None,
    within: Ranges = EVERYTHING,
) -> list[tuple[bytes, bytes | None]]:
    """`bounds`, of which only what lies within some ranges of keys is left: ranges of row keys, in order."""
    low, high = bounds(table, prefix, start, end)
    if within.whole:
        return [(low, high)]
    found = []
    for first, stop in within:
        begin = max(low, table.prefix + _ordered(table, first))
        end_ = high if stop is None else table.prefix + _ordered(table, stop)
        until = end_ if high is None or (end_ is not None and end_ < high) else high
        if until is None or begin < until:
            found.append((begin, until))
    return found


def page(
    store: Store, table: TableSpec, low: bytes, high: bytes | None, *, reverse: bool
) -> tuple[list[Row], Any]:
    """Up to PAGE_ROWS rows of the range, and the range that is left (None when there is none)."""
    scan = store.scan(Column.LIVE, low, high, reverse=reverse)
    if table.merge in _SINGLE:
        at = len(table.prefix)
        raw = list(islice(scan, PAGE_ROWS))
        rows = [_single(row_key[at:], row) for row_key, row in raw]
        last = raw[-1][0] if raw else b""
    else:
        rows, last = [], b""
        for key, group in islice(groupby(scan, key=lambda raw: _key_of(table, raw[0])), PAGE_ROWS):
            raw = list(group)
            rows.append(_grouped(table, key, raw[::-1] if reverse else raw))
            last = table.prefix + merge.escape(key)
    if len(rows) < PAGE_ROWS:
        return rows, None
    if reverse:
        return rows, (low, last)
    return rows, (last + b"\0" if table.merge in _SINGLE else after_prefix(last), high)


def _ordered(table: TableSpec, key: bytes) -> bytes:
    return key if table.merge in _SINGLE else key.replace(b"\0", b"\0\xff")


def _key_of(table: TableSpec, row_key: bytes) -> bytes:
    key: bytes = merge.unescape(row_key, len(table.prefix))[0]
    return key


def _single(key: bytes, row: bytes) -> Row:
    return Row(
        value.key_of(key), value.value_of(row[ROW_HEADER_BYTES:]), row[8:40], int.from_bytes(row[:8], "big")
    )


def _grouped(table: TableSpec, key: bytes, rows: list[_Raw]) -> Row:
    newest = max(schema.row_header(row) for _, row in rows)
    return Row(value.key_of(key), _joined(table, rows), newest.account, newest.hlc)


def _joined(table: TableSpec, rows: list[_Raw]) -> Any:
    payloads = [row[ROW_HEADER_BYTES:] for _, row in rows]
    if table.merge is MergeType.COUNTER:
        return sum(value.amount_of(payload) for payload in payloads)
    if table.merge is MergeType.SET:
        return [value.value_of(element) for element in sorted(set(payloads))]
    # Append rows are ordered by clock, then origin.
    return [value.value_of(payload) for payload in payloads]
