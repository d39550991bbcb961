"""The oracle of `_core.merge`: slow and obvious. Rows are dicts, changes are applied one at a time.

Also packs batches as `_core.codec` hands them to merge, so that tests of merge need no codec.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

LWW, COUNTER, SET, APPEND, OWN = range(5)
PUT, DELETE, ADD, INSERT, REMOVE = range(5)
SPAN = struct.Struct("<HBBIIII")

Header = tuple[int, bytes, int, int]


class Batch(NamedTuple):
    prefixes: tuple[bytes, ...]
    account: bytes
    generation: int
    seq_first: int
    hlc_first: int
    changes: tuple[tuple[int, int, bytes, bytes], ...]

    @property
    def merges(self) -> bytes:
        return bytes(prefix[-1] for prefix in self.prefixes)


def prefix_of(merge: int, table: bytes = b"scores", space: bytes = b"main") -> bytes:
    return space + b"\0" + table + b"\0" + bytes([merge])


def dot_of(account: bytes, generation: int, seq: int) -> bytes:
    return account + struct.pack(">QQ", generation, seq)


def header_of(hlc: int, account: bytes, generation: int, seq: int) -> bytes:
    return struct.pack(">Q", hlc) + dot_of(account, generation, seq)


def parse_header(row: bytes) -> Header:
    generation, seq = struct.unpack_from(">QQ", row, 40)
    return struct.unpack_from(">Q", row)[0], row[8:40], generation, seq


def escape(key: bytes) -> bytes:
    return b"".join(b"\0\xff" if byte == 0 else bytes([byte]) for byte in key) + b"\0\x01"


def row_key(
    merge: int, prefix: bytes, key: bytes, hlc: int, account: bytes, generation: int, seq: int
) -> bytes:
    if merge in (LWW, OWN):
        return prefix + key
    dot = dot_of(account, generation, seq)
    suffix = {COUNTER: dot[:40], SET: dot, APPEND: struct.pack(">Q", hlc) + dot}[merge]
    return prefix + escape(key) + suffix


class Replica:
    """The rows of one node. `apply` returns which changes of the batch are visible once all of it is applied."""

    def __init__(self) -> None:
        self.live: dict[bytes, bytes] = {}
        self.dead: dict[bytes, bytes] = {}

    def apply(self, batch: Batch) -> list[bool]:
        cause: dict[bytes, int] = {}
        always = set()
        for i, (table, op, key, value) in enumerate(batch.changes):
            prefix = batch.prefixes[table]
            merge = prefix[-1]
            header = (batch.hlc_first + i, batch.account, batch.generation, batch.seq_first + i)
            row = row_key(merge, prefix, key, *header)
            if merge in (LWW, OWN):
                self._register(row, header, op, value, i, cause)
            elif merge == COUNTER:
                self._add(row, header, int.from_bytes(value, "big", signed=True))
                always.add(i)
            elif merge == APPEND:
                self.live[row] = header_of(*header) + value
                always.add(i)
            elif op == INSERT:
                if row not in self.dead and row not in self.live:
                    self.live[row] = header_of(*header) + value
                    cause[row] = i
            else:
                for at in range(0, len(value), 48):
                    self._kill(prefix + escape(key) + value[at : at + 48], header, i, cause)
        visible = always | set(cause.values())
        return [i in visible for i in range(len(batch.changes))]

    def _register(
        self, row: bytes, header: Header, op: int, value: bytes, i: int, cause: dict[bytes, int]
    ) -> None:
        stored = None
        if row in self.live:
            stored = (*parse_header(self.live[row]), PUT, self.live[row][56:])
        elif row in self.dead:
            stored = (*parse_header(self.dead[row]), DELETE, b"")
        if stored is not None and _order(*header, op, value) <= _order(*stored):
            return
        self.live.pop(row, None)
        self.dead.pop(row, None)
        if op == PUT:
            self.live[row] = header_of(*header) + value
        else:
            self.dead[row] = header_of(*header)
        cause[row] = i

    def _add(self, row: bytes, header: Header, amount: int) -> None:
        hlc, account, generation, seq = header
        stored = self.live.get(row)
        if stored is not None:
            old_hlc, _, _, old_seq = parse_header(stored)
            hlc, seq = max(hlc, old_hlc), max(seq, old_seq)
            amount += int.from_bytes(stored[56:], "big", signed=True)
        self.live[row] = header_of(hlc, account, generation, seq) + amount.to_bytes(16, "big", signed=True)

    def _kill(self, row: bytes, header: Header, i: int, cause: dict[bytes, int]) -> None:
        self.live.pop(row, None)
        if row not in self.dead or row in cause:
            cause[row] = i
        self.dead[row] = max(self.dead.get(row, b""), header_of(*header))


def _order(
    hlc: int, account: bytes, generation: int, seq: int, op: int, value: bytes
) -> tuple[int, bytes, int, bytes, int, int]:
    return hlc, account, op, value, generation, seq


def pack(changes: Sequence[tuple[int, int, bytes, bytes]]) -> tuple[bytes, bytes]:
    """(raw, spans) of changes, in some layout with other bytes between."""
    raw, spans = bytearray(b"head"), bytearray()
    for table, op, key, value in changes:
        spans += SPAN.pack(table, op, 0, len(raw), len(key), len(raw) + len(key) + 1, len(value))
        raw += key + b"\xaa" + value
    return bytes(raw), bytes(spans)


def bits(winners: bytes, count: int) -> Iterator[bool]:
    return (bool(winners[i >> 3] >> (i & 7) & 1) for i in range(count))
