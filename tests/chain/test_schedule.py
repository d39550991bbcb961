"""Epochs are foreseen for the block in which the chain runs them, and reveals for the block in which it makes them."""

from __future__ import annotations

from chain.opskit import NETUID, PALLET, FakeConnection, running
from hypothesis import given
from hypothesis import strategies as st

from mycelium.chain.schedule import ITEMS, Clock, Schedule, block_s, schedule_of


def seen(connection):
    values = connection.read_many([("System", "Number", []), *((PALLET, item, [NETUID]) for item in ITEMS)])
    return schedule_of(dict(zip(ITEMS, values[1:], strict=True)), NETUID, values[0])


def test_the_next_epoch_is_when_the_chain_runs_it():
    with running(blocks="manual", tempo=7) as (chain, connection):
        for _ in range(20):
            before = seen(connection)
            assert before.next_epoch is not None
            chain.step()
            after = seen(connection)
            assert (after.epoch > before.epoch) == (before.next_epoch == after.number)
            # What is committed in that block belongs to the epoch that was foreseen.
            assert before.commit_epoch == after.epoch


def test_an_epoch_that_its_owner_asked_for_comes_first():
    schedule = Schedule(number=50, tempo=20, last_epoch=45, pending=52, epoch=3, since_step=5)
    assert (schedule.next_epoch, schedule.commit_epoch) == (52, 3)


def test_no_tempo_is_no_epoch():
    schedule = schedule_of({"Tempo": 0}, 1, 100)
    assert (schedule.next_epoch, schedule.reveal_at) == (None, None)
    assert Schedule(9, 0, 0, 0, 0, 0).next_epoch is None


def test_after_too_long_there_is_one_at_once():
    assert Schedule(60_000, 60_000, 9_000, 0, 1, 51_000).next_epoch == 60_001


@given(st.integers(0, 10**7), st.integers(1, 1000), st.integers(0, 200))
def test_older_chains_count_by_the_blocks_number(number, tempo, netuid):
    schedule = schedule_of({"Tempo": tempo, "BlocksSinceLastStep": 3}, netuid, number)
    due = next(
        block for block in range(number + 1, number + tempo + 3) if not (block + netuid + 1) % (tempo + 1)
    )
    assert schedule.next_epoch == due
    assert schedule.commit_epoch == (number + 1 + netuid + 1) // (tempo + 1)


@given(st.integers(1, 100), st.integers(1, 10), st.integers(0, 99))
def test_a_reveal_comes_so_many_epochs_later(tempo, period, passed):
    schedule = Schedule(1000, tempo, 1000 - passed % tempo, 0, 5, 0, period)
    epochs, block = schedule.epoch, 1000
    committed = None
    # Epochs as the chain runs them, one after the other.
    while True:
        block += 1
        if (block - schedule.last_epoch) % tempo == 0:
            epochs += 1
        committed = epochs if committed is None else committed
        if epochs == committed + period:
            break
    assert schedule.commit_epoch == committed
    assert schedule.reveal_at == block


def test_block_times():
    assert block_s(FakeConnection(constants={"SlotDuration": 12_000, "MinimumPeriod": 1})) == 12
    assert block_s(FakeConnection(constants={"MinimumPeriod": 125})) == 0.25
    assert block_s(FakeConnection(constants={"SlotDuration": 0})) == 12


def test_waiting_counts_the_blocks_before_the_one_that_is_waited_for():
    clock = Clock(100, 12.0)
    assert [clock.wait_s(block) for block in (50, 101, 102, 111)] == [0, 0, 12, 120]
