"""What the engine says of a batch: what became of it, and where it is if it was applied."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from mycelium._core.codec import Batch


class Outcome(Enum):
    """What became of a batch that broke no rule."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    HELD = "held"
    """Waits in memory until it is due, or until its epoch or block is known."""
    LEFT = "left"
    """Not taken now: sync will bring it again."""


class Applied(NamedTuple):
    """A batch that was applied, and its place in this node's feed."""

    feed_index: int
    batch: Batch
    signature: bytes
    own: bool
