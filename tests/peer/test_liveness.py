"""Suspicion, indirect probes and self-awareness: who is thought dead, who is not, and who has himself to blame."""

from __future__ import annotations

import itertools
import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mycelium.config import (
    LIVENESS_HEALTH_MAX,
    LIVENESS_LAG_MS,
    LIVENESS_PROBE_MS,
    LIVENESS_PROBERS,
    LIVENESS_RECOVERY_MS,
    PING_INTERVAL_MS,
)
from mycelium.config.peer import LIVENESS_RECONNECT_MS
from mycelium.peer.liveness import Changed, Liveness, Probe, Reconnect, Standing

A, B, C, D, E, F = (bytes([number]) * 32 for number in range(1, 7))
ALL = (A, B, C, D, E, F)


class World:
    """A node and its members, second by second."""

    def __init__(self, *members):
        self.now_ms = 1_000_000
        self.liveness = Liveness(random.Random(7))
        for member in members or ALL:
            self.liveness.watch(member, self.now_ms)
        self.liveness.tick(self.now_ms)

    def seconds(self, count, *silent):
        """Everybody but the silent is heard each second; the effects."""
        effects = []
        for _ in range(count):
            self.now_ms += PING_INTERVAL_MS
            for member in self.liveness.standings():
                if member not in silent:
                    effects += self.liveness.heard(member, self.now_ms)
            effects += self.liveness.tick(self.now_ms)
        return effects

    def answer(self, via, target, heard_ago_ms):
        return self.liveness.answered(via, target, heard_ago_ms, self.now_ms)


def probes(effects):
    return [effect for effect in effects if isinstance(effect, Probe)]


def test_who_is_heard_is_alive():
    world = World()
    assert world.seconds(60) == []
    assert set(world.liveness.standings().values()) == {Standing.ALIVE}


def test_three_misses_make_a_suspect_and_three_others_are_asked():
    world = World()
    assert world.seconds(3, A) == []
    effects = world.seconds(1, A)
    assert effects[0] == Changed(A, Standing.SUSPECT)
    asked = probes(effects)
    assert len(asked) == len({probe.via for probe in asked}) == LIVENESS_PROBERS
    assert {probe.target for probe in asked} == {A}
    assert A not in {probe.via for probe in asked}


def test_who_nobody_hears_is_dead_and_alive_again_when_heard():
    world = World()
    asked = probes(world.seconds(4, A))
    assert world.answer(asked[0].via, A, None) == []
    assert world.answer(asked[1].via, A, 60_000) == [], "that was long ago"
    assert world.answer(asked[1].via, A, 10) == [], "it has answered"
    assert world.answer(asked[2].via, A, None) == [Changed(A, Standing.DEAD)]
    assert world.liveness.heard(A, world.now_ms) == [Changed(A, Standing.ALIVE)]


def test_who_another_hears_is_dialled_anew_once_and_not_called_dead_at_once():
    world = World()
    asked = probes(world.seconds(4, A))
    assert world.answer(asked[0].via, A, 500) == [Reconnect(A)]
    assert world.answer(asked[1].via, A, 500) == []
    assert world.answer(asked[2].via, A, None) == []
    assert world.liveness.standing(A) is Standing.SUSPECT
    world.seconds(1 + LIVENESS_PROBE_MS // PING_INTERVAL_MS, A)
    assert world.liveness.standing(A) is Standing.DEAD, "the new session brought nothing either"


def test_a_session_that_brought_nothing_is_not_made_anew_again_and_again():
    """Found by the simulator: of a member that says nothing, each heard the handshakes of all others, for ever."""
    world = World()
    made = []
    while world.now_ms < 1_000_000 + 3 * LIVENESS_RECONNECT_MS:
        effects = world.seconds(1, A)
        answers = [world.answer(probe.via, A, 500) for probe in probes(effects)]
        made += [world.now_ms] * answers.count([Reconnect(A)])
        if world.liveness.standing(A) is not Standing.ALIVE:
            # A handshake, and then silence: a session ends for it, or another is dialled.
            world.liveness.heard(A, world.now_ms)
    assert len(made) == 3
    assert all(after - before >= LIVENESS_RECONNECT_MS for before, after in itertools.pairwise(made))


def test_without_an_answer_in_time_it_is_dead():
    world = World()
    world.seconds(4, A)
    effects = world.seconds(1 + LIVENESS_PROBE_MS // PING_INTERVAL_MS, A)
    assert effects == [Changed(A, Standing.DEAD)]


def test_alone_with_a_suspect_nobody_can_be_asked():
    world = World(A)
    effects = world.seconds(4, A)
    assert effects == [Changed(A, Standing.SUSPECT)]


def test_a_node_that_stood_still_accuses_nobody_and_is_more_patient():
    world = World()
    world.now_ms += 60_000
    assert world.liveness.tick(world.now_ms) == []
    assert world.liveness.health == 1
    patience_ms = world.liveness.patience_ms
    assert world.seconds(2, A) == []
    effects = world.seconds(patience_ms // PING_INTERVAL_MS, A)
    assert effects[0] == Changed(A, Standing.SUSPECT), "but it does in the end"
    for _ in range(20):
        world.now_ms += PING_INTERVAL_MS + LIVENESS_LAG_MS + 1
        for member in ALL:
            world.liveness.heard(member, world.now_ms)
        world.liveness.tick(world.now_ms)
    assert world.liveness.health == LIVENESS_HEALTH_MAX
    world.seconds(LIVENESS_HEALTH_MAX * (1 + LIVENESS_RECOVERY_MS // PING_INTERVAL_MS))
    assert world.liveness.health == 0


def test_when_half_of_all_fall_silent_at_once_it_is_our_own_network():
    world = World()
    effects = world.seconds(10, A, B, C, D)
    assert effects == []
    assert world.liveness.health > 0


def test_who_left_is_forgotten():
    world = World()
    world.liveness.keep([A, B])
    assert set(world.liveness.standings()) == {A, B}
    assert world.liveness.standing(C) is None
    assert world.liveness.heard(C, world.now_ms) == []
    assert world.liveness.answered(A, C, 1, world.now_ms) == []


def test_what_others_are_told():
    world = World()
    world.seconds(2, A)
    assert world.liveness.heard_ago_ms(A, world.now_ms) == 2 * PING_INTERVAL_MS
    assert world.liveness.heard_ago_ms(b"x" * 32, world.now_ms) is None
    assert world.liveness.heard_ago_ms(B, world.now_ms - 5) == 0, "a clock never makes it negative"


class Random(RuleBasedStateMachine):
    """Whatever happens, in any order: what must hold of it."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed):
        self.now_ms = 0
        self.liveness = Liveness(random.Random(seed))
        self.heard_ms = {}
        self.asked = []
        for member in ALL:
            self.liveness.watch(member, 0)
            self.heard_ms[member] = 0

    def seen(self, effects, *, late=False):
        for effect in effects:
            if isinstance(effect, Probe):
                assert effect.via != effect.target
                assert self.liveness.standing(effect.via) is Standing.ALIVE
                self.asked.append(effect)
            if isinstance(effect, Changed) and effect.standing is Standing.SUSPECT:
                assert not late
                assert self.now_ms - self.heard_ms[effect.target] > 3 * PING_INTERVAL_MS
        suspected = [effect.target for effect in effects if isinstance(effect, Probe)]
        assert all(suspected.count(target) <= LIVENESS_PROBERS for target in suspected)

    @rule(member=st.sampled_from(ALL))
    def heard(self, member):
        self.heard_ms[member] = self.now_ms
        self.seen(self.liveness.heard(member, self.now_ms))
        assert self.liveness.standing(member) is Standing.ALIVE

    @rule(late_ms=st.sampled_from([0, 0, 0, 100, 5_000]))
    def tick(self, late_ms):
        self.now_ms += PING_INTERVAL_MS + late_ms
        self.seen(self.liveness.tick(self.now_ms), late=late_ms > LIVENESS_LAG_MS)

    @rule(data=st.data(), ago_ms=st.one_of(st.none(), st.integers(-(2**63), 2**63)))
    def answered(self, data, ago_ms):
        if self.asked:
            probe = data.draw(st.sampled_from(self.asked))
            effects = self.liveness.answered(probe.via, probe.target, ago_ms, self.now_ms)
            self.seen(effects)
            assert len(effects) <= 1

    @rule(via=st.sampled_from(ALL), suspect=st.sampled_from(ALL), ago_ms=st.integers(0, 10_000))
    def answered_unasked(self, via, suspect, ago_ms):
        if Probe(via, suspect) not in self.asked:
            assert self.liveness.answered(via, suspect, ago_ms, self.now_ms) == []

    @invariant()
    def bounded(self):
        if hasattr(self, "liveness"):
            assert 0 <= self.liveness.health <= LIVENESS_HEALTH_MAX
            assert set(self.liveness.standings()) == set(ALL)


Random.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestRandom = Random.TestCase
