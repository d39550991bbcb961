"""Epochs and times on disk: kept over a restart, a set once, and damage said with its remedy."""

from __future__ import annotations

import dataclasses
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metagraph.epochkit import BLOCKS, epoch, hash_of, reading, time_of

from mycelium.config import EPOCH_TIMES_CACHED_MAX, EPOCHS_CACHED_MAX
from mycelium.errors import StoreCorrupt, StoreError, StoreFull
from mycelium.metagraph.epochfile import EpochFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "epochs.sqlite"


def test_what_was_kept_is_there_after_a_restart(path):
    first = EpochFile(path, BLOCKS)
    first.keep(reading(3, 1, 2, policy=b"p" * 32), 3 * BLOCKS)
    first.keep_times({31: 5})
    first.close()
    again = EpochFile(path, 99)
    assert again.epoch_blocks == BLOCKS
    assert again.epoch(3) == epoch(3, 1, 2, policy=b"p" * 32)
    assert again.newest() == (epoch(3, 1, 2, policy=b"p" * 32), hash_of(3 * BLOCKS))
    assert (again.block_time_ms(30), again.block_time_ms(31), again.block_time_ms(32)) == (
        time_of(30),
        5,
        None,
    )
    assert again.epoch(4) is None
    again.close()
    again.close()


def test_an_empty_one_knows_nothing():
    empty = EpochFile(None, BLOCKS)
    assert (empty.newest(), empty.nearest(5), empty.epoch(0), empty.block_time_ms(0)) == (
        None,
        None,
        None,
        None,
    )
    assert (empty.block_time_ms(2**64 - 1), empty.epoch(2**64 - 1), empty.epoch(-1)) == (None, None, None)
    empty.close()


def test_the_length_of_epochs_is_fixed_by_the_first_one(path):
    """Of a file that holds none it is what is asked for: a start that failed has decided nothing."""
    for blocks in (BLOCKS + 1, BLOCKS):
        file = EpochFile(path, blocks)
        file.keep_times({3: 4})
        assert file.epoch_blocks == blocks
        file.close()
    file = EpochFile(path, BLOCKS)
    file.keep(reading(1, 5), BLOCKS)
    file.close()
    again = EpochFile(path, BLOCKS + 1)
    assert again.epoch_blocks == BLOCKS
    again.close()


@pytest.mark.parametrize("statement", range(11))
def test_killed_while_it_is_made_it_is_made_at_the_next_start(path, monkeypatch, statement):
    """Ended before its n-th statement, the file is as if nothing had been, or whole."""

    class Killed(BaseException):
        pass

    class Connection(sqlite3.Connection):
        left = statement

        def execute(self, *arguments):
            if not Connection.left:
                raise Killed
            Connection.left -= 1
            return super().execute(*arguments)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kw: connect(*args, factory=Connection, **kw))
    with pytest.raises(Killed):
        EpochFile(path, BLOCKS)
    monkeypatch.undo()
    again = EpochFile(path, BLOCKS + 1)
    assert again.epoch_blocks == BLOCKS + 1
    again.keep(reading(1, 5), BLOCKS + 1)
    again.close()


def test_a_file_without_the_length_of_its_epochs_is_said(path):
    EpochFile(path, BLOCKS).close()
    with sqlite3.connect(path) as db:
        db.execute("delete from meta")
    db.close()
    with pytest.raises(StoreCorrupt, match=r"(?s)length of its epochs is missing.*remove the file"):
        EpochFile(path, BLOCKS)


def test_a_foreign_lock_is_not_waited_for(path):
    file = EpochFile(path, BLOCKS)
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("begin exclusive")
    with pytest.raises(StoreError, match="locked"):
        file.keep_times({1: 2})
    foreign.execute("rollback")
    foreign.close()
    file.keep_times({1: 3})
    assert file.block_time_ms(1) == 3
    file.close()


def test_an_epoch_and_the_time_of_its_first_block_are_kept_together(path):
    file = EpochFile(path, BLOCKS)
    with pytest.raises(OverflowError):
        file.keep(dataclasses.replace(reading(1, 5), time_ms=2**63), BLOCKS)
    assert (file.epoch(1), file.newest()) == (None, None)
    file.close()


@given(st.sets(st.integers(0, 40), min_size=1, max_size=12), st.integers(0, 40))
def test_the_nearest_is_the_one_before_or_else_the_one_after(numbers, asked):
    file = EpochFile(None, BLOCKS)
    for number in numbers:
        file.keep(reading(number, number), number * BLOCKS)
    before = [number for number in numbers if number < asked]
    after = [number for number in numbers if number > asked]
    expected = max(before) if before else min(after) if after else None
    found = file.nearest(asked)
    assert (None if found is None else found.number) == expected
    file.close()


def test_equal_sets_are_stored_once(path):
    file = EpochFile(path, BLOCKS)
    for number in range(2 * EPOCHS_CACHED_MAX):
        file.keep(reading(number, 1, 2, 3), number * BLOCKS)
    assert all(file.epoch(number) == epoch(number, 1, 2, 3) for number in range(2 * EPOCHS_CACHED_MAX))
    file.close()
    with sqlite3.connect(path) as db:
        assert db.execute("select count(*) from sets").fetchone() == (1,)
    db.close()


def test_memory_is_bounded_and_the_disk_answers_for_the_rest():
    file = EpochFile(None, BLOCKS)
    file.keep_times({block: block + 1 for block in range(EPOCH_TIMES_CACHED_MAX + 100)})
    assert len(file._times) <= EPOCH_TIMES_CACHED_MAX
    assert file.block_time_ms(0) == 1
    for number in range(EPOCHS_CACHED_MAX + 20):
        file.keep(reading(number, number + 1), number * BLOCKS)
        assert file.epoch(number) == epoch(number, number + 1)
    assert len(file._epochs) <= EPOCHS_CACHED_MAX
    assert len(file._sets) <= EPOCHS_CACHED_MAX
    assert file.epoch(0) == epoch(0, 1)
    file.close()


def test_garbage_is_said_with_its_remedy(path):
    path.write_bytes(b"no database at all, but long enough to be looked at" * 40)
    with pytest.raises(StoreCorrupt, match=r"(?s)epochs\.sqlite.*remove the file"):
        EpochFile(path, BLOCKS)


def test_a_place_where_it_cannot_be_is_said(tmp_path):
    with pytest.raises(StoreError, match="unable to open"):
        EpochFile(tmp_path / "nowhere" / "epochs.sqlite", BLOCKS)


def test_another_format_is_said(path):
    with sqlite3.connect(path) as db:
        db.execute("pragma user_version=7")
    db.close()
    with pytest.raises(StoreCorrupt, match="format 7"):
        EpochFile(path, BLOCKS)


def test_a_changed_member_set_is_not_believed(path):
    file = EpochFile(path, BLOCKS)
    file.keep(reading(1, 5), BLOCKS)
    file.close()
    with sqlite3.connect(path) as db:
        db.execute("update sets set members = x'90'")
    db.close()
    again = EpochFile(path, BLOCKS)
    with pytest.raises(StoreCorrupt, match="changed"):
        again.epoch(1)
    again.close()


def test_a_full_disk_changes_nothing(path):
    file = EpochFile(path, BLOCKS)
    file.keep(reading(1, 5), BLOCKS)
    file._db.execute("pragma max_page_count=1")
    with pytest.raises(StoreFull):
        for block in range(100_000):
            file.keep_times({10**9 + block * 1000 + one: one for one in range(1000)})
    assert file.epoch(1) == epoch(1, 5)
    file._db.execute("pragma max_page_count=100000")
    file.keep(reading(2, 5), 2 * BLOCKS)
    assert file.newest()[0].number == 2
    file.close()
