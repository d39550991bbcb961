"""The layout of keys and small records in every column but LIVE and DEAD, whose rows `_core.merge` builds.

Integers in keys are big-endian, so that byte order is numeric order. Names hold no zero byte, so a zero ends them.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from mycelium._core.codec import Batch, decode_batch, encode_batch
from mycelium.config import BATCH_BYTES_MAX, NAME_BYTES_MAX
from mycelium.database.vector import Origin
from mycelium.errors import OversizedMessage, ValueRefused
from mycelium.protocol.messages import MergeType

FORMAT = 1
_NAME = re.compile(rf"[a-z0-9_.-]{{1,{NAME_BYTES_MAX}}}")

META_IDENTITY = b"identity"
META_CLOCK = b"clock"
META_REBUILD = b"rebuild"
META_ENDPOINTS = b"endpoints\0"
"""Before an account: its endpoint record, 64 bytes of signature first."""
META_BLACKLIST = b"blacklist\0"
"""Before an account: what this node itself thinks of it (`peer.blacklist.Row`)."""
META_DROPPED = b"dropped\0"
"""Before the LOG key of a batch that is in the log no more and that the feed may still name: why (`feed`)."""

META_FEED_PRUNED = b"feed-pruned"
"""The index up to which entries of the feed were deleted, 8 bytes."""
META_FEED_MARK = b"feed-mark\0"
"""Before a time in ms, 8 bytes: the feed's last index then (`feed.retention`)."""
META_VOIDS = b"voids\0"
"""Before the name of a space of which not every batch is in the log (`voids`)."""
META_SNAPSHOT = b"snapshot\0"
"""Before the name of a space that was fetched as a snapshot and is not compared yet: whom it came from."""
META_STREAM = b"stream\0"
"""Before the name of a space that a stream is read of: how far (`jetstream.place`)."""
META_FLEET = b"fleet\0"
"""Before the name of a space: which stream of it has all that this node wrote, and as which generation
(`fleet.republishing`)."""
META_LACKING = b"lacking\0"
"""Before the name of a space: why something of it that its stream keeps no more may be missing (`fleet.following`)."""

_SIGNATURE_BYTES = 64
ROW_HEADER_BYTES = 56
DOT_BYTES = 48


class TableSpec(NamedTuple):
    """A table's whole identity: two declarations that differ in any part are different tables."""

    name: str
    space: str
    merge: MergeType

    @property
    def prefix(self) -> bytes:
        """What every LIVE and DEAD row key of the table starts with."""
        return table_prefix(self.space, self.name, self.merge)


class StoreIdentity(msgspec.Struct, frozen=True, array_like=True):
    """Whose store it is. Checked at every opening."""

    format: int
    account: bytes
    netuid: int
    genesis: bytes
    generation: int


class RowHeader(NamedTuple):
    """The first 56 bytes of every LIVE and DEAD row."""

    hlc: int
    account: bytes
    generation: int
    seq: int


def valid_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def table_prefix(space: str, name: str, merge: int) -> bytes:
    return b"%b\0%b\0%c" % (space.encode(), name.encode(), merge)


def space_prefix(space: str) -> bytes:
    return space.encode() + b"\0"


def log_key(space: str, origin: Origin, seq_first: int) -> bytes:
    return b"%b\0%b%b%b" % (
        space.encode(),
        origin.account,
        origin.generation.to_bytes(8, "big"),
        seq_first.to_bytes(8, "big"),
    )


def log_seq(key: bytes) -> int:
    """The first sequence number in a LOG key."""
    return int.from_bytes(key[-8:], "big")


def vector_key(space: str, origin: Origin) -> bytes:
    return log_key(space, origin, 0)[:-8]


def parse_vector_key(key: bytes) -> tuple[str, Origin]:
    space, rest = key.split(b"\0", 1)
    return space.decode(), Origin(rest[:32], int.from_bytes(rest[32:40], "big"))


def batch_of(record: bytes) -> Batch:
    """The batch in a LOG record, behind its signature."""
    return decode_batch(record[_SIGNATURE_BYTES:])


def feed_key(index: int) -> bytes:
    return index.to_bytes(8, "big")


def row_header(value: bytes) -> RowHeader:
    return RowHeader(
        int.from_bytes(value[:8], "big"),
        value[8:40],
        int.from_bytes(value[40:48], "big"),
        int.from_bytes(value[48:56], "big"),
    )


def encode_own(*fields: Any) -> bytes:
    """`encode_batch`, where a batch that is too large is its writer's mistake. ValueRefused."""
    try:
        raw = encode_batch(*fields)
    except OversizedMessage as error:
        raise ValueRefused(f"the batch is too large: {error}") from None
    if len(raw) > BATCH_BYTES_MAX:
        raise ValueRefused(f"the batch is too large: {len(raw)} bytes, at most {BATCH_BYTES_MAX}")
    return raw
