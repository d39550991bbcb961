"""Both stores behave alike; the one on disk survives, and says clearly why it does not open."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelium.database import rocks
from mycelium.database.memory import MemoryStore
from mycelium.database.rocks import RocksStore
from mycelium.database.store import Column, Store, after_prefix
from mycelium.errors import (
    ConfigError,
    StoreClosed,
    StoreCorrupt,
    StoreError,
    StoreForeign,
    StoreFull,
    StoreLocked,
)


@pytest.fixture(params=["memory", "rocks"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else RocksStore(tmp_path / "data")
    yield made
    made.close()


def write(store: Store, *writes: tuple[Column, bytes, bytes | None]) -> None:
    batch = store.batch()
    for column, key, value in writes:
        if value is None:
            batch.delete(key, store.column(column))
        else:
            batch.put(key, value, store.column(column))
    store.commit(batch)


def test_columns_are_apart(store: Store) -> None:
    for column in Column:
        write(store, (column, b"k", column.name.encode()))
    for column in Column:
        assert store.get(column, b"k") == column.name.encode()
        assert store.get_many(column, [b"k", b"absent"]) == [column.name.encode(), None]
    assert store.get_many(Column.LIVE, []) == []
    assert store.get(Column.LIVE, b"absent") is None


def test_later_writes_of_a_batch_win(store: Store) -> None:
    live = Column.LIVE
    write(
        store,
        (live, b"k", b"1"),
        (live, b"k", None),
        (live, b"k", b"2"),
        (live, b"gone", b"1"),
        (live, b"gone", None),
    )
    assert list(store.scan(live, b"", None)) == [(b"k", b"2")]


def test_scan_bounds(store: Store) -> None:
    keys = [b"a", b"a\0", b"ab", b"b", b"\xff", b"\xff\xff"]
    write(store, *((Column.LIVE, key, key) for key in keys))
    for start in [b"", *keys, b"zz"]:
        for stop in [None, *keys, b"zz"]:
            wanted = [key for key in sorted(keys) if start <= key and (stop is None or key < stop)]
            assert [key for key, _ in store.scan(Column.LIVE, start, stop)] == wanted
            assert [key for key, _ in store.scan(Column.LIVE, start, stop, reverse=True)] == wanted[::-1]


def test_a_scan_is_as_of_its_call(store: Store) -> None:
    write(store, *((Column.LIVE, b"%d" % n, b"old") for n in range(5)))
    found = store.scan(Column.LIVE, b"", None)
    write(store, (Column.LIVE, b"0", b"new"), (Column.LIVE, b"9", b"new"), (Column.LIVE, b"4", None))
    assert [value for _, value in found] == [b"old"] * 5


def test_a_checkpoint_goes_to_a_new_directory(store: Store, tmp_path: Path) -> None:
    write(store, (Column.LIVE, b"k", b"v"))
    store.checkpoint(tmp_path / "deep" / "copy")
    assert (tmp_path / "deep" / "copy").is_dir()
    with pytest.raises((StoreError, FileExistsError)):
        store.checkpoint(tmp_path / "deep" / "copy")
    assert store.usage()["memtables_bytes"] > 0


@given(st.binary(max_size=6))
def test_after_prefix(prefix: bytes) -> None:
    after = after_prefix(prefix)
    rng = random.Random(prefix)
    for _ in range(5):
        longer = prefix + rng.randbytes(rng.randrange(4))
        assert after is None or longer < after
    if after is not None:
        assert after > prefix
        assert not after.startswith(prefix) or prefix == b""
    else:
        assert prefix.strip(b"\xff") == b""


writes = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from([Column.LIVE, Column.LOG]),
            st.sampled_from([b"a", b"ab", b"b"]),
            st.none() | st.binary(max_size=3),
        ),
        max_size=4,
    ),
    max_size=8,
)


@settings(max_examples=15)
@given(writes)
def test_the_memory_store_is_an_oracle_of_the_one_on_disk(
    tmp_path_factory: pytest.TempPathFactory, script: list[list[tuple[Column, bytes, bytes | None]]]
) -> None:
    disk, memory = RocksStore(tmp_path_factory.mktemp("store") / "data"), MemoryStore()
    for some in script:
        write(disk, *some)
        write(memory, *some)
    for column in (Column.LIVE, Column.LOG):
        assert list(disk.scan(column, b"", None)) == list(memory.scan(column, b"", None))
    disk.close()


# --- the one on disk --------------------------------------------------------------------------------------


def test_reopening_and_opening_a_checkpoint(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "data")
    write(store, (Column.LIVE, b"k", b"v"), (Column.LOG, b"big", os.urandom(100_000)))
    store.sync()
    store.checkpoint(tmp_path / "copy")
    write(store, (Column.LIVE, b"k", b"later"))
    store.close()
    for path, value in ((tmp_path / "data", b"later"), (tmp_path / "copy", b"v")):
        again = RocksStore(path)
        assert again.get(Column.LIVE, b"k") == value
        assert len(again.get(Column.LOG, b"big") or b"") == 100_000
        again.close()


def test_in_use_by_another(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "data")
    with pytest.raises(StoreLocked, match=r"in use(.|\n)*another data_dir") as locked:
        RocksStore(tmp_path / "data")
    assert isinstance(locked.value, ConfigError)
    store.close()


def test_a_directory_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreForeign, match="not empty"):
        RocksStore(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(StoreForeign, match="not a directory"):
        RocksStore(tmp_path / "notes.txt")


def test_a_rocksdb_of_another_program(tmp_path: Path) -> None:
    from rocksdict import Rdict

    Rdict(str(tmp_path / "db")).close()
    before = {path.name for path in (tmp_path / "db").iterdir()}
    with pytest.raises(StoreForeign, match="no Mycelium store"):
        RocksStore(tmp_path / "db")
    assert {path.name for path in (tmp_path / "db").iterdir()} == before


@pytest.mark.parametrize("victim", ["CURRENT", "MANIFEST", "sst"])
def test_damage(tmp_path: Path, victim: str) -> None:
    store = RocksStore(tmp_path / "data")
    write(store, (Column.LIVE, b"k", b"v"))
    store.checkpoint(tmp_path / "copy")
    store.close()
    shutil.rmtree(tmp_path / "data")
    target = tmp_path / "copy"
    for path in target.iterdir():
        if path.name.startswith(victim) or path.suffix == "." + victim:
            path.write_bytes(b"garbage\n" * 3)
    with pytest.raises(StoreCorrupt, match=r"damaged(.|\n)*restore"):
        RocksStore(target).get(Column.LIVE, b"k")


def test_a_closed_store(store: Store) -> None:
    store.close()
    with pytest.raises(StoreClosed):
        store.get(Column.LIVE, b"k")


def test_too_little_space_refuses_and_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [10**12]
    monkeypatch.setattr(rocks, "_free_bytes", lambda _path: free[0])
    monkeypatch.setattr(rocks, "_SPACE_CHECK_BYTES", 0)
    store = RocksStore(tmp_path / "data")
    write(store, (Column.LIVE, b"k", b"1"))
    free[0] = 1000
    with pytest.raises(StoreFull, match="refused until"):
        write(store, (Column.LIVE, b"k", b"2"))
    assert store.get(Column.LIVE, b"k") == b"1"
    free[0] = 10**12
    write(store, (Column.LIVE, b"k", b"3"))
    assert store.get(Column.LIVE, b"k") == b"3"
    store.close()
    free[0] = 1000
    with pytest.raises(StoreFull):
        RocksStore(tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """A file system of 24 MiB, where the tests may mount one."""
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=24m tmpfs {path} 2>/dev/null") != 0:
        pytest.skip("mounting a small file system needs privileges")
    yield lambda: path
    os.system(f"umount -l {path}")


def test_a_really_full_disk_refuses_and_recovers(small_disk: Callable[[], Path]) -> None:
    """Without the reserve, RocksDB itself runs out of space in the middle of a write."""
    disk = small_disk()
    store = RocksStore(disk / "data", reserve_bytes=0)
    ballast = disk / "ballast"
    written = 0
    with ballast.open("wb") as file, pytest.raises(OSError, match="No space"):
        for _ in range(1000):
            file.write(bytes(100_000))
            file.flush()
    with pytest.raises(StoreFull, match="no space"):
        for written in range(1000):
            write(store, (Column.LIVE, b"%d" % written, os.urandom(50_000)))
            store.sync()
    for _ in range(3):
        with pytest.raises(StoreFull):
            write(store, (Column.LIVE, b"more", os.urandom(200_000)))
    ballast.unlink()
    write(store, (Column.LIVE, b"after", b"1"))
    store.sync()
    for number in range(written):
        assert store.get(Column.LIVE, b"%d" % number) is not None
    store.close()
    again = RocksStore(disk / "data", reserve_bytes=0)
    assert again.get(Column.LIVE, b"after") == b"1"
    again.close()


# --- the one in memory ------------------------------------------------------------------------------------


def test_a_crash_loses_what_was_not_synced_from_the_end() -> None:
    store = MemoryStore()
    for number in range(4):
        write(store, (Column.LIVE, b"%d" % number, b""))
        if number == 1:
            store.sync()
    after = store.crash(lost=1)
    assert [key for key, _ in after.scan(Column.LIVE, b"", None)] == [b"0", b"1", b"2"]
    with pytest.raises(StoreClosed):
        store.get(Column.LIVE, b"0")
    assert [key for key, _ in after.crash().scan(Column.LIVE, b"", None)] == [b"0", b"1", b"2"]
