"""Refuses every write of a replica, and says where to write. Stands where a node's `Writer` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mycelium.database.originating import LocalChange
from mycelium.database.writer import Ack
from mycelium.errors import UsageError


def refused(writes_at: str) -> UsageError:
    """The error of a write. writes_at: the address of a node, "" where the operator named none."""
    where = f"the node at {writes_at}" if writes_at else "a node of your own hotkey"
    return UsageError(
        f"this is a read replica, and nothing was written: write at {where}, and it comes here by itself"
    )


class ReadOnly:
    """`database.writer.Writes` that takes nothing."""

    def __init__(self, writes_at: str) -> None:
        self.refusal: Callable[[], str | None] = lambda: None
        self._writes_at = writes_at

    async def write(self, change: LocalChange, ack: Ack) -> None:
        """UsageError."""
        raise refused(self._writes_at)

    async def write_atomic(self, changes: Sequence[LocalChange], ack: Ack) -> None:
        """UsageError."""
        raise refused(self._writes_at)

    async def settle(self, space: str) -> None:
        """Nothing of ours is on its way."""

    def flush_all(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""
