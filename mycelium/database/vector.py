"""What is held of each origin: contiguous heads, ranges beyond gaps, and the digests where ranges meet.

Sans-IO. An origin's batches form a chain by `prev_digest`, so a relay cannot leave one out unnoticed, and two
different chains signed by one origin prove an equivocation (design 6). The version vector advances only
contiguously; what lies beyond a gap is held as ranges (replication.md A.3 says why timestamps cannot serve).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec
from blake3 import blake3

from mycelium.protocol.messages import OriginVersion

ZERO_DIGEST = bytes(32)
SEQUENCE_MAX = 2**64 - 1


class Origin(NamedTuple):
    """One database of one account; a restored backup is another origin (generation)."""

    account: bytes
    generation: int


class Span(NamedTuple):
    """An unbroken run of batches: its sequence numbers, the digest before its first and that of its last batch."""

    first: int
    last: int
    prev_digest: bytes
    digest: bytes


class Held(NamedTuple):
    """Ranges of sequence numbers of one origin, ascending, as they travel: (first, last) inclusive."""

    head: int
    ranges: tuple[tuple[int, int], ...]

    def __contains__(self, seq: object) -> bool:
        if not isinstance(seq, int):
            return False
        return 1 <= seq <= self.head or any(first <= seq <= last for first, last in self.ranges)

    def spans(self) -> list[tuple[int, int]]:
        return ([(1, self.head)] if self.head else []) + list(self.ranges)


class ForkError(Exception):
    """Two batches of one origin contradict each other. `seq` is in the held batch that contradicts the new one."""

    def __init__(self, seq: int) -> None:
        super().__init__(f"contradicts the batch that holds sequence number {seq}")
        self.seq = seq


class OriginLog:
    """The spans held of one origin in one space, ascending and never adjacent."""

    __slots__ = ("spans",)

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self.spans: list[Span] = list(spans)

    @property
    def head(self) -> int:
        """The last sequence number up to which everything is held."""
        return self.spans[0].last if self.spans and self.spans[0].first == 1 else 0

    @property
    def head_digest(self) -> bytes:
        return self.spans[0].digest if self.head else ZERO_DIGEST

    @property
    def gaps(self) -> int:
        return len(self.spans) - (1 if self.head else 0)

    def held(self) -> Held:
        beyond = self.spans[1:] if self.head else self.spans
        return Held(self.head, tuple((span.first, span.last) for span in beyond))

    def covers(self, first: int, last: int) -> bool:
        """All of first..last is held."""
        return any(span.first <= first and last <= span.last for span in self.spans)

    def added(self, new: Span) -> list[Span]:
        """The spans with `new` among them. ForkError when it overlaps or does not chain; changes nothing."""
        spans = self.spans
        at = bisect_left(spans, new.first, key=lambda span: span.first)
        left = spans[at - 1] if at else None
        right = spans[at] if at < len(spans) else None
        if left is not None and left.last >= new.first:
            raise ForkError(new.first)
        if right is not None and right.first <= new.last:
            raise ForkError(right.first)
        if new.first == 1 and new.prev_digest != ZERO_DIGEST:
            raise ForkError(new.first)
        start, stop, merged = at, at, new
        if left is not None and left.last + 1 == new.first:
            if left.digest != new.prev_digest:
                raise ForkError(left.last)
            start, merged = at - 1, Span(left.first, merged.last, left.prev_digest, merged.digest)
        if right is not None and new.last + 1 == right.first:
            if right.prev_digest != new.digest:
                raise ForkError(right.first)
            stop, merged = at + 1, Span(merged.first, right.last, merged.prev_digest, right.digest)
        return [*spans[:start], merged, *spans[stop:]]

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self.spans)

    @classmethod
    def decode(cls, data: bytes) -> OriginLog:
        return cls(msgspec.msgpack.decode(data, type=list[Span]))


Vector = dict[Origin, Held]
"""A version vector: what one node holds of each origin of a space."""


def vector_digest(logs: Mapping[Origin, OriginLog]) -> bytes:
    """16 bytes that are equal exactly when two nodes hold the same batches (up to BLAKE3 collisions).

    Of the batches, and not only of their numbers: an origin that signed two histories is seen by it.
    """
    hasher = blake3()
    for origin in sorted(logs):
        spans = logs[origin].spans
        if spans:
            hasher.update(
                origin.account + origin.generation.to_bytes(8, "big") + len(spans).to_bytes(4, "big")
            )
        for span in spans:
            # The digest of its last batch stands for the whole run: each batch names the one before it.
            hasher.update(span.first.to_bytes(8, "big") + span.last.to_bytes(8, "big") + span.digest)
    return hasher.digest(length=16)


def vector_to_wire(vector: Vector) -> list[OriginVersion]:
    return [
        OriginVersion(origin.account, origin.generation, vector[origin].head, list(vector[origin].ranges))
        for origin in sorted(vector)
    ]


def vector_from_wire(wire: Iterable[OriginVersion]) -> Vector:
    """A peer's vector. Its ranges are data from the wire: unsorted or overlapping ones only cost the peer batches."""
    return {
        Origin(account, generation): Held(
            head, tuple((first, last) for first, last in ranges if first <= last)
        )
        for account, generation, head, ranges in wire
    }


def lacking(mine: Vector, theirs: Vector) -> Iterator[tuple[Origin, int, int]]:
    """The ranges (first, last) that `mine` holds and `theirs` does not, by origin, oldest first."""
    empty = Held(0, ())
    for origin in sorted(mine):
        have = mine[origin]
        other = theirs.get(origin, empty)
        if have == other:
            continue
        # Both are ascending, so that one pass over each is enough, whatever a peer sends.
        blocks = sorted(other.spans())
        at_block = 0
        for first, last in have.spans():
            at = first
            while at_block < len(blocks) and blocks[at_block][0] <= last:
                block_first, block_last = blocks[at_block]
                if at < block_first:
                    yield origin, at, block_first - 1
                at = max(at, block_last + 1)
                if block_last > last:
                    break
                at_block += 1
            if at <= last:
                yield origin, at, last
