"""The trees, and what peers can fill: everything is bounded, and whatever they say is no error."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peer.treekit import BRANCH, NOW_MS, SPACE, account, graft, have, machine, ref

from mycelium.config import BATCH_BYTES_MAX, BATCH_CHANGES_HARD_MAX
from mycelium.config.peer import (
    TREE_ANNOUNCERS_MAX,
    TREE_GRAFT_AGAIN_MS,
    TREE_GRAFT_MS,
    TREE_GRAFTS_BURST,
    TREE_HAVES_BURST,
    TREE_MISSING_PER_LINK_MAX,
    TREE_QUEUED_MAX,
    TREE_RECENT_MAX,
    TREE_RECENT_MS,
    TREE_REFS_MAX,
    TREES_MAX,
)
from mycelium.peer.plumtree import Ref
from mycelium.protocol.messages import BatchRefs, Branch, Tree


def test_a_flood_of_announcements_costs_a_bounded_memory():
    tree = machine(range(3))
    for n in range(400):
        spans = [(n * 4_000 + at, n * 4_000 + at) for at in range(1, 4_000)]
        assert tree.heard(0, have(*spans), NOW_MS) == []
    assert tree.counts["have-flood"] > 1_500_000
    assert tree.counts["missing-full"] <= TREE_HAVES_BURST + 4_000
    assert tree.remembered["missing"] == TREE_MISSING_PER_LINK_MAX
    # Others are heard all the same.
    tree.heard(1, have((1, 1), node=3), NOW_MS)
    assert tree.remembered["missing"] == TREE_MISSING_PER_LINK_MAX + 1
    tree.tick(NOW_MS + 10_000)
    tree.tick(NOW_MS + 20_000)
    assert tree.remembered["missing"] == tree.remembered["timers"] == 0
    assert tree.remembered["trees"] == 0


def test_who_announced_in_vain_may_announce_again_later():
    tree = machine([0])
    for turn in range(3):
        now_ms = NOW_MS + turn * 10_000
        spans = [(turn * 10_000 + at, turn * 10_000 + at) for at in range(1, TREE_MISSING_PER_LINK_MAX + 1)]
        tree.heard(0, have(*spans), now_ms)
        assert tree.remembered["missing"] == TREE_MISSING_PER_LINK_MAX
        tree.tick(now_ms + 4_000)
        tree.tick(now_ms + 8_000)


def test_who_was_asked_unannounced_may_announce_it_then():
    """Found by the simulator."""
    tree = machine(range(3))
    tree.received(2, ref(9, 1), 1_000, 5, NOW_MS)
    tree.heard(0, have((2, 2), size=0), NOW_MS)
    tree.heard(1, have((3, 3), size=0), NOW_MS + 100)
    tree.tick(NOW_MS + TREE_GRAFT_MS)
    tree.tick(NOW_MS + 100 + TREE_GRAFT_MS)
    tree.heard(0, have((3, 3), size=0), NOW_MS + 100 + TREE_GRAFT_MS)
    now_ms, asked = NOW_MS + 100 + TREE_GRAFT_MS, []
    for _ in range(4):
        now_ms += TREE_GRAFT_AGAIN_MS
        asked += [say.links for say in tree.tick(now_ms) if say.tree.graft == graft((3, 3), size=0).graft]
    assert asked == [(1,), (0,)]


def test_few_announcers_of_one_batch_are_remembered():
    tree = machine(range(50))
    for link in range(50):
        tree.heard(link, have((1, 1), size=0), NOW_MS)
    now_ms, asked = NOW_MS, 0
    for _ in range(60):
        now_ms += TREE_GRAFT_AGAIN_MS
        asked += len(tree.tick(now_ms))
    assert asked == TREE_ANNOUNCERS_MAX


@pytest.mark.parametrize(
    "span",
    [(0, 0), (0, 5), (1, 2**64 - 1), (5, 5 + BATCH_CHANGES_HARD_MAX)],
    ids=["zero", "from", "all", "long"],
)
def test_refs_that_no_batch_can_have_are_passed_over(span):
    tree = machine(range(2))
    tree.publish(ref(9, 1), 1_000, NOW_MS)
    tree.heard(0, have(span), NOW_MS)
    assert tree.heard(0, graft(span), NOW_MS) == []
    assert tree.counts["no-batch"] == 2
    assert tree.remembered["missing"] == 0


def test_grafts_of_what_is_not_here_give_nothing():
    tree = machine(range(2))
    assert tree.heard(0, graft((1, 1)), NOW_MS) == []
    tree.publish(ref(9, 1), 1_000, NOW_MS)
    assert tree.heard(0, graft((2, 2), (3, 9)), NOW_MS) == []
    assert tree.counts["graft-unknown"] == 3
    assert tree.remembered["trees"] == 1


def test_a_flood_of_grafts_is_answered_at_a_bounded_rate():
    tree = machine(range(2))
    count = TREE_GRAFTS_BURST + 1_000
    for seq in range(1, count + 1):
        tree.publish(ref(9, seq), 1, NOW_MS)
    spans = [(seq, seq) for seq in range(1, count + 1)]
    assert len(tree.heard(0, graft(*spans), NOW_MS)) == TREE_GRAFTS_BURST + 1
    assert len(tree.heard(1, graft(*spans), NOW_MS)) == TREE_GRAFTS_BURST + 1


def test_grafts_of_large_batches_are_answered_at_a_bounded_rate():
    tree = machine(range(2))
    for seq in range(1, 101):
        tree.publish(ref(9, seq), BATCH_BYTES_MAX, NOW_MS)
    answered = tree.heard(0, graft(*[(seq, seq) for seq in range(1, 101)]), NOW_MS)
    assert len(answered) * BATCH_BYTES_MAX < 10 * 1024 * 1024


def test_prunes_of_trees_that_are_not_make_none():
    tree = machine(range(2))
    tree.heard(0, Tree([], [], [Branch(f"s{n}", account(n % 256)) for n in range(10_000)]), NOW_MS)
    assert tree.remembered["trees"] == 0


def test_what_is_remembered_of_honest_batches_is_bounded_too():
    tree = machine([0, 1])
    for number in range(TREE_RECENT_MAX + TREES_MAX):
        origin = number.to_bytes(32, "big")
        tree.received(0, Ref(SPACE, origin, 1, 1, 1), 1_000, 5, NOW_MS)
        tree.repeated(1, Ref(SPACE, origin, 1, 1, 1), NOW_MS)
    remembered = tree.remembered
    assert remembered["recent"] == TREE_RECENT_MAX
    assert remembered["trees"] == TREES_MAX
    assert remembered["queued"] <= 2 * (TREE_QUEUED_MAX + 2 * TREE_REFS_MAX)
    tree.received(0, ref(9, 1), 1_000, 5, NOW_MS + TREE_RECENT_MS + 1)
    assert tree.remembered["recent"] == 1


# Mostly single numbers that others name too.
SPANS = st.lists(st.sampled_from([2, 3, 4, 5]), unique=True, max_size=3).map(
    lambda found: [(one, one) for one in sorted(found)]
) | st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=6).map(
    lambda edges: list(zip(sorted(edges)[::2], sorted(edges)[1::2], strict=False))
)
SAID = st.builds(
    Tree,
    *[
        st.lists(
            st.builds(
                BatchRefs,
                st.sampled_from([SPACE, SPACE, "x"]),
                st.sampled_from([account(9), account(9), account(1)]),
                st.sampled_from([1, 1, 2**64 - 1]),
                SPANS,
                st.integers(0, 2**32 - 1),
            ),
            max_size=3,
        )
    ]
    * 2,
    st.lists(st.sampled_from([BRANCH, Branch("x", account(1))]), max_size=3),
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), SAID, st.sampled_from([0, 60, 300]), st.integers(0, 9)), max_size=30
    )
)
def test_whatever_peers_say_is_no_error(messages):
    """Also between batches that come, for the first time and again."""
    tree = machine(range(3))
    tree.publish(ref(9, 1), 1_000, NOW_MS)
    now_ms, arrived = NOW_MS, {1}
    for link, said, passed_ms, seq in messages:
        tree.heard(link, said, now_ms)
        if 0 < seq < 6:
            if seq in arrived:
                tree.repeated(link, ref(9, seq), now_ms)
            else:
                tree.received(link, ref(9, seq), 1_000, seq, now_ms)
            arrived.add(seq)
        now_ms += passed_ms
        tree.tick(now_ms)
    for _ in range(20):
        now_ms += 2_000
        tree.tick(now_ms)
    assert tree.due_ms is None
    remembered = tree.remembered
    assert (remembered["missing"], remembered["timers"], remembered["queued"]) == (0, 0, 0)
    assert all(state.share.waiting == 0 for state in tree._links.values())
    (push,) = tree.publish(ref(9, 100), 1_000, now_ms)
    assert push.links
