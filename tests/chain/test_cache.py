"""Metadata on disk: believed only when it is whole and the one asked for, bounded, and never needed."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from mycelium.chain.cache import MetadataCache, default_directory

GENESIS = bytes(range(32))
RAW = b"meta" + bytes(1000)


@pytest.fixture
def cache(tmp_path):
    return MetadataCache(tmp_path / "deep" / "metadata", files_max=3)


def the_file(cache):
    (path,) = cache.directory.glob("*.metadata")
    return path


def test_what_was_saved_is_loaded(cache):
    assert cache.load(GENESIS, 424, "0xcode") is None
    cache.save(GENESIS, 424, "0xcode", 77, RAW)
    assert cache.load(GENESIS, 424, "0xcode") == RAW
    assert the_file(cache).name == f"{GENESIS.hex()[:16]}-424-77.metadata"
    assert stat.S_IMODE(cache.directory.stat().st_mode) == 0o700
    assert MetadataCache(cache.directory).load(GENESIS, 424, "0xcode") == RAW


def test_another_runtime_is_another_file(cache):
    cache.save(GENESIS, 424, "0xcode", 77, RAW)
    assert cache.load(GENESIS, 425, "0xcode") is None
    assert cache.load(GENESIS, 42, "0xcode") is None
    assert cache.load(GENESIS, 424, "0xother") is None
    # The same sixteen digits are not the same chain.
    assert cache.load(GENESIS[:8] + bytes(24), 424, "0xcode") is None
    assert cache.load(GENESIS, 424, "0xcode") == RAW


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b"")


def no_json(path):
    path.write_bytes(b"{{{\n" + RAW)


def deep(path):
    path.write_bytes(b"[" * 100_000 + b"\n" + RAW)


def not_an_object(path):
    path.write_bytes(b"7\n" + RAW)


def huge(path):
    with path.open("r+b") as file:
        file.truncate(100 * 1024 * 1024)


@pytest.mark.parametrize("damage", [cut, flip, empty, no_json, deep, not_an_object, huge])
def test_a_damaged_file_is_told_of_and_removed(cache, damage, caplog):
    cache.save(GENESIS, 424, "0xcode", 77, RAW)
    path = the_file(cache)
    damage(path)
    assert cache.load(GENESIS, 424, "0xcode") is None
    assert "is fetched again" in caplog.text
    assert path.name in caplog.text
    assert not path.exists()
    cache.save(GENESIS, 424, "0xcode", 77, RAW)
    assert cache.load(GENESIS, 424, "0xcode") == RAW


def test_a_file_that_holds_something_else_is_passed_over(cache):
    cache.save(GENESIS, 424, "0xcode", 77, b"no metadata")
    assert cache.load(GENESIS, 424, "0xcode") is None


def test_the_oldest_files_go(cache):
    for number in range(6):
        cache.save(GENESIS, 400 + number, "", number, RAW)
        for age, path in enumerate(sorted(cache.directory.glob("*.metadata"))):
            os.utime(path, (1_000 + number + age, 1_000 + number + age))
    left = sorted(path.name.split("-")[1] for path in cache.directory.iterdir())
    assert left == ["403", "404", "405"]


def test_what_is_used_is_not_the_oldest(cache):
    for number in range(3):
        cache.save(GENESIS, 400 + number, "", number, RAW)
        os.utime(next(cache.directory.glob(f"*-{400 + number}-*")), (1_000 + number, 1_000 + number))
    assert cache.load(GENESIS, 400, "") == RAW
    cache.save(GENESIS, 403, "", 9, RAW)
    assert cache.load(GENESIS, 400, "") == RAW
    assert cache.load(GENESIS, 401, "") is None


def test_a_place_that_cannot_be_written_is_told_of_once(tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "file").write_text("not a directory")
    cache = MetadataCache(tmp_path / "file" / "metadata")
    for _ in range(3):
        cache.save(GENESIS, 424, "", 1, RAW)
    assert cache.load(GENESIS, 424, "") is None
    assert caplog.text.count("is not kept") == 1


def test_no_directory_keeps_nothing():
    cache = MetadataCache(None)
    cache.save(GENESIS, 424, "", 1, RAW)
    assert cache.load(GENESIS, 424, "") is None


def test_writers_at_once_leave_whole_files_and_nothing_else(cache):
    threads = [
        threading.Thread(target=lambda: [cache.save(GENESIS, 424, "", 1, RAW) for _ in range(20)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.suffix for path in cache.directory.iterdir()] == [".metadata"]
    assert cache.load(GENESIS, 424, "") == RAW


def test_where_it_is_by_default(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/where")
    assert default_directory() == Path("/some/where/mycelium/metadata")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/of/nobody")
    assert default_directory() == Path("/of/nobody/.cache/mycelium/metadata")

    def homeless():
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", homeless)
    assert default_directory() is None
