"""Buffers built to hurt: each is a valid one with a single lie, and each lie has its own refusal."""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest
from reference import codec as oracle
from reference import values

from mycelium import config
from mycelium._core import codec, schema
from mycelium.errors import MalformedMessage, OversizedMessage

ACCOUNT, SIGNATURE = b"a" * 32, b"s" * 64


class Buffer:
    """A buffer under edit, addressed by field numbers of its root table."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self.root = self.u32(0)

    def u32(self, at: int) -> int:
        return struct.unpack_from("<I", self.data, at)[0]

    def put(self, form: str, at: int, value: int) -> Buffer:
        struct.pack_into(form, self.data, at, value)
        return self

    def vtable(self, pos: int | None = None) -> int:
        pos = self.root if pos is None else pos
        return pos - struct.unpack_from("<i", self.data, pos)[0]

    def entry(self, field: int, pos: int | None = None) -> int:
        """Where the vtable holds the field's offset."""
        return self.vtable(pos) + 4 + 2 * field

    def at(self, field: int, pos: int | None = None) -> int:
        """Where the field's inline part lies."""
        pos = self.root if pos is None else pos
        return pos + struct.unpack_from("<H", self.data, self.entry(field, pos))[0]

    def target(self, field: int, pos: int | None = None) -> int:
        """What the field's offset names."""
        at = self.at(field, pos)
        return at + self.u32(at)

    def bytes(self) -> bytes:
        return bytes(self.data)


def refused(kind: str, data: bytes, why: str) -> None:
    with pytest.raises(MalformedMessage, match=why):
        values.decode(kind, data)
    with pytest.raises(oracle.RefusedError):
        values.oracle_decode(kind, data)


def ping() -> Buffer:
    return Buffer(codec.encode(codec.PING, (1, 2, [("main", b"d" * 16)])))


def batch(changes: list[tuple[int, int, bytes, bytes]]) -> bytes:
    return codec.encode_batch(1, b"g" * 32, "main", ACCOUNT, 1, 1, b"p" * 32, 0, 0, 0, [("t", 0)], changes)


@pytest.mark.parametrize(
    ("offset", "why"),
    [(0, "bad offset"), (1, "bad offset"), (2**32 - 4, "out of bounds"), (4096, "out of bounds")],
)
def test_root_offset(offset, why):
    refused("Ping", ping().put("<I", 0, offset).bytes(), why)


def test_empty_and_short():
    for size in range(12):
        refused("Ping", bytes(size), "out of bounds|bad offset")


def test_vtable_before_and_behind_the_buffer():
    b = ping()
    refused("Ping", b.put("<i", b.root, b.root + 2).bytes(), "misplaced table")
    refused("Ping", b.put("<i", b.root, -len(b.data)).bytes(), "out of bounds")
    refused("Ping", b.put("<i", b.root, -(2**31)).bytes(), "out of bounds")
    refused("Ping", b.put("<i", b.root, 3).bytes(), "misplaced table")


@pytest.mark.parametrize("size", [0, 2, 5, 12, 0xFFFE, 0xFFFF])
def test_vtable_size(size):
    b = ping()
    refused("Ping", b.put("<H", b.vtable(), size).bytes(), "bad vtable")


def test_vtable_that_runs_out_of_the_buffer():
    # A valid buffer with its vtable's first four bytes copied to the very end, and its table pointed there.
    b = ping()
    b.data += b.data[b.vtable() : b.vtable() + 4]
    refused("Ping", b.put("<i", b.root, b.root - (len(b.data) - 4)).bytes(), "out of bounds")


@pytest.mark.parametrize(("size", "why"), [(0, "bad vtable"), (3, "bad vtable"), (65535, "out of bounds")])
def test_table_size(size, why):
    b = ping()
    refused("Ping", b.put("<H", b.vtable() + 2, size).bytes(), why)


@pytest.mark.parametrize("offset", [1, 2, 3, 8, 17, 20, 24, 0xFFF8, 0xFFFF])
def test_field_outside_its_table_or_misaligned(offset):
    b = ping()
    refused("Ping", b.put("<H", b.entry(0), offset).bytes(), "misplaced field")


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_field_within_the_offset_to_the_vtable(offset):
    """A bool fits any address; only its place is wrong."""
    b = Buffer(codec.encode(codec.CALL, (1, "", 0, 0, False, b"")))
    refused("Call", b.put("<H", b.entry(4), offset).bytes(), "misplaced field")


def test_fields_may_lie_on_each_other():
    """The format allows it, no memory is at stake, and every reader sees the same value."""
    b = ping()
    data = b.put("<H", b.entry(1), struct.unpack_from("<H", b.data, b.entry(0))[0]).bytes()
    assert values.decode("Ping", data)[:2] == (1, 1) == values.oracle_decode("Ping", data)[:2]


@pytest.mark.parametrize(
    ("kind", "value", "field"),
    [
        ("Message", (1, 4, ACCOUNT, 0, 0, b"", b""), 2),
        ("SignedBatch", (b"b", SIGNATURE), 0),
        ("SignedBatch", (b"b", SIGNATURE), 1),
        ("Gossip", ([], 0), 0),
        ("SyncRequest", (1, "s", [], 0, 0), 1),
        ("SyncRequest", (1, "s", [], 0, 0), 2),
        ("EndpointRecord", (ACCOUNT, 0, 0, 0, 0, [], 0, ACCOUNT), 5),
    ],
)
def test_required_field_absent(kind, value, field):
    skip = 1 if kind == "Message" else 0
    whole = values.encode(kind, value)
    b = Buffer(whole[skip:])
    refused(kind, whole[:skip] + b.put("<H", b.entry(field), 0).bytes(), "required field absent")


@pytest.mark.parametrize("count", [0, 31, 33, 2**31, 2**32 - 1])
def test_fixed_width(count):
    b = Buffer(codec.encode(codec.ORIGIN_VERSION, (ACCOUNT, 1, 2, [(3, 4)])))
    refused("OriginVersion", b.put("<I", b.target(0), count).bytes(), "wrong width|out of bounds")


@pytest.mark.parametrize("count", [1, 63, 65])
def test_a_signature_has_64_bytes_or_none(count):
    whole = codec.encode_message(1, 4, ACCOUNT, 0, 0, b"p" * 100, SIGNATURE)
    b = Buffer(whole[1:])
    refused("Message", b"\x02" + b.put("<I", b.target(6), count).bytes(), "wrong width")
    assert codec.decode_message(b"\x02" + b.put("<I", b.target(6), 0).bytes()).signature == b""


@pytest.mark.parametrize("count", [2, 2**16, 2**28, 2**32 - 1])
def test_count_bomb(count):
    b = ping()
    refused("Ping", b.put("<I", b.target(2), count).bytes(), "out of bounds|bad offset|too many items")


def test_more_items_than_any_vector_may_have():
    count = config.VECTOR_ITEMS_MAX + 1
    head = Buffer(codec.encode(codec.GOSSIP, ([], 0)))
    data = head.put("<I", head.target(0), count).bytes() + bytes(4 * count)
    refused("Gossip", data, "too many items")


def test_one_table_named_many_times():
    """16,000 offsets to one SignedBatch of 60 KiB would be 960 MiB of values from 125 KiB."""
    refused("Gossip", _forward_bomb(16_000), "shared or overlapping")


def test_an_offset_cannot_point_back():
    b = Buffer(codec.encode_gossip([(b"x", SIGNATURE)] * 2))
    second = b.target(0) + 8
    refused(
        "Gossip",
        b.put("<i", second, b.target(0) + 4 + b.u32(b.target(0) + 4) - second - 200).bytes(),
        "bounds",
    )


def _forward_bomb(count: int) -> bytes:
    """A Gossip whose `count` offsets all name one table behind them."""
    b = Buffer(codec.encode_gossip([(b"x" * 60_000, SIGNATURE)]))
    vector = b.target(0)
    first = vector + 4
    signed = first + b.u32(first)
    grown = b.data[:first] + bytes(4 * count) + b.data[first + 4 :]
    moved = signed + 4 * (count - 1)
    spoilt = Buffer(bytes(grown)).put("<I", vector, count)
    for i in range(count):
        spoilt.put("<I", first + 4 * i, moved - (first + 4 * i))
    # The vtable of SignedBatch may have stayed behind the offsets.
    vtable = b.vtable(signed)
    spoilt.put("<i", moved, moved - (vtable if vtable < first else vtable + 4 * (count - 1)))
    return spoilt.bytes()


def test_one_change_named_many_times():
    """A batch may not describe more than it holds: 100 puts of one 500 KiB value are not one."""
    value = b"v" * 500_000
    b = Buffer(batch([(0, 0, b"k", b"w")] * 99 + [(0, 0, b"k", value)]))
    first = b.target(12) + 4
    last = first + 4 * 99 + b.u32(first + 4 * 99)
    for i in range(99):
        b.put("<I", first + 4 * i, last - (first + 4 * i))
    refused("Batch", b.bytes(), "shared or overlapping")


def test_string_without_nul_and_at_the_end():
    b = Buffer(codec.encode(codec.SPACE_DIGEST, ("main", b"d" * 16)))
    refused("SpaceDigest", b.put("<B", b.target(0) + 8, 1).bytes(), "NUL")
    b = Buffer(codec.encode(codec.CALL, (1, "method", 0, 0, True, b"")))
    data = b.data[: b.target(1) + 4 + 6]
    refused("Call", bytes(data), "out of bounds")


@pytest.mark.parametrize("text", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"])
def test_text_that_is_not_utf8(text):
    b = Buffer(codec.encode(codec.CALL, (1, "x" * len(text), 0, 0, True, b"")))
    start = b.target(1) + 4
    b.data[start : start + len(text)] = text
    refused("Call", b.bytes(), "UTF-8")


@pytest.mark.parametrize("name", ["Main", "a b", "a/b", "é", "a\0", "", "a" * 65])
def test_name(name):
    data = oracle.encode("SpaceDigest", (name, b"d" * 16))
    refused("SpaceDigest", data, "name|required")
    with pytest.raises(MalformedMessage, match="name"):
        codec.encode(codec.SPACE_DIGEST, (name, b"d" * 16))


def test_enum_and_bool():
    call = Buffer(codec.encode(codec.CALL, (1, "", 0, 0, True, b"")))
    refused("Call", call.put("<B", call.at(4), 2).bytes(), "unknown enum value")
    ref = Buffer(codec.encode(codec.TABLE_REF, ("t", 4)))
    refused("TableRef", ref.put("<B", ref.at(1), 5).bytes(), "unknown enum value")
    whole = codec.encode_message(1, 11, ACCOUNT, 0, 0, b"")
    message = Buffer(whole[1:])
    refused("Message", b"\x02" + message.put("<B", message.at(1), 13).bytes(), "unknown enum value")


@pytest.mark.parametrize("ranges", [[(2, 1)], [(1, 2), (2, 3)], [(5, 6), (1, 2)], [(1, 1), (1, 1)]])
def test_ranges_must_ascend(ranges):
    refused("OriginVersion", oracle.encode("OriginVersion", (ACCOUNT, 1, 2, ranges)), "ranges out of order")
    with pytest.raises(MalformedMessage, match="ranges out of order"):
        codec.encode(codec.ORIGIN_VERSION, (ACCOUNT, 1, 2, ranges))


def test_misaligned_structs():
    b = Buffer(codec.encode(codec.ORIGIN_VERSION, (ACCOUNT, 1, 2, [(3, 4)])))
    pos = b.target(3)
    b.data[pos:] = bytes(4) + b.data[pos:]
    refused("OriginVersion", b.put("<I", b.at(3), b.u32(b.at(3)) + 4).bytes(), "misaligned structs")


@pytest.mark.parametrize("kind", [kind for kind in values.KINDS if kind != "Message"])
def test_size_comes_before_anything_else(kind):
    cap = schema.TABLES[schema.KINDS[kind]].bytes_max
    for read in (codec.decode, codec.from_json):
        with pytest.raises(OversizedMessage):
            read(schema.KINDS[kind], b"\xff" * (cap + 1))
        with pytest.raises(MalformedMessage):
            read(schema.KINDS[kind], b"\xff" * cap)


def _with_config(setting: str, body: str) -> subprocess.CompletedProcess[str]:
    """Limits are read at import, so a lower one needs a process of its own."""
    code = f"from mycelium import config\nconfig.{setting}\nfrom mycelium._core import codec\n{body}"
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=values.VECTORS.parents[1],
    )


def test_table_budget():
    """No buffer within the size caps can hold TABLES_MAX tables; with a lower limit the check itself shows."""
    body = "data = codec.encode(codec.PING, (0, 0, [('a', bytes(16))] * {}))\ncodec.decode(codec.PING, data)"
    assert _with_config("TABLES_MAX = 3", body.format(2)).returncode == 0
    assert "too many tables" in _with_config("TABLES_MAX = 3", body.format(3)).stderr


def test_a_schema_deeper_than_allowed_does_not_load():
    assert "AssertionError" in _with_config("DEPTH_MAX = 3", "").stderr
    assert _with_config("DEPTH_MAX = 4", "").returncode == 0
