"""Which block is believed: what one endpoint says, what another says of it, and what no endpoint can bring about."""

from __future__ import annotations

import dataclasses

import pytest
from metagraph.epochkit import BLOCKS, A, B, C, epoch, hash_of, hear, reading, seen, time_of, tracker

from mycelium.config import (
    ANCHOR_SKEW_MS,
    EPOCH_ANCHOR_MS,
    EPOCH_BEHIND_MS,
    EPOCH_RETRY_MAX_MS,
    EPOCH_RETRY_MS,
)
from mycelium.metagraph.events import Alarm, Ask, Entered, EpochRead, Leave, Opinion, ReadEpoch, Tick


def at_epoch(number=5, **keywords):
    """A tracker anchored to the third block of an epoch, with two endpoints."""
    machine = tracker(**keywords)
    block = number * BLOCKS + 2
    hear(machine, seen(block), time_of(block))
    hear(machine, EpochRead(reading(number, 5, 5, 5, 5), A), time_of(block))
    assert machine.anchor == seen(block)
    return machine


def alarm_of(effects):
    """The one alarm, and who is left for it."""
    (alarm,) = [effect for effect in effects if isinstance(effect, Alarm)]
    return alarm.text, [effect.endpoint for effect in effects if isinstance(effect, Leave)]


# --- a second endpoint ------------------------------------------------------------------------------------


def test_another_endpoint_is_asked_before_an_epoch_is_read():
    machine = tracker()
    assert machine.handle(seen(52), time_of(52)) == [Ask(52, A)]
    assert machine.handle(Tick(), time_of(52)) == []
    assert machine.handle(Opinion(52, B, hash_of(52)), time_of(52)) == [ReadEpoch(5)]
    assert machine.handle(EpochRead(reading(5, 5), A), time_of(52)) == [Entered(epoch(5, 5))]


def test_where_no_other_can_be_asked_one_is_believed():
    machine = tracker()
    machine.handle(seen(52), time_of(52))
    assert machine.handle(Opinion(52), time_of(52)) == [ReadEpoch(5)]
    alone = tracker(endpoints=1)
    assert alone.handle(seen(52), time_of(52)) == [ReadEpoch(5)]


@pytest.mark.parametrize("opinion", [Opinion(61, B, hash_of(61, "f")), Opinion(61, B, None, time_of(61))])
def test_a_block_that_another_endpoint_denies_is_not_believed(opinion):
    """Another hash; or none, though its own newest block is no older."""
    machine, now = at_epoch(), time_of(61)
    assert machine.handle(seen(61), now) == [Ask(61, A)]
    text, left = alarm_of(machine.handle(opinion, now))
    assert f"{A} says that block 61 is {hash_of(61)}, and {B}" in text
    assert "neither is believed" in text
    assert left == [A]
    assert (machine.epoch.number, machine.anchor) == (5, seen(52))
    assert machine.status(now).problems == (text,)
    # The next ones are asked about after a while, and what is confirmed ends it.
    assert machine.handle(seen(62, endpoint=B), now) == []
    now += EPOCH_RETRY_MS
    assert machine.handle(Tick(), now) == [Ask(62, B)]
    assert ReadEpoch(6, known=5) in machine.handle(Opinion(62, A, hash_of(62)), now)
    assert machine.status(now).problems == ()


def test_endpoints_that_deny_each_other_are_asked_ever_more_rarely():
    machine, now, asked = at_epoch(), time_of(61), []
    for block in range(61, 400):
        now = time_of(block)
        for effect in machine.handle(seen(block, endpoint=A if block % 2 else B), now):
            if isinstance(effect, Ask):
                asked.append(now)
                machine.handle(Opinion(effect.number, C, hash_of(effect.number, "f")), now)
    assert asked[-1] - asked[-2] >= EPOCH_RETRY_MAX_MS
    assert machine.epoch.number == 5


def test_one_that_is_behind_is_waited_for():
    machine, now = at_epoch(), time_of(61)
    machine.handle(seen(61), now)
    # While its newest final block is older than the one in question it has no objection.
    assert machine.handle(Opinion(61, B, None, time_of(58)), now) == []
    # The same block is asked about, however many came since: one that stays behind would never reach the newest.
    machine.handle(seen(65), now)
    now += EPOCH_RETRY_MS
    assert machine.handle(Tick(), now) == [Ask(61, A)]
    assert machine.handle(Opinion(61, B, hash_of(61)), now) == [ReadEpoch(6, known=5)]


def test_one_that_stands_still_is_not_waited_for_for_ever():
    machine, now = at_epoch(), time_of(61)
    machine.handle(seen(61), now)
    stuck = Opinion(61, B, None, time_of(58))
    until = now + EPOCH_BEHIND_MS
    while machine.handle(stuck, now) == []:
        assert machine.epoch.number == 5
        assert now <= until + EPOCH_RETRY_MAX_MS
        while not (effects := machine.handle(Tick(), now)):
            now += 1_000
        assert effects == [Ask(61, A)]
    assert now >= until
    assert machine.heads.confirmed == seen(61)


def test_one_that_stands_still_for_long_has_no_say():
    machine, now = at_epoch(), time_of(61)
    machine.handle(seen(61), now)
    stuck = Opinion(61, B, None, time_of(61) - EPOCH_BEHIND_MS)
    assert machine.handle(stuck, now) == [ReadEpoch(6, known=5)]


def test_a_false_block_of_the_future_is_not_waited_for_until_it_is_believed():
    machine, now = at_epoch(), time_of(61)
    false = dataclasses.replace(seen(10_000), time_ms=now + ANCHOR_SKEW_MS)
    machine.handle(false, now)
    for _ in range(50):
        machine.handle(Opinion(10_000, B, None, now - 30_000), now)
        now += 60_000
        machine.handle(Tick(), now)
    # By now the other's newest block is no older: it denies it.
    text, left = alarm_of(machine.handle(Opinion(10_000, B, None, false.time_ms), false.time_ms))
    assert "does not know it" in text
    assert left == [A]
    assert machine.epoch.number == 5


def test_an_answer_that_comes_too_late_changes_nothing():
    machine, now = at_epoch(), time_of(61)
    machine.handle(seen(61), now)
    assert machine.handle(seen(62, endpoint=B), now) == []
    assert machine.handle(Opinion(61, B, hash_of(61)), now) == [Ask(62, B)]
    assert machine.heads.confirmed == seen(52)


# --- heads that are not believed --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, -1, 2**32, 2**63, 2**70])
def test_a_number_that_no_chain_has(number):
    machine = at_epoch()
    text, left = alarm_of(machine.handle(dataclasses.replace(seen(53), number=number), time_of(53)))
    assert "no chain has one" in text
    assert left == [A]
    assert machine.heads.newest == seen(52)


@pytest.mark.parametrize("time_ms", [0, -5, time_of(53) + ANCHOR_SKEW_MS + 1, 2**63, 2**70])
def test_a_time_that_cannot_be(time_ms):
    machine = at_epoch()
    text, _ = alarm_of(machine.handle(dataclasses.replace(seen(53), time_ms=time_ms), time_of(53)))
    assert "set this machine's clock right" in text
    assert machine.heads.newest == seen(52)
    assert machine.archive.block_time_ms(53) is None


def test_a_block_that_is_older_than_those_before_it():
    machine = at_epoch()
    text, _ = alarm_of(machine.handle(dataclasses.replace(seen(53), time_ms=time_of(52)), time_of(53)))
    assert "older than block 52" in text
    assert machine.heads.newest == seen(52)


@pytest.mark.parametrize(
    "head",
    [
        seen(52, "f"),
        seen(57, anchor=(52, hash_of(52, "f"))),
        seen(51, anchor=(52, hash_of(52, "f"))),
    ],
)
def test_a_final_block_is_not_replaced(head):
    """Neither by a head of its number, nor by what an endpoint with another head says of it."""
    machine = at_epoch()
    text, left = alarm_of(machine.handle(head, time_of(57)))
    assert f"block 52 is {hash_of(52, 'f')}, and it was final as {hash_of(52)}" in text
    assert left == [A]
    # It is told once, stays in the status, and goes when the chain goes on.
    assert machine.handle(head, time_of(57)) == []
    assert machine.status(time_of(57)).problems == (text,)
    hear(machine, seen(58, endpoint=B, anchor=(52, hash_of(52))), time_of(58))
    assert machine.status(time_of(58)).problems == ()


@pytest.mark.parametrize("endpoints", [1, 2])
def test_what_is_wrong_with_every_block_is_told_once_and_endpoints_are_left_ever_more_rarely(endpoints):
    """As where this machine's clock is hours behind: each endpoint's blocks are of the future."""
    machine, now, alarms, left = at_epoch(endpoints=endpoints), time_of(60), [], []
    for block in range(1_000, 2_000):
        endpoint = B if len(left) % 2 else A
        for effect in machine.handle(seen(block, endpoint=endpoint), now):
            if isinstance(effect, Alarm):
                alarms.append(effect)
            else:
                assert effect == Leave(endpoint, "its blocks are not believed")
                left.append(now)
        now += 1_000
    assert len(alarms) == (len(left) + 1 if endpoints > 1 else 1)
    assert len(left) <= (25 if endpoints > 1 else 0)
    # The text is of the newest block.
    assert "block 1999" in machine.status(now).problems[0]
    assert machine.anchor == seen(52)


def test_what_was_asked_of_an_earlier_anchor_says_nothing():
    machine = at_epoch()
    assert machine.handle(seen(53, anchor=(40, hash_of(40, "f"))), time_of(53)) == []
    assert machine.handle(seen(54, anchor=(52, None)), time_of(54)) == []
    assert machine.heads.newest.number == 54


def test_an_endpoint_that_is_behind_changes_nothing_and_is_said_if_it_stays_so():
    machine, now = at_epoch(), time_of(60)
    assert machine.handle(seen(51, endpoint=B), now) == []
    assert machine.heads.newest == seen(52)
    assert machine.handle(seen(51, endpoint=B), now + EPOCH_BEHIND_MS - 1) == []
    text, _ = alarm_of(machine.handle(seen(51, endpoint=B), now + EPOCH_BEHIND_MS))
    assert f"{B} knows final blocks up to 51 only" in text
    machine.handle(seen(53), now)
    assert machine.status(now).problems == ()


def test_a_false_head_is_forgotten_with_its_endpoint():
    """It is higher than all honest ones; they are followed all the same once they are heard."""
    machine, now = at_epoch(), time_of(61)
    machine.handle(seen(900), time_of(900))
    assert machine.heads.newest.number == 900
    machine.handle(seen(61, endpoint=B), now)
    effects = machine.handle(Opinion(900), now)
    assert effects == [Ask(61, B)]
    assert machine.handle(Opinion(61, C, hash_of(61)), now) == [ReadEpoch(6, known=5)]


def test_a_false_block_that_was_confirmed_and_has_no_epoch_does_not_stand_in_the_way():
    machine, now = at_epoch(), time_of(900)
    machine.handle(seen(900), now)
    assert machine.handle(Opinion(900), now) == [ReadEpoch(90, known=5)]
    assert hear(machine, seen(61, endpoint=B), now) == []
    assert machine.heads.confirmed.number == 61
    hear(machine, EpochRead(reading(90, 5, 5, 5, 5, known=5, fork="f"), A), now)
    effects = hear(machine, EpochRead(reading(6, 5, 5, 5, 5, known=5), B), now)
    assert effects == [Entered(epoch(6, 5, 5, 5, 5))]


# --- after a halt -----------------------------------------------------------------------------------------


def test_after_the_chain_stood_still_new_batches_refer_to_its_newest_block_at_once():
    machine = tracker(epoch_blocks=1_000)
    hear(machine, seen(2_000), time_of(2_000))
    hear(machine, EpochRead(reading(2, 5), A), time_of(2_000))
    halted_ms = 4_000_000
    later = time_of(2_001) + halted_ms
    assert not machine.status(later).writes_allowed
    hear(machine, dataclasses.replace(seen(2_001), time_ms=later), later)
    assert machine.anchor.number == 2_001
    assert machine.status(later).writes_allowed


def test_where_blocks_come_slowly_the_anchor_moves_by_its_age():
    machine = tracker(epoch_blocks=1_000)
    hear(machine, seen(2_000), time_of(2_000))
    hear(machine, EpochRead(reading(2, 5), A), time_of(2_000))
    ages = []
    for block in range(2_001, 2_020):
        now = time_of(2_000) + (block - 2_000) * EPOCH_ANCHOR_MS // 2
        hear(machine, dataclasses.replace(seen(block), time_ms=now), now)
        ages.append(now - machine.anchor.time_ms)
    assert max(ages) <= 2 * EPOCH_ANCHOR_MS


def test_the_status_tells_of_the_block_that_is_too_old_and_not_of_one_that_nothing_refers_to():
    """Heads are heard and not confirmed: what matters is how old the anchor is."""
    machine = at_epoch(outage_max_ms=600_000)
    now = time_of(52) + 700_000
    machine.handle(dataclasses.replace(seen(53), time_ms=now), now)
    status = machine.status(now)
    assert status.head_age_s == 0
    assert "700 s old: nothing can be written" in status.problems[0]
    assert "this machine's clock" in status.problems[0]
