"""A store in memory behind `Store`, with faults that a test or the simulator can inject.

It models what a crash does: commits after the last `sync` may be lost, in order, from the end.
"""

from __future__ import annotations

import json
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from mycelium.database.store import Column
from mycelium.errors import StoreClosed, StoreFull

_Write = tuple[Column, bytes, bytes | None]


class MemoryBatch:
    def __init__(self) -> None:
        self.writes: list[_Write] = []

    def put(self, key: bytes, value: bytes, column: Column, /) -> None:
        self.writes.append((column, key, value))

    def delete(self, key: bytes, column: Column, /) -> None:
        self.writes.append((column, key, None))


class MemoryStore:
    """Rows in dictionaries with sorted key lists.

    `full` makes every commit and sync fail with StoreFull until it is cleared. `crash(lost)` returns a store as a
    restart would find it after the last `lost` commits since the last sync went missing.
    """

    def __init__(self) -> None:
        self._rows: dict[Column, dict[bytes, bytes]] = {column: {} for column in Column}
        self._keys: dict[Column, list[bytes]] = {column: [] for column in Column}
        self._synced: list[list[_Write]] = []
        self._unsynced: list[list[_Write]] = []
        self._closed = False
        self.full = False
        self.trouble = ""

    def column(self, column: Column) -> Column:
        return column

    def batch(self) -> MemoryBatch:
        return MemoryBatch()

    def commit(self, batch: MemoryBatch, /) -> None:
        self._check()
        self._apply(batch.writes)
        self._unsynced.append(batch.writes)
        self.trouble = ""

    def sync(self) -> None:
        self._check()
        # A commit may come in between from the loop's thread: only what was there when the sync began is synced.
        count = len(self._unsynced)
        self._synced += self._unsynced[:count]
        del self._unsynced[:count]

    def crash(self, lost: int | None = None) -> MemoryStore:
        """What is on disk after a crash: all synced commits, and all but the last `lost` of the others (None: none)."""
        kept = self._unsynced[: max(0, len(self._unsynced) - lost)] if lost is not None else []
        self._closed = True
        return self._with(kept)

    def copy(self) -> MemoryStore:
        """Another store, with what is synced."""
        return self._with([])

    def _with(self, unsynced: list[list[_Write]]) -> MemoryStore:
        store = MemoryStore()
        store._synced = [*self._synced, *unsynced]
        for writes in store._synced:
            store._apply(writes)
        return store

    def get(self, column: Column, key: bytes) -> bytes | None:
        self._check_open()
        return self._rows[column].get(key)

    def get_many(self, column: Column, keys: Sequence[bytes]) -> list[bytes | None]:
        self._check_open()
        rows = self._rows[column]
        return [rows.get(key) for key in keys]

    def scan(
        self, column: Column, start: bytes, stop: bytes | None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        self._check_open()
        keys, rows = self._keys[column], self._rows[column]
        low = bisect_left(keys, start)
        high = len(keys) if stop is None else bisect_left(keys, stop)
        found = [(key, rows[key]) for key in islice(keys, low, max(low, high))]
        return iter(found[::-1] if reverse else found)

    def checkpoint(self, path: Path) -> None:
        """One JSON file of hex rows: enough to see what a checkpoint held."""
        self._check_open()
        path.mkdir(parents=True)
        rows = {c.name: {k.hex(): v.hex() for k, v in self._rows[c].items()} for c in Column}
        (path / "rows.json").write_text(json.dumps(rows))

    def usage(self) -> dict[str, int]:
        total = sum(len(k) + len(v) for rows in self._rows.values() for k, v in rows.items())
        return {"memtables_bytes": total}

    def close(self) -> None:
        self._closed = True

    def _apply(self, writes: list[_Write]) -> None:
        for column, key, value in writes:
            rows = self._rows[column]
            if value is None:
                if rows.pop(key, None) is not None:
                    keys = self._keys[column]
                    del keys[bisect_left(keys, key)]
            else:
                if key not in rows:
                    insort(self._keys[column], key)
                rows[key] = value

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("the store is closed")

    def _check(self) -> None:
        self._check_open()
        if self.full:
            self.trouble = "no space left; writes are refused until there is some"
            raise StoreFull(self.trouble)
