"""What a sink is. Whoever writes another one needs this file alone; `runner.Runner` does the rest.

The runner opens the sink. Where it has no position, all rows are given to it (begin, fill ..., finish); then come the
batches of the feed, each once and in order. A sink that keeps the position in one transaction with what it derives
holds everything exactly once, whatever is killed when. It raises SinkUnreachable for what passes by itself: the runner
waits, opens it again and goes on from the position it then has; and SchemaConflict for what an operator must mend.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mycelium.errors import UsageError
from mycelium.feed.batch import ExportRow, FeedBatch
from mycelium.feed.cursor import Cursor


@dataclass(frozen=True, slots=True)
class Position:
    """How far a sink is: after `cursor`; and of a space in `floors` it has everything up to that index already."""

    cursor: Cursor
    floors: dict[str, int] = field(default_factory=dict)

    def has(self, batch: FeedBatch) -> bool:
        """Whether what the batch says is in the sink already."""
        return batch.cursor.index <= max(self.cursor.index, self.floors.get(batch.space, 0))

    def at(self, cursor: Cursor) -> Position:
        """The position after a batch that comes later."""
        return Position(cursor, {space: at for space, at in self.floors.items() if at > cursor.index})

    def __str__(self) -> str:
        return json.dumps([str(self.cursor), self.floors])

    @classmethod
    def parse(cls, text: str) -> Position:
        """A position from its text. UsageError."""
        try:
            cursor, floors = json.loads(text)
            return cls(Cursor.parse(cursor), {str(space): int(at) for space, at in floors.items()})
        except (ValueError, TypeError, AttributeError):
            raise UsageError(f"{text[:60]!r} is no position of a sink") from None


class Sink(Protocol):
    """Where a feed is written to. Its methods are called one after the other; `prepare` while an `apply` goes on."""

    gather_s: float
    """How long the runner may gather batches before it hands them over (0: at once when idle), and how many."""
    gather_changes: int
    gather_bytes: int

    async def open(self) -> Position | None:
        """Connect, again after an error. Its position; None: it wants all rows, then it is filled first."""

    async def begin(self, spaces: Iterable[str] | None, cursor: Cursor) -> None:
        """A fill begins, as of a cursor: of these spaces, or of all. One that had begun and did not end is void."""

    async def fill(self, rows: Sequence[ExportRow]) -> None:
        """Some of the rows. Readers of the sink must not see them yet."""

    async def finish(self, position: Position) -> None:
        """All rows were given: at once and as a whole they replace what was there of the spaces, and this is kept."""

    async def prepare(self, batches: Sequence[FeedBatch]) -> Any:
        """The work on batches that needs no connection; it may simply return them."""

    async def apply(self, prepared: Any, position: Position) -> None:
        """All that was prepared and the position, or nothing. Of `lww`, `own`, `set` only changes that win count."""

    async def close(self) -> None:
        """Let go of what is open."""
