"""Properties of the replay window, held against `reference.replay`."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from reference import replay as reference

from mycelium._core import replay
from mycelium._core.replay import BEFORE_START, FULL, FUTURE, OK, REPLAYED, STALE, ReplayWindow
from mycelium.errors import ReplayedMessage, ReplayTableFull, StaleMessage, UsageError

ALICE, BOB, CAROL = bytes(32), b"\x01" * 32, b"\x01" * 31 + b"\x02"
SENDERS = [ALICE, BOB, CAROL]
U64_MAX = 2**64 - 1
SECOND = 10**9
NOW = 1_000 * SECOND
U64 = st.one_of(st.sampled_from([0, 1, 2**63 - 1, 2**63, U64_MAX - 1, U64_MAX]), st.integers(0, U64_MAX))


def window(entries_max=1_000, per_sender_max=1_000, started_ns=0, seed=None):
    return ReplayWindow(entries_max, per_sender_max, 60 * SECOND, 2 * SECOND, started_ns, seed)


def committed(table, sender, nonce, timestamp_ns, now_ns):
    """The verdict of a commit, whose exceptions say no more than the verdicts do."""
    try:
        table.commit(sender, nonce, timestamp_ns, now_ns)
    except ReplayedMessage:
        return {REPLAYED}
    except ReplayTableFull:
        return {FULL}
    except StaleMessage:
        return {STALE, FUTURE, BEFORE_START}
    return {OK}


def test_constants_are_those_of_the_reference():
    names = ["OK", "STALE", "FUTURE", "REPLAYED", "FULL", "BEFORE_START"]
    assert [getattr(replay, name) for name in names] == [getattr(reference, name) for name in names]


def test_a_pair_is_accepted_once():
    table = window()
    assert table.check(ALICE, 7, NOW, NOW) == OK
    table.commit(ALICE, 7, NOW, NOW)
    assert table.check(ALICE, 7, NOW, NOW) == REPLAYED
    assert table.check(ALICE, 8, NOW, NOW) == OK
    assert table.check(BOB, 7, NOW, NOW) == OK
    with pytest.raises(ReplayedMessage, match="7"):
        table.commit(ALICE, 7, NOW, NOW)
    assert len(table) == 1


def test_a_new_timestamp_does_not_renew_a_nonce():
    table = window()
    table.commit(ALICE, 7, NOW, NOW)
    assert table.check(ALICE, 7, NOW + SECOND, NOW + SECOND) == REPLAYED


def test_check_stores_nothing():
    table = window(entries_max=64, per_sender_max=8)
    table.commit(BOB, 1, NOW, NOW)
    memory = table.memory_bytes
    for nonce in range(10_000):
        assert table.check(ALICE, nonce, NOW, NOW) == OK
        assert table.check(nonce.to_bytes(32, "little"), nonce, NOW, NOW) == OK
    assert len(table) == 1
    assert table.memory_bytes == memory


def test_the_second_of_two_checked_twins_is_refused_at_commit():
    table = window()
    assert [table.check(ALICE, 1, NOW, NOW) for _ in range(2)] == [OK, OK]
    table.commit(ALICE, 1, NOW, NOW)
    with pytest.raises(ReplayedMessage):
        table.commit(ALICE, 1, NOW, NOW)


def test_commit_refuses_what_became_stale_since_its_check():
    table = window()
    assert table.check(ALICE, 1, NOW, NOW) == OK
    with pytest.raises(StaleMessage, match="not fresh"):
        table.commit(ALICE, 1, NOW, NOW + 61 * SECOND)
    assert len(table) == 0


def test_a_full_table_refuses_and_recovers():
    table = window(entries_max=16)
    for nonce in range(16):
        table.commit(nonce.to_bytes(32, "little"), nonce, NOW, NOW)
    assert table.check(ALICE, 99, NOW, NOW) == FULL
    assert table.check(BOB, 99, NOW, NOW) == FULL
    assert table.check(ALICE, 0, NOW, NOW) == REPLAYED, "nothing was evicted to make room"
    with pytest.raises(ReplayTableFull):
        table.commit(BOB, 99, NOW, NOW)
    assert len(table) == 16
    later = NOW + 64 * SECOND
    table.commit(BOB, 99, later, later)
    assert len(table) == 1


def test_a_sender_at_its_cap_is_refused_alone():
    table = window(per_sender_max=4)
    for nonce in range(4):
        table.commit(ALICE, nonce, NOW, NOW)
    assert table.check(ALICE, 4, NOW, NOW) == FULL
    assert table.check(BOB, 4, NOW, NOW) == OK
    with pytest.raises(ReplayTableFull):
        table.commit(ALICE, 4, NOW, NOW)
    table.commit(BOB, 4, NOW, NOW)


@pytest.mark.parametrize("age_ns", [0, SECOND, 60 * SECOND])
def test_a_pair_is_remembered_for_as_long_as_it_is_fresh(age_ns):
    table = window()
    table.commit(ALICE, 1, NOW, NOW)
    assert table.check(ALICE, 1, NOW, NOW + age_ns) == REPLAYED
    assert table.check(ALICE, 1, NOW, NOW + 60 * SECOND + 1) == STALE


def test_expired_entries_and_their_senders_are_reclaimed():
    """A hundred times the table's capacity passes through it, each time from senders never seen before."""
    table = window(entries_max=32, per_sender_max=1)
    for lap in range(100):
        now = NOW + lap * 70 * SECOND
        for index in range(32):
            table.commit((lap * 32 + index + 1).to_bytes(32, "big"), index, now, now)
        assert len(table) == 32


def test_bounds_of_freshness_are_inclusive():
    table = window(started_ns=NOW - 30 * SECOND)
    assert table.check(ALICE, 1, NOW + 2 * SECOND, NOW) == OK
    assert table.check(ALICE, 1, NOW + 2 * SECOND + 1, NOW) == FUTURE
    assert table.check(ALICE, 1, NOW - 30 * SECOND, NOW) == OK
    assert table.check(ALICE, 1, NOW - 30 * SECOND - 1, NOW) == BEFORE_START
    assert window().check(ALICE, 1, NOW - 60 * SECOND, NOW) == OK
    assert window().check(ALICE, 1, NOW - 60 * SECOND - 1, NOW) == STALE


def test_now_before_the_start():
    table = window(started_ns=NOW)
    assert table.check(ALICE, 1, NOW - SECOND, NOW - SECOND) == BEFORE_START
    assert table.check(ALICE, 1, NOW, NOW - SECOND) == OK
    assert table.check(ALICE, 1, NOW, NOW - 3 * SECOND) == FUTURE


def test_a_clock_that_goes_back_reopens_nothing():
    table = window()
    table.commit(ALICE, 1, NOW, NOW)
    table.commit(ALICE, 2, NOW + 100 * SECOND, NOW + 100 * SECOND)
    assert len(table) == 1, "the first entry is gone"
    assert table.check(ALICE, 1, NOW, NOW) == STALE
    assert table.check(BOB, 1, NOW, NOW) == STALE
    assert table.check(BOB, 1, NOW + 2 * SECOND, NOW) == OK, (
        "what is newer than all that was forgotten is accepted"
    )


def test_a_clock_that_leapt_ahead_and_back_does_not_shut_the_table():
    table = window()
    leapt = NOW + 365 * 86_400 * SECOND
    table.commit(ALICE, 1, NOW, NOW)
    table.commit(ALICE, 2, leapt, leapt)
    now = NOW + 10 * SECOND
    for nonce in range(10, 80):
        now += SECOND
        table.commit(ALICE, nonce, now, now)
    assert table.check(ALICE, 10, now, now) == OK, "an expired nonce may be used again"
    assert table.check(ALICE, 79, now, now) == REPLAYED
    assert table.check(ALICE, 2, leapt, leapt) == REPLAYED, "and the entry of the leap is still known"


@given(st.lists(st.tuples(U64, U64, U64), max_size=40), U64)
def test_no_number_overflows(rows, started_ns):
    table = ReplayWindow(1_000, 1_000, 60 * SECOND, 2 * SECOND, started_ns)
    oracle = reference.ReplayWindow(1_000, 1_000, 60 * SECOND, 2 * SECOND, started_ns)
    for nonce, timestamp_ns, now_ns in rows:
        assert table.check(ALICE, nonce, timestamp_ns, now_ns) == oracle.check(
            ALICE, nonce, timestamp_ns, now_ns
        )
        assert oracle.commit(ALICE, nonce, timestamp_ns, now_ns) in committed(
            table, ALICE, nonce, timestamp_ns, now_ns
        )
        assert len(table) == len(oracle)


@pytest.mark.parametrize("spans", [(0, 0), (1, 0), (61, 1), (2**62, 2**62), (0, 2**62)])
@given(rows=st.lists(st.tuples(st.integers(0, 3), U64, st.integers(-100, 100)), max_size=30))
@settings(max_examples=30)
def test_extreme_windows(spans, rows):
    table = ReplayWindow(16, 4, *spans, 0)
    oracle = reference.ReplayWindow(16, 4, *spans, 0)
    for nonce, now_ns, offset in rows:
        stamp = min(max(now_ns + offset, 0), U64_MAX)
        assert oracle.commit(ALICE, nonce, stamp, now_ns) in committed(table, ALICE, nonce, stamp, now_ns)
        assert len(table) == len(oracle)


def test_a_clock_that_returns_from_the_end_of_u64():
    """The marks of the sweep are near 2^64 then, where an unsigned difference is small for the wrong reason."""
    table = ReplayWindow(16, 4, 0, 2**62, 0)
    table.commit(ALICE, 1, U64_MAX, U64_MAX - 1)
    table.commit(ALICE, 2, 59, 1)
    table.commit(ALICE, 3, 2**62, 2**62 - 3)
    assert len(table) == 2, "the second is reclaimed"


class AgainstReference(RuleBasedStateMachine):
    """Three senders, few nonces, small caps, and a clock that runs, stops, leaps and goes back."""

    def __init__(self):
        super().__init__()
        self.table = ReplayWindow(12, 5, 100, 10, 950)
        self.oracle = reference.ReplayWindow(12, 5, 100, 10, 950)
        self.memory_bytes = self.table.memory_bytes
        self.now_ns = 1_000

    @rule(step=st.one_of(st.integers(0, 30), st.integers(-150, 300), st.sampled_from([-10_000, 10_000])))
    def pass_time(self, step):
        self.now_ns = max(0, self.now_ns + step)

    @rule(sender=st.sampled_from(SENDERS), nonce=st.integers(0, 8), offset=st.integers(-110, 12))
    def check(self, sender, nonce, offset):
        stamp = max(0, self.now_ns + offset)
        size = len(self.table)
        expected = self.oracle.check(sender, nonce, stamp, self.now_ns)
        assert self.table.check(sender, nonce, stamp, self.now_ns) == expected
        assert len(self.table) <= size

    @rule(sender=st.sampled_from(SENDERS), nonce=st.integers(0, 8), offset=st.integers(-110, 12))
    def commit(self, sender, nonce, offset):
        stamp = max(0, self.now_ns + offset)
        expected = self.oracle.commit(sender, nonce, stamp, self.now_ns)
        assert expected in committed(self.table, sender, nonce, stamp, self.now_ns)

    @invariant()
    def agrees(self):
        assert len(self.table) == len(self.oracle) <= 12
        assert self.table.memory_bytes == self.memory_bytes


TestAgainstReference = AgainstReference.TestCase
TestAgainstReference.settings = settings(max_examples=150, stateful_step_count=60)


def test_deletion_keeps_every_other_entry_reachable():
    """At full load deletions must move the runs they open: each survivor is found, each gap is free."""
    table = window(entries_max=4_096, per_sender_max=4_096)
    for nonce in range(4_096):
        age = (nonce * 7_919) % 60
        table.commit(SENDERS[nonce % 3], nonce, NOW - age * SECOND, NOW)
    for step in (10, 25, 40, 59):
        now = NOW + step * SECOND
        survivors = [n for n in range(4_096) if step + (n * 7_919) % 60 <= 60]
        assert all(table.check(SENDERS[n % 3], n, now, now) == REPLAYED for n in survivors)
        assert len(survivors) <= len(table) < len(survivors) + 4_096 // 30
    assert table.check(ALICE, 5_000, now, now) == OK


def test_probing_is_bounded_and_keyed():
    """Nonces chosen knowing the seed fill a run, which ends at 256 slots; another seed spreads them."""
    seed = bytes(range(16))
    nonces = reference.colliding_nonces(seed, 512, 300)
    table = window(entries_max=512, seed=seed)
    verdicts = [committed(table, ALICE, nonce, NOW, NOW) for nonce in nonces]
    assert verdicts[:256] == [{OK}] * 256
    assert verdicts.count({OK}) in range(256, 264), (
        "which also shows that SipHash is the one of the reference"
    )
    assert table.check(ALICE, nonces[-1], NOW, NOW) == FULL
    assert table.check(ALICE, nonces[0], NOW, NOW) == REPLAYED
    for other in (window(entries_max=512, seed=bytes(16)), window(entries_max=512)):
        assert all(committed(other, ALICE, nonce, NOW, NOW) == {OK} for nonce in nonces)


def test_a_new_sender_meets_the_bound_too():
    """Its verdict is OK, as it has no number before it is stored; commit refuses, and stores nothing."""
    seed = bytes(range(16))
    nonces = reference.colliding_nonces(seed, 512, 300)
    table = window(entries_max=512, seed=seed)
    for nonce in nonces:
        committed(table, ALICE, nonce, NOW, NOW)
    size = len(table)
    nonce = reference.colliding_nonces(seed, 512, 1, sender=1, homes=1)[0]
    with pytest.raises(ReplayTableFull):
        table.commit(BOB, nonce, NOW, NOW)
    assert len(table) == size
    table.commit(
        BOB, next(n for n in range(100) if table.check(BOB, n, NOW, NOW) == OK and n != nonce), NOW, NOW
    )


def test_memory_stays_within_eighty_bytes_an_entry():
    assert window(entries_max=65_536).memory_bytes <= 80 * 65_536


def test_different_tables_have_different_seeds():
    """Were the default seed fixed, the attack above would work on every node."""
    assert ReplayWindow.__doc__ is not None
    seeds: list[bytes] = []

    def urandom(size):
        seeds.append(bytes(size))
        return seeds[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay.os, "urandom", urandom)
        window()
        window(seed=bytes(16))
    assert seeds == [bytes(16)]


@pytest.mark.parametrize(
    "arguments",
    [
        (0, 1, 1, 1, 0),
        (2**30 + 1, 1, 1, 1, 0),
        (1, 0, 1, 1, 0),
        (1, 1, -1, 1, 0),
        (1, 1, 1, 2**62 + 1, 0),
        (1, 1, 1, 1, 0, bytes(15)),
    ],
)
def test_impossible_limits_are_refused(arguments):
    with pytest.raises(UsageError):
        ReplayWindow(*arguments)


@pytest.mark.parametrize("sender", [b"", bytes(31), bytes(33)])
def test_a_sender_is_32_bytes(sender):
    table = window()
    with pytest.raises(UsageError, match="32"):
        table.check(sender, 1, NOW, NOW)
    with pytest.raises(UsageError, match="32"):
        table.commit(sender, 1, NOW, NOW)


@pytest.mark.parametrize("number", [-1, 2**64])
def test_numbers_are_u64(number):
    table = window()
    for arguments in ((number, NOW, NOW), (1, number, NOW), (1, NOW, number)):
        with pytest.raises(OverflowError):
            table.check(ALICE, *arguments)
    with pytest.raises(TypeError):
        table.check(None, 1, NOW, NOW)
