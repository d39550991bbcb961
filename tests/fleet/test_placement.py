"""The placement against a model: whatever is late, lost, stopped or killed, its promises hold, and then it serves."""

from __future__ import annotations

import pytest
from fleet.fleetkit import LEASE_MS, World
from fleet.fleetstorm import peace, rampage
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

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
