"""Slots by hash, entries of the bucket as they are read, and what a member makes of them."""

from __future__ import annotations

import time
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.config.fleet import (
    FLEET_ENTRY_BYTES_MAX,
    FLEET_LEASE_MAX_MS,
    FLEET_LEASE_MIN_MS,
    FLEET_MEMBERS_MAX,
    FLEET_SLOTS_MAX,
)
from mycelium.errors import MalformedMessage
from mycelium.fleet import records
from mycelium.fleet.layout import preferred, slot_of, slots_for
from mycelium.fleet.records import Key, Member, Plan, Shape, Slot, Term
from mycelium.fleet.view import View

TOKEN = "00000000000000aa"


def member(**changed):
    return msgspec.structs.replace(Member(TOKEN, TOKEN, 1, 2_500), **changed)


# --- slots ------------------------------------------------------------------------------------------------


def test_slots_are_the_same_everywhere():
    """Another answer would split a fleet of two versions."""
    assert [slot_of("scores", b"%d" % number, 16) for number in range(8)] == EXPECTED
    assert slot_of("scores", b"0", 1) == 0


EXPECTED = [9, 5, 7, 9, 2, 2, 6, 4]


def test_slots_are_even_and_a_table_is_part_of_the_key():
    counts = Counter(slot_of("scores", b"5F%d" % number, 16) for number in range(16_000))
    assert len(counts) == 16
    assert min(counts.values()) > 850
    assert max(counts.values()) < 1_150
    assert any(slot_of("a", b"%d" % one, 16) != slot_of("b", b"%d" % one, 16) for one in range(20))


def test_a_slot_costs_each_change_little():
    began = time.perf_counter_ns()
    for _ in range(20_000):
        slot_of("scores", b"5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty", 16)
    assert (time.perf_counter_ns() - began) / 20_000 < 10_000  # ns; about 800 on a quiet machine


def test_sys_is_never_divided():
    assert slots_for("sys", 64) == 1
    assert slots_for("main", 64) == 64


@given(st.sets(st.sampled_from("abcdefgh"), min_size=2), st.integers(0, 63))
def test_who_goes_moves_only_what_was_its_own(members, slot):
    before = preferred("main", slot, members)
    for gone in members:
        after = preferred("main", slot, members - {gone})
        assert after == before or gone == before
    assert preferred("main", slot, []) is None


# --- entries ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "parsed"),
    [
        ("member.a-1", Key(Member, "a-1")),
        ("slot.a.b.c.3", Key(Slot, "a.b.c", 3)),
        ("plan.main.0", Key(Plan, "main", 0)),
        ("layout.main", Key(Shape, "main")),
    ],
)
def test_keys(key, parsed):
    assert records.parse_key(key) == parsed
    kind, name, slot = parsed
    made = {
        Member: lambda: records.member_key(name),
        Slot: lambda: records.slot_key(name, slot),
        Plan: lambda: records.plan_key(name, slot),
        Shape: lambda: records.layout_key(name),
    }
    assert made[kind]() == key


NO_KEYS = (
    "|member|member.|member.A|member.a.b|slot.main|slot.main.01|slot.main.-1|slot..1|slot.main.99999999|"
    f"slot.main.{FLEET_SLOTS_MAX}|layout.MAIN|other.x|member.{'a' * 33}"
)


@pytest.mark.parametrize("key", NO_KEYS.split("|"))
def test_what_is_no_key(key):
    with pytest.raises(MalformedMessage, match="no entry"):
        records.parse_key(key)


RECORDS = [
    member(),
    member(spaces={"main": Term(TOKEN, 7)}, holds=("main", "sys"), url="ws://h:1", leaving=True, gone="why"),
    Slot(),
    Slot("a", TOKEN, TOKEN, 1, 2, TOKEN, TOKEN),
    Plan("a"),
    Plan(),
    Shape(16),
]


@pytest.mark.parametrize("record", RECORDS, ids=[str(number) for number in range(len(RECORDS))])
def test_records_are_read_as_they_were_written(record):
    assert records.decode(type(record), records.encode(record)) == record


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Member, b""),
        (Member, b"{}"),
        (Member, b'{"incarnation":"0","generation":"0","beat":0,"lease_ms":1}'),
        (Member, records.encode(member()).replace(b'"beat":1', b'"beat":-1')),
        (Member, records.encode(member(spaces={"NOT ONE": Term(TOKEN, 1)}))),
        (Member, records.encode(member(holds=("a", "..", "B")))),
        (Member, records.encode(member(gone="x" * 200))),
        (Slot, b'{"after":-1}'),
        (Slot, b'{"after":9223372036854775808}'),
        (Slot, b'{"member":"A"}'),
        (Slot, b'{"term":"xyz"}'),
        (Shape, b'{"slots":0}'),
        (Shape, b'{"slots":1025}'),
        (Plan, b'["a"]'),
        (Plan, b" " * (FLEET_ENTRY_BYTES_MAX + 1)),
        (Plan, b'{"member":"a"}\xff'),
    ],
    ids=range(16),
)
def test_what_is_no_record(kind, value):
    with pytest.raises(MalformedMessage):
        records.decode(kind, value)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reading(value):
    for kind in (Member, Slot, Plan, Shape):
        try:
            assert isinstance(records.decode(kind, value), kind)
        except MalformedMessage:
            continue


def test_nobody_makes_others_wait_longer_than_is_allowed():
    assert member(lease_ms=10**12).patience_ms == FLEET_LEASE_MAX_MS
    assert member(lease_ms=-5).patience_ms == FLEET_LEASE_MIN_MS


# --- the view ---------------------------------------------------------------------------------------------

offers = st.sampled_from(
    [
        member(),
        member(spaces={"main": Term(TOKEN, 1)}),
        member(spaces={"main": Term(TOKEN, 1), "b": Term(TOKEN, 2)}),
        member(spaces={"main": Term(TOKEN, 1)}, leaving=True),
        member(gone="gone"),
    ]
)


@given(
    st.lists(
        st.one_of(st.tuples(st.sampled_from("abcd"), offers), st.sampled_from(["", "a", "c"])), max_size=20
    )
)
def test_who_is_desired_is_found_as_if_all_were_counted_anew(steps):
    view = View()
    for revision, step in enumerate(steps, 1):
        if isinstance(step, str):
            view.take("plan.main.1", revision, records.encode(Plan(step)))
        else:
            view.take(f"member.{step[0]}", revision, records.encode(step[1]))
        for space in ("main", "b"):
            there = [name for name, one in view.members.items() if one.offers(space)]
            for slot in range(4):
                plan = view.plans.get((space, slot))
                expected = plan if plan in there else preferred(space, slot, there)
                assert view.desired(space, slot) == expected


def test_older_entries_change_nothing():
    view = View()
    assert view.take("layout.main", 5, records.encode(Shape(4)))
    assert view.take("layout.main", 5, records.encode(Shape(8))) is None
    assert view.take("layout.main", 4, records.encode(Shape(8))) is None
    assert view.shapes == {"main": 4}


def test_an_entry_that_cannot_be_read_is_counted_and_leaves_what_was_there():
    view = View()
    view.take("layout.main", 5, records.encode(Shape(4)))
    assert view.take("layout.main", 6, b"garbage") is None
    assert (view.shapes, view.refused) == ({"main": 4}, {"layout.main": 1})
    # What is written next must name the revision that is there.
    assert view.revisions["layout.main"] == 6


def test_a_bucket_cannot_fill_a_member():
    view = View()
    for number in range(FLEET_MEMBERS_MAX + 10):
        view.take(f"member.m{number}", number + 1, records.encode(member()))
    assert len(view.members) == FLEET_MEMBERS_MAX
    assert view.refused[""] == 10
    assert view.take("member.m0", 10_000, records.encode(member(beat=2)))


def test_a_slot_is_its_holders_only_in_the_term_that_it_offers():
    view = View()
    view.take("slot.main.0", 1, records.encode(Slot("a", TOKEN, TOKEN)))
    assert view.holder("main", 0) is None
    view.take("member.a", 2, records.encode(member(spaces={"main": Term(TOKEN, 1)})))
    assert view.holder("main", 0) == "a"
    for changed in (
        {"generation": "0" * 16},
        {"gone": "x"},
        {"spaces": {"main": Term("b" * 16, 9)}},
        {"spaces": {}},
    ):
        standing = member(spaces={"main": Term(TOKEN, 1)})
        view.take(
            "member.a",
            view.revisions["member.a"] + 1,
            records.encode(msgspec.structs.replace(standing, **changed)),
        )
        assert view.holder("main", 0) is None
    assert view.holder("main", 1) is None


def test_what_was_written_for_another_bucket_says_nothing_of_who_has_a_slot():
    view = View("b" * 16)
    view.take("member.a", 1, records.encode(member(spaces={"main": Term(TOKEN, 1)})))
    view.take("slot.main.0", 2, records.encode(Slot("a", TOKEN, TOKEN)))
    assert view.holder("main", 0) is None
    view.take("slot.main.0", 3, records.encode(Slot("a", TOKEN, TOKEN, bucket="b" * 16)))
    assert view.holder("main", 0) == "a"
