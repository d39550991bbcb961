"""Keys against ranges, the obvious way: what `_core.allow` must agree with."""

from __future__ import annotations

import struct

SPAN = struct.Struct("=HBBIIII")


def pack(changes):
    """(raw, spans) of (table, op, key)."""
    raw, spans = b"head", b""
    for table, op, key in changes:
        spans += SPAN.pack(table, op, 0, len(raw), len(key), len(raw) + len(key), 0)
        raw += key
    return raw, spans


def disjoint(pairs):
    """Sorted and disjoint, as `Ranges` makes them."""
    found = []
    for start, stop in sorted(
        (pair for pair in pairs if pair[1] is None or pair[0] < pair[1]), key=lambda pair: pair[0]
    ):
        if found and (found[-1][1] is None or start <= found[-1][1]):
            last = found.pop()
            stop = None if None in (last[1], stop) else max(last[1], stop)
            start = last[0]
        found.append((start, stop))
    return found


def slow(changes, rules):
    for at, (table, op, key) in enumerate(changes):
        pairs = rules[table, op]
        if pairs is not None and not any(
            start <= key and (stop is None or key < stop) for start, stop in pairs
        ):
            return at
    return -1
