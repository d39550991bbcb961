"""The clock that does not jump with its machine: steps, who confirms or denies them, a start with a wrong clock."""

from __future__ import annotations

from statistics import median_low

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelium.config.peer import (
    CLOCK_ALONE_MS,
    CLOCK_HEARD_MS,
    CLOCK_MEMBERS_MIN,
    CLOCK_OFF_MS,
    CLOCK_STEP_MS,
)
from mycelium.peer.steadyclock import Adopted, Restored, SteadyClock, Stepped, Wrong

START_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


class Machine:
    """A machine with two clocks, and members with one each. All in ms."""

    def __init__(self):
        self.true_ms = START_MS
        self.off_ms = 0
        self.up_ms = 5_000
        self.clock = SteadyClock(lambda: (self.true_ms + self.off_ms) * 10**6, lambda: self.up_ms * 10**6)

    def passes(self, ms, asleep=False):
        self.true_ms += ms
        if not asleep:
            self.up_ms += ms

    def hear(self, *offsets_ms):
        for number, off_ms in enumerate(offsets_ms):
            self.clock.heard(bytes([number]), (self.true_ms + off_ms) * 10**6)

    @property
    def wrong_ms(self):
        return self.clock.now_ms() - self.true_ms


@pytest.mark.parametrize("step_ms", [HOUR_MS, -HOUR_MS, 2_001, -2_001])
def test_a_step_that_no_member_has_made_is_not_followed(step_ms):
    machine = Machine()
    machine.hear(0, 20, -30)
    assert machine.clock.tick() == []
    machine.off_ms = step_ms
    assert machine.wrong_ms == 0, "not for a moment"
    assert machine.clock.tick() == [Stepped(step_ms)]
    for _ in range(3_600):
        machine.passes(1_000)
        machine.hear(0, 20, -30)
        assert machine.clock.tick() == []
        assert machine.wrong_ms == 0
    assert machine.clock.step_ms == step_ms
    machine.off_ms = 0
    assert machine.clock.tick() == [Restored()]
    assert machine.clock.step_ms == 0


def test_a_machine_that_slept_is_believed_as_soon_as_members_say_so():
    machine = Machine()
    machine.hear(0, 0, 0)
    machine.passes(HOUR_MS, asleep=True)
    assert machine.wrong_ms == -HOUR_MS
    assert machine.clock.tick() == [Stepped(HOUR_MS)]
    machine.passes(1_000)
    machine.hear(0, 0, 0)
    assert machine.clock.tick() == [Adopted(HOUR_MS, 3)]
    assert machine.wrong_ms == 0
    assert machine.clock.ahead_ms() == 0
    assert machine.clock.tick() == []


def test_all_machines_that_are_set_right_together_are_believed():
    machine = Machine()
    machine.off_ms = -HOUR_MS
    machine.clock = SteadyClock(machine.clock.wall_ns, lambda: machine.up_ms * 10**6)
    machine.hear(-HOUR_MS, -HOUR_MS, -HOUR_MS)
    machine.clock.tick()
    machine.off_ms = 0
    machine.clock.tick()
    machine.hear(0, 0, -HOUR_MS)
    assert machine.clock.tick() == [Adopted(HOUR_MS, 2)]
    assert machine.wrong_ms == 0


def test_half_of_the_members_are_not_enough():
    machine = Machine()
    machine.off_ms = HOUR_MS
    machine.clock.tick()
    machine.hear(0, 0, HOUR_MS, HOUR_MS)
    assert machine.clock.tick() == []
    assert machine.wrong_ms == 0


def test_a_step_without_anybody_to_ask_is_believed_after_a_while():
    machine = Machine()
    machine.off_ms = -HOUR_MS
    assert machine.clock.tick() == [Stepped(-HOUR_MS)]
    machine.passes(CLOCK_ALONE_MS - 1)
    assert machine.clock.tick() == []
    machine.passes(1)
    assert machine.clock.tick() == [Adopted(-HOUR_MS, 0)]
    assert machine.wrong_ms == -HOUR_MS


def test_a_second_step_is_told_too():
    machine = Machine()
    machine.off_ms = HOUR_MS
    assert machine.clock.tick() == [Stepped(HOUR_MS)]
    machine.off_ms = 2 * HOUR_MS
    machine.hear(0, 0, 0)
    assert machine.clock.tick() == [Stepped(2 * HOUR_MS)]


@given(st.lists(st.integers(-CLOCK_STEP_MS, CLOCK_STEP_MS), max_size=50))
def test_small_corrections_are_followed_as_they_come(corrections):
    machine = Machine()
    for by_ms in corrections:
        machine.passes(1_000)
        machine.off_ms += by_ms
        assert machine.wrong_ms == machine.off_ms
        assert machine.clock.tick() == []


def test_a_clock_that_was_wrong_from_the_start_is_told_once_and_once_when_it_is_right():
    machine = Machine()
    machine.hear(-HOUR_MS, -HOUR_MS)
    assert machine.clock.ahead_ms() is None, "two cannot say who is wrong"
    machine.hear(-HOUR_MS, -HOUR_MS - 5, -HOUR_MS + 5)
    assert machine.clock.tick() == [Wrong(HOUR_MS)]
    assert machine.clock.ahead_ms() == HOUR_MS
    assert machine.clock.tick() == []
    machine.hear(0, 0, 0)
    assert machine.clock.tick() == [Wrong(0)]


def test_who_is_gone_or_silent_has_no_say():
    machine = Machine()
    machine.hear(-HOUR_MS, -HOUR_MS, -HOUR_MS)
    machine.clock.lost(b"\0")
    machine.clock.lost(b"\7")
    assert machine.clock.ahead_ms() is None
    machine.hear(-HOUR_MS, -HOUR_MS, -HOUR_MS)
    machine.passes(CLOCK_HEARD_MS + 1)
    assert machine.clock.ahead_ms() is None


@pytest.mark.parametrize("absurd", [0, 2**63 - 1, 2**64 - 1], ids=["zero", "signed", "unsigned"])
def test_absurd_times_of_a_member_harm_nobody(absurd):
    machine = Machine()
    machine.hear(0, 0, 0)
    machine.clock.heard(b"absurd", absurd)
    assert machine.clock.tick() == []
    assert abs(machine.clock.ahead_ms()) < CLOCK_OFF_MS


Deed = st.one_of(
    st.tuples(st.just("pass"), st.integers(0, 20_000)),
    st.tuples(st.just("step"), st.integers(-2 * HOUR_MS, 2 * HOUR_MS)),
    st.tuples(st.just("hear"), st.lists(st.integers(-2 * HOUR_MS, 2 * HOUR_MS), max_size=6)),
)


@settings(max_examples=300)
@given(st.lists(Deed, max_size=30))
def test_it_is_always_one_of_the_two_times_and_members_cannot_choose_another(deeds):
    """Against what may be at all: the time of the machine, or what passed since it last was that."""
    machine = Machine()
    apart_ms, heard = 0, {}
    for what, value in deeds:
        if what == "pass":
            machine.passes(value)
        elif what == "step":
            machine.off_ms += value
            if abs(apart_ms + value) <= CLOCK_STEP_MS:
                apart_ms = 0
            else:
                apart_ms += value
        else:
            machine.hear(*value)
            for number, off_ms in enumerate(value):
                heard[number] = machine.true_ms + off_ms - machine.clock.now_ms(), machine.up_ms
        assert machine.clock.step_ms == apart_ms
        assert machine.clock.now_ms() == machine.true_ms + machine.off_ms - apart_ms
        fresh = [ahead for ahead, at in heard.values() if at >= machine.up_ms - CLOCK_HEARD_MS]
        expected = None if len(fresh) < CLOCK_MEMBERS_MIN else -median_low(fresh)
        assert machine.clock.ahead_ms() == expected
        said = machine.clock.tick()
        if any(isinstance(one, Adopted) for one in said):
            moved = sum(one > apart_ms // 2 if apart_ms > 0 else one < apart_ms // 2 for one in fresh)
            assert 2 * moved > len(fresh) or not fresh
            heard = {number: (ahead - apart_ms, at) for number, (ahead, at) in heard.items()}
            apart_ms = 0
