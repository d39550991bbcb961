"""Readiness: each fact alone makes a node unready and says so, and time decides only where it is meant to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.admin.health import CHAIN, CHECKS, CLOCK, EPOCH, STORE, SYNC, Facts, Health
from mycelium.config import admin as limits

GOOD = Facts(epoch=7, epoch_due=7, others=3, sessions=3, in_step_ms={"main": 100, "sys": 0})


def looked(facts: Facts, *, at_ms: int = 1_000, began_ms: int = 0) -> Health:
    health = Health(began_ms)
    health.look(facts, at_ms)
    return health


def test_a_good_node_is_ready() -> None:
    health = looked(GOOD)
    assert health.ready
    assert health.missing() == []
    assert all(check.text == check.remedy == "" for check in health.checks.values())


def test_who_was_not_looked_at_is_not_ready() -> None:
    health = Health(5)
    assert not health.ready
    assert [check.name for check in health.missing()] == list(CHECKS)


@pytest.mark.parametrize(
    ("changes", "name", "text"),
    [
        ({"chain_fresh": False, "problems": ("the head is 90 s old",)}, CHAIN, "the head is 90 s old"),
        ({"chain_fresh": False}, CHAIN, "no finalised block"),
        ({"epoch": -1}, EPOCH, "no epoch is loaded"),
        ({"policy_missing": True}, EPOCH, "policy in force"),
        ({"store_failure": "no space left"}, STORE, "no space left"),
        ({"clock_refusal": "the clock stepped"}, CLOCK, "the clock stepped"),
        ({"in_step_ms": {"main": None, "sys": 0}}, SYNC, "behind in main"),
        ({"in_step_ms": {"b": limits.BEHIND_MS + 1, "a": None}}, SYNC, "behind in a, b"),
        ({"in_step_ms": {}}, SYNC, "no peer has said"),
        ({"in_step_ms": {}, "sessions": 0}, SYNC, "no other member is connected"),
    ],
)
def test_one_thing_is_missing(changes: dict, name: str, text: str) -> None:
    health = looked(replace(GOOD, **changes))
    (missing,) = health.missing()
    assert missing.name == name
    assert text in missing.text
    assert missing.remedy


@pytest.mark.parametrize(
    "changes",
    [
        {"in_step_ms": {"main": limits.BEHIND_MS, "sys": 0}},
        {"others": 0, "sessions": 0, "in_step_ms": {}},
        {"epoch": 6},
    ],
)
def test_what_is_no_reason(changes: dict) -> None:
    assert looked(replace(GOOD, **changes)).ready


def test_alone_after_a_while_it_serves_what_it_has() -> None:
    alone = replace(GOOD, sessions=0, in_step_ms={})
    health = Health(0)
    assert not health.look(alone, limits.ALONE_MS - 1)
    assert not health.ready
    assert health.look(alone, limits.ALONE_MS)
    assert health.ready


def test_who_was_in_step_stays_ready_when_its_peers_go() -> None:
    health = looked(GOOD)
    assert not health.look(replace(GOOD, sessions=0, in_step_ms={}), 2_000)
    assert health.ready
    assert health.look(replace(GOOD, in_step_ms={"main": None}), 3_000), (
        "a peer that has more is another matter"
    )


def test_a_late_epoch_is_waited_for() -> None:
    late = replace(GOOD, epoch_due=8)
    health = looked(late, at_ms=1_000)
    health.look(late, 999 + limits.EPOCH_LATE_MS)
    assert health.ready
    health.look(late, 1_000 + limits.EPOCH_LATE_MS)
    (missing,) = health.missing()
    assert missing.name == EPOCH
    assert "epoch 8 has begun" in missing.text
    health.look(replace(late, epoch=8), 1_001 + limits.EPOCH_LATE_MS)
    assert health.ready
    # The next one has its own time.
    health.look(replace(late, epoch=8, epoch_due=9), 1_002 + limits.EPOCH_LATE_MS)
    assert health.ready


def test_since_when() -> None:
    health = looked(GOOD, at_ms=1_000)
    bad = replace(GOOD, store_failure="full")
    assert health.look(bad, 2_000)
    assert not health.look(replace(bad, store_failure="still full"), 3_000)
    assert health.checks[STORE].since_ms == 2_000
    assert health.checks[STORE].text == "still full"
    assert health.checks[CHAIN].since_ms == 1_000
    assert health.look(GOOD, 4_000)
    assert health.checks[STORE].since_ms == 4_000


FACTS = st.builds(
    Facts,
    chain_fresh=st.booleans(),
    problems=st.just(()),
    epoch=st.integers(-1, 3),
    epoch_due=st.integers(0, 3),
    policy_missing=st.booleans(),
    store_failure=st.sampled_from(["", "full"]),
    clock_refusal=st.sampled_from(["", "stepped"]),
    others=st.integers(0, 3),
    sessions=st.integers(0, 3),
    in_step_ms=st.dictionaries(
        st.sampled_from(["a", "b"]), st.none() | st.sampled_from([0, limits.BEHIND_MS, limits.BEHIND_MS + 1])
    ),
)


@given(st.lists(st.tuples(FACTS, st.integers(0, 40_000)), min_size=1, max_size=20))
def test_against_the_whole_history(history: list[tuple[Facts, int]]) -> None:
    """The oracle looks at everything that was ever seen; the machine remembers three things of it."""
    health, now_ms, seen = Health(0), 0, []
    for facts, passed_ms in history:
        now_ms += passed_ms
        seen.append((now_ms, facts))
        was = health.ready
        assert health.look(facts, now_ms) == (health.ready != was)
        assert {check.name for check in health.missing()} == expected(seen)
        for name, check in health.checks.items():
            states = [(at, name in expected(seen[: index + 1])) for index, (at, _) in enumerate(seen)]
            run = next((i for i in range(len(states) - 1, -1, -1) if states[i][1] != states[-1][1]), -1)
            # Before the first look everything was missing, from the beginning on.
            since = states[run + 1][0] if run >= 0 or not states[0][1] else 0
            assert check.since_ms == since, name


def expected(seen: list[tuple[int, Facts]]) -> set[str]:
    now_ms, facts = seen[-1]
    missing = set()
    if not facts.chain_fresh:
        missing.add(CHAIN)
    late = []
    for at, one in seen:
        if one.epoch >= 0:  # an epoch that was never loaded is another matter
            late = [*late, at] if one.epoch < one.epoch_due else []
    overdue = bool(late) and now_ms - late[0] >= limits.EPOCH_LATE_MS
    if facts.epoch < 0 or facts.policy_missing or overdue:
        missing.add(EPOCH)
    if facts.store_failure:
        missing.add(STORE)
    if facts.clock_refusal:
        missing.add(CLOCK)

    def behind(one: Facts) -> bool:
        return any(ago is None or ago > limits.BEHIND_MS for ago in one.in_step_ms.values())

    in_step = any(one.sessions and one.in_step_ms and not behind(one) for _, one in seen)
    if behind(facts) or (facts.others and not in_step and now_ms < limits.ALONE_MS):
        missing.add(SYNC)
    return missing
