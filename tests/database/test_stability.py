"""Tombstones go when nobody can need them, and no deleted key ever comes back for it."""

from __future__ import annotations

import itertools
import random

import kit
import pytest

from mycelium.config import ABSENCE_S, STABLE_AFTER_S
from mycelium.database import backup, stability
from mycelium.database.engine import Engine
from mycelium.database.stability import Stability, collect
from mycelium.database.store import Column
from mycelium.database.vector import Held, Origin
from mycelium.protocol.messages import Op

NOW = kit.NOW_MS
AGE = STABLE_AFTER_S * 1000
B, C = b"b" * 32, b"c" * 32
ORIGIN = Origin(b"o" * 32, 1)


def vector(head: int) -> dict[Origin, Held]:
    return {ORIGIN: Held(head, ())}


def delete(key: str) -> tuple[object, int, bytes, bytes]:
    return kit.TABLES["scores"], int(Op.DELETE), key.encode(), b""


def test_everyone_must_have_agreed_for_a_while() -> None:
    known = Stability(NOW)
    for member in (B, C):
        known.heard(member, NOW)
    assert known.frontier("main", [B, C], NOW) is None
    known.equal(B, "main", vector(5), NOW)
    known.equal(C, "main", vector(3), NOW)
    known.equal(C, "main", vector(9), NOW + AGE - 1)
    known.equal(B, "main", vector(7), NOW + AGE)
    assert known.frontier("main", [B, C], NOW + AGE) is None
    known.equal(C, "main", vector(8), NOW + AGE)
    assert known.frontier("main", [B, C], NOW + AGE) == vector(3)
    assert known.frontier("main", [B], NOW + AGE) == vector(5)
    assert known.frontier("other", [B], NOW + AGE) is None


def test_an_origin_that_one_member_has_not_is_not_stable() -> None:
    known = Stability(NOW)
    other = Origin(b"p" * 32, 1)
    for turn in (0, AGE):
        known.equal(B, "main", vector(5) | {other: Held(2, ())}, NOW + turn)
        known.equal(C, "main", vector(4), NOW + turn)
    assert known.frontier("main", [B, C], NOW + AGE) == vector(4)


def test_only_long_absence_stops_a_member_from_counting() -> None:
    known = Stability(NOW)
    for turn in (0, AGE):
        known.equal(B, "main", vector(5), NOW + turn)
    known.heard(B, NOW + ABSENCE_S * 1000)
    assert known.frontier("main", [B, C], NOW + ABSENCE_S * 1000 - 1) is None
    assert known.frontier("main", [B, C], NOW + ABSENCE_S * 1000) == vector(5)
    assert known.frontier("main", [C], NOW + ABSENCE_S * 1000) is None


def everything(engine: Engine) -> int:
    gone, after = 0, None
    while True:
        more, after = collect(engine._store, "main", engine.vector("main"), after)
        gone += more
        if after is None:
            return gone


def test_collecting_takes_what_is_stable_and_nothing_else() -> None:
    one, two = kit.engine("a"), kit.engine("b")
    for number in range(5):
        kit.write(one, kit.put(f"{number}"), delete(f"{number}"))
    kit.write(two, kit.put("x", table="scores"), delete("x"))
    kit.exchange([one, two])
    assert len(kit.rows(one._store, Column.DEAD)) == 6
    frontier = {one.origin: Held(4, ())}
    assert collect(one._store, "main", frontier, None) == (2, None)
    left = [key[-1:] for key, _ in kit.rows(one._store, Column.DEAD)]
    assert left == [b"2", b"3", b"4", b"x"]
    assert everything(one) == 4
    assert everything(one) == 0
    assert kit.rows(one._store, Column.DEAD) == []
    kit.write(one, kit.put("1", "again"))
    kit.exchange([one, two])
    assert kit.rows(one._store) == kit.rows(two._store)


def test_steps_cover_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stability, "COLLECT_ROWS", 3)
    engine = kit.engine("a")
    for number in range(10):
        kit.write(engine, delete(f"{number}"))
    other = (kit.TABLES["aside"], int(Op.DELETE), b"k", b"")
    kit.write(engine, other)
    assert everything(engine) == 10
    assert len(kit.rows(engine._store, Column.DEAD)) == 1


def test_a_set_removal_waits_for_the_insertion_it_names() -> None:
    writer, reader = kit.engine("a"), kit.engine("b")
    inserted = kit.write(writer, (kit.TABLES["tags"], int(Op.INSERT), b"k", b"\0x"))
    kit.exchange([writer, reader])
    dot = writer.origin.account + writer.origin.generation.to_bytes(8, "big") + (1).to_bytes(8, "big")
    kit.write(reader, (kit.TABLES["tags"], int(Op.REMOVE), b"k", dot))
    third = kit.engine("c")
    for origin, held in reader.vector("main").items():
        if origin == reader.origin:
            for _, raw, signature in reader.log_records("main", origin, 1, held.head):
                third.receive(raw, signature, NOW)
    # The removal is here, the insertion is not: the tombstone alone keeps it out.
    assert everything(third) == 0
    third.receive(inserted.batch.raw, inserted.signature, NOW)
    assert kit.rows(third._store) == []
    assert everything(third) == 1


@pytest.mark.parametrize("seed", range(6))
def test_collecting_never_brings_a_deleted_key_back(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same history with and without collection ends in the same rows."""
    assert history(seed, False, monkeypatch)[0] == (with_collection := history(seed, True, monkeypatch))[0]
    assert with_collection[1] > 0


def history(
    seed: int, collecting: bool, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[list[tuple[bytes, bytes]]], int]:
    """Three nodes write and delete, meet in pairs, and collect by what their meetings told them."""
    numbers = itertools.count(1)
    monkeypatch.setattr(backup, "mint_generation", lambda: next(numbers))
    rng = random.Random(seed)
    engines = [kit.engine(name) for name in "abc"]
    accounts = [engine.origin.account for engine in engines]
    known = [Stability(NOW) for _ in engines]
    now_ms, gone = NOW, 0
    for step in range(120):
        now_ms += rng.choice((10, AGE))
        who = rng.randrange(3)
        key = rng.choice("abcde")
        kit.write(engines[who], kit.put(key, str(step)) if rng.random() < 0.5 else delete(key), now_ms=now_ms)
        one, two = rng.sample(range(3), 2)
        if rng.random() < 0.6:
            kit.exchange([engines[one], engines[two]], now_ms)
        for a, b in itertools.permutations(range(3), 2):
            if engines[a].vector_digest("main") == engines[b].vector_digest("main"):
                known[a].equal(accounts[b], "main", engines[a].vector("main"), now_ms)
        for number, engine in enumerate(engines):
            others = [account for account in accounts if account != engine.origin.account]
            frontier = known[number].frontier("main", others, now_ms)
            if collecting and frontier:
                gone += collect(engine._store, "main", frontier, None)[0]
    kit.exchange(engines, now_ms)
    rows = [kit.rows(engine._store) for engine in engines]
    assert rows[0] == rows[1] == rows[2]
    return rows, gone
