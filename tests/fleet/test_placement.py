"""The placement against a model: whatever is late, lost, stopped or killed, its promises hold, and then it serves."""

from __future__ import annotations

import pytest
from fleet.fleetkit import LEASE_MS, World
from fleet.fleetservers import SPACE
from fleet.fleetstorm import peace, rampage, use
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from mycelium.fleet import events, records

NAMES = "abc"
SETTLED_MS = 12_000


def test_a_new_fleet_is_served_whole():
    world = World()
    took = world.run_until_settled(SETTLED_MS)
    assert LEASE_MS <= took < 2 * LEASE_MS
    assert {name for slot in range(world.slots) for name in world.servers(slot)} <= set(NAMES)


@pytest.mark.parametrize("seed", range(5))
def test_a_member_that_dies_is_replaced_within_the_time_promised(seed):
    world = World(seed=seed, slots=8)
    world.run_until_settled(SETTLED_MS)
    victim = world.servers(0)[0]
    world.crash(victim)
    assert world.run_until_settled(5_000) < LEASE_MS + 1_000


@pytest.mark.parametrize("seed", range(12))
def test_a_storm_breaks_no_promise(seed):
    world = rampage(seed)
    assert sum(map(len, world.acked.values())) > 50
    assert world.stream.closed


@pytest.mark.parametrize("seed", range(12))
def test_a_bucket_that_is_deleted_again_and_again_breaks_no_promise(seed):
    world = World(seed=seed, faults=1.0)
    world.run(2_000 + 300 * seed)
    for _ in range(3):
        world.renew_bucket()
        use(world, world.members.values())
        world.run(200)
    peace(world, 15_000)


@pytest.mark.nightly
def test_many_storms_break_no_promise():
    for seed in range(1_000, 1_400):
        rampage(seed)


class Anything(RuleBasedStateMachine):
    @initialize(
        seed=st.integers(0, 2**32), faults=st.sampled_from([0.0, 0.3, 1.0]), deduplicates=st.booleans()
    )
    def begin(self, seed, faults, deduplicates):
        self.world = World(NAMES, seed=seed, faults=faults, deduplicates=deduplicates)
        self.world.run(4_000)

    @rule(ms=st.sampled_from([1, 7, 30, 120, 900, 2_100, 2_600]))
    def time_passes(self, ms):
        self.world.run(ms)

    @rule(name=st.sampled_from(NAMES), slot=st.integers(0, 3))
    def write(self, name, slot):
        self.world.members[name].write(slot)

    @rule(slot=st.integers(0, 3))
    def everybody_reads(self, slot):
        for process in self.world.members.values():
            process.read(slot)

    @rule(times=st.integers(1, 20), ms=st.sampled_from([1, 10, 60]))
    def load(self, times, ms):
        for _ in range(times):
            for process in self.world.members.values():
                for slot in range(self.world.slots):
                    process.write(slot)
                    process.read(slot)
            self.world.run(ms)

    @rule(name=st.sampled_from(NAMES))
    def pause(self, name):
        self.world.members[name].paused = True

    @rule(name=st.sampled_from(NAMES))
    def resume_and_be_asked_at_once(self, name):
        process = self.world.members[name]
        if process.paused:
            process.paused = False
            # A request may be read before anything that lies in its other sockets.
            for slot in range(self.world.slots):
                process.read(slot)
                process.write(slot)
            process.resume()

    @rule(name=st.sampled_from(NAMES))
    def crash(self, name):
        self.world.crash(name)

    @rule(name=st.sampled_from(NAMES))
    def start(self, name):
        if not self.world.members[name].alive:
            self.world.start(name)

    @rule(name=st.sampled_from(NAMES))
    def cut(self, name):
        self.world.cut(name)

    @rule(name=st.sampled_from(NAMES))
    def heal(self, name):
        self.world.heal(name)

    @rule(name=st.sampled_from(NAMES), slot=st.integers(0, 3))
    def plan(self, name, slot):
        self.world.plan(slot, name)

    @rule()
    def delete_the_bucket(self):
        self.world.renew_bucket()

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name):
        self.world.members[name].leave()

    def teardown(self):
        if not hasattr(self, "world"):
            return
        peace(self.world)


Anything.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestAnything = Anything.TestCase


# --- single cases ----------------------------------------------------------------------------------------


def test_minutes_without_servers_make_nobody_gone():
    world = World(drift=0)
    world.run_until_settled(SETTLED_MS)
    terms = {name: one.placement.term(SPACE) for name, one in world.members.items()}
    written = world.bucket.writes["slot"]
    for name in NAMES:
        world.cut(name)
    world.run(LEASE_MS)
    assert not any(world.servers(slot) for slot in range(world.slots))
    world.run(300_000)
    for name in NAMES:
        world.heal(name)
    assert world.run_until_settled(SETTLED_MS) < 1_000
    assert {name: one.placement.term(SPACE) for name, one in world.members.items()} == terms
    assert world.bucket.writes["slot"] == written


def test_an_entry_of_another_stream_is_believed_only_when_it_is_known_to_be_older():
    world = World("ab", slots=1, drift=0)
    world.run_until_settled(SETTLED_MS)
    (owner,) = world.servers(0)
    other = world.members["b" if owner == "a" else "a"].placement
    key = records.slot_key(SPACE, 0)
    revision = world.bucket.entries[key][0]
    free = records.encode(records.Slot(after=10**6, stream="f" * 16, bucket=world.bucket.name))
    world.crash(owner)
    world.run(LEASE_MS // 2)
    assert world.bucket.put(key, revision, free)
    told = []
    carry_out = world.members[other.me.member].carry_out
    world.members[other.me.member].carry_out = lambda effect: (told.append(effect), carry_out(effect))
    world.run_until_settled(SETTLED_MS)
    assert events.Look(SPACE, "f" * 16) in told
    assert told.index(events.Look(SPACE, "f" * 16)) < told.index(events.Serve(SPACE, 0))


def test_while_the_bucket_is_listed_again_nothing_is_decided():
    world = World("ab", slots=1, drift=0)
    world.run_until_settled(SETTLED_MS)
    (owner,) = world.servers(0)
    left = world.members["b" if owner == "a" else "a"]
    left.tell(events.Watching(False, world.bucket.name))
    left.watch_epoch += 1
    world.crash(owner)
    world.run(3 * LEASE_MS)
    assert world.servers(0) == []
    # It goes on saying that it lives.
    assert left.placement.leased(left.clock())
    world.rewatch(left)
    assert world.run_until_settled(SETTLED_MS) < 500


def test_a_space_that_is_divided_anew_is_let_go_and_opened_again():
    world = World("ab", slots=2, drift=0)
    world.run_until_settled(SETTLED_MS)
    terms = {name: one.placement.term(SPACE) for name, one in world.members.items()}
    key = records.layout_key(SPACE)
    world.bucket.put(key, world.bucket.entries[key][0], records.encode(records.Shape(3)))
    world.run(50)
    assert not any(world.servers(slot) for slot in range(2))
    world.slots = 3
    world.run_until_settled(SETTLED_MS)
    assert not set(terms.values()) & {one.placement.term(SPACE) for one in world.members.values()}


def test_a_member_that_cannot_read_the_stream_takes_nothing_and_says_what_it_waits_for():
    world = World("ab", slots=4, drift=0)
    world.run_until_settled(SETTLED_MS)
    behind = world.members["b"]
    behind.apply = lambda seq: None
    use(world, world.members.values())
    world.crash("a")
    world.run(2 * LEASE_MS)
    needed = max(behind.placement.waiting().values())
    assert needed == len(world.stream.messages)
    assert set(behind.placement.serving()) < {(SPACE, slot) for slot in range(4)}
    del behind.apply
    world.run_until_settled(SETTLED_MS)
    assert behind.placement.waiting() == {}


def test_who_leaves_gives_its_slots_away_and_no_term_is_closed():
    world = World(drift=0)
    world.run_until_settled(SETTLED_MS)
    began = world.now
    world.members["a"].leave()
    while world.members["a"].alive:
        world.run(5)
        assert world.now - began < 1_000
    world.run_until_settled(500)
    assert not world.stream.closed
    assert world.members["b"].placement.view.members["a"].gone == "left"


def test_a_moved_slot_is_without_a_member_for_some_milliseconds():
    world = World("ab", slots=4, drift=0)
    world.run_until_settled(SETTLED_MS)
    slot = next(slot for slot in range(4) if world.servers(slot) == ["a"])
    world.plan(slot, "b")
    idle_ms = 0
    while world.servers(slot) != ["b"]:
        world.run(1)
        idle_ms += world.servers(slot) == []
        assert idle_ms < 100
    assert idle_ms <= 15


def test_a_member_that_is_told_of_a_plan_for_nobody_goes_by_hashing():
    world = World("ab", slots=4, drift=0)
    world.run_until_settled(SETTLED_MS)
    before = [world.servers(slot) for slot in range(4)]
    world.plan(0, "z")
    world.run(500)
    assert [world.servers(slot) for slot in range(4)] == before


def test_events_of_spaces_and_calls_that_are_not_known_change_nothing():
    world = World("a", slots=1, drift=0)
    world.run_until_settled(SETTLED_MS)
    one = world.members["a"].placement
    now = world.members["a"].clock()
    for event in (
        events.Stored(10**6, 1),
        events.Lost(10**6),
        events.Refused(10**6),
        events.Opened("other", "0" * 16, 1),
        events.Opened(SPACE, "0" * 16, 1),
        events.Closed("other", "0" * 16, "0" * 16, 1),
        events.Fenced(SPACE, "0" * 16),
        events.Fenced("other", "0" * 16),
        events.Drained(SPACE, 0, 99, 1),
        events.Applied("other", 1),
        events.Applied(SPACE, 10**9, "f" * 16),
        events.Looked("other", "f" * 16, "e" * 16),
        events.OthersClosed("other", 1),
    ):
        assert [effect for effect in one.handle(event, now) if not isinstance(effect, events.Put)] == []
    assert one.serves(SPACE, 0, now)
    assert one.owner(SPACE, 0)[0] == "a"
    assert (one.owner(SPACE, 1), one.slots("other"), one.term("other")) == (None, 0, "")
