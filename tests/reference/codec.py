"""The oracle of _core/codec: a plain FlatBuffers decoder and encoder, slow and obvious.

It shares nothing with the codec but schemas/wire.fbs, which it parses itself, and config. Its encoder lays
buffers out differently on purpose: vtables behind their tables, none shared, default scalars left out.
"""

from __future__ import annotations

import itertools
import re
import struct
from pathlib import Path
from typing import Any, NamedTuple

from mycelium import config

FBS = Path(__file__).parents[2] / "schemas" / "wire.fbs"

SCALARS = {"bool": "<B", "ubyte": "<B", "ushort": "<H", "uint": "<I", "ulong": "<Q"}
NAME = re.compile(rb"[a-z0-9_.-]{1,64}\Z")
NAMES = {("Batch", "space"), ("TableRef", "name"), ("SyncRequest", "space"), ("SyncResponse", "space")}
NAMES |= {("SpaceDigest", "space"), ("SpaceAck", "space"), ("ProofHead", "space"), ("Claim", "reason")}
NAMES |= {("BatchRefs", "space"), ("Branch", "space")}
WIDTHS = {
    "account": (32, 32),
    "genesis": (32, 32),
    "sender_id": (32, 32),
    "prev_digest": (32, 32),
    "digest": (16, 16),
    "signature": (64, 64),
    "ephemeral": (32, 32),
    "random": (32, 32),
    "key": (1, config.KEY_BYTES_MAX),
    "value": (0, config.VALUE_BYTES_MAX),
    "batch": (1, config.BATCH_BYTES_MAX),
    "issuer": (32, 32),
    "accused": (32, 32),
    "claim": (1, config.CLAIM_BYTES_MAX),
}
CAPS = dict.fromkeys(("Batch",), config.BATCH_BYTES_MAX)
CAPS |= dict.fromkeys(("Hello", "Identity"), config.HANDSHAKE_BYTES_MAX)
CAPS |= {"Claim": config.CLAIM_BYTES_MAX, "Proof": config.PROOF_BYTES_MAX}
_DATA = (
    "Change",
    "SignedBatch",
    "Gossip",
    "SyncRequest",
    "SyncResponse",
    "VersionVector",
    "Call",
    "SpaceAck",
    "Sync",
)
CAPS |= dict.fromkeys(_DATA, config.DATA_BYTES_MAX)
HANDSHAKE, CONTROL = (0, 1), (2, 3, 8, 12)


class RefusedError(Exception):
    """The oracle would not have it."""


class Column(NamedTuple):
    name: str
    type: str
    required: bool


def _parse(text: str) -> tuple[dict[str, list[Column]], dict[str, int]]:
    text = re.sub(r"//[^\n]*", "", text)
    tables = {
        name: [
            Column(field, kind, "required" in note)
            for field, kind, note in re.findall(r"(\w+)\s*:\s*(\[?\w+\]?)\s*(\([^)]*\))?;", body)
        ]
        for name, body in re.findall(r"table\s+(\w+)\s*\{([^}]*)\}", text)
    }
    enums = {
        name: body.count("=") for name, body in re.findall(r"enum\s+(\w+)\s*:\s*ubyte\s*\{([^}]*)\}", text)
    }
    return tables, enums


TABLES, ENUMS = _parse(FBS.read_text())
KINDS = list(TABLES)


class Buffer:
    """A buffer, what has been claimed of it, and reads that never leave it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.claimed = 0
        self.tables = 0

    def number(self, form: str, at: int) -> int:
        size = struct.calcsize(form)
        self.need(at, size)
        if at % size:
            raise RefusedError(f"misaligned at {at}")
        value: int = struct.unpack_from(form, self.data, at)[0]
        return value

    def need(self, at: int, size: int) -> None:
        if at < 0 or at + size > len(self.data):
            raise RefusedError(f"{size} bytes at {at} of {len(self.data)}")

    def claim(self, at: int, size: int) -> None:
        self.need(at, size)
        self.claimed += size
        if self.claimed > len(self.data):
            raise RefusedError("more claimed than there is")

    def follow(self, at: int) -> int:
        offset = self.number("<I", at)
        if offset == 0 or (at + offset) % 4:
            raise RefusedError(f"offset {offset} at {at}")
        return at + offset

    def vector(self, at: int, item: int) -> tuple[int, int]:
        pos = self.follow(at)
        count = self.number("<I", pos)
        if item > 1 and count > config.VECTOR_ITEMS_MAX:
            raise RefusedError(f"{count} items")
        if item == 16 and count and (pos + 4) % 8:
            raise RefusedError("misaligned structs")
        self.claim(pos, 4 + count * item)
        return pos + 4, count


def decode(kind: str, data: bytes) -> Any:
    """The table's fields in schema order, as codec.decode gives them; RefusedError otherwise."""
    if len(data) > CAPS.get(kind, config.CONTROL_BYTES_MAX):
        raise RefusedError("oversized")
    buffer = Buffer(data)
    values = _table(buffer, kind, buffer.follow(0))
    if kind == "Batch":
        _check_batch(values)
    return values


def decode_message(data: bytes) -> tuple[Any, ...]:
    """The seven fields of a message behind its tag 0x02."""
    if not data or data[0] != 2 or len(data) > config.DATA_BYTES_MAX:
        raise RefusedError("tag or size")
    buffer = Buffer(data[1:])
    values: tuple[Any, ...] = _table(buffer, "Message", buffer.follow(0))
    cap = config.HANDSHAKE_BYTES_MAX if values[1] in HANDSHAKE else config.DATA_BYTES_MAX
    cap = config.CONTROL_BYTES_MAX if values[1] in CONTROL else cap
    if len(data) > cap:
        raise RefusedError("oversized")
    return values


def _check_batch(values: tuple[Any, ...]) -> None:
    seq_first, count, hlc_first, tables, changes = values[5], values[6], values[10], values[11], values[12]
    if count != len(changes) or not 1 <= count <= config.BATCH_CHANGES_HARD_MAX:
        raise RefusedError("count")
    if len(tables) > config.TABLES_PER_BATCH_MAX or any(change[0] >= len(tables) for change in changes):
        raise RefusedError("tables")
    if seq_first < 1 or seq_first + count > 2**64 or hlc_first + count > 2**64:
        raise RefusedError("numbers")


def _table(buffer: Buffer, kind: str, pos: int) -> Any:
    buffer.tables += 1
    if buffer.tables > config.TABLES_MAX:
        raise RefusedError("tables")
    vtable = pos - buffer.number("<i", pos)
    columns = TABLES[kind]
    vtable_size, table_size = buffer.number("<H", vtable), buffer.number("<H", vtable + 2)
    if vtable_size < 4 or vtable_size % 2 or vtable_size > 4 + 2 * len(columns) or table_size < 4:
        raise RefusedError("vtable")
    buffer.need(vtable, vtable_size)
    buffer.claim(pos, table_size)
    values = []
    for i, column in enumerate(columns):
        offset = buffer.number("<H", vtable + 4 + 2 * i) if 4 + 2 * i < vtable_size else 0
        if offset == 0 and column.required:
            raise RefusedError(f"{column.name} absent")
        if offset and (offset < 4 or offset + _width(column.type) > table_size):
            raise RefusedError(f"{column.name} outside its table")
        values.append(_field(buffer, kind, column, pos + offset if offset else 0))
    return values[0] if len(values) == 1 else tuple(values)


def _width(kind: str) -> int:
    return struct.calcsize(SCALARS[kind]) if kind in SCALARS else 1 if kind in ENUMS else 4


def _field(buffer: Buffer, kind: str, column: Column, at: int) -> Any:
    if column.type in SCALARS or column.type in ENUMS:
        value = buffer.number(SCALARS.get(column.type, "<B"), at) if at else 0
        limit = 2 if column.type == "bool" else ENUMS.get(column.type, 2**64)
        if value >= limit:
            raise RefusedError(f"{column.name} is {value}")
        return bool(value) if column.type == "bool" else value
    if at % 4:
        raise RefusedError("misaligned offset")
    if column.type == "string":
        return _string(buffer, at, (kind, column.name) in NAMES) if at else ""
    if column.type == "[ubyte]":
        start, count = buffer.vector(at, 1) if at else (0, 0)
        low, high = WIDTHS.get(column.name, (0, 2**32))
        if (count or column.required) and not low <= count <= high:
            raise RefusedError(f"{column.name} has {count} bytes")
        return buffer.data[start : start + count]
    if column.type in TABLES:
        return _table(buffer, column.type, buffer.follow(at)) if at else None
    return _items(buffer, column, at) if at else []


def _string(buffer: Buffer, at: int, name: bool) -> str:
    start, count = buffer.vector(at, 1)
    buffer.need(start, count + 1)
    text = buffer.data[start : start + count]
    if buffer.data[start + count] or (name and not NAME.match(text)):
        raise RefusedError("string")
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise RefusedError("UTF-8") from error


def _items(buffer: Buffer, column: Column, at: int) -> list[Any]:
    item = column.type[1:-1]
    start, count = buffer.vector(at, {"ushort": 2, "SeqRange": 16}.get(item, 4))
    if item == "ushort":
        return list(struct.unpack_from(f"<{count}H", buffer.data, start))
    if item == "string":
        return [_string(buffer, start + 4 * i, name=False) for i in range(count)]
    if item == "SeqRange":
        flat = struct.unpack_from(f"<{2 * count}Q", buffer.data, start)
        ranges = list(zip(flat[::2], flat[1::2], strict=True))
        if any(first > last for first, last in ranges):
            raise RefusedError("range")
        if any(a[1] >= b[0] for a, b in itertools.pairwise(ranges)):
            raise RefusedError("ranges")
        return ranges
    return [_table(buffer, item, buffer.follow(start + 4 * i)) for i in range(count)]


def encode(kind: str, values: Any) -> bytes:
    """A valid buffer for valid values, in another layout than the codec's."""
    out = bytearray(4)
    struct.pack_into("<I", out, 0, _write_table(out, kind, values))
    return bytes(out)


def encode_message(values: tuple[Any, ...]) -> bytes:
    return b"\x02" + encode("Message", values)


def _pad(out: bytearray, width: int, remainder: int = 0) -> int:
    while len(out) % width != remainder:
        out.append(0)
    return len(out)


def _write_table(out: bytearray, kind: str, values: Any) -> int:
    columns = TABLES[kind]
    held = (values,) if len(columns) == 1 else values
    pos = _pad(out, 8)
    out += bytes(4)
    slots = []
    for column, value in zip(columns, held, strict=True):
        scalar = column.type in SCALARS or column.type in ENUMS
        absent = value is None or (not value and not column.required and column.type not in TABLES)
        if absent:
            slots.append(0)
            continue
        slots.append(_pad(out, _width(column.type)) - pos)
        out += struct.pack(SCALARS.get(column.type, "<B"), value) if scalar else bytes(4)
    _pad(out, 2)
    vtable = len(out)
    out += struct.pack(f"<{2 + len(slots)}H", 4 + 2 * len(slots), vtable - pos, *slots)
    struct.pack_into("<i", out, pos, pos - vtable)
    for column, value, slot in zip(columns, held, slots, strict=True):
        if slot and column.type not in SCALARS and column.type not in ENUMS:
            child = _write_child(out, column.type, value)
            struct.pack_into("<I", out, pos + slot, child - pos - slot)
    return pos


def _write_child(out: bytearray, kind: str, value: Any) -> int:
    if kind in TABLES:
        return _write_table(out, kind, value)
    pos = _pad(out, 8, 4)
    if kind == "string":
        text = value.encode()
        out += struct.pack("<I", len(text)) + text + b"\0"
    elif kind == "[ubyte]":
        out += struct.pack("<I", len(value)) + value
    elif kind == "[ushort]":
        out += struct.pack(f"<I{len(value)}H", len(value), *value)
    elif kind == "[SeqRange]":
        out += struct.pack(f"<I{2 * len(value)}Q", len(value), *(n for pair in value for n in pair))
    else:
        out += struct.pack("<I", len(value)) + bytes(4 * len(value))
        for i, item in enumerate(value):
            at = pos + 4 + 4 * i
            struct.pack_into("<I", out, at, _write_child(out, kind[1:-1], item) - at)
    return pos
