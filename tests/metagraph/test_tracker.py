"""The epoch tracker: which epoch is in force, what it reads, what it does not believe, and how it recovers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metagraph.epochkit import BLOCKS, A, B, C, epoch, hash_of, hear, reading, seen, time_of, tracker

from mycelium.config import (
    EPOCH_ANCHOR_BLOCKS,
    EPOCH_CLOCK_MS,
    EPOCH_DOUBTS_MAX,
    EPOCH_OLDER_RETRY_MAX_MS,
    EPOCH_RETRY_MAX_MS,
    EPOCH_RETRY_MS,
    EPOCH_TIMES_READ_MAX,
    EPOCH_WANTED_MAX,
)
from mycelium.errors import ChainError, StoreCorrupt, StoreFull
from mycelium.metagraph.events import (
    Alarm,
    Ask,
    Entered,
    EpochRead,
    HeadSeen,
    Opinion,
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
    hear(machine, seen(block), time_of(block))
    hear(machine, EpochRead(reading(number, *(stakes or (5, 5, 5, 5))), A), time_of(block))
    assert machine.epoch.number == number
    return machine


def test_the_first_epoch():
    machine = tracker()
    assert not machine.status(0).writes_allowed
    effects = hear(machine, seen(52), time_of(52))
    assert effects == [ReadEpoch(5)]
    assert (machine.epoch, machine.anchor) == (None, None)
    effects = hear(machine, EpochRead(reading(5, 5, 5), A), time_of(52))
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
    hear(machine, seen(59), time_of(59))
    assert hear(machine, seen(61), time_of(61)) == [ReadEpoch(6, known=5)]
    assert (machine.epoch.number, machine.anchor.number // BLOCKS) == (5, 5)
    assert hear(machine, EpochRead(reading(6, 5, 5, 5, 5, known=5), A), time_of(61)) == [
        Entered(epoch(6, 5, 5, 5, 5))
    ]
    assert (machine.epoch.number, machine.anchor) == (6, seen(61))


def test_batches_refer_to_few_blocks_and_never_to_the_newest():
    machine = tracker(epoch_blocks=1_000)
    hear(machine, seen(2_000), time_of(2_000))
    hear(machine, EpochRead(reading(2, 5), A), time_of(2_000))
    anchors = []
    for block in range(2_001, 2_200):
        hear(machine, seen(block), time_of(block))
        anchors.append(machine.anchor.number)
        assert machine.anchor.number < block
    assert len(set(anchors)) <= 200 // EPOCH_ANCHOR_BLOCKS + 1
    assert all(later >= earlier for earlier, later in pairwise(anchors))


def test_another_history_is_not_believed():
    machine = at_epoch(5)
    hear(machine, seen(61), time_of(61))
    effects = hear(machine, EpochRead(reading(6, 5, 5, 5, 5, known=5, fork="f"), A), time_of(61))
    (alarm,) = effects
    assert "it was final as" in alarm.text
    assert machine.epoch.number == 5
    # After a while it asks again, and believes an answer that fits.
    later = time_of(61) + EPOCH_RETRY_MS
    assert hear(machine, Tick(), later - 1) == []
    assert hear(machine, Tick(), later) == [ReadEpoch(6, known=5)]
    assert hear(machine, EpochRead(reading(6, 5, 5, 5, 5, known=5), B), later)[0] == Entered(
        epoch(6, 5, 5, 5, 5)
    )
    assert machine.status(later).problems == ()


# --- large changes ----------------------------------------------------------------------------------------


def test_a_small_change_is_believed_of_one_endpoint():
    machine = at_epoch(5, 5, 5, 5, 5)
    hear(machine, seen(61), time_of(61))
    hear(machine, EpochRead(reading(6, 5, 5, 5, 0, known=5), A), time_of(61))
    assert machine.epoch == epoch(6, 5, 5, 5, 0)


def test_a_large_change_needs_a_second_endpoint():
    machine = at_epoch(5, 5, 5, 5, 5)
    hear(machine, seen(61), time_of(61))
    effects = hear(machine, EpochRead(reading(6, 5, 0, 0, 0, known=5), A), time_of(61))
    assert effects == [ReadEpoch(6, exclude=frozenset({A}), known=5)]
    assert machine.epoch.number == 5
    hear(machine, EpochRead(reading(6, 5, 0, 0, 0, known=5), B), time_of(61))
    assert machine.epoch == epoch(6, 5, 0, 0, 0)


def test_endpoints_that_disagree_are_both_not_believed():
    machine = at_epoch(5, 5, 5, 5, 5)
    hear(machine, seen(61), time_of(61))
    hear(machine, EpochRead(reading(6, 5, 0, 0, 0, known=5), A), time_of(61))
    (alarm,) = hear(machine, EpochRead(reading(6, 5, 5, 5, 5, known=5), B), time_of(61))
    assert f"{A} and {B} disagree" in alarm.text
    assert machine.epoch.number == 5
    # It begins anew, and not with half of a decision.
    later = time_of(61) + EPOCH_RETRY_MS
    assert hear(machine, Tick(), later) == [ReadEpoch(6, known=5)]
    hear(machine, EpochRead(reading(6, 5, 5, 5, 5, known=5), B), later)
    assert machine.epoch == epoch(6, 5, 5, 5, 5)


def test_nobody_confirms_himself():
    machine = at_epoch(5, 5, 5, 5, 5)
    hear(machine, seen(61), time_of(61))
    for _ in range(3):
        hear(machine, EpochRead(reading(6, 5, 0, 0, 0, known=5), A), time_of(61))
    assert machine.epoch.number == 5
    assert hear(machine, Tick(), time_of(61) + EPOCH_RETRY_MAX_MS) == [
        ReadEpoch(6, exclude=frozenset({A}), known=5)
    ]


def test_with_one_endpoint_a_large_change_waits_for_the_operator():
    machine = at_epoch(5, 5, 5, 5, 5, endpoints=1)
    hear(machine, seen(61), time_of(61))
    (alarm,) = hear(machine, EpochRead(reading(6, 5, 0, 0, 0, known=5), A), time_of(61))
    assert "no second endpoint confirms it: add one" in alarm.text
    assert (machine.epoch.number, machine.anchor.number // BLOCKS) == (5, 5)
    lenient = at_epoch(5, 5, 5, 5, 5, endpoints=1, change_percent_max=100)
    hear(lenient, seen(61), time_of(61))
    hear(lenient, EpochRead(reading(6, 5, 0, 0, 0, known=5), A), time_of(61))
    assert lenient.epoch.number == 6


# --- failures and outages ---------------------------------------------------------------------------------


def test_a_reading_that_fails_is_tried_again_ever_later():
    machine = tracker(endpoints=1)
    now = time_of(52)
    hear(machine, seen(52), now)
    waits = []
    for _ in range(12):
        hear(machine, ReadFailed(5, A, ChainError("no answer", "check it")), now)
        assert "no answer: check it" in machine.status(now).problems[0]
        wait = next(ms for ms in range(0, EPOCH_RETRY_MAX_MS + 1, 500) if hear(machine, Tick(), now + ms))
        waits.append(wait)
        now += wait
    assert waits[0] == EPOCH_RETRY_MS
    assert waits == sorted(waits)
    assert waits[-1] == EPOCH_RETRY_MAX_MS
    hear(machine, EpochRead(reading(5, 5), A), now)
    assert (machine.epoch.number, list(machine.problems)) == (5, [])


def test_an_outage_lets_writes_go_on_for_a_while_and_ends_by_itself():
    machine = at_epoch(5, outage_max_ms=600_000)
    heard = time_of(52)
    assert machine.status(heard + 600_000).writes_allowed
    late = machine.status(heard + 600_001)
    assert not late.writes_allowed
    assert "nothing can be written until there is a newer one" in late.problems[0]
    hear(machine, seen(103), time_of(103))
    hear(machine, EpochRead(reading(10, 5, 5, 5, 5, known=5), A), time_of(103))
    assert machine.status(time_of(103)).writes_allowed


def test_an_epoch_that_is_not_believed_stops_writes_in_the_end():
    machine = at_epoch(5, 5, 5, endpoints=1, outage_max_ms=600_000)
    for block in range(53, 200):
        hear(machine, seen(block), time_of(block))
        if block == 60:
            hear(machine, EpochRead(reading(6, 0, 0, known=5), A), time_of(block))
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
    assert hear(after, Tick(), NOW) == []
    hear(after, seen(71), time_of(71))
    hear(after, EpochRead(reading(7, 5, 5, 5, 5, known=5), A), time_of(71))
    assert after.epoch.number == 7


def test_each_endpoint_is_tried_before_any_is_waited_for():
    machine = tracker(endpoints=3)
    now = time_of(52)
    assert hear(machine, seen(52), now) == [ReadEpoch(5)]
    for failed in ({A}, {A, B}):
        effects = hear(machine, ReadFailed(5, B if len(failed) > 1 else A, ChainError("pruned")), now)
        assert effects[-1] == ReadEpoch(5, frozenset(failed))
        assert machine.reading
    assert hear(machine, ReadFailed(5, C, ChainError("pruned")), now) == []
    assert not machine.reading
    assert hear(machine, Tick(), now + EPOCH_RETRY_MS) == [ReadEpoch(5)]


def test_one_who_cannot_confirm_is_not_asked_at_once_again():
    machine = at_epoch(5, 5, 5, 5, 5)
    hear(machine, seen(61), time_of(61))
    hear(machine, EpochRead(reading(6, 5, 0, 0, 0, known=5), A), time_of(61))
    hear(machine, ReadFailed(6, B, ChainError("no answer")), time_of(61))
    assert not machine.reading
    again = time_of(61) + EPOCH_RETRY_MS
    assert hear(machine, Tick(), again) == [ReadEpoch(6, frozenset({A}), 5)]


def test_an_older_epoch_that_nobody_has_is_asked_for_ever_more_rarely():
    machine = at_epoch(5, endpoints=1)
    now, asked = NOW, []
    machine.want(3)
    for _ in range(20_000):
        machine.want(3)
        if any(isinstance(effect, ReadEpoch) for effect in hear(machine, Tick(), now)):
            asked.append(now)
            hear(machine, ReadFailed(3, A, ChainError("pruned")), now)
        now += 10_000
    waits = [later - earlier for earlier, later in pairwise(asked)]
    assert waits[-1] >= EPOCH_OLDER_RETRY_MAX_MS
    assert len(asked) < 80
    # The present one is not kept waiting for it.
    assert ReadEpoch(6, known=5) in hear(machine, seen(61), now)


def test_doubts_are_bounded():
    machine = at_epoch(1_000, 5, 5, 5, 5)
    for number in range(3 * EPOCH_DOUBTS_MAX):
        machine.want(number)
        hear(machine, EpochRead(reading(number, 5, 0, 0, 0), A), NOW)
    assert len(machine._doubts) <= EPOCH_DOUBTS_MAX


# --- a store that fails -----------------------------------------------------------------------------------


class Failing:
    """An archive of which one method fails while `error` is set."""

    def __init__(self, archive, method, error):
        self._archive, self._method, self.error = archive, method, error

    def __getattr__(self, name):
        def fail(*arguments):
            raise self.error

        return fail if self.error is not None and name == self._method else getattr(self._archive, name)


@pytest.mark.parametrize("method", ["epoch", "nearest", "newest", "keep", "block_time_ms", "keep_times"])
def test_whatever_fails_of_the_store_it_goes_on_when_that_is_over(method):
    machine = at_epoch(5)
    archive = machine.archive = Failing(machine.archive, method, StoreFull("no space left"))
    now, reads = time_of(61), 0
    for block in range(61, 66):
        effects = hear(machine, seen(block), now)
        while effects:
            effect = effects.pop(0)
            if isinstance(effect, ReadEpoch):
                reads += 1
                effects += hear(machine, EpochRead(reading(6, 5, 5, 5, 5, known=5), A), now)
        now += 12_000
    if method != "block_time_ms":
        assert (machine.epoch.number, machine.anchor) == (5, seen(52))
        assert machine.status(now).problems[0] == "no space left"
    archive.error = None
    now += EPOCH_RETRY_MAX_MS
    for effect in hear(machine, seen(66), now):
        if isinstance(effect, ReadEpoch):
            hear(machine, EpochRead(reading(6, 5, 5, 5, 5, known=5), A), now)
    assert machine.epoch.number == 6
    assert machine.status(now).problems == ()
    assert reads <= 5  # once for each head, and not in a loop


def test_a_damaged_store_is_told_with_its_remedy_and_once():
    machine = at_epoch(5)
    machine.archive = Failing(machine.archive, "keep_times", StoreCorrupt("epochs: damaged", "remove it"))
    assert hear(machine, seen(53), time_of(53)) == [Alarm("epochs: damaged: remove it")]
    assert hear(machine, seen(54), time_of(54)) == []


# --- what is asked for ------------------------------------------------------------------------------------


def test_an_older_epoch_is_read_when_it_is_needed_and_changes_nothing_else():
    machine = at_epoch(5)
    machine.want(3)
    machine.want(6)  # the future comes by itself
    assert hear(machine, Tick(), NOW) == [ReadEpoch(3, known=5)]
    assert hear(machine, EpochRead(reading(3, 5, 5, 5, known=5), A), NOW) == []
    assert (machine.archive.epoch(3), machine.epoch.number) == (epoch(3, 5, 5, 5), 5)


def test_the_present_epoch_goes_before_the_older_ones():
    machine = at_epoch(5)
    for number in (1, 2, 4):
        machine.want(number)
    assert hear(machine, seen(61), time_of(61)) == [ReadEpoch(6, known=5)]
    order = []
    what = EpochRead(reading(6, 5, 5, 5, 5), A)
    while effects := [one for one in hear(machine, what, NOW) if isinstance(one, ReadEpoch)]:
        order.append(effects[0].number)
        what = EpochRead(reading(order[-1], 5, 5, 5, 5), A)
    assert order == [4, 2, 1]


def test_times_are_read_a_few_at_once_and_what_is_not_found_is_not_asked_for_again():
    machine = at_epoch(50)
    for block in range(EPOCH_TIMES_READ_MAX + 3):
        machine.want_time(block)
    machine.want_time(10**9)
    (first,) = hear(machine, Tick(), NOW)
    assert first == ReadTimes(tuple(range(1, EPOCH_TIMES_READ_MAX + 1)))
    assert hear(machine, Tick(), NOW) == []
    (second,) = hear(machine, TimesRead({1: time_of(1)}), NOW)
    assert len(second.blocks) == 2
    assert hear(machine, TimesRead({}), NOW) == []
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

HEADS = st.builds(seen, st.integers(1, 80), st.sampled_from(["", "f"]), st.sampled_from([A, B]))


@given(
    st.lists(st.one_of(HEADS, st.just(Tick())), max_size=40),
    st.integers(1, 2),
    st.randoms(use_true_random=False),
)
def test_whatever_comes_the_anchor_lies_in_the_present_epoch_and_neither_goes_back(inputs, endpoints, random):
    machine = tracker(endpoints)
    now, before = time_of(80), (-1, -1)
    pending = list(inputs)
    while pending:
        now += random.randrange(5_000)
        for effect in machine.handle(pending.pop(0), now):
            answer = None
            if isinstance(effect, ReadEpoch):
                lost = ReadFailed(effect.number, A, ChainError("lost"))
                read = EpochRead(reading(effect.number, 5, 5, 5, known=effect.known), A)
                answer = lost if random.random() < 0.3 else read
            elif isinstance(effect, Ask):
                answer = random.choice(
                    [
                        Opinion(effect.number),
                        Opinion(effect.number, B, hash_of(effect.number)),
                        Opinion(effect.number, B, None, time_of(random.randrange(90))),
                    ]
                )
            if answer is not None:
                pending.insert(random.randrange(len(pending) + 1), answer)
        if machine.anchor is not None:
            place = (machine.epoch.number, machine.anchor.number)
            assert place[1] // BLOCKS == place[0]
            assert place >= before
            assert machine.archive.epoch(place[0]) == machine.epoch
            assert machine.archive.block_time_ms(place[1]) == machine.anchor.time_ms
            before = place


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_nodes_that_read_the_same_chain_agree_however_late(order):
    machines = [at_epoch(1), tracker()]
    late = machines[1]
    hear(late, seen(72), time_of(72))
    hear(late, EpochRead(reading(7, 5, 5, 5, 4), A), time_of(72))
    for number in range(2, 8):
        hear(machines[0], seen(number * BLOCKS + 2), NOW)
        hear(machines[0], EpochRead(reading(number, 5, 5, 5, 4, known=number - 1), A), NOW)
    for index in order:
        machines[index].want(3)
        hear(machines[index], Tick(), NOW)
        hear(machines[index], EpochRead(reading(3, 5, 5, 5, 4), A), NOW)
    assert machines[0].epoch == machines[1].epoch
    assert machines[0].archive.epoch(3) == machines[1].archive.epoch(3)
