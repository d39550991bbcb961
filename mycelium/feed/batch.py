"""What a feed and an export give: batches with their changes, and rows. Decodes; reads no store."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from mycelium._core.codec import Batch, decode_batch
from mycelium.database.feed import visible
from mycelium.feed.cursor import Cursor
from mycelium.identity.keys import digest
from mycelium.protocol.messages import MergeType, Op

_OPS: Final = {int(op): op for op in Op}
"""An enumeration's own look-up costs as much as all else of a change. A batch that was decoded has no other."""


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


class FeedBatch:
    """One batch that the node applied, or the part of it that its reader may see and asked for.

    id: 32 bytes, BLAKE3 of what was signed: the same at every node, so that repeats are recognised by it. newest: the
    index of the newest durable batch when this one was read, so that `newest - cursor.index` are still to come. raw and
    signature: exactly as signed; None for a reader who may not read the whole space, as a part of a batch has no
    signature. hlc_first: change i of the batch has hlc_first + i.
    """

    __slots__ = (
        "_changes",
        "_tables",
        "_winners",
        "account",
        "count",
        "cursor",
        "epoch",
        "generation",
        "hlc_first",
        "id",
        "newest",
        "raw",
        "seq_first",
        "signature",
        "space",
    )

    def __init__(
        self,
        cursor: Cursor,
        newest: int,
        id: bytes,
        space: str,
        account: bytes,
        generation: int,
        seq_first: int,
        count: int,
        epoch: int,
        hlc_first: int,
        changes: tuple[FeedChange, ...] | None = None,
        raw: bytes | None = None,
        signature: bytes | None = None,
        *,
        winners: bytes = b"",
        tables: Collection[str] | None = None,
    ) -> None:
        self.cursor = cursor
        self.newest = newest
        self.id = id
        self.space = space
        self.account = account
        self.generation = generation
        self.seq_first = seq_first
        self.count = count
        self.epoch = epoch
        self.hlc_first = hlc_first
        self.raw = raw
        self.signature = signature
        self._changes = changes
        self._winners = winners
        self._tables = tables

    @classmethod
    def whole(
        cls,
        cursor: Cursor,
        newest: int,
        raw: bytes,
        signature: bytes,
        winners: bytes,
        tables: Collection[str] | None = None,
    ) -> FeedBatch:
        """A batch as it was signed. Its changes are read when they are asked for. MalformedMessage."""
        batch = decode_batch(raw)
        return cls(
            cursor,
            newest,
            digest(raw),
            batch.space,
            batch.account,
            batch.generation,
            batch.seq_first,
            batch.count,
            batch.epoch,
            batch.hlc_first,
            None,
            raw,
            signature,
            winners=winners,
            tables=tables,
        )

    @property
    def changes(self) -> tuple[FeedChange, ...]:
        """Those of the tables that were asked for, and that the reader may see, in the batch's order."""
        if self._changes is None:
            assert self.raw is not None, "a batch has its bytes or its changes"
            batch = decode_batch(self.raw)
            self._changes = tuple(changes_of(batch, self._winners, self._tables))
        return self._changes

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FeedBatch):
            return NotImplemented
        return (self.cursor, self.id, self.changes) == (other.cursor, other.id, other.changes)

    def __hash__(self) -> int:
        return hash((self.cursor, self.id))

    def __repr__(self) -> str:
        return f"FeedBatch({self.cursor}, {self.space!r}, {self.id.hex()[:16]}, {self.count} changes)"


def changes_of(batch: Batch, winners: bytes, tables: Collection[str] | None = None) -> Iterator[FeedChange]:
    """The changes of a batch, of some tables or of all."""
    named = [(name, MergeType(merge)) for name, merge in batch.tables]
    for place, (table, op, key, payload) in enumerate(batch.changes()):
        name, merge = named[table]
        if tables is None or name in tables:
            yield FeedChange(place, name, merge, _OPS[op], key, payload, visible(winners, place))


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
