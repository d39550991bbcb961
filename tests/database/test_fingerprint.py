"""Fingerprints find every row that differs, and a row made anew from the log is what it was before it was damaged."""

from __future__ import annotations

import asyncio
import random

import kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelium.config import FINGERPRINT_PARTS, FINGERPRINT_ROWS_MAX
from mycelium.database import fingerprint, repair
from mycelium.database.fingerprint import Range, RowMark
from mycelium.database.memory import MemoryStore
from mycelium.database.schema import space_prefix
from mycelium.database.store import Column, after_prefix
from mycelium.identity import account as accounts
from mycelium.protocol.messages import Op

LOW, HIGH = space_prefix("main"), after_prefix(space_prefix("main"))
EVER = 2**47
TABLES = ("scores", "hits", "tags", "events", "profile")


def put(store: MemoryStore, column: Column, key: bytes, row: bytes | None) -> None:
    write = store.batch()
    if row is None:
        write.delete(key, store.column(column))
    else:
        write.put(key, row, store.column(column))
    store.commit(write)


def filled(rows: dict[tuple[int, bytes], bytes]) -> MemoryStore:
    store = MemoryStore()
    for (column, key), payload in rows.items():
        put(store, Column(column), LOW + key, bytes(56) + payload)
    return store


ROWS = st.dictionaries(
    st.tuples(st.sampled_from([0, 1]), st.binary(max_size=4)), st.binary(max_size=4), max_size=120
)


async def descend(left: MemoryStore, right: MemoryStore) -> set[bytes]:
    """As two nodes do it: `right` answers."""
    found: set[bytes] = set()
    waiting = [(LOW, HIGH)]
    while waiting:
        low, high = waiting.pop()
        ours = await fingerprint.fold(left, low, high, EVER)
        theirs = await fingerprint.fold(right, low, high, EVER)
        if ours == theirs:
            continue
        parts = await fingerprint.split(
            right, low, high, (await fingerprint.fold(right, low, high, EVER)).rows, EVER
        )
        if all(isinstance(part, RowMark) for part in parts):
            mine = await fingerprint.split(left, low, high, 0, EVER)
            found |= fingerprint.differing(mine, parts)
        else:
            assert 1 < len(parts) <= FINGERPRINT_PARTS
            assert parts[0].low == low
            assert parts[-1].high == high
            assert [part.high for part in parts[:-1]] == [part.low for part in parts[1:]]
            waiting += [(part.low, part.high) for part in parts]
    return found


@settings(deadline=None)
@given(ROWS, ROWS)
def test_what_differs_is_found_and_nothing_else(left, right):
    wanted = {LOW + at[1] for at in left.keys() | right.keys() if left.get(at) != right.get(at)}
    found = asyncio.run(descend(filled(left), filled(right)))
    if len(left) <= 2 * FINGERPRINT_ROWS_MAX:
        assert found == wanted
    assert found <= wanted


@settings(deadline=None)
@given(
    st.sets(st.binary(min_size=1, max_size=6), min_size=100, max_size=300), st.randoms(use_true_random=False)
)
def test_a_few_in_many(keys, rng):
    rows = {(0, key): key for key in keys}
    other = dict(rows)
    changed = set(rng.sample(sorted(keys), 3))
    for number, key in enumerate(sorted(changed)):
        if number == 0:
            del other[0, key]
        else:
            other[0, key] = b"another"
    assert asyncio.run(descend(filled(rows), filled(other))) == {LOW + key for key in changed}


def test_young_rows_are_left_out_and_damaged_ones_are_not():
    store = MemoryStore()
    for number, hlc_ms in enumerate((10, 20, 30)):
        put(store, Column.LIVE, LOW + bytes([number]), (hlc_ms << 16).to_bytes(8, "big") + bytes(60))
    put(store, Column.LIVE, LOW + b"torn", b"short")

    async def count(cutoff_ms: int) -> int:
        return (await fingerprint.fold(store, LOW, HIGH, cutoff_ms)).rows

    assert [asyncio.run(count(cutoff_ms)) for cutoff_ms in (5, 15, 25, 35)] == [1, 2, 3, 4]


def test_what_is_no_range_has_nothing_in_it():
    empty = asyncio.run(fingerprint.fold(MemoryStore(), LOW, HIGH, EVER))
    assert empty == Range(LOW, HIGH, 0, bytes(16))
    assert asyncio.run(fingerprint.split(MemoryStore(), LOW, HIGH, 0, EVER)) == []


# --- repair -----------------------------------------------------------------------------------------------


def written(seed: int):
    """An engine with rows of every kind, some removed and some overwritten."""
    rng = random.Random(seed)
    a, b = kit.engine("a"), kit.engine("b")
    for _ in range(30):
        author = rng.choice((a, b))
        changes = []
        for _ in range(rng.randrange(1, 6)):
            spec = kit.TABLES[rng.choice(TABLES)]
            key = f"k{rng.randrange(6)}".encode()
            if spec.name == "profile":
                key = accounts.format(author.origin.account).encode() + b"/" + key
            changes.append(change(rng, spec, key))
        kit.write(author, *[one for one in changes if one[0].space == changes[0][0].space])
    kit.exchange([a, b])
    return a


def change(rng, spec, key):
    if spec.name == "hits":
        return spec, Op.ADD, key, rng.randrange(-5, 5).to_bytes(8, "big", signed=True)
    if spec.name == "tags":
        return spec, Op.INSERT, key, b"\0" + bytes([rng.randrange(3)])
    if spec.name != "events" and rng.random() < 0.3:
        return spec, Op.DELETE, key, b""
    return spec, Op.PUT, key, b"\0" + rng.randbytes(3)


def state(store) -> tuple[list, list]:
    return kit.rows(store), kit.rows(store, Column.DEAD)


@pytest.mark.parametrize("seed", range(12))
def test_damaged_rows_are_made_anew(seed):
    engine = written(seed)
    rng, store = random.Random(seed + 1000), engine._store
    whole = state(store)
    damaged = set()
    for column in (Column.LIVE, Column.DEAD):
        for key, row in kit.rows(store, column):
            if rng.random() < 0.4 and key.startswith(LOW):
                damaged.add(key)
                other = bytearray(row)
                other[rng.randrange(len(other))] ^= 1 << rng.randrange(8)
                put(store, column, key, rng.choice((None, bytes(other), b"", row[:20])))
    invented = LOW + b"scores\0" + bytes([0]) + b"never written"
    put(store, Column.LIVE, invented, bytes(60))
    nonsense = LOW + b"no row key"
    put(store, Column.LIVE, nonsense, b"x")
    wrong = asyncio.run(engine.rederive("main", damaged | {invented, nonsense}))
    assert state(store) == whole
    assert wrong >= 2
    assert asyncio.run(engine.rederive("main", damaged | {invented})) == 0, "what is right stays"
    kit.write(engine, kit.put("k1", "after"))
    assert dict(kit.rows(store)) != dict(whole[0])


def test_what_is_written_meanwhile_is_not_lost():
    engine = written(3)
    spec = kit.TABLES["scores"]
    key = spec.prefix + b"k1"

    async def main():
        task = asyncio.create_task(engine.rederive("main", {key}))
        await asyncio.sleep(0)
        for number in range(40):
            kit.write(engine, kit.put("k1", f"new {number}"))
            await asyncio.sleep(0)
        await task

    asyncio.run(main())
    assert engine._store.get(Column.LIVE, key).endswith(b"new 39")


@pytest.mark.parametrize(
    "key", [b"", b"main", b"main\0", b"main\0scores\0", b"main\0hits\0\x01open end", b"main\0\xff\0\0k"]
)
def test_what_is_no_row_key(key):
    assert repair.logical(key) is None


def test_row_keys_are_told_apart():
    engine = written(5)
    found = {repair.logical(key)[0][:2] for key, _ in kit.rows(engine._store)}
    assert found == {(kit.TABLES[name].name, int(kit.TABLES[name].merge)) for name in TABLES}
