"""Direct or along a tree: entered at once for each reason, left late, and never flapping."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelium.config.peer import PUSH_CALM_MS, PUSH_MS_MAX, PUSH_UPLINK_PERCENT, PUSH_WINDOW_MS, TREE_EAGER
from mycelium.peer.pushmode import Mode, PushMode

MBIT = 100
UPLINK_BYTES_S = MBIT * 125_000
PUSH_BYTES_MAX = UPLINK_BYTES_S * PUSH_MS_MAX // 1000


def steady(mode, bytes_s, readers, from_ms, for_ms):
    """So many bytes a second to each of the readers, ten pushes a second. Returns the modes in their order."""
    return [
        mode.decide(bytes_s // 10, readers, "", now_ms) for now_ms in range(from_ms, from_ms + for_ms, 100)
    ]


def test_a_little_to_many_goes_direct():
    mode = PushMode(MBIT)
    assert set(steady(mode, 10_000, 255, 0, 20_000)) == {Mode.DIRECT}
    assert mode.why == ""


def test_more_than_its_share_of_the_uplink_makes_a_tree_within_seconds():
    mode = PushMode(MBIT)
    share = PUSH_UPLINK_PERCENT / 100
    assert set(steady(mode, int(UPLINK_BYTES_S * share * 0.9) // 255, 255, 0, 30_000)) == {Mode.DIRECT}
    found = steady(mode, int(UPLINK_BYTES_S * share * 1.2) // 255, 255, 30_000, 5_000)
    assert found[-1] is Mode.TREE
    assert "uplink" in mode.why


def test_a_burst_makes_a_tree_at_once():
    mode = PushMode(MBIT)
    found = [mode.decide(10_000, 200, "", 0) for _ in range(4)]
    assert found == [Mode.DIRECT, Mode.DIRECT, Mode.TREE, Mode.TREE]


def test_one_large_push_makes_a_tree_and_says_why():
    assert PushMode(MBIT).decide(PUSH_BYTES_MAX // 10, 10, "", 0) is Mode.DIRECT
    mode = PushMode(MBIT)
    assert mode.decide(PUSH_BYTES_MAX // 10 + 1, 10, "", 0) is Mode.TREE
    assert str(PUSH_MS_MAX) in mode.why


def test_a_few_are_always_pushed_to_directly_whatever_it_costs():
    mode = PushMode(MBIT)
    assert set(steady(mode, 10 * UPLINK_BYTES_S, TREE_EAGER, 0, 20_000)) == {Mode.DIRECT}
    assert mode.decide(1, TREE_EAGER, "somebody is far", 20_000) is Mode.TREE


def test_who_is_out_of_reach_makes_a_tree_and_says_why():
    mode = PushMode(MBIT)
    assert mode.decide(1, 3, "somebody is far", 0) is Mode.TREE
    assert mode.why == "somebody is far"


def test_what_is_relayed_takes_its_part():
    mode = PushMode(MBIT)
    mode.relayed(UPLINK_BYTES_S // 2, 1_000)
    assert mode.decide(1, 5, "", 1_000) is Mode.TREE


def test_a_tree_is_left_only_after_a_long_calm():
    mode = PushMode(MBIT)
    mode.decide(1, 1, "far", 0)
    assert mode.decide(1, 1, "", PUSH_CALM_MS - 1) is Mode.TREE
    assert mode.decide(1, 1, "", PUSH_CALM_MS) is Mode.DIRECT
    assert mode.why == ""


def test_at_more_than_half_of_a_threshold_a_tree_stays():
    mode = PushMode(MBIT)
    size = PUSH_BYTES_MAX * 3 // 4
    mode.decide(1, 1, "far", 0)
    for at in range(10):
        assert mode.decide(size // 10, 10, "", (1 + at) * PUSH_CALM_MS) is Mode.TREE
    calm = PushMode(MBIT)
    calm.decide(1, 1, "far", 0)
    for at in range(10):
        calm.decide(PUSH_BYTES_MAX // 40, 10, "", (1 + at) * PUSH_CALM_MS)
    assert calm.mode is Mode.DIRECT


@pytest.mark.parametrize("load", [0.39, 0.41, 0.3, 0.25])
def test_a_load_near_the_threshold_does_not_flap(load):
    mode = PushMode(MBIT)
    found = steady(mode, int(UPLINK_BYTES_S * load) // 100, 100, 0, 10 * PUSH_CALM_MS)
    changes = sum(one is not other for one, other in itertools.pairwise(found))
    assert changes <= 1


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**21), st.integers(0, 511), st.booleans(), st.integers(0, 2 * PUSH_CALM_MS)
        ),
        max_size=30,
    )
)
def test_the_rules_hold_for_any_load(pushes):
    """Never direct with somebody out of reach or a push that is too large; never left before the calm is over."""
    mode, now_ms, reason_ms = PushMode(MBIT), 0, None
    for size, readers, far, passed_ms in pushes:
        now_ms += passed_ms
        before = mode.mode
        found = mode.decide(size, readers, "far" if far else "", now_ms)
        if far or size * readers > PUSH_BYTES_MAX:
            assert found is Mode.TREE
            reason_ms = now_ms
        if before is Mode.TREE and found is Mode.DIRECT:
            assert reason_ms is None or now_ms - reason_ms >= PUSH_CALM_MS
        assert (mode.why == "") == (found is Mode.DIRECT)


def test_a_clock_that_stands_still_and_no_uplink_are_no_error():
    mode = PushMode(0)
    assert mode.decide(10**9, 500, "", 0) is Mode.TREE
    assert mode.decide(0, 0, "", 0) is Mode.TREE
    assert mode.decide(0, 0, "", PUSH_CALM_MS + 100 * PUSH_WINDOW_MS) is Mode.DIRECT
