"""The judge of histories: against a search through all orders, and with each kind of violation planted in one."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelium.fleet.checker import (
    OK,
    REFUSED,
    UNKNOWN,
    Call,
    Final,
    check,
    check_counter,
    check_facts,
    check_register,
    failovers,
    outages,
)


def put(value, invoked, returned, outcome=OK, key="k"):
    return Call("put", key, value, invoked, returned, outcome)


def get(value, invoked, returned, key="k"):
    return Call("get", key, value, invoked, returned)


# --- against the oracle -----------------------------------------------------------------------------------


def explained(calls, there):
    """Whether some order of the calls explains all answers: all are tried. A put of unknown fate may be left out."""
    end = max((call.returned_ms for call in calls), default=0)
    sure = [call for call in calls if call.outcome == OK] + [get(there, end, end)]
    maybe = [call for call in calls if call.what == "put" and call.outcome == UNKNOWN]
    for count in range(len(maybe) + 1):
        for taken in itertools.combinations(maybe, count):
            if _ordered([*sure, *(replace(call, returned_ms=math.inf) for call in taken)], None):
                return True
    return False


def _ordered(left, value):
    if not left:
        return True
    first_answer = min(call.returned_ms for call in left)
    for call in left:
        # It may come first only if nothing was answered before it was made.
        if call.invoked_ms > first_answer or (call.what == "get" and call.value != value):
            continue
        rest = [other for other in left if other is not call]
        if _ordered(rest, call.value if call.what == "put" else value):
            return True
    return False


@st.composite
def histories(draw):
    """Up to six calls of one key, in a few moments, and what is there in the end. Half of them are wrong."""
    calls = []
    values = [None]
    for number in range(draw(st.integers(0, 6))):
        invoked = draw(st.integers(0, 8))
        returned = invoked + draw(st.integers(0, 4))
        if draw(st.booleans()):
            calls.append(put(number, invoked, returned, draw(st.sampled_from([OK, OK, UNKNOWN]))))
            values.append(number)
        else:
            calls.append(get(draw(st.sampled_from(values)), invoked, returned))
    return calls, draw(st.sampled_from(values))


@settings(max_examples=600, deadline=None)
@given(histories())
def test_it_agrees_with_a_search_through_all_orders(history):
    calls, there = history
    # Calls at the same moment overlap; the search and the zones must take that alike.
    assert (check_register("k", calls, there) == []) == explained(calls, there)


# --- right histories --------------------------------------------------------------------------------------

RIGHT = [
    put("a", 0, 10),
    get("a", 11, 12),
    put("b", 20, 30),
    get("a", 21, 22),
    get("b", 25, 40),
    put("c", 50, 900, UNKNOWN),
    get("c", 60, 70),
    put("d", 80, 90, REFUSED),
    *(Call("append", "facts", number, number, number + 5) for number in range(5)),
    Call("append", "facts", 5, 10, 20, REFUSED),
    Call("append", "facts", 6, 10, 20, UNKNOWN),
    Call("append", "facts", 7, 10, 20, UNKNOWN),
    *(Call("add", "sum", 2, number, number + 5) for number in range(5)),
    Call("add", "sum", 2, 10, 20, UNKNOWN),
    Call("add", "sum", 2, 10, 20, REFUSED),
]
FINAL = Final({"k": "c"}, {"sum": 12}, {"facts": [0, 1, 2, 3, 4, 6]})


def test_a_right_history_is_right():
    assert check(RIGHT, FINAL) == []
    assert check([], Final({}, {}, {})) == []


def test_what_nobody_knows_may_have_happened_or_not():
    assert check(RIGHT, FINAL._replace(counters={"sum": 10}, facts={"facts": [0, 1, 2, 3, 4, 7]})) == []


# --- sabotage ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "final"),
    [
        pytest.param("lost", FINAL._replace(facts={"facts": [0, 1, 3, 4]}), id="a fact is lost"),
        pytest.param(
            "twice", FINAL._replace(facts={"facts": [0, 1, 2, 3, 4, 4]}), id="a fact is there twice"
        ),
        pytest.param("twice", FINAL._replace(facts={"facts": [0, 1, 2, 3, 4, 6, 6]}), id="an unknown one is"),
        pytest.param(
            "undone", FINAL._replace(facts={"facts": [0, 1, 2, 3, 4, 5]}), id="a refused fact is there"
        ),
        pytest.param("invented", FINAL._replace(facts={"facts": [0, 1, 2, 3, 4, 99]}), id="a fact of nobody"),
        pytest.param("lost", FINAL._replace(counters={"sum": 8}), id="an addition is lost"),
        pytest.param("twice", FINAL._replace(counters={"sum": 14}), id="an addition counts twice"),
        pytest.param("twice", FINAL._replace(counters={"sum": 12, "other": 1}), id="a counter of nobody"),
        pytest.param("order", FINAL._replace(values={"k": "b"}), id="the end goes back"),
        pytest.param("order", FINAL._replace(values={}), id="the value is lost"),
        pytest.param("undone", FINAL._replace(values={"k": "d"}), id="a refused value is there"),
        pytest.param("invented", FINAL._replace(values={"k": "x"}), id="a value of nobody"),
    ],
)
def test_a_wrong_end_is_found(kind, final):
    assert kind in {violation.kind for violation in check(RIGHT, final)}


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        pytest.param("order", get("a", 31, 32), id="a reader goes back"),
        pytest.param("order", get(None, 12, 13), id="an acknowledged put is not read"),
        pytest.param("order", get("b", 1, 2), id="read before it was put"),
        pytest.param("order", get("b", 71, 72), id="back behind a value of unknown fate"),
        pytest.param("undone", get("d", 81, 82), id="a refused value is read"),
        pytest.param("invented", get("x", 81, 82), id="a value of nobody is read"),
    ],
)
def test_a_wrong_answer_is_found(kind, call):
    assert kind in {violation.kind for violation in check([*RIGHT, call], FINAL)}


def test_what_cannot_be_judged_is_not_judged():
    with pytest.raises(ValueError, match="twice"):
        check_register("k", [put("a", 0, 1), put("a", 2, 3)], "a")
    with pytest.raises(ValueError, match="twice, or None"):
        check_register("k", [put(None, 0, 1)], None)
    with pytest.raises(ValueError, match="only positive"):
        check_counter("sum", [Call("add", "sum", -1, 0, 1)], 0)


def test_every_fact_is_named():
    found = check_facts("f", [Call("append", "f", "x", 0, 5)], [])
    assert [(one.kind, one.key, one.text) for one in found] == [("lost", "f", "'x' was acknowledged at 5 ms")]


# --- fail-over --------------------------------------------------------------------------------------------


def append(slot, invoked, returned, outcome=OK):
    return Call("append", "f", (slot, invoked), invoked, returned, outcome, slot=slot)


def test_outages_are_times_in_which_somebody_waits_in_vain():
    calls = [
        append(0, 0, 10),
        append(0, 10, 20),
        # Nobody asks for a second: that is none.
        append(0, 1_000, 1_010),
        append(0, 1_020, 1_500, REFUSED),
        append(0, 1_500, 3_000, UNKNOWN),
        append(0, 3_000, 3_020),
        append(1, 0, 5),
        append(2, 50, 90, REFUSED),
    ]
    assert outages(calls) == {0: 2_000, 1: 5, 2: 40}


def test_failovers_count_from_the_kill_to_the_first_answer_of_a_later_call():
    calls = [append(0, 90, 130), append(0, 130, 400, REFUSED), append(0, 400, 450), append(1, 110, 115)]
    assert failovers(calls, 100, [0, 1, 2]) == {0: 350, 1: 15, 2: math.inf}
