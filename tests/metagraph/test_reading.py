"""How far two member sets differ, and the bytes by which they are compared and kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metagraph.epochkit import account, epoch, members, reading

from mycelium.errors import MetagraphError
from mycelium.metagraph.membership import OBSERVER, ROLES, Epoch, Member
from mycelium.metagraph.reading import change_percent, decode, encode

STAKES = st.lists(st.integers(0, 50), max_size=8)
MEMBERS = st.dictionaries(
    st.binary(min_size=32, max_size=32),
    st.tuples(
        st.sampled_from([role for role in ROLES if role != OBSERVER]),
        st.integers(0, 2**64 - 1),
        st.lists(st.text(max_size=8), max_size=2).map(tuple),
        st.none() | st.integers(0, 65_535),
        st.booleans(),
    ),
    max_size=6,
).map(lambda rows: {name: Member(name, *row) for name, row in rows.items()})


@given(STAKES)
def test_nothing_changes_between_equal_sets(stakes):
    assert change_percent(epoch(1, *stakes), epoch(2, *stakes)) == 0


@given(STAKES, STAKES)
def test_it_is_a_share_and_the_same_in_both_directions(old, new):
    there = change_percent(epoch(1, *old), epoch(2, *new))
    assert 0 <= there <= 100
    writers_differ = [bool(stake) for stake in old + [0] * 8][:8] != [bool(stake) for stake in new + [0] * 8][
        :8
    ]
    assert bool(there) == writers_differ
    back = change_percent(epoch(1, *new), epoch(2, *old))
    assert bool(back) == bool(there)


def test_one_of_four_is_a_quarter_and_more_if_its_stake_is():
    assert change_percent(epoch(1, 5, 5, 5, 5), epoch(2, 5, 5, 5, 0)) == 25
    assert change_percent(epoch(1, 5, 5, 5, 85), epoch(2, 5, 5, 5, 0)) == 85
    assert change_percent(epoch(1, 1, 1), epoch(2, 0, 0)) == 100
    assert change_percent(epoch(1), epoch(2, 1, 1)) == 100


def test_growing_stakes_are_no_change_of_the_set():
    assert change_percent(epoch(1, 5, 5), epoch(2, 5_000, 1)) == 0


@given(MEMBERS)
def test_members_come_back_as_they_went(some):
    assert decode(encode(some)) == some
    backwards = dict(reversed(some.items()))
    assert encode(backwards) == encode(some)


def test_observers_are_not_of_the_chain():
    some = members(1, 2)
    assert encode(some | {account(9): Member(account(9), OBSERVER)}) == encode(some)


@pytest.mark.parametrize(
    "data", [b"", b"\x91", b"\x91\x93\x01\x02\x03", encode({b"x": Member(b"x", "validator")})]
)
def test_what_was_not_written_by_it_is_refused(data):
    with pytest.raises(MetagraphError):
        decode(data)


def test_readings_agree_about_what_counts():
    assert reading(3, 1, 2).agrees(reading(3, 1, 2, known=2))
    assert not reading(3, 1, 2).agrees(reading(3, 1, 3))
    assert not reading(3, 1, 2).agrees(reading(3, 1, 2, fork="f"))
    assert not reading(3, 1, 2).agrees(reading(3, 1, 2, policy=bytes(32)))
    assert Epoch(3, {}).policy is None
