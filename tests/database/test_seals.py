"""Seals of departed writers: late batches, majorities, what is given up, and that all end up the same."""

from __future__ import annotations

import contextlib

import kit
import pytest
from database.accesskit import EPOCH_MS, FIRST, Chain, Outcome, epoch, offer, picture, replica
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelium.database import backup, feed, rebuild, schema, seals
from mycelium.database.access import SEALS, SYS
from mycelium.database.memory import MemoryStore
from mycelium.database.seals import Attestation, Cut
from mycelium.database.store import Column
from mycelium.database.value import value_bytes
from mycelium.errors import StoreError, Unauthorised
from mycelium.identity import account as accounts
from mycelium.protocol.messages import Op

NAMES = ("a", "b", "c", "d")
GONE = "d"
ALL = dict.fromkeys(NAMES, "validator")
LEFT = ALL | {GONE: "miner"}
BACK = FIRST + 6
EPOCHS = {FIRST + at: epoch(FIRST + at, ALL if at < 1 or at >= 6 else LEFT) for at in range(9)}
"""d departs at FIRST + 1, and is back at FIRST + 6."""


def at(number, ms=1_000):
    return kit.NOW_MS + (number - FIRST) * EPOCH_MS + ms


class World:
    """Replicas of a, b, c and d; what d wrote in its last epoch; and what time it is for each of them."""

    def __init__(self, batches=4):
        self.stores = {name: MemoryStore() for name in NAMES}
        self.chains = {name: Chain(dict(EPOCHS)) for name in NAMES}
        self.engines = {name: replica(name, self.chains[name], self.stores[name]) for name in NAMES}
        self.enter(FIRST)
        writer = self.engines[GONE]
        self.batches = []
        for n in range(batches):
            applied = writer.originate("main", [kit.put(f"k{n}"), kit.put("same", str(n))], at(FIRST))
            self.batches.append((applied.batch.raw, applied.signature))
        self.origin = writer.origin

    def enter(self, number, *names):
        for name in names or NAMES:
            self.chains[name].known = set(range(FIRST, number + 1))
        self.now_ms = at(number)

    def give(self, name, count, number=None):
        return [offer(self.engines[name], *one, self.now_ms) for one in self.batches[:count]]

    def seal(self, *names):
        for name in names or NAMES:
            self.engines[name].seal(self.now_ms)

    def exchange(self):
        """Everything that anybody has, to everybody, until nothing changes."""
        while True:
            before = [engine.counts["applied"] for engine in self.engines.values()]
            for engine in self.engines.values():
                for other in self.engines.values():
                    for space in ("main", SYS):
                        for origin in list(other.vector(space)):
                            for _, raw, signature in list(other.log_records(space, origin, 0, 2**62)):
                                offer(engine, raw, signature, self.now_ms)
            if before == [engine.counts["applied"] for engine in self.engines.values()]:
                return

    def head(self, name):
        return self.engines[name].head("main", self.origin)

    def reopen(self, name):
        self.engines[name] = replica(name, self.chains[name], self.stores[name])


def test_late_batches_are_taken_in_the_epoch_of_the_departure_and_then_no_more():
    world = World()
    assert world.give("a", 1) == [Outcome.APPLIED]
    world.enter(FIRST + 1)
    world.seal("a")
    assert world.give("a", 2) == [Outcome.DUPLICATE, Outcome.APPLIED]
    world.enter(FIRST + 2)
    world.seal("a")
    # Its own word is no majority: what is missing waits.
    assert world.give("a", 3)[2] is Outcome.LEFT
    assert world.give("b", 1) == [Outcome.APPLIED]  # it has not looked yet
    world.seal("b")
    assert world.give("b", 2)[1] is Outcome.LEFT


def test_a_majority_lets_everybody_have_what_it_holds():
    world = World()
    world.give("a", 3)
    world.give("b", 2)
    world.enter(FIRST + 2)
    world.seal("a", "b", "c")
    world.exchange()
    # Of three with equal stake two hold 2 numbers... of batches of two changes each.
    assert [world.head(name) for name in "abc"] == [6, 4, 4]
    world.enter(FIRST + 3)
    world.seal("a", "b", "c")
    assert [world.head(name) for name in "abc"] == [4, 4, 4]
    assert world.engines["a"].counts["given-up"] == 1


def test_a_word_that_comes_late_raises_the_seal_and_what_was_given_up_comes_again():
    world = World()
    world.give("a", 3)
    world.give("b", 3)
    world.enter(FIRST + 2)
    world.seal("a", "c")
    world.engines["c"].seal(world.now_ms)
    quiet = world.engines.pop("b")
    world.exchange()
    world.enter(FIRST + 3)
    world.seal("a", "c")
    assert world.head("a") == 0 or world.head("a") == 6
    world.engines["b"] = quiet
    world.chains["b"].known = set(range(FIRST, FIRST + 4))
    world.seal("b")
    world.exchange()
    assert [world.head(name) for name in "abc"] == [6, 6, 6]


def test_who_comes_back_goes_on_behind_its_seal():
    world = World(batches=2)
    for name in "abc":
        world.give(name, 2)
    world.enter(FIRST + 2)
    world.seal("a", "b", "c")
    world.exchange()
    world.enter(BACK)
    applied = world.engines[GONE].originate("main", [kit.put("back")], world.now_ms)
    world.seal()
    world.exchange()
    assert {world.head(name) for name in NAMES} == {5}
    assert applied.batch.seq_first == 5
    assert len({str(picture(engine)) for engine in world.engines.values()}) == 1


def test_a_writer_whose_log_was_cut_goes_on_under_a_new_generation():
    world = World()
    for name in "abc":
        world.give(name, 1)
    world.enter(FIRST + 3)
    world.seal("a", "b", "c")
    world.exchange()
    world.enter(BACK)
    writer = world.engines[GONE]
    assert writer.seal(world.now_ms) == 3
    with pytest.raises(StoreError, match="restart it"):
        writer.originate("main", [kit.put("again")], world.now_ms)
    world.reopen(GONE)
    again = world.engines[GONE]
    assert again.origin.generation != writer.origin.generation
    again.originate("main", [kit.put("again")], world.now_ms)
    world.exchange()
    assert len({str(picture(engine)) for engine in world.engines.values()}) == 1
    assert world.head("a") == 2


# --- rebuilding -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop_at", range(1, 12))
def test_a_node_that_is_killed_while_it_rebuilds_does_it_again(stop_at, monkeypatch):
    world = World()
    for name, count in (("a", 4), ("b", 2), ("c", 2)):
        world.give(name, count)
    world.engines["a"].originate("main", [kit.put("mine")], world.now_ms)
    world.enter(FIRST + 2)
    world.seal("a", "b", "c")
    for name in "bc":
        for origin in list(world.engines[name].vector(SYS)):
            for _, raw, signature in list(world.engines[name].log_records(SYS, origin, 0, 2**62)):
                offer(world.engines["a"], raw, signature, world.now_ms)
    world.enter(FIRST + 3)
    store, steps = world.stores["a"], [0]
    commit = store.commit

    def killed(batch):
        steps[0] += 1
        if steps[0] == stop_at:
            raise KeyboardInterrupt
        commit(batch)

    with monkeypatch.context() as patch:
        patch.setattr(store, "commit", killed)
        with contextlib.suppress(KeyboardInterrupt):
            world.engines["a"].seal(world.now_ms)
    world.reopen("a")
    world.engines["a"].seal(world.now_ms)
    assert rebuild.pending(store) is None
    fresh = replica("fresh", world.chains["b"])
    for space in (SYS, "main"):
        for origin in list(world.engines["a"].vector(space)):
            for _, raw, signature in list(world.engines["a"].log_records(space, origin, 0, 2**62)):
                offer(fresh, raw, signature, world.now_ms)
    assert picture(world.engines["a"]) == picture(fresh)
    assert world.head("a") == 4


def test_the_feed_passes_over_what_was_given_up():
    world = World()
    for name, count in (("a", 4), ("b", 2), ("c", 2)):
        world.give(name, count)
    world.enter(FIRST + 3)
    world.seal("a", "b", "c")
    world.exchange()
    world.seal("a")
    engine = world.engines["a"]
    shown = list(feed.entries(world.stores["a"], 1, engine.feed_last))
    assert [entry.batch.seq_first for entry in shown if entry.batch.account == world.origin.account] == [1, 3]


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 4), min_size=3, max_size=3),
    st.lists(st.sampled_from("abc"), min_size=0, max_size=3, unique=True),
    st.booleans(),
)
def test_however_much_each_had_all_end_up_with_the_same(held, late, meanwhile):
    world = World()
    for name, count in zip("abc", held, strict=True):
        world.give(name, count)
    world.enter(FIRST + 1)
    world.seal()
    world.enter(FIRST + 2)
    on_time = [name for name in "abc" if name not in late]
    if on_time:
        world.seal(*on_time)
    if meanwhile:
        for name in "abc":
            world.engines[name].originate("main", [kit.put("same", name), kit.put(name)], world.now_ms)
    world.exchange()
    world.enter(FIRST + 3)
    for _ in range(3):
        world.seal()
        world.exchange()
    world.enter(BACK)
    for _ in range(3):
        world.seal()
        world.exchange()
        world.now_ms += 1_000
    seal = sorted(held)[1] * 2  # of three with equal stake, what two of them had
    assert {world.head(name) for name in "abc"} == {seal} or {world.head(name) for name in "abc"} == {
        max(held) * 2
    }
    assert len({str(picture(world.engines[name])) for name in NAMES}) == 1


# --- words that count for nothing -------------------------------------------------------------------------


def say(world, name, key, said):
    """Anything at all under one's own name."""
    prefix = accounts.format(kit.keypair(name).account)
    engine = world.engines[name]
    applied = engine.originate(
        SYS, [(SEALS, int(Op.PUT), f"{prefix}/{key}".encode(), value_bytes(said))], world.now_ms
    )
    return applied.batch.raw, applied.signature


def test_words_that_are_none_count_for_nothing():
    world = World()
    world.give("a", 4)
    gone = accounts.format(world.origin.account)
    alive = accounts.format(kit.keypair("b").account)
    fine = {"main": {str(world.origin.generation): 0}}
    world.enter(FIRST + 2)
    for key, said in (
        (f"{gone}/{FIRST + 1}", {"main": {str(world.origin.generation): -1}}),
        (f"{gone}/{FIRST + 1}", {"main": {str(world.origin.generation): True}}),
        (f"{gone}/{FIRST + 1}", {"main": 0}),
        (f"{gone}/{FIRST + 1}", "text"),
        (f"{gone}/x/{FIRST + 1}", fine),
        (f"nobody/{FIRST + 1}", fine),
        # A departure that was none, and one of somebody who is there.
        (f"{gone}/{FIRST - 3}", fine),
        (f"{alive}/{FIRST + 1}", fine),
    ):
        for name in "bc":
            try:
                offer(world.engines["a"], *say(world, name, key, said), world.now_ms)
            except (Unauthorised, StoreError):
                continue  # of what did not happen, or is not known, nobody can say anything
    world.enter(FIRST + 5)
    engine = world.engines["a"]
    engine.seals.refresh()
    assert engine.seals.cuts(engine._logs) == []
    assert world.head("a") == 8
    assert engine.seals.limit("main", world.engines["b"].origin, FIRST) is None


def test_an_attestation_has_a_name():
    one = Attestation(b"a" * 32, b"o" * 32, 9, {"main": {"7": 5}})
    assert seals.parse(one.key, one.heads) == one
    assert one.key.startswith(accounts.format(b"a" * 32).encode() + b"/")


def test_what_is_pending_is_what_was_begun():
    store = MemoryStore()
    assert rebuild.pending(store) is None
    cut = Cut("main", schema.Origin(b"o" * 32, 7), (b"k",))
    rebuild.begin(store, cut)
    assert rebuild.pending(store) == cut
    assert store.get(Column.META, schema.META_REBUILD) is not None
    identity = backup.open_identity(store, b"a" * 32, 1, bytes(32))
    backup.renew_identity(store, identity)
    assert backup.read_identity(store).generation != identity.generation
