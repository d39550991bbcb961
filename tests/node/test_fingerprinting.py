"""Rows of real nodes compared: a damaged one is found by a member and made anew, and nobody's word changes a row."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from nodekit import Mesh, agreed, everything, places, run, until

from mycelium.config import FINGERPRINT_KEYS_MAX
from mycelium.database.schema import space_prefix
from mycelium.database.store import Column, after_prefix
from mycelium.errors import CallFailed, MalformedMessage, Overloaded
from mycelium.node import calls, fingerprinting
from mycelium.node.fingerprinting import Asked, Folded, Parts, Suspects

LOW, HIGH = space_prefix("main"), after_prefix(space_prefix("main"))


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Rows of this very moment are compared, as often as one likes."""
    monkeypatch.setattr(fingerprinting, "FINGERPRINT_FRESH_MS", -60_000)
    monkeypatch.setattr(fingerprinting, "FINGERPRINT_SERVE_MS", 0)


@contextlib.asynccontextmanager
async def pair(tmp_path, rows=400):
    async with Mesh(places(tmp_path, 2)) as mesh:
        await mesh.start()
        await mesh.connected()
        async with mesh[0].database.batch(ack="applied") as batch:
            for number in range(rows):
                batch.put("scores", f"k{number:04}", {"number": number})
                batch.add("hits", f"k{number % 7}", 1)
        await agreed(mesh.nodes)
        yield mesh[0], mesh[1]


def held(node):
    """Everything but the feed, in which it stands that rows were made anew."""
    found = everything(node)
    del found["FEED"]
    return found


def damage(node, count):
    """Change some rows in its store, behind its back; their keys."""
    rows = list(node.database.store.scan(Column.LIVE, LOW, HIGH))[:: max(1, 400 // count)][:count]
    write = node.database.store.batch()
    for key, row in rows:
        write.put(key, row[:-1] + bytes([row[-1] ^ 1]), node.database.store.column(Column.LIVE))
    node.database.store.commit(write)
    return {key for key, _ in rows}


@pytest.mark.parametrize("count", [1, 5, 60])
@pytest.mark.parametrize("side", ["asks", "answers"])
def test_a_damaged_row_is_found_and_made_anew_on_the_side_that_has_it(tmp_path, side, count):
    async def main():
        async with pair(tmp_path) as (one, other):
            whole = held(one)
            damaged = damage(one if side == "asks" else other, count)
            found = await one.fingerprinting.compare(other.account, "main")
            assert found == damaged
            await until(
                lambda: (
                    one.fingerprinting.counts["repaired"] + other.fingerprinting.counts["repaired"] == count
                )
            )
            hurt, well = (one, other) if side == "asks" else (other, one)
            assert (hurt.fingerprinting.counts["repaired"], well.fingerprinting.counts["repaired"]) == (
                count,
                0,
            )
            assert held(hurt) == whole
            await until(lambda: not one.fingerprinting._suspects and not other.fingerprinting._suspects)
            assert await one.fingerprinting.compare(other.account, "main") == set()
            assert hurt.status()["fingerprints"]["repaired"] == count

    run(main())


def test_a_damaged_row_is_made_anew_though_the_member_gives_no_batches(tmp_path):
    async def refused(account, space, row_keys):
        raise Overloaded("ask another")

    async def main():
        async with pair(tmp_path) as (one, other):
            whole = held(one)
            damaged = damage(one, 3)
            one.fingerprinting.fill = refused
            assert await one.fingerprinting.compare(other.account, "main") == damaged
            await until(lambda: one.fingerprinting.counts["repaired"] == 3)
            assert held(one) == whole

    run(main())


def test_honest_nodes_find_nothing_also_while_they_write(tmp_path):
    async def main():
        async with pair(tmp_path) as (one, other):

            async def write():
                for number in range(300):
                    await one.database.table("scores").put(f"k{number:04}", number, ack="applied")

            writing = asyncio.create_task(write())
            for _ in range(10):
                await other.fingerprinting.compare(one.account, "main")
            await writing
            await agreed([one, other])
            await until(lambda: not one.fingerprinting._suspects and not other.fingerprinting._suspects)
            assert await other.fingerprinting.compare(one.account, "main") == set()
            assert one.fingerprinting.counts["repaired"] == other.fingerprinting.counts["repaired"] == 0

    run(main())


def test_it_happens_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprinting, "FINGERPRINT_PERIOD_MS", 1_000)

    async def main():
        async with pair(tmp_path) as (one, other):
            damage(other, 3)
            await until(lambda: other.fingerprinting.counts["repaired"] == 3)
            assert one.fingerprinting.counts["repaired"] == 0

    run(main())


def asked(**changes):
    return Asked(**({"space": "main", "cutoff_ms": 2**47, "low": LOW, "high": HIGH} | changes))


@pytest.mark.parametrize(
    ("method", "body"),
    [
        (fingerprinting.FOLD, asked(space="nobody's")),
        (fingerprinting.FOLD, asked(low=b"")),
        (fingerprinting.FOLD, asked(low=b"other\0")),
        (fingerprinting.FOLD, asked(low=LOW + bytes(10_000))),
        (fingerprinting.SUSPECT, Suspects("main", [b"other\0key"])),
        (fingerprinting.SUSPECT, Suspects("main", [LOW + bytes(10_000)])),
        (fingerprinting.SUSPECT, Suspects("main", [LOW] * (FINGERPRINT_KEYS_MAX + 1))),
        (fingerprinting.SUSPECT, Suspects("nobody's", [])),
        (fingerprinting.SPLIT, Suspects("main", [])),
    ],
    ids=["space", "low", "other", "long", "key of other", "long key", "many", "suspects of", "shape"],
)
def test_what_no_member_may_ask(tmp_path, method, body):
    async def main():
        async with pair(tmp_path, 10) as (one, other):
            with pytest.raises(CallFailed):
                await one.peercalls.call(other.account, method, calls.encode(body))
            assert not other.fingerprinting._suspects

    run(main())


def test_a_member_that_names_healthy_rows_changes_nothing(tmp_path):
    async def main():
        async with pair(tmp_path) as (one, other):
            whole = held(other)
            keys = [key for key, _ in other.database.store.scan(Column.LIVE, LOW, HIGH)]
            for _ in range(5):
                body = Suspects("main", [*keys, LOW + b"invented", LOW + b"scores\0\0invented"])
                await one.peercalls.call(other.account, fingerprinting.SUSPECT, calls.encode(body))
            await until(lambda: not other.fingerprinting._suspects and other.fingerprinting._task is None)
            assert held(other) == whole
            assert other.fingerprinting.counts["repaired"] == 0

    run(main())


def test_who_compares_all_the_time_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprinting, "FINGERPRINT_SERVE_MS", 60_000)

    async def main():
        async with pair(tmp_path) as (one, other):
            with pytest.raises(CallFailed, match="more of the rows"):
                await one.peercalls.call(other.account, fingerprinting.SPLIT, calls.encode(asked()))
            await one.peercalls.call(other.account, fingerprinting.FOLD, calls.encode(asked()))
            with pytest.raises(CallFailed, match="short while ago"):
                await one.peercalls.call(other.account, fingerprinting.FOLD, calls.encode(asked()))
            with pytest.raises(CallFailed, match="more of the rows"):
                for _ in range(100):
                    await one.peercalls.call(other.account, fingerprinting.SPLIT, calls.encode(asked()))
            other.fingerprinting.keep([])
            assert not other.fingerprinting._served_ms
            assert not other.fingerprinting._budgets

    run(main())


RANGES = [(LOW, LOW + b"m", 200, bytes(16)), (LOW + b"m", HIGH, 200, bytes(16))]


@pytest.mark.parametrize(
    "parts",
    [
        Parts([RANGES[0]], []),
        Parts([(LOW, HIGH, 400, bytes(16))], []),
        Parts([RANGES[1], RANGES[0]], []),
        Parts([RANGES[0], (LOW + b"n", HIGH, 1, bytes(16))], []),
        Parts([RANGES[0], (LOW + b"m", LOW + b"a", 1, bytes(16))], []),
        Parts(RANGES * 20, []),
        Parts([], [(LOW + b"k", 0, bytes(16))] * 1_000),
        Parts([], [(b"other\0k", 0, bytes(16))]),
    ],
    ids=["short", "itself", "order", "gap", "backwards", "many", "many rows", "other space"],
)
def test_a_member_that_answers_nonsense_is_not_followed(tmp_path, parts):
    async def main():
        async with pair(tmp_path) as (one, other):

            async def fold(link, body):
                return calls.encode(Folded(1, bytes(16)))

            async def split(link, body):
                return calls.encode(parts)

            other.peercalls._handlers[fingerprinting.FOLD] = fold
            other.peercalls._handlers[fingerprinting.SPLIT] = split
            with pytest.raises(MalformedMessage):
                await one.fingerprinting.compare(other.account, "main")
            assert not one.fingerprinting._suspects

    run(main())


def test_a_member_that_differs_for_ever_costs_a_bounded_amount(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprinting, "FINGERPRINT_RANGES_MAX", 20)
    asked_for = []

    async def main():
        async with pair(tmp_path) as (one, other):

            async def fold(link, body):
                return calls.encode(Folded(1, bytes(16)))

            async def split(link, body):
                wanted = calls.decode(body, Asked)
                asked_for.append(wanted)
                middle = wanted.low + b"\x01"
                return calls.encode(
                    Parts([(wanted.low, middle, 1, bytes(16)), (middle, wanted.high, 1, bytes(16))], [])
                )

            other.peercalls._handlers[fingerprinting.FOLD] = fold
            other.peercalls._handlers[fingerprinting.SPLIT] = split
            with contextlib.suppress(MalformedMessage):
                assert await one.fingerprinting.compare(other.account, "main") == set()
            assert len(asked_for) <= 20

    run(main())
