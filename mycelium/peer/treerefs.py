"""What the trees call a batch, what `peer.plumtree` wants done, what a member may take up of them, and refs as messages
have them. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from mycelium.config.peer import (
    TREE_GRAFT_BYTES_BURST,
    TREE_GRAFT_BYTES_PER_S,
    TREE_GRAFTS_BURST,
    TREE_GRAFTS_PER_S,
    TREE_HAVES_BURST,
    TREE_HAVES_PER_S,
    TREE_REFS_MAX,
)
from mycelium.peer.bucket import Bucket
from mycelium.protocol.messages import BatchRefs, Branch, Tree


class Ref(NamedTuple):
    """One batch: whose, where, and the first and last of its numbers."""

    space: str
    account: bytes
    generation: int
    first: int
    last: int

    @property
    def branch(self) -> Branch:
        """The tree that it spreads along."""
        return Branch(self.space, self.account)


@dataclass(slots=True)
class Share:
    """What one member may take up, however many sessions it has. waiting: what it announced first and has not come."""

    haves: Bucket = field(default_factory=lambda: Bucket(TREE_HAVES_PER_S, TREE_HAVES_BURST))
    grafts: Bucket = field(default_factory=lambda: Bucket(TREE_GRAFTS_PER_S, TREE_GRAFTS_BURST))
    graft_bytes: Bucket = field(
        default_factory=lambda: Bucket(TREE_GRAFT_BYTES_PER_S, TREE_GRAFT_BYTES_BURST)
    )
    waiting: int = 0


class Push(NamedTuple):
    """Effect: send that batch on those links, to go on for so many hops."""

    ref: Ref
    hops: int
    links: tuple[int, ...]


class Say(NamedTuple):
    """Effect: send that message on those links."""

    links: tuple[int, ...]
    tree: Tree


Effect = Push | Say


def packed(refs: Iterable[tuple[Ref, int]]) -> Iterator[list[BatchRefs]]:
    """Refs by origin, as messages have them: TREE_REFS_MAX in each."""
    ordered = sorted(set(refs))
    for at in range(0, len(ordered), TREE_REFS_MAX):
        part = ordered[at : at + TREE_REFS_MAX]
        found = []
        for (space, account, generation), group in groupby(part, key=lambda one: one[0][:3]):
            spans: list[tuple[int, int]] = []
            size = 0
            for ref, ref_size in group:
                # Of two that overlap one is forged; a message has no room for both.
                if not spans or ref.first > spans[-1][1]:
                    spans.append((ref.first, ref.last))
                    size = max(size, ref_size)
            found.append(BatchRefs(space, account, generation, spans, size))
        yield found
