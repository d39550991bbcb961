"""The epoch tracker: which epoch is in force, what it reads, what it does not believe, and how it recovers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metagraph.epochkit import BLOCKS, A, B, epoch, hash_of, reading, seen, time_of, tracker

from mycelium.config import (
    EPOCH_ANCHOR_BLOCKS,
    EPOCH_CLOCK_MS,
    EPOCH_RETRY_MAX_MS,
    EPOCH_RETRY_MS,
    EPOCH_TIMES_READ_MAX,
    EPOCH_WANTED_MAX,
)
from mycelium.metagraph.tracker import (
    Alarm,
    Entered,
    EpochRead,
    HeadSeen,
    ReadEpoch,
    ReadFailed,
    ReadTimes,
    Tick,
    TimesRead,
)

NOW = time_of(1000)


def at_epoch(number=5, *stakes, **keywords):
    """A tracker whose present epoch is `number`, with its head two blocks into it."""
    machine = tracker(**keywords)
    block = number * BLOCKS + 2
    machine.handle(seen(block), time_of(block))
    machine.handle(EpochRead(reading(number, *(stakes or (5, 5, 5, 5))), A), time_of(block))
    assert machine.epoch.number == number
    return machine


def test_the_first_epoch():
    machine = tracker()
    assert not machine.status(0).writes_allowed
    effects = machine.handle(seen(52), time_of(52))
    assert effects == [ReadEpoch(5)]
    assert (machine.epoch, machine.anchor) == (None, None)
    effects = machine.handle(EpochRead(reading(5, 5, 5), A), time_of(52))
    assert effects == [Entered(epoch(5, 5, 5))]
    assert machine.anchor == seen(52)
    status = machine.status(time_of(52) + 4_000)
    assert (status.epoch, status.block, status.head_age_s, status.writes_allowed, status.problems) == (
        5,
        52,
        4.0,
        True,
        (),
    )


def test_the_last_epoch_stays_in_force_until_the_next_is_known():
    machine = at_epoch(5)
    machine.handle(seen(59), time_of(59))
    assert machine.handle(seen(61), time_of(61)) == [ReadEpoch(6, known=5)]
    assert (machine.epoch.number, machine.anchor.number // BLOCKS) == (5, 5)
    assert machine.handle(EpochRead(reading(6, 5, 5, 5, 5, known=5), A), time_of(61)) == [
        Entered(epoch(6, 5, 5, 5, 5))
    ]
    assert (machine.epoch.number, machine.anchor) == (6, seen(61))


def test_batches_refer_to_few_blocks_and_never_to_the_newest():
    machine = tracker(epoch_blocks=1_000)
    machine.handle(seen(2_000), time_of(2_000))
    machine.handle(EpochRead(reading(2, 5), A), time_of(2_000))
    anchors = []
    for block in range(2_001, 2_200):
        machine.handle(seen(block), time_of(block))
        anchors.append(machine.anchor.number)
        assert machine.anchor.number < block
    assert len(set(anchors)) <= 200 // EPOCH_ANCHOR_BLOCKS + 1
    assert all(later >= earlier for earlier, later in pairwise(anchors))


def test_an_endpoint_that_is_behind_changes_nothing():
    machine = at_epoch(5)
    assert machine.handle(seen(51), NOW) == []
    assert (machine.head, machine.problems) == (seen(52), {})


def test_a_final_block_is_not_replaced():
    machine = at_epoch(5)
    (alarm,) = machine.handle(seen(52, "f"), NOW)
    assert isinstance(alarm, Alarm)
    assert "block 52" in alarm.text
    assert machine.head == seen(52)
    # It is told once, stays in the status, and goes when the chain goes on.
    assert machine.handle(seen(52, "f"), NOW) == []
    assert machine.status(time_of(52)).problems == (alarm.text,)
    machine.handle(seen(53), time_of(53))
    assert machine.status(time_of(53)).problems == ()


def test_another_history_is_not_believed():
    machine = at_epoch(5)
    machine.handle(seen(61, "f"), time_of(61))
    effects = machine.handle(EpochRead(reading(6, 5, 5, 5, 5, known=5, fork="f"), A), time_of(61))
    (alarm,) = effects
    assert "it was final as" in alarm.text
    assert machine.epoch.number == 5
    # After a while it asks again, and believes an answer that fits.
    later = time_of(61) + EPOCH_RETRY_MS
    assert machine.handle(Tick(), later - 1) == []
    assert machine.handle(Tick(), later) == [ReadEpoch(6, known=5)]
    assert machine.handle(EpochRead(reading(6, 5, 5, 5, 5, known=5), B), later)[0] == Entered(
        epoch(6, 5, 5, 5, 5)
    )
    assert machine.status(later).problems == ()


# --- large changes ----------------------------------------------------------------------------------------


def test_a_small_change_is_believed_of_one_endpoint():
    machine = at_epoch(5, 5, 5, 5, 5)
    machine.handle(seen(61), time_of(61))
    machine.handle(EpochRead(reading(6, 5, 5, 5, 0, known=5), A), time_of(61))
    assert machine.epoch == epoch(6, 5, 5, 5, 0)


def test_a_large_change_needs_a_second_endpoint():
    machine = at_epoch(5, 5, 5, 5, 5)
    machine.handle(seen(61), time_of(61))
    effects = machine.handle(EpochRead(reading(6, 5, 0, 0, 0, known=5), A), time_of(61))
    assert effects == [ReadEpoch(6, exclude=A, known=5)]
    assert machine.epoch.number == 5
    machine.handle(EpochRead(reading(6, 5, 0, 0, 0, known=5), B), time_of(61))
    assert machine.epoch == epoch(6, 5, 0, 0, 0)


def test_endpoints_that_disagree_are_both_not_believed():
    machine = at_epoch(5, 5, 5, 5, 5)
    machine.handle(seen(61), time_of(61))
    machine.handle(EpochRead(reading(6, 5, 0, 0, 0, known=5), A), time_of(61))
    (alarm,) = machine.handle(EpochRead(reading(6, 5, 5, 5, 5, known=5), B), time_of(61))
    assert f"{A} and {B} disagree" in alarm.text
    assert machine.epoch.number == 5
    # It begins anew, and not with half of a decision.
    later = time_of(61) + EPOCH_RETRY_MS
    assert machine.handle(Tick(), later) == [ReadEpoch(6, known=5)]
    machine.handle(EpochRead(reading(6, 5, 5, 5, 5, known=5), B), later)
    assert machine.epoch == epoch(6, 5, 5, 5, 5)


def test_nobody_confirms_himself():
    machine = at_epoch(5, 5, 5, 5, 5)
    machine.handle(seen(61), time_of(61))
    for _ in range(3):
        machine.handle(EpochRead(reading(6, 5, 0, 0, 0, known=5), A), time_of(61))
    assert machine.epoch.number == 5
    assert machine.handle(Tick(), time_of(61) + EPOCH_RETRY_MAX_MS) == [ReadEpoch(6, exclude=A, known=5)]


def test_with_one_endpoint_a_large_change_waits_for_the_operator():
    machine = at_epoch(5, 5, 5, 5, 5, endpoints=1)
    machine.handle(seen(61), time_of(61))
    (alarm,) = machine.handle(EpochRead(reading(6, 5, 0, 0, 0, known=5), A), time_of(61))
    assert "no second endpoint confirms it: add one" in alarm.text
    assert (machine.epoch.number, machine.anchor.number // BLOCKS) == (5, 5)
    lenient = at_epoch(5, 5, 5, 5, 5, endpoints=1, change_percent_max=100)
    lenient.handle(seen(61), time_of(61))
    lenient.handle(EpochRead(reading(6, 5, 0, 0, 0, known=5), A), time_of(61))
    assert lenient.epoch.number == 6


# --- failures and outages ---------------------------------------------------------------------------------


def test_a_reading_that_fails_is_tried_again_ever_later():
    machine = tracker()
    now = time_of(52)
    machine.handle(seen(52), now)
    waits = []
    for _ in range(12):
        machine.handle(ReadFailed(5, "no answer", "check it"), now)
        assert "no answer: check it" in machine.status(now).problems[0]
        wait = next(ms for ms in range(0, EPOCH_RETRY_MAX_MS + 1, 500) if machine.handle(Tick(), now + ms))
        waits.append(wait)
        now += wait
    assert waits[0] == EPOCH_RETRY_MS
    assert waits == sorted(waits)
    assert waits[-1] == EPOCH_RETRY_MAX_MS
    machine.handle(EpochRead(reading(5, 5), A), now)
    assert (machine.epoch.number, machine.problems) == (5, {})


def test_an_outage_lets_writes_go_on_for_a_while_and_ends_by_itself():
    machine = at_epoch(5, outage_max_ms=600_000)
    heard = time_of(52)
    assert machine.status(heard + 600_000).writes_allowed
    late = machine.status(heard + 600_001)
    assert not late.writes_allowed
    assert "nothing can be written until it is" in late.problems[0]
    machine.handle(seen(103), time_of(103))
    machine.handle(EpochRead(reading(10, 5, 5, 5, 5, known=5), A), time_of(103))
    assert machine.status(time_of(103)).writes_allowed


def test_an_epoch_that_is_not_believed_stops_writes_in_the_end():
    machine = at_epoch(5, 5, 5, endpoints=1, outage_max_ms=600_000)
    for block in range(53, 200):
        machine.handle(seen(block), time_of(block))
        if block == 60:
            machine.handle(EpochRead(reading(6, 0, 0, known=5), A), time_of(block))
    assert machine.status(time_of(200)).head_age_s < 60
    assert not machine.status(time_of(200)).writes_allowed


def test_a_clock_that_is_behind_is_said():
    machine = at_epoch(5)
    assert machine.status(time_of(52) - EPOCH_CLOCK_MS).problems == ()
    assert "clock is 61 s behind" in machine.status(time_of(52) - 61_000).problems[0]


def test_a_restart_goes_on_where_it_was():
    before = at_epoch(5)
    after = tracker()
    after.archive = before.archive
    after.begin()
    assert (after.epoch, after.anchor) == (before.epoch, HeadSeen(50, hash_of(50), time_of(50)))
    assert after.handle(Tick(), NOW) == []
    after.handle(seen(71), time_of(71))
    after.handle(EpochRead(reading(7, 5, 5, 5, 5, known=5), A), time_of(71))
    assert after.epoch.number == 7


# --- what is asked for ------------------------------------------------------------------------------------


def test_an_older_epoch_is_read_when_it_is_needed_and_changes_nothing_else():
    machine = at_epoch(5)
    machine.want(3)
    machine.want(6)  # the future comes by itself
    assert machine.handle(Tick(), NOW) == [ReadEpoch(3, known=5)]
    assert machine.handle(EpochRead(reading(3, 5, 5, 5, known=5), A), NOW) == []
    assert (machine.archive.epoch(3), machine.epoch.number) == (epoch(3, 5, 5, 5), 5)


def test_the_present_epoch_goes_before_the_older_ones():
    machine = at_epoch(5)
    for number in (1, 2, 4):
        machine.want(number)
    assert machine.handle(seen(61), time_of(61)) == [ReadEpoch(6, known=5)]
    order = []
    what = EpochRead(reading(6, 5, 5, 5, 5), A)
    while effects := [one for one in machine.handle(what, NOW) if isinstance(one, ReadEpoch)]:
        order.append(effects[0].number)
        what = EpochRead(reading(order[-1], 5, 5, 5, 5), A)
    assert order == [4, 2, 1]


def test_times_are_read_a_few_at_once_and_what_is_not_found_is_not_asked_for_again():
    machine = at_epoch(50)
    for block in range(EPOCH_TIMES_READ_MAX + 3):
        machine.want_time(block)
    machine.want_time(10**9)
    (first,) = machine.handle(Tick(), NOW)
    assert first == ReadTimes(tuple(range(EPOCH_TIMES_READ_MAX)))
    assert machine.handle(Tick(), NOW) == []
    (second,) = machine.handle(TimesRead({1: time_of(1)}), NOW)
    assert len(second.blocks) == 3
    assert machine.handle(TimesRead({}), NOW) == []
    assert (machine.archive.block_time_ms(1), machine.archive.block_time_ms(2)) == (time_of(1), None)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_numbers_from_the_wire_cost_a_bounded_memory(numbers):
    machine = at_epoch(10**6)
    for number in [*numbers, *range(3 * EPOCH_WANTED_MAX)]:
        machine.want(number)
        machine.want_time(number)
    assert len(machine._wanted) <= EPOCH_WANTED_MAX
    assert len(machine._wanted_times) <= EPOCH_WANTED_MAX


# --- in any order -----------------------------------------------------------------------------------------

HEADS = st.integers(1, 80).map(seen)
FORKS = st.integers(1, 80).map(lambda block: seen(block, "f"))


@given(st.lists(st.one_of(HEADS, FORKS, st.just(Tick())), max_size=40), st.randoms(use_true_random=False))
def test_whatever_comes_the_anchor_lies_in_the_present_epoch_and_neither_goes_back(inputs, random):
    machine = tracker()
    now, before = 0, (-1, -1)
    pending = list(inputs)
    while pending:
        now += random.randrange(5_000)
        effects = machine.handle(pending.pop(0), now)
        for effect in effects:
            if isinstance(effect, ReadEpoch):
                answer = (
                    ReadFailed(effect.number, "lost")
                    if random.random() < 0.3
                    else EpochRead(reading(effect.number, 5, 5, 5, known=effect.known), A)
                )
                pending.insert(random.randrange(len(pending) + 1), answer)
        if machine.anchor is not None:
            place = (machine.epoch.number, machine.anchor.number)
            assert place[1] // BLOCKS == place[0]
            assert place >= before
            assert machine.archive.epoch(place[0]) == machine.epoch
            before = place


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_nodes_that_read_the_same_chain_agree_however_late(order):
    machines = [at_epoch(1), tracker()]
    late = machines[1]
    late.handle(seen(72), time_of(72))
    late.handle(EpochRead(reading(7, 5, 5, 5, 4), A), time_of(72))
    for number in range(2, 8):
        machines[0].handle(seen(number * BLOCKS + 2), NOW)
        machines[0].handle(EpochRead(reading(number, 5, 5, 5, 4, known=number - 1), A), NOW)
    for index in order:
        machines[index].want(3)
        machines[index].handle(Tick(), NOW)
        machines[index].handle(EpochRead(reading(3, 5, 5, 5, 4), A), NOW)
    assert machines[0].epoch == machines[1].epoch
    assert machines[0].archive.epoch(3) == machines[1].archive.epoch(3)
