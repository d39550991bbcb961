"""Laws of merging: batches in any order, repeated, through any index, end in the oracle's bytes (invariants 1, 2)."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference.merge import (
    ADD,
    APPEND,
    COUNTER,
    DELETE,
    INSERT,
    LWW,
    OWN,
    PUT,
    REMOVE,
    SET,
    Batch,
    Replica,
    bits,
    dot_of,
    pack,
    prefix_of,
)

from mycelium._core import merge

SEED = bytes(range(16))
ACCOUNTS = (b"\x11" * 32, b"\x11" * 31 + b"\x12", b"\xee" * 32)
ORIGINS = tuple((account, generation) for account in ACCOUNTS for generation in (1, 2))
KEYS = (b"a", b"a\0", b"\0", b"a\0\x01", b"a\0\xff", b"k" * 24)
VALUES = (b"", b"\0", b"a", b"ab", b"b", b"v" * 70)
OPS = {LWW: (PUT, DELETE), OWN: (PUT, DELETE), COUNTER: (ADD,), SET: (INSERT, REMOVE), APPEND: (PUT,)}
PREFIXES = tuple(prefix_of(kind) for kind in range(5))


class Node:
    """Rows kept in dicts and changed only by what resolve plans."""

    def __init__(self, entries_max=1000):
        self.columns = ({}, {})
        self.index = merge.Index(entries_max, SEED)
        self.applied = set()

    def get(self, column, keys):
        assert len(set(keys)) == len(keys)
        return [self.columns[column].get(key) for key in keys]

    def resolve(self, batch):
        return merge.resolve(
            self.index, *pack(batch.changes), batch.prefixes, batch.merges, batch.account, batch.generation,
            batch.seq_first, batch.hlc_first, self.get,
        )  # fmt: skip

    def apply(self, batch):
        plan = self.resolve(batch)
        places = [(column, key) for column, key, _ in plan.ops]
        assert len(set(places)) == len(places)
        count = plan.emit(
            lambda key, value, column: column.__setitem__(key, value),
            lambda key, column: column.pop(key),
            self.columns,
        )
        assert count == len(plan) == len(places)
        self.applied.add((batch.account, batch.generation, batch.seq_first))
        return plan

    def receive(self, batch):
        """As the log does it: what was applied before is applied again only where that must be harmless."""
        again = (batch.account, batch.generation, batch.seq_first) in self.applied
        if again and COUNTER in {batch.prefixes[table][-1] for table, _, _, _ in batch.changes}:
            return
        before = [dict(column) for column in self.columns]
        plan = self.apply(batch)
        if again:
            assert [dict(column) for column in self.columns] == before
            appends = [batch.prefixes[table][-1] == APPEND for table, _, _, _ in batch.changes]
            assert list(bits(plan.winners, len(appends))) == appends
            assert len(plan) == sum(appends)

    def reload(self, entries_max):
        """As a restart does it."""
        self.index = merge.Index(entries_max, SEED)
        for column, rows in enumerate(self.columns):
            self.index.load(rows.items(), dead=bool(column))


def a_change(kinds):
    dots = st.builds(lambda origin, seq: dot_of(*origin, seq), st.sampled_from(ORIGINS), st.integers(1, 12))
    values = {
        PUT: st.sampled_from(VALUES),
        DELETE: st.just(b""),
        ADD: st.one_of(st.integers(-3, 3), st.sampled_from((2**63 - 1, -(2**63)))).map(
            lambda amount: amount.to_bytes(8, "big", signed=True)
        ),
        INSERT: st.sampled_from(VALUES),
        REMOVE: st.lists(dots, max_size=6).map(b"".join),
    }
    return st.sampled_from(kinds).flatmap(
        lambda kind: st.sampled_from(OPS[kind]).flatmap(
            lambda op: st.tuples(st.just(kind), st.just(op), st.sampled_from(KEYS), values[op])
        )
    )


@st.composite
def batches(draw, kinds):
    """Batches of several origins: contiguous sequence numbers of each, few distinct clocks so that many are equal."""
    heads = dict.fromkeys(ORIGINS, 1)
    out = []
    for origin in draw(st.lists(st.sampled_from(ORIGINS), min_size=1, max_size=7)):
        changes = tuple(draw(st.lists(a_change(kinds), min_size=1, max_size=6)))
        out.append(Batch(PREFIXES, *origin, heads[origin], draw(st.integers(0, 4)), changes))
        heads[origin] += len(changes)
    return out


def oracle(todo):
    replica = Replica()
    for batch in todo:
        replica.apply(batch)
    return replica.live, replica.dead


KINDS = st.sampled_from([(LWW,), (OWN,), (COUNTER,), (SET,), (APPEND,), (LWW, COUNTER, SET, APPEND, OWN)])


@settings(deadline=None, max_examples=300)
@given(KINDS.flatmap(batches), st.randoms(use_true_random=False), st.sampled_from((1, 2, 5, 1000)))
def test_any_order_and_repetition_ends_in_the_oracles_bytes(todo, rng, entries_max):
    order = todo + rng.choices(todo, k=len(todo))
    rng.shuffle(order)
    node = Node(entries_max)
    for batch in order:
        node.receive(batch)
        disturbance = rng.random()
        if disturbance < 0.1:
            node.index.clear()
        elif disturbance < 0.2:
            node.reload(entries_max)
    assert node.columns == oracle(todo)
    assert node.columns == oracle(reversed(todo))


@settings(deadline=None, max_examples=150)
@given(KINDS.flatmap(batches), st.sampled_from((1, 1000)))
def test_each_step_agrees_with_the_oracle_on_what_is_visible(todo, entries_max):
    node, replica = Node(entries_max), Replica()
    for batch in todo:
        plan = node.apply(batch)
        assert list(bits(plan.winners, len(batch.changes))) == replica.apply(batch)
        assert len(plan.winners) == (len(batch.changes) + 7) // 8
        assert node.columns == (replica.live, replica.dead)


@settings(deadline=None, max_examples=150)
@given(KINDS.flatmap(batches), st.data())
def test_partial_states_meet_when_each_applies_the_rest(todo, data):
    ours = data.draw(st.lists(st.sampled_from(range(len(todo))), unique=True))
    theirs = data.draw(st.lists(st.sampled_from(range(len(todo))), unique=True))
    left, right = Node(), Node(2)
    for node, first in ((left, ours), (right, theirs)):
        for i in first:
            node.receive(todo[i])
        for i in range(len(todo)):
            if i not in first:
                node.receive(todo[i])
    assert left.columns == right.columns == oracle(todo)


@settings(deadline=None, max_examples=150)
@given(batches((LWW, SET, OWN)))
def test_a_loaded_index_says_what_the_grown_one_says(todo):
    grown, loaded = Node(), Node()
    for batch in todo:
        loaded.reload(1000)
        assert loaded.index.complete
        assert loaded.apply(batch).ops == grown.apply(batch).ops
        assert len(loaded.index) <= len(grown.index)


@settings(deadline=None, max_examples=100)
@given(batches((LWW, SET, OWN)))
@example([Batch(PREFIXES, *ORIGINS[0], 1, 1, ((LWW, PUT, b"a", b"1"),))])
def test_a_complete_index_reads_only_equal_clocks(todo):
    node = Node()
    clocks = {}
    for batch in todo:
        wanted = []
        node.get = lambda column, keys, wanted=wanted: wanted.extend(keys) or Node.get(node, column, keys)
        node.apply(batch)
        for key in wanted:
            assert clocks[key] in range(batch.hlc_first, batch.hlc_first + len(batch.changes))
        for column in node.columns:
            clocks.update((key, int.from_bytes(row[:8], "big")) for key, row in column.items())


@pytest.mark.parametrize("entries_max", [50, 100_000])
def test_thousands_of_changes_from_several_origins(entries_max):
    rng = random.Random(5)
    todo, heads, inserted = [], dict.fromkeys(ORIGINS, 1), [dot_of(*ORIGINS[0], 1)]
    for _ in range(40):
        origin = rng.choice(ORIGINS)
        changes = []
        for seq in range(heads[origin], heads[origin] + rng.randint(1, 300)):
            kind = rng.randrange(5)
            op = rng.choice(OPS[kind])
            value = rng.randbytes(rng.randrange(40)) if op in (PUT, INSERT) else b""
            if op == ADD:
                value = rng.randbytes(8)
            if op == INSERT:
                inserted.append(dot_of(*origin, seq))
            if op == REMOVE:
                value = b"".join(rng.choices(inserted, k=rng.randrange(20)))
            changes.append((kind, op, b"%d" % rng.randrange(200), value))
        todo.append(Batch(PREFIXES, *origin, heads[origin], rng.randrange(300), tuple(changes)))
        heads[origin] += len(changes)
    node = Node(entries_max)
    for batch in rng.sample(todo, len(todo)):
        node.apply(batch)
    assert node.columns == oracle(todo)
    assert node.index.complete == (entries_max > 50)
