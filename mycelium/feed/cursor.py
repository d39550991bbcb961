"""A place in the feed of one data directory, as consumers keep it. Reads nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mycelium.errors import UsageError

_TEXT: Final = re.compile(r"([0-9a-f]{16})-([0-9]{1,20})")
_U64: Final = 2**64


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """After the batch at `index` of the order in which a data directory's node applied batches; 0: before the first.

    generation: of the data directory. Another one has another order, so that a cursor of it means nothing there.
    """

    generation: int
    index: int

    def __str__(self) -> str:
        return f"{self.generation:016x}-{self.index}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """A cursor from its text. UsageError."""
        found = _TEXT.fullmatch(text)
        if found is None or int(found[2]) >= _U64:
            raise UsageError(f"{text[:60]!r} is no cursor: a feed gives them, like 00f3a5c27b190e4d-1842")
        return cls(int(found[1], 16), int(found[2]))
