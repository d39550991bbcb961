"""Merging batches of 512 puts of 200 bytes (24-byte keys, 176-byte values) into an index of clocks.

Target: core at least 4 times pure Python. `lean` is the leanest Python that decides the same for this traffic: a dict
of clocks by row key, no equal clocks, no other merge type; `oracle` is the tests' reference, which keeps the rows as
well. All three validate spans, build row keys and rows, and end in the list of operations. Divide by 512 x BATCHES
for the time of one change: each round merges BATCHES batches.
"""

from __future__ import annotations

import random
import struct

import pytest
from reference.merge import SPAN, Batch, Replica, pack, prefix_of

from mycelium._core import merge
from mycelium.errors import MalformedMessage

BATCHES = 400
CHANGES = 512
DISTINCT = BATCHES * CHANGES
ACCOUNT = b"\x11" * 32
PREFIXES = (prefix_of(0),)
PUT = 0


def traffic(order):
    """(Batch, raw, spans) of puts to the keys of these numbers; clocks follow in the order of the batches."""
    source = random.Random(5)
    out = []
    for at in range(0, len(order), CHANGES):
        numbers = order[at : at + CHANGES]
        changes = tuple((0, PUT, b"%024d" % number, source.randbytes(176)) for number in numbers)
        out.append((Batch(PREFIXES, ACCOUNT, 1, 1 + at, 1 + at, changes), *pack(changes)))
    return out


def later(batches, by):
    return [(batch._replace(hlc_first=batch.hlc_first + by), raw, spans) for batch, raw, spans in batches]


class Core:
    def __init__(self):
        self.index = merge.Index(4_000_000, bytes(16))

    def run(self, batches):
        total = 0
        for batch, raw, spans in batches:
            plan = merge.resolve(
                self.index,
                raw,
                spans,
                PREFIXES,
                b"\0",
                ACCOUNT,
                1,
                batch.seq_first,
                batch.hlc_first,
                self.get,
            )
            total += len(plan.ops)
        return total

    @staticmethod
    def get(column, keys):
        raise AssertionError


class Lean:
    def __init__(self):
        self.clocks = {}

    def run(self, batches):
        return sum(len(self.resolve(batch, raw, spans)[0]) for batch, raw, spans in batches)

    def resolve(self, batch, raw, spans):
        clocks, size, hlc, seq = self.clocks, len(raw), batch.hlc_first, batch.seq_first
        prefixes, origin = batch.prefixes, ACCOUNT + struct.pack(">Q", 1)
        winners, touched = 0, {}
        for i, (table, op, _, key_at, key_bytes, value_at, value_bytes) in enumerate(SPAN.iter_unpack(spans)):
            if (
                table >= len(prefixes)
                or op > 1
                or not 0 < key_bytes <= 1024
                or value_bytes > 524_288
                or key_at + key_bytes > size
                or value_at + value_bytes > size
            ):
                raise MalformedMessage("span")
            key = prefixes[table] + raw[key_at : key_at + key_bytes]
            if clocks.get(key, 0) < hlc + i:
                clocks[key] = hlc + i
                touched[key] = (
                    i,
                    b"%b%b%b%b"
                    % (
                        (hlc + i).to_bytes(8, "big"),
                        origin,
                        (seq + i).to_bytes(8, "big"),
                        raw[value_at : value_at + value_bytes],
                    ),
                )
        ops = []
        for key, (i, row) in touched.items():
            winners |= 1 << i
            ops.append((0, key, row))
        return ops, winners.to_bytes((len(batch.changes) + 7) // 8, "little")


class Oracle:
    def __init__(self):
        self.replica = Replica()

    def run(self, batches):
        return sum(sum(self.replica.apply(batch)) for batch, _, _ in batches)


KINDS = pytest.mark.parametrize("make", [Core, Lean, Oracle], ids=["core", "lean", "oracle"])


@pytest.mark.benchmark(group="merge: lww, fresh keys")
@KINDS
def test_fresh_keys(benchmark, make):
    batches = traffic(range(DISTINCT))
    benchmark.extra_info["target"] = "core >= 4 x lean and oracle"
    total = benchmark.pedantic(
        lambda merger: merger.run(batches), setup=lambda: ((make(),), {}), rounds=5, warmup_rounds=1
    )
    assert total == DISTINCT


@pytest.mark.benchmark(group="merge: lww, overwriting 204,800 distinct keys in another order")
@KINDS
def test_overwriting(benchmark, make):
    order = list(range(DISTINCT))
    random.Random(6).shuffle(order)
    merger = make()
    merger.run(traffic(range(DISTINCT)))
    batches = traffic(order)
    rounds = iter(range(1, 100))
    benchmark.extra_info["target"] = "core >= 4 x lean and oracle"
    total = benchmark.pedantic(
        merger.run, setup=lambda: ((later(batches, next(rounds) * DISTINCT),), {}), rounds=5, warmup_rounds=1
    )
    assert total == DISTINCT


@pytest.mark.benchmark(group="merge: handing 512 operations to the store")
def test_emit(benchmark):
    (batch, raw, spans), *_ = traffic(range(CHANGES))
    plan = merge.resolve(
        merge.Index(1000, bytes(16)), raw, spans, PREFIXES, b"\0", ACCOUNT, 1, 1, batch.hlc_first, Core.get
    )
    taken = {}

    def put(key, row, column):
        taken[key] = row

    assert benchmark(plan.emit, put, put, (0, 1)) == CHANGES
    assert len(taken) == CHANGES


def test_lean_decides_as_core_does():
    """Else the comparison would be of different work."""
    source = random.Random(7)
    core, lean = Core(), Lean()
    for batch, raw, spans in traffic([source.randrange(3000) for _ in range(20 * CHANGES)]):
        plan = merge.resolve(
            core.index, raw, spans, PREFIXES, b"\0", ACCOUNT, 1, batch.seq_first, batch.hlc_first, core.get
        )
        ops, winners = lean.resolve(batch, raw, spans)
        assert plan.winners == winners
        assert plan.ops == ops
