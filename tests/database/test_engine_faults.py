"""The engine under restarts, hostile origins and full disks."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import kit
import pytest
from kit import forge

from mycelium.config import GAPS_PER_ORIGIN_MAX, HELD_BYTES_MAX
from mycelium.database import rocks, rows
from mycelium.database.engine import Outcome
from mycelium.database.memory import MemoryStore
from mycelium.database.rocks import RocksStore
from mycelium.database.store import Column
from mycelium.database.vector import ZERO_DIGEST, Held, Origin, lacking
from mycelium.errors import MalformedMessage, ProtocolError, StoreError, StoreFull
from mycelium.protocol.messages import MergeType, Op

NOW = kit.NOW_MS


def tag(op: Op, key: str, payload: bytes):
    return kit.TABLES["tags"], op, key.encode(), payload


def test_a_removal_after_a_restart_removes() -> None:
    store = MemoryStore()
    writer = kit.engine("a", store)
    kit.write(writer, tag(Op.INSERT, "k", b"\0x"))
    again = kit.engine("a", store)
    dots = rows.observed(store, kit.TABLES["tags"], b"k", b"\0x")
    kit.write(again, tag(Op.REMOVE, "k", dots))
    assert rows.read(store, kit.TABLES["tags"], b"k") == []
    other = kit.engine("b")
    kit.exchange([again, other])
    assert kit.rows(store) == kit.rows(other._store)


def test_a_dead_dot_stays_dead_after_a_restart() -> None:
    a, b, store = kit.engine("a"), kit.engine("b"), MemoryStore()
    inserted = kit.write(a, tag(Op.INSERT, "k", b"\0x"))
    b.receive(inserted.batch.raw, inserted.signature, NOW)
    dots = rows.observed(b._store, kit.TABLES["tags"], b"k", b"\0x")
    removed = kit.write(b, tag(Op.REMOVE, "k", dots))
    c = kit.engine("c", store)
    c.receive(removed.batch.raw, removed.signature, NOW)
    c = kit.engine("c", store)
    c.receive(inserted.batch.raw, inserted.signature, NOW)
    assert rows.read(store, kit.TABLES["tags"], b"k") == []
    assert kit.rows(store) == kit.rows(b._store)


def test_the_last_sequence_number_of_all_is_not_taken() -> None:
    """Its successor would not fit the keys of the log."""
    author, reader = kit.engine("a"), kit.engine("b")
    with pytest.raises(MalformedMessage):
        reader.receive(*forge(author, seq_first=2**64 - 1, prev_digest=b"p" * 32), NOW)
    assert reader.vector("main") == {}


def test_holds_of_one_account_are_bounded_over_its_generations() -> None:
    author, reader = kit.engine("a"), kit.engine("b")
    block = kit.FixedAuthority().anchor(NOW)[1] + 10 * 365 * 7200
    values = [(0, int(Op.PUT), b"%d" % n, bytes(340_000)) for n in range(2)]
    held = 0
    for generation in range(1, 7):
        raw, signature = forge(
            author,
            values,
            generation=generation,
            epoch=block // kit.TEMPO,
            ref_block=block,
            hlc_first=(kit.GENESIS_MS + block * kit.BLOCK_MS) << 16,
        )
        held += len(raw) * (reader.receive(raw, signature, NOW) is Outcome.HELD)
    assert held <= 2 * HELD_BYTES_MAX


def test_undeclared_spaces_cost_nothing() -> None:
    """Each space that a writer names costs tables in memory that are never given up."""

    async def main() -> None:
        author, database = kit.engine("a"), kit.database("b")
        reader = database.engine
        for n in range(300):
            raw, signature = forge(author, space=f"s{n}", seq_first=1, prev_digest=ZERO_DIGEST)
            reader.receive(raw, signature, NOW)
        assert len(reader._logs) + len(reader._prefixes) < 100
        await database.close()

    asyncio.run(main())


def test_origins_of_one_account_are_bounded() -> None:
    author, reader = kit.engine("a"), kit.engine("b")
    for generation in range(1, 2001):
        raw, signature = forge(author, generation=generation, seq_first=1, prev_digest=ZERO_DIGEST)
        reader.receive(raw, signature, NOW)
    assert len(reader.vector("main")) < 1000


class CountingStore(MemoryStore):
    written = 0

    def commit(self, batch) -> None:
        self.written += sum(len(key) + len(value or b"") for _, key, value in batch.writes)
        super().commit(batch)


def test_gaps_do_not_multiply_what_is_written() -> None:
    author, store = kit.engine("a"), CountingStore()
    reader = kit.engine("b", store)
    sent = 0
    for n in range(GAPS_PER_ORIGIN_MAX + 200):
        made = kit.write(author, kit.put(f"k{n}"))
        if n >= 200 and n % 2:
            reader.receive(made.batch.raw, made.signature, NOW)
    for n in range(GAPS_PER_ORIGIN_MAX):
        made = kit.write(author, kit.put(f"m{n}"))
        if n % 2:
            reader.receive(made.batch.raw, made.signature, NOW)
    store.written = sent = 0
    records = list(author.log_records("main", author.origin, 1, 200))
    for _, raw, signature in records:
        sent += len(raw)
        assert reader.receive(raw, signature, NOW) is Outcome.APPLIED
    assert store.written < 20 * sent, (store.written, sent, store.written / len(records))


def test_lacking_is_linear_in_the_ranges_of_a_request() -> None:
    """A request of 1 MiB holds 60,000 ranges; against 1,024 of ours it took 0.7 s of the loop."""
    origin = Origin(bytes(32), 1)
    mine = {origin: Held(1, tuple((2 * n + 10_000_000, 2 * n + 10_000_000) for n in range(1024)))}
    theirs = {origin: Held(0, tuple((n * 2 + 5, n * 2 + 5) for n in range(60_000)))}
    begin = time.process_time()
    assert sum(1 for _ in lacking(mine, theirs)) == 1025
    assert time.process_time() - begin < 0.3


def test_lacking_agrees_with_sets() -> None:
    rng, origin = random.Random(7), Origin(bytes(32), 1)
    for _ in range(500):
        at, ranges = 3, []
        for _ in range(rng.randrange(5)):
            first = at + rng.randrange(1, 4)
            at = first + rng.randrange(4)
            ranges.append((first, at))
            at += 1
        mine = Held(rng.randrange(3), tuple(ranges))
        blocks = [
            (first, first + rng.randrange(8)) for first in rng.choices(range(1, 25), k=rng.randrange(6))
        ]
        theirs = Held(rng.randrange(4), tuple(blocks))
        wanted = {n for n in range(1, 40) if n in mine} - {n for n in range(1, 40) if n in theirs}
        found = [
            n for _, first, last in lacking({origin: mine}, {origin: theirs}) for n in range(first, last + 1)
        ]
        assert len(found) == len(set(found))
        assert set(found) == wanted


def test_after_the_clock_was_mended_writes_go_on_and_are_due_when_they_are() -> None:
    """The system clock was three hours ahead for a while; then it was set right."""
    hours = 3 * 3_600_000
    writer, reader = kit.engine("a"), kit.engine("b")
    kit.write(writer, kit.put("k"), now_ms=NOW + hours)
    after = kit.write(writer, kit.put("k", "after"), now_ms=NOW)
    for _, raw, signature in list(writer.log_records("main", writer.origin, 1, 2)):
        assert reader.receive(raw, signature, NOW) is Outcome.HELD
    assert reader.release(NOW + hours + 1) == 2
    assert kit.rows(reader._store) == kit.rows(writer._store)
    assert after.batch.seq_first == 2


def test_a_clock_that_the_chain_contradicts_is_named() -> None:
    class Chain(kit.FixedAuthority):
        def anchor(self, now_ms: int) -> tuple[int, int]:
            return super().anchor(NOW)

    with pytest.raises(StoreError, match="more than an hour apart"):
        kit.write(kit.engine("a", authority=Chain()), kit.put("k"), now_ms=NOW + 2 * 3_600_000)


def test_space_is_refused_while_it_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [10**12]
    monkeypatch.setattr(rocks, "_free_bytes", lambda _path: free[0])
    store = RocksStore(tmp_path / "data")
    engine = kit.engine("a", store)
    free[0] = 1000
    big = "x" * 200_000
    with pytest.raises(StoreFull):
        for n in range(100):
            kit.write(engine, kit.put(f"{n}", big))
    for n in range(3):
        with pytest.raises(StoreFull):
            kit.write(engine, kit.put(f"again{n}", big))
    store.close()


def test_the_engine_recovers_from_a_disk_that_was_full(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "data")
    engine = kit.engine("a", store)
    kit.write(engine, kit.put("before"))
    store._full = True  # as after a failed write
    refused = 0
    for _ in range(5):
        try:
            kit.write(engine, kit.put("after"))
            break
        except StoreError:
            refused += 1
    assert store.get(Column.LIVE, b"main\0scores\0\0after") is not None
    assert refused == 0
    store.close()


def test_the_engine_recovers_when_the_first_reopening_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RocksStore(tmp_path / "data")
    engine = kit.engine("a", store)
    kit.write(engine, kit.put("before"))
    store._full = True
    real, failures = store._open, [StoreFull("still no space")]

    def open_again() -> None:
        if failures:
            raise failures.pop()
        real()

    monkeypatch.setattr(store, "_open", open_again)
    for _ in range(5):
        try:
            kit.write(engine, kit.put("after"))
            break
        except StoreError:
            pass
    assert store.get(Column.LIVE, b"main\0scores\0\0after") is not None
    store.close()


def test_the_engine_recovers_while_a_scan_is_open(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "data")
    engine = kit.engine("a", store)
    for n in range(10):
        kit.write(engine, kit.put(f"{n}"))
    scan = store.scan(Column.LIVE, b"", None)
    next(scan)
    store._full = True
    for _ in range(3):
        try:
            kit.write(engine, kit.put("after"))
            break
        except StoreError:
            pass
    scan.close()
    del scan
    for _ in range(3):
        try:
            kit.write(engine, kit.put("after"))
            break
        except StoreError:
            pass
    assert store.get(Column.LIVE, b"main\0scores\0\0after") is not None
    store.close()


def test_a_table_named_twice_is_watched_whole() -> None:
    async def main() -> None:
        author, database = kit.engine("b"), kit.database("a")
        tables = [("scores", int(MergeType.LWW))] * 2
        changes = [(n, int(Op.PUT), b"k%d" % n, b"\0v") for n in range(2)]
        try:
            database.engine.receive(*forge(author, changes, tables=tables), NOW)
        except ProtocolError:
            return
        await database.table("scores").put("end", 1)
        seen = []
        async for change in database.table("scores").watch(after=0):
            seen.append(change.key)
            if change.key == "end":
                break
        await database.close()
        assert seen == ["k0", "k1", "end"]

    asyncio.run(main())


def test_no_payload_breaks_a_reader() -> None:
    from mycelium.database import value

    rng = random.Random(1)
    fixed = [
        b"\x81\x80\x01",
        b"\x81\x90\x01",
        b"\x81\x91\x80\x01",
        b"\xd6\xff\xff\xff\xff\xff",
        b"\xc7\x0c\xff" + b"\xff" * 12,
        b"\xa1\xff",
        b"\x81\xc4\x01a\x01",
        b"\x81\xa1\xff\x01",
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
    ]
    for payload in fixed + [rng.randbytes(rng.randrange(1, 24)) for _ in range(50_000)]:
        value.value_of(b"\x01" + payload)
