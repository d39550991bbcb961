"""What the database asks of a key-value store, and the columns it keeps there.

Two stores implement it: `rocks` on disk and `memory` with injectable faults. Nothing else opens either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol


class Column(IntEnum):
    """Column families. LIVE and DEAD have the numbers that `_core.merge` uses."""

    LIVE = 0
    """The materialised rows; their bytes are what replicas agree on."""
    DEAD = 1
    """Tombstones."""
    LOG = 2
    """Every batch as it was signed, by space, origin and first sequence number."""
    VECTOR = 3
    """For each space and origin, what is held."""
    FEED = 4
    """The order in which this node applied batches."""
    EVIDENCE = 5
    """Pairs of batches that prove an equivocation."""
    META = 6
    """The store's own facts: format, account, generation, clock."""


class WriteBatch(Protocol):
    """Collected writes. `column` is what `Store.column` returned."""

    def put(self, key: bytes, value: bytes, column: Any, /) -> None: ...
    def delete(self, key: bytes, column: Any, /) -> None: ...


class Store(Protocol):
    """Ordered by key bytes. Methods run on one thread, but for `sync`, which may run on another."""

    trouble: str
    """Why the last commit or sync failed; "" where it did not."""

    def column(self, column: Column) -> Any:
        """The handle that a WriteBatch takes."""

    def batch(self) -> WriteBatch:
        """A new one, of the store's own kind: the only thing that `commit` takes."""

    def commit(self, batch: Any, /) -> None:
        """Write all of `batch` or nothing. Visible at once, durable after the next `sync`. StoreFull, StoreClosed."""

    def sync(self) -> None:
        """Make everything committed so far durable. Blocks, without the GIL. StoreFull, StoreClosed."""

    def get(self, column: Column, key: bytes) -> bytes | None: ...

    def get_many(self, column: Column, keys: Sequence[bytes]) -> list[bytes | None]: ...

    def scan(
        self, column: Column, start: bytes, stop: bytes | None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop (None: to the end) as of the call, ascending, or descending in `reverse`."""

    def checkpoint(self, path: Path) -> None:
        """A copy at `path` (which must not exist) of everything committed so far, hard-linked where possible."""

    def usage(self) -> dict[str, int]:
        """Sizes in bytes, for status and metrics."""

    def close(self) -> None: ...


def after_prefix(prefix: bytes) -> bytes | None:
    """The smallest key greater than every key that starts with `prefix`; None when there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,)) if stripped else None
