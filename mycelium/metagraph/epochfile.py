"""The epochs and block times that a node has seen, kept in its data directory.

One SQLite file. A member set is stored once however many epochs have it. Losing the file loses nothing that the chain
does not know, but an archive node must be asked for what others have discarded; so a damaged one is not removed
silently. What a crash of the machine takes is read again. Implements `tracker.Archive`; believes what it is given.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from mycelium import sqlitefile
from mycelium.config import EPOCH_TIMES_CACHED_MAX, EPOCHS_CACHED_MAX
from mycelium.errors import StoreCorrupt, StoreError, StoreFull
from mycelium.identity.keys import digest
from mycelium.metagraph import reading as readings
from mycelium.metagraph.membership import Epoch, Member
from mycelium.metagraph.reading import Reading
from mycelium.sqlitefile import transaction

NAME: Final = "epochs.sqlite"
_FORMAT: Final = 1
_SCHEMA: Final = (
    "create table meta(name text primary key, value integer not null) without rowid",
    "create table sets(digest blob primary key, members blob not null) without rowid",
    "create table epochs(number integer primary key, block_hash text not null, digest blob not null, policy blob)",
    "create table times(block integer primary key, time_ms integer not null)",
    f"pragma user_version={_FORMAT}",
)
_SET_BLOCKS: Final = "insert or replace into meta values('epoch_blocks', ?)"
_SET_TIME: Final = "insert or replace into times values(?, ?)"


def _storable(number: int) -> bool:
    """From the wire come numbers that no SQLite integer holds."""
    return 0 <= number < 2**63


class EpochFile:
    """`path`: the file, made when it is not there; None keeps everything in memory. One thread uses it.

    epoch_blocks: the length of its epochs; of a file that holds one already, whatever it was begun with.
    Raises StoreCorrupt, StoreFull, StoreError.
    """

    def __init__(self, path: Path | None, epoch_blocks: int) -> None:
        self.path = path
        self._epochs: OrderedDict[int, Epoch] = OrderedDict()
        self._times: OrderedDict[int, int] = OrderedDict()
        self._sets: OrderedDict[bytes, Mapping[bytes, Member]] = OrderedDict()
        with self._said():
            self._db = sqlitefile.connect(path)
        try:
            with self._said():
                self.epoch_blocks = self._open(epoch_blocks)
        except BaseException:
            self._db.close()
            raise

    def _open(self, epoch_blocks: int) -> int:
        version = self._db.execute("pragma user_version").fetchone()[0]
        if version not in {0, _FORMAT}:
            raise StoreCorrupt(
                f"{self.path} has format {version}; this version reads format {_FORMAT}",
                "run the version that wrote it, or remove the file: it is read from the chain again",
            )
        if version == 0:
            # All of it or nothing: killed in between, the next start finds no file that lacks a part.
            with transaction(self._db):
                for statement in _SCHEMA:
                    self._db.execute(statement)
                self._db.execute(_SET_BLOCKS, (epoch_blocks,))
        kept = self._db.execute("select value from meta where name='epoch_blocks'").fetchone()
        if kept is None:
            raise self._corrupt("the length of its epochs is missing")
        if kept[0] != epoch_blocks and self._db.execute("select 1 from epochs limit 1").fetchone() is None:
            self._db.execute(_SET_BLOCKS, (epoch_blocks,))
            return epoch_blocks
        return int(kept[0])

    # --- epochs -----------------------------------------------------------------------------------------

    def epoch(self, number: int) -> Epoch | None:
        """A known epoch."""
        found = self._epochs.get(number)
        if found is not None:
            self._epochs.move_to_end(number)
            return found
        if not _storable(number):
            return None
        with self._said():
            row = self._db.execute(
                "select number, digest, policy from epochs where number=?", (number,)
            ).fetchone()
        return None if row is None else self._epoch(row)

    def nearest(self, number: int) -> Epoch | None:
        """The known epoch before this one, or else the first one after it; never this one."""
        before = "select number, digest, policy from epochs where number<? order by number desc limit 1"
        after = "select number, digest, policy from epochs where number>? order by number limit 1"
        with self._said():
            for question in (before, after):
                row = self._db.execute(question, (number,)).fetchone()
                if row is not None:
                    return self._epoch(row)
        return None

    def newest(self) -> tuple[Epoch, str] | None:
        """The newest known epoch, and the hash of its first block."""
        with self._said():
            row = self._db.execute(
                "select number, digest, policy, block_hash from epochs order by number desc limit 1"
            ).fetchone()
        return None if row is None else (self._epoch(row[:3]), row[3])

    def keep(self, reading: Reading, first_block: int) -> None:
        """Remember an epoch for good."""
        epoch = reading.epoch
        encoded = readings.encode(epoch.members)
        name = digest(encoded)
        times = {} if reading.time_ms is None else {first_block: reading.time_ms}
        with self._said(), transaction(self._db):
            self._db.execute("insert or ignore into sets values(?, ?)", (name, encoded))
            self._db.execute(
                "insert or replace into epochs values(?, ?, ?, ?)",
                (epoch.number, reading.block_hash, name, epoch.policy),
            )
            self._db.executemany(_SET_TIME, times.items())
        self._epochs.pop(epoch.number, None)
        self._remember_times(times)

    # --- times ------------------------------------------------------------------------------------------

    def block_time_ms(self, block: int) -> int | None:
        """The known time of a block."""
        found = self._times.get(block)
        if found is not None:
            return found
        if not _storable(block):
            return None
        with self._said():
            row = self._db.execute("select time_ms from times where block=?", (block,)).fetchone()
        if row is None:
            return None
        self._remember_times({block: row[0]})
        return int(row[0])

    def keep_times(self, times_ms: Mapping[int, int]) -> None:
        """Remember the times of blocks for good."""
        with self._said(), transaction(self._db):
            self._db.executemany(_SET_TIME, times_ms.items())
        self._remember_times(times_ms)

    def _remember_times(self, times_ms: Mapping[int, int]) -> None:
        self._times.update(times_ms)
        while len(self._times) > EPOCH_TIMES_CACHED_MAX:
            self._times.popitem(last=False)

    # --- inside -----------------------------------------------------------------------------------------

    def _epoch(self, row: tuple[int, bytes, bytes | None]) -> Epoch:
        number, name, policy = row
        epoch = Epoch(number, self._members(name), policy)
        self._epochs[number] = epoch
        if len(self._epochs) > EPOCHS_CACHED_MAX:
            self._epochs.popitem(last=False)
        return epoch

    def _members(self, name: bytes) -> Mapping[bytes, Member]:
        found = self._sets.get(name)
        if found is None:
            row = self._db.execute("select members from sets where digest=?", (name,)).fetchone()
            if row is None or digest(row[0]) != name:
                raise self._corrupt("a member set is missing or changed")
            found = self._sets[name] = MappingProxyType(readings.decode(row[0]))
            if len(self._sets) > EPOCHS_CACHED_MAX:
                self._sets.popitem(last=False)
        return found

    @contextmanager
    def _said(self) -> Iterator[Any]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "full" in str(error):
                raise StoreFull(f"{self.path}: {error}") from None
            raise StoreError(f"{self.path}: {error}") from None
        except sqlite3.DatabaseError as error:
            raise self._corrupt(str(error)) from None

    def _corrupt(self, why: str) -> StoreCorrupt:
        return StoreCorrupt(
            f"{self.path}: {why}",
            "remove the file: it is read from the chain again (an archive endpoint must know the older epochs)",
        )

    def close(self) -> None:
        """Idempotent."""
        self._db.close()
