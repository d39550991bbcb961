"""What a feed and an export give: batches with their changes, and rows. Decodes; reads no store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mycelium.feed.cursor import Cursor
from mycelium.protocol.messages import MergeType, Op


class FeedChange(NamedTuple):
    """One change of a batch. value: its payload as signed, which `database.value` decodes.

    wins: whether it became visible at the node when it was applied. Of a counter every addition counts.
    """

    place: int
    table: str
    merge: MergeType
    op: Op
    key: bytes
    value: bytes
    wins: bool


@dataclass(frozen=True, slots=True)
class FeedBatch:
    """One batch that the node applied, or the part of it that its reader may see and asked for.

    id: 32 bytes, BLAKE3 of what was signed: the same at every node, so that repeats are recognised by it. newest: the
    index of the newest durable batch when this one was read, so that `newest - cursor.index` are still to come. raw and
    signature: exactly as signed; None for a reader who may not read the whole space, as a part of a batch has no
    signature. hlc_first: change i of the batch has hlc_first + i.
    """

    cursor: Cursor
    newest: int
    id: bytes
    space: str
    account: bytes
    generation: int
    seq_first: int
    count: int
    epoch: int
    hlc_first: int
    changes: tuple[FeedChange, ...]
    raw: bytes | None = None
    signature: bytes | None = None


class ExportRow(NamedTuple):
    """One visible row as of an export's cursor. part: which contribution to its key it is, b"" where there is but one.

    Of a counter part is account and generation, and value the sum of its additions (16 bytes, signed, big-endian); of a
    set or an append table part is the dot of the insertion or fact (account, generation, number).
    """

    space: str
    table: str
    merge: MergeType
    key: bytes
    part: bytes
    value: bytes
    hlc: int
    account: bytes
    generation: int
    seq: int


class SignedRecord(NamedTuple):
    """One batch of a signed export. void_first: above 0, what is missing from there up to this batch is a void."""

    void_first: int
    raw: bytes
    signature: bytes
