"""A store with a damaged block: whatever reads over it says so, and takes the rows before it not for all there are."""

from __future__ import annotations

import pytest

from mycelium.database.rocks import RocksStore
from mycelium.database.store import Column
from mycelium.errors import StoreCorrupt

ROWS = 2_000


@pytest.fixture
def damaged(tmp_path):
    """A store of which one bit in the middle of its rows is another."""
    store = RocksStore(tmp_path / "data")
    write = store.batch()
    for number in range(ROWS):
        write.put(b"%06d" % number, bytes([number % 251]) * 200, store.column(Column.LIVE))
    store.commit(write)
    store._families[Column.LIVE].flush()
    store.close()
    (table,) = [path for path in (tmp_path / "data").glob("*.sst") if path.stat().st_size > ROWS * 100]
    data = bytearray(table.read_bytes())
    data[len(data) // 2] ^= 1
    table.write_bytes(data)
    store = RocksStore(tmp_path / "data")
    yield store
    store.close()


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
def test_a_scan_that_ends_at_damage_says_so(damaged, reverse):
    seen = []
    with pytest.raises(StoreCorrupt):
        seen.extend(damaged.scan(Column.LIVE, b"", None, reverse=reverse))
    assert len(seen) < ROWS


def test_a_scan_that_begins_in_damage_says_so(damaged):
    found = 0
    for number in range(0, ROWS, 10):
        try:
            found += len(list(damaged.scan(Column.LIVE, b"%06d" % number, b"%06d" % (number + 1))))
        except StoreCorrupt:
            break
    else:
        pytest.fail(f"{found} rows and no damage")


def test_scans_of_whole_stores_and_of_nothing_end_quietly(tmp_path):
    store = RocksStore(tmp_path / "data")
    assert list(store.scan(Column.LIVE, b"", None)) == []
    assert list(store.scan(Column.LIVE, b"", None, reverse=True)) == []
    write = store.batch()
    for number in range(10):
        write.put(b"%d" % number, b"v", store.column(Column.LIVE))
    store.commit(write)
    for reverse in (False, True):
        assert len(list(store.scan(Column.LIVE, b"3", b"7", reverse=reverse))) == 4
        assert list(store.scan(Column.LIVE, b"a", b"b", reverse=reverse)) == []
    rows = store.scan(Column.LIVE, b"", None)
    assert next(rows)[0] == b"0"
    write = store.batch()
    write.put(b"99", b"new", store.column(Column.LIVE))
    store.commit(write)
    assert len(list(rows)) == 9, "as of the call"
    store.close()
