"""RocksDB reads a scan's upper bound from our memory: it must be kept for as long as the scan."""

from mycelium.database.rocks import RocksStore
from mycelium.database.store import Column


def test_an_upper_bound_that_nobody_else_holds(tmp_path):
    store = RocksStore(tmp_path / "data")
    try:
        batch, live = store.batch(), store.column(Column.LIVE)
        for number in range(6000):
            batch.put(b"a%06d" % number, b"v" * 200, live)
        store.commit(batch)
        rows = store.scan(Column.LIVE, b"a", b"".join([b"", b"b"]))
        # Objects of the bound's size, made meanwhile, take its place when it was freed.
        junk = [len(key).to_bytes(2, "big") + bytes([number % 256]) for number, (key, _) in enumerate(rows)]
        assert len(junk) == 6000
    finally:
        store.close()
