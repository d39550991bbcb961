"""RocksDB behind `Store`, through rocksdict in raw mode. The only file that imports it.

rocksdict holds the GIL in `put`, `write` and iterators even while they fsync; `flush_wal(True)` releases it. So a
commit never syncs: it is on the loop's thread and costs no disk wait, and `sync` runs in a thread of its own.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, cast

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    Checkpoint,
    DbClosedError,
    DBCompressionType,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
)

from mycelium.config import (
    BLOCK_CACHE_BYTES,
    DISK_RESERVE_BYTES,
    MEMTABLE_BYTES,
    MEMTABLES_TOTAL_BYTES,
    WAL_TOTAL_BYTES,
)
from mycelium.config.database import MEMTABLE_SMALL_BYTES
from mycelium.database.store import Column
from mycelium.errors import StoreClosed, StoreCorrupt, StoreError, StoreForeign, StoreFull, StoreLocked

log = logging.getLogger(__name__)

_COLUMNS = {column: "default" if column is Column.META else column.name.lower() for column in Column}
_REOPEN_BYTES = 4 * 1024 * 1024
"""Free space below which opening again after a full disk would only fail again, and take the reads with it."""
MARKER = "MYCELIUM"
"""A file by which a data directory is known to be ours, before RocksDB is asked to open it."""
_VERIFY_STEP = 10_000
_SPACE_CHECK_BYTES = 8 * 1024 * 1024


def _free_bytes(path: Path) -> int:
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize


class RocksStore:
    """A data directory. One process at a time has it open (RocksDB's LOCK file)."""

    def __init__(self, path: Path, *, reserve_bytes: int = DISK_RESERVE_BYTES) -> None:
        """Open or create. StoreLocked, StoreForeign, StoreCorrupt, StoreFull; nothing is written on any of them."""
        self.path = path
        self._reserve_bytes = reserve_bytes
        self._since_check_bytes = 0
        self._full = False
        self.trouble = ""
        self._thread = threading.get_ident()
        self._db: Rdict | None = None
        self._families: dict[Column, Rdict] = {}
        self._handles: list[Any] = []
        existing = inspect(path)
        if not existing and _free_bytes(_existing_parent(path)) < reserve_bytes:
            raise StoreFull(f"{path}: less than {reserve_bytes >> 20} MiB free; free some space")
        self._open()

    def _open(self) -> None:
        mark(self.path)
        cache = Cache(BLOCK_CACHE_BYTES)
        buffers = WriteBufferManager(MEMTABLES_TOTAL_BYTES, False)
        options = {column: _options(column, cache, buffers) for column in Column}
        try:
            db = Rdict(
                str(self.path),
                options[Column.META],
                column_families={_COLUMNS[c]: options[c] for c in Column if c is not Column.META},
            )
        except Exception as error:  # noqa: BLE001  rocksdict raises plain Exception for every failure
            raise _translate(error, self.path) from None
        self._families = {c: db if c is Column.META else db.get_column_family(_COLUMNS[c]) for c in Column}
        self._handles = [db.get_column_family_handle(_COLUMNS[c]) for c in Column]
        self._db = db

    def column(self, column: Column) -> Any:
        self._require()
        return self._handles[column]

    def batch(self) -> WriteBatch:
        """After a full disk this opens the store again, so take column handles after it: one that is held keeps
        the directory locked."""
        if self._full:
            self._check_space()
        return WriteBatch(raw_mode=True)

    def commit(self, batch: WriteBatch, /) -> None:
        self._since_check_bytes += batch.size_in_bytes()
        if self._since_check_bytes > _SPACE_CHECK_BYTES and not self._full:
            self._check_space()
        try:
            self._require().write(batch)
        except Exception as error:  # noqa: BLE001
            raise self._failed(error) from None
        self.trouble = ""

    def sync(self) -> None:
        try:
            self._require().flush_wal(True)
        except Exception as error:  # noqa: BLE001
            raise self._failed(error) from None

    def _check_space(self) -> None:
        """Refuse before RocksDB meets a full disk; reopen once after it did."""
        if _free_bytes(self.path) < max(self._reserve_bytes, _REOPEN_BYTES if self._full else 0):
            raise self._failed(
                StoreFull(
                    f"{self.path}: less than {max(self._reserve_bytes, _REOPEN_BYTES) >> 20} MiB free; "
                    "writes are refused until there is more"
                ),
                full=self._full,
            )
        # Not before: while space is short, every commit looks again.
        self._since_check_bytes = 0
        if self._full:
            # RocksDB stays read-only after a failed write; opening it again replays the log and clears that.
            self._release()
            # The errors of the refused writes hold their frames, and these hold handles, in cycles.
            gc.collect()
            try:
                self._open()
            except StoreLocked:
                # A scan under way, or the thread that syncs, still holds it. The next use tries again.
                raise StoreFull(
                    f"{self.path}: the disk was full and the store could not be opened again yet"
                ) from None
            self._full = False

    def _require(self) -> Rdict:
        if self._db is None and self._full and threading.get_ident() == self._thread:
            self._check_space()
        if self._db is None:
            if self._full:
                raise StoreFull(f"{self.path}: the disk was full and the store could not be opened again yet")
            raise StoreClosed(f"{self.path}: the store is closed")
        return self._db

    def _family(self, column: Column) -> Rdict:
        self._require()
        return self._families[column]

    def _failed(self, error: Exception, *, full: bool = True) -> StoreError:
        """full: whether RocksDB itself met a full disk, where that is what the error says."""
        translated = _translate(error, self.path)
        if isinstance(translated, StoreFull):
            self._full = full
        self.trouble = str(translated)
        return translated

    def get(self, column: Column, key: bytes) -> bytes | None:
        try:
            found: bytes | None = self._family(column).get(key)
        except Exception as error:  # noqa: BLE001
            raise _translate(error, self.path) from None
        return found

    def get_many(self, column: Column, keys: Sequence[bytes]) -> list[bytes | None]:
        try:
            found = self._family(column).get(list(keys))
        except Exception as error:  # noqa: BLE001
            raise _translate(error, self.path) from None
        return cast("list[bytes | None]", found)

    def scan(
        self, column: Column, start: bytes, stop: bytes | None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        options = ReadOptions()
        if stop is not None:
            options.set_iterate_upper_bound(stop)
        try:
            items = self._family(column).items(
                backwards=reverse, from_key=None if reverse else start, read_opt=options
            )
        except Exception as error:  # noqa: BLE001
            raise _translate(error, self.path) from None
        # rocksdict finds nothing when a lower bound is set beside `from_key`, so the end is found here.
        rows = cast("Iterator[tuple[bytes, bytes]]", items)
        found = takewhile(lambda row: row[0] >= start, rows) if reverse else rows
        return self._to_the_end(column, found, start, stop, options, reverse=reverse)

    def _to_the_end(
        self,
        column: Column,
        rows: Iterator[tuple[bytes, bytes]],
        start: bytes,
        stop: bytes | None,
        options: ReadOptions,
        *,
        reverse: bool,
    ) -> Iterator[tuple[bytes, bytes]]:
        """The rows, and StoreCorrupt where they end before their time.

        rocksdict's iterator ends alike at its last row and at a damaged block: only another one's status tells.
        RocksDB reads the upper bound where it lies and copies it not: `stop` must live as long as the rows do.
        """
        last = None
        for row in rows:
            last = row[0]
            yield row
        try:
            probe = self._family(column).iter(options)
            if last is not None:
                probe.seek(last)
                if probe.valid():
                    probe.prev() if reverse else probe.next()
            elif reverse:
                probe.seek_to_last()
            else:
                probe.seek(start)
            if not probe.valid():
                probe.status()
        except Exception as error:  # noqa: BLE001
            raise _translate(error, self.path) from None
        del stop

    def checkpoint(self, path: Path) -> None:
        if path.exists():
            raise StoreError(f"{path} exists; a backup goes to a new directory")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            Checkpoint(self._require()).create_checkpoint(str(path))
            mark(path)
        except Exception as error:  # noqa: BLE001
            shutil.rmtree(path, ignore_errors=True)
            raise _translate(error, path) from None

    def usage(self) -> dict[str, int]:
        sizes = {
            "memtables_bytes": sum(self._property(c, "rocksdb.cur-size-all-mem-tables") for c in Column),
            "files_bytes": sum(self._property(c, "rocksdb.total-sst-files-size") for c in Column),
            "blobs_bytes": sum(self._property(c, "rocksdb.total-blob-file-size") for c in Column),
            "compaction_pending_bytes": sum(
                self._property(c, "rocksdb.estimate-pending-compaction-bytes") for c in Column
            ),
        }
        sizes["disk_free_bytes"] = _free_bytes(self.path)
        return sizes

    def _property(self, column: Column, name: str) -> int:
        value: int | None = self._family(column).property_int_value(name)
        return value or 0

    def close(self) -> None:
        self._release()

    def _release(self) -> None:
        """Let go of the directory. Its lock is freed only when every family and handle is."""
        self._handles = []
        families, self._families = self._families, {}
        for family in families.values():
            try:
                family.close()
            except Exception as error:  # noqa: BLE001
                # After a failed write the last flush cannot succeed; what was synced is in the log all the same.
                log.warning("closing %s: %s", self.path, error)
        self._db = None


def verify(path: Path, each: Callable[[int], None] = lambda rows: None) -> int:
    """Read every row of a store that nobody has open, with its checksum; how many there are. Changes no data.

    each: called now and then with the rows read so far. Raises StoreCorrupt, StoreLocked, StoreForeign, StoreError.
    """
    options = Options(raw_mode=True)
    rows = 0
    try:
        names = Rdict.list_cf(str(path), options)
        db = Rdict(
            str(path),
            options,
            column_families={name: Options(raw_mode=True) for name in names if name != "default"},
            access_type=AccessType.read_only(False),
        )
        try:
            for name in names:
                reading = ReadOptions()
                reading.set_verify_checksums(True)
                family = db if name == "default" else db.get_column_family(name)
                found = family.iter(reading)
                found.seek_to_first()
                while found.valid():
                    found.value()
                    rows += 1
                    if rows % _VERIFY_STEP == 0:
                        each(rows)
                    found.next()
                # An iterator that meets damage is only at its end; its status says that it is not the rows' end.
                found.status()
        finally:
            db.close()
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001
        raise _translate(error, path) from None
    return rows


_BULK: Final = frozenset({Column.LIVE, Column.DEAD, Column.LOG})
"""Columns whose size is that of what people write; of the others every batch writes a few bytes."""


def _options(column: Column, cache: Cache, buffers: WriteBufferManager) -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_write_buffer_manager(buffers)
    options.set_write_buffer_size(MEMTABLE_BYTES if column in _BULK else MEMTABLE_SMALL_BYTES)
    # One thread writes: the concurrent memtable's arena would cost a third of every commit (measured).
    options.set_allow_concurrent_memtable_write(False)
    options.set_max_total_wal_size(WAL_TOTAL_BYTES)
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(4 * 1024 * 1024)
    options.set_bytes_per_sync(1024 * 1024)
    options.set_max_open_files(512)
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_cache_index_and_filter_blocks(True)
    table.set_bloom_filter(10, False)
    options.set_block_based_table_factory(table)
    # What is young is rewritten soon: compressing it would be work done twice.
    options.set_compression_per_level([DBCompressionType.none()] * 2 + [DBCompressionType.lz4()] * 5)
    if column is Column.LOG:
        # A batch is written once and never changed: as a blob it is not copied again by every compaction.
        options.set_enable_blob_files(True)
        options.set_min_blob_size(1024)
        options.set_blob_compression_type(DBCompressionType.none())
    return options


def _existing_parent(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def inspect(path: Path) -> bool:
    """True when `path` holds a store, False when one may be created there. StoreForeign otherwise."""
    if not path.exists():
        return False
    if not path.is_dir():
        raise StoreForeign(f"{path} is not a directory", "set data_dir to a directory")
    names = {entry.name for entry in path.iterdir()}
    if names and MARKER not in names:
        raise StoreForeign(
            f"{path} is not empty and holds no Mycelium store", "set data_dir to an empty or a new directory"
        )
    return "CURRENT" in names


def mark(path: Path) -> None:
    """Make a data directory, or claim an empty one, so that other files may be written there first. StoreError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        marker = path / MARKER
        if not marker.exists():
            marker.write_text("A Mycelium data directory. Only `mycelium` should touch what is in it.\n")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StoreFull(f"{path}: no space left on the device") from None
        raise StoreForeign(
            f"{path} cannot be written: {error.strerror}", "set data_dir to a directory of this user"
        ) from None


def _translate(error: Exception, path: Path) -> StoreError:
    """rocksdict's plain exceptions, by their text, as ours."""
    if isinstance(error, StoreError):
        return error
    text = str(error)
    if isinstance(error, DbClosedError) or "already closed" in text:
        return StoreClosed(f"{path}: the store is closed")
    if "lock" in text.lower() and ("LOCK" in text or "hold" in text):
        return StoreLocked(f"{path} is in use by another process", "stop that node, or set another data_dir")
    if "No space left" in text or os.strerror(errno.ENOSPC) in text or "Disk quota" in text:
        return StoreFull(f"{path}: no space left on the device; writes are refused until there is some")
    if "Permission denied" in text or "Read-only file system" in text:
        return StoreForeign(f"{path} cannot be written: {text}", "make it writable for this user")
    if "Corruption" in text or "Invalid argument" in text or "No such file" in text:
        return StoreCorrupt(
            f"{path} is damaged: {text}",
            "restore a backup with `mycelium restore`, or start with a new data_dir",
        )
    return StoreError(f"{path}: {text}")
