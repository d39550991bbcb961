"""The trees: every connected node gets every batch whatever is late or refused, near one copy each, within bounds."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from peer.treekit import BRANCH, NOW_MS, PRUNE, SPACE, Net, account, graft, have, machine, ref, ring, rings

from mycelium.config import BATCH_BYTES_MAX
from mycelium.config.peer import (
    TREE_EAGER,
    TREE_EAGER_MAX,
    TREE_FASTER_MS,
    TREE_GATHER_MS,
    TREE_GRAFT_AGAIN_MS,
    TREE_GRAFT_MS,
    TREE_HOPS_MAX,
    TREE_LAZY_MAX,
    TREE_MISSED_MAX,
    TREE_REFS_MAX,
    TREE_SETTLE_MS,
)
from mycelium.peer.plumtree import Push, Ref, Say
from mycelium.protocol.messages import BatchRefs, Branch, Tree

# --- against the graph ------------------------------------------------------------------------------------


@st.composite
def graphs(draw):
    """A connected graph of 2 to 8 nodes: a random spanning tree, and some edges more."""
    nodes = draw(st.integers(2, 8))
    edges = {(draw(st.integers(0, node - 1)), node) for node in range(1, nodes)}
    pairs = st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1)).filter(
        lambda pair: pair[0] < pair[1]
    )
    return sorted(edges | draw(st.sets(pairs, max_size=12)))


class AnyOrder(RuleBasedStateMachine):
    """What is under way arrives in any order between links; pushes may be refused; time passes when it wants."""

    @initialize(edges=graphs(), seed=st.integers(0, 2**32))
    def begin(self, edges, seed):
        self.net = Net(edges, seed)
        self.published = set()

    @rule(data=st.data())
    def publish(self, data):
        self.published.add(data.draw(st.sampled_from(self.net.nodes)).publish())

    @precondition(lambda self: self.net.busy())
    @rule(data=st.data(), times=st.integers(1, 5))
    def deliver(self, data, times):
        for _ in range(times):
            if edges := self.net.busy():
                self.net.deliver(data.draw(st.sampled_from(edges)))

    @precondition(lambda self: any(isinstance(queue[0], Push) for queue in self.net.queues.values() if queue))
    @rule(data=st.data())
    def refuse(self, data):
        edges = [edge for edge in self.net.busy() if isinstance(self.net.queues[edge][0], Push)]
        self.net.refuse(data.draw(st.sampled_from(edges)))

    @rule(ms=st.sampled_from([1, TREE_GATHER_MS, TREE_GRAFT_MS, 2_000]))
    def time_passes(self, ms):
        self.net.pass_time(ms)

    def teardown(self):
        if not hasattr(self, "net"):
            return
        self.net.settle()
        for node in self.net.nodes:
            # The oracle: the graph is connected, so everybody has everything.
            assert node.held == self.published
            assert node.tree.remembered["missing"] == node.tree.remembered["queued"] == 0


AnyOrder.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase


@settings(max_examples=60, deadline=None)
@given(graphs(), st.integers(0, 2**32), st.data())
def test_what_is_written_after_sessions_came_and_went_reaches_everybody(edges, seed, data):
    net = Net(edges, seed)
    for _ in range(4):
        net.nodes[data.draw(st.integers(0, len(net.nodes) - 1))].publish()
        net.pass_time(TREE_GRAFT_MS)
        a, b = data.draw(st.sampled_from(net.edges))
        net.part(a, b)
        net.settle()
        net.join(a, b)
    before = {node.number: set(node.held) for node in net.nodes}
    last = [node.publish() for node in net.nodes]
    net.settle()
    for node in net.nodes:
        assert node.held >= before[node.number] | set(last)


def test_a_line_and_a_ring_carry_one_copy_to_each():
    line = Net([(n, n + 1) for n in range(11)])
    one = line.nodes[0].publish()
    line.settle()
    assert all(one in node.held for node in line.nodes)
    assert line.copies[one] == 11
    circle = Net(ring(12), latency_ms=lambda edge: 10)
    for _ in range(5):
        one = circle.nodes[3].publish()
        circle.run(2_000)
    assert all(one in node.held for node in circle.nodes)
    assert circle.copies[one] == 11


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_once_settled_a_tree_carries_little_more_than_one_copy_each(seed):
    rng = random.Random(seed)
    lags = {}

    def latency_ms(edge):
        base = lags.setdefault(tuple(sorted(edge)), rng.randrange(5, 120))
        return base + rng.randrange(1 + base // 10)

    net = Net(rings(48, 4, seed), seed, latency_ms)
    copies = []
    for _ in range(40):
        one = net.nodes[0].publish()
        net.run(1_500)
        assert all(one in node.held for node in net.nodes)
        copies.append(net.copies[one] / 47)
    assert copies[0] <= TREE_EAGER
    assert sum(copies[10:]) / 30 <= 1.15


def test_each_origin_has_a_tree_of_its_own():
    net = Net(rings(24, 3, 5), latency_ms=lambda edge: 20 + sum(edge))
    for _ in range(4):
        for node in (0, 12):
            net.nodes[node].publish()
        net.run(2_000)
    branches = [Branch(SPACE, account(node)) for node in (0, 12)]
    assert any(set(node.tree.eager(branches[0])) != set(node.tree.eager(branches[1])) for node in net.nodes)


def test_a_node_that_forwards_nothing_delays_what_others_get_and_stops_nothing():
    net = Net(rings(20, 3, 7), latency_ms=lambda edge: 20)
    dead = net.nodes[7]
    dead.tree.received = lambda *news: []
    for _ in range(6):
        one = net.nodes[0].publish()
        net.run(3_000)
        assert all(one in node.held for node in net.nodes)


# --- one machine ------------------------------------------------------------------------------------------


def test_a_new_tree_begins_with_few_links_and_announces_to_some_others():
    tree = machine(range(30))
    (push,) = tree.publish(ref(9, 1), 1_000, NOW_MS)
    assert push.hops == TREE_HOPS_MAX
    assert len(push.links) == TREE_EAGER
    assert tree.due_ms == NOW_MS + TREE_GATHER_MS
    (say,) = tree.tick(NOW_MS + TREE_GATHER_MS)
    assert len(say.links) == TREE_LAZY_MAX
    assert not set(say.links) & set(push.links)
    assert say.tree == have((1, 1))
    assert tree.due_ms is None


def test_the_choice_is_of_the_seed():
    pushes = [machine(range(30), seed=seed).publish(ref(9, 1), 1_000, NOW_MS) for seed in (1, 1, 2)]
    assert pushes[0] == pushes[1] != pushes[2]


def test_who_may_not_read_a_space_is_neither_pushed_nor_told_of_it():
    tree = machine(range(10), may_read=lambda link, space: link < 3)
    (push,) = tree.publish(ref(9, 1), 1_000, NOW_MS)
    says = tree.tick(NOW_MS + TREE_GATHER_MS)
    assert set(push.links) == {0, 1, 2}
    assert says == []
    assert tree.heard(7, graft((1, 1)), NOW_MS) == []
    assert tree.counts["graft-unknown"] == 1


def test_a_batch_goes_on_with_one_hop_less_and_not_to_where_it_came_from():
    tree = machine(range(4))
    (push,) = tree.received(2, ref(9, 1), 1_000, 7, NOW_MS)
    assert (push.ref, push.hops, set(push.links)) == (ref(9, 1), 6, {0, 1, 3})


@pytest.mark.parametrize(
    ("hops", "onward"), [(65_535, TREE_HOPS_MAX - 1), (TREE_HOPS_MAX, TREE_HOPS_MAX - 1), (2, 1)]
)
def test_hops_are_clamped(hops, onward):
    (push,) = machine(range(3)).received(0, ref(9, 1), 1_000, hops, NOW_MS)
    assert push.hops == onward


def test_at_the_last_hop_it_is_announced_alone_and_to_all():
    tree = machine(range(3))
    assert tree.received(0, ref(9, 1), 1_000, 1, NOW_MS) == []
    (say,) = tree.tick(NOW_MS + TREE_GATHER_MS)
    assert set(say.links) == {1, 2}


def pruned(tree, now_ms):
    """The links that are told to push no more."""
    says = tree.tick(now_ms + TREE_GATHER_MS)
    return {link for say in says if say.tree.prune == [BRANCH] for link in say.links}


def test_a_repetition_prunes_its_link_unless_that_brought_the_first():
    tree = machine(range(3))
    tree.received(0, ref(9, 1), 1_000, 5, NOW_MS)
    tree.repeated(0, ref(9, 1), NOW_MS)
    tree.repeated(1, ref(9, 1), NOW_MS)
    assert pruned(tree, NOW_MS) == {1}
    assert tree.parent(BRANCH) == 0
    # Whom it pushes to is another question: that link says so itself.
    assert set(tree.eager(BRANCH)) == {1, 2}


def test_two_links_that_take_turns_in_being_first_are_not_both_pruned():
    """Found by the simulator: with many batches under way each pruned the other, and a node was left without any."""
    tree = machine(range(3))
    for turn in range(50):
        one, other = (0, 1) if turn % 2 else (1, 0)
        tree.received(one, ref(9, 1 + turn), 1_000, 5, NOW_MS + turn)
        tree.repeated(other, ref(9, 1 + turn), NOW_MS + turn)
    assert tree.parent(BRANCH) == 1
    assert pruned(tree, NOW_MS + 50) == {0}


def test_who_is_faster_than_the_parent_becomes_it_when_it_has_settled():
    tree = machine(range(3))
    tree.received(0, ref(9, 1), 1_000, 5, NOW_MS)
    tree.received(1, ref(9, 2), 1_000, 5, NOW_MS + 500)
    tree.repeated(0, ref(9, 2), NOW_MS + 500)
    assert tree.parent(BRANCH) == 0
    assert pruned(tree, NOW_MS + 500) == {1}
    later_ms = NOW_MS + TREE_SETTLE_MS
    tree.received(1, ref(9, 3), 1_000, 5, later_ms)
    tree.repeated(0, ref(9, 3), later_ms)
    assert tree.parent(BRANCH) == 1
    assert pruned(tree, later_ms) == {0}


def test_a_parent_that_brings_nothing_any_more_is_none():
    tree = machine(range(3))
    tree.received(0, ref(9, 1), 1_000, 5, NOW_MS)
    for seq in range(2, 2 + TREE_MISSED_MAX):
        assert tree.parent(BRANCH) == 0
        tree.received(1, ref(9, seq), 1_000, 5, NOW_MS)
    assert tree.parent(BRANCH) == 1
    tree.link_down(1)
    assert tree.parent(BRANCH) is None
    tree.received(2, ref(9, 9), 1_000, 5, NOW_MS)
    assert tree.parent(BRANCH) == 2


def test_while_one_graft_is_under_way_others_go_to_the_same_link():
    tree = machine(range(3))
    tree.received(2, ref(9, 1), 1_000, 5, NOW_MS)
    tree.tick(NOW_MS + TREE_GATHER_MS)
    tree.heard(0, have((2, 2), size=0), NOW_MS)
    tree.heard(1, have((3, 3), size=0), NOW_MS + 100)
    assert tree.tick(NOW_MS + TREE_GRAFT_MS) == [Say((0,), graft((2, 2), size=0))]
    assert tree.tick(NOW_MS + 100 + TREE_GRAFT_MS) == [Say((0,), graft((3, 3), size=0))]
    # It has not got it, after all: who announced it is asked next.
    assert Say((1,), graft((3, 3), size=0)) in tree.tick(NOW_MS + 100 + TREE_GRAFT_MS + TREE_GRAFT_AGAIN_MS)


def test_a_repetition_is_welcome_when_who_brought_the_first_is_gone():
    tree = machine(range(3))
    tree.received(0, ref(9, 1), 1_000, 5, NOW_MS)
    tree.link_down(0)
    tree.repeated(1, ref(9, 1), NOW_MS)
    assert tree.parent(BRANCH) == 1
    tree.repeated(2, ref(9, 1), NOW_MS)
    assert pruned(tree, NOW_MS) == {2}


def test_its_own_batch_that_comes_back_prunes_who_sent_it():
    tree = machine(range(3))
    tree.publish(ref(9, 1), 1_000, NOW_MS)
    tree.repeated(1, ref(9, 1), NOW_MS)
    assert pruned(tree, NOW_MS) == {1}


def test_a_repetition_of_what_came_by_sync_prunes_nobody():
    tree = machine(range(3))
    tree.received(0, ref(9, 1), 1_000, 5, NOW_MS)
    tree.repeated(1, ref(9, 2), NOW_MS)
    assert pruned(tree, NOW_MS) == set()


def test_who_prunes_is_pushed_no_more_and_announced_to():
    tree = machine(range(2))
    tree.received(0, ref(9, 1), 1_000, 5, NOW_MS)
    assert tree.heard(1, PRUNE, NOW_MS) == []
    tree.tick(NOW_MS + TREE_GATHER_MS)
    assert tree.received(0, ref(9, 2), 1_000, 5, NOW_MS) == []
    (say,) = tree.tick(NOW_MS + TREE_GATHER_MS)
    assert say == Say((1,), have((2, 2)))


def test_what_was_announced_and_does_not_come_is_asked_for_of_one_after_the_other():
    tree = machine(range(3))
    for link in (2, 0, 0):
        assert tree.heard(link, have((5, 6), size=0), NOW_MS) == []
    assert tree.tick(NOW_MS + TREE_GRAFT_MS - 1) == []
    wanted = graft((5, 6), size=0)
    assert tree.tick(NOW_MS + TREE_GRAFT_MS) == [Say((2,), wanted)]
    assert tree.tick(NOW_MS + TREE_GRAFT_MS + TREE_GRAFT_AGAIN_MS) == [Say((0,), wanted)]
    assert tree.tick(NOW_MS + TREE_GRAFT_MS + 2 * TREE_GRAFT_AGAIN_MS) == []
    assert tree.counts["left-to-sync"] == 1
    assert tree.due_ms is None


def test_what_came_in_another_way_is_not_asked_for():
    held = set()
    tree = machine(range(2), holds=held.__contains__)
    tree.heard(0, have((5, 5)), NOW_MS)
    held.add(ref(9, 5))
    assert tree.tick(NOW_MS + 2 * TREE_GRAFT_MS) == []
    assert tree.remembered["missing"] == 0


def test_a_large_batch_is_waited_for_longer():
    tree = machine(range(2))
    tree.heard(0, have((1, 1), size=500_000), NOW_MS)
    assert NOW_MS + TREE_GRAFT_MS + 100 < tree.due_ms < NOW_MS + TREE_GRAFT_MS + 300
    tree = machine(range(2))
    tree.heard(0, have((1, 1), size=2**32 - 1), NOW_MS)
    assert tree.due_ms < NOW_MS + TREE_GRAFT_MS + 4 * BATCH_BYTES_MAX // 12_500 + 2


def test_an_announcer_is_not_sent_what_it_announced():
    tree = machine(range(3))
    tree.received(0, ref(9, 1), 1_000, 5, NOW_MS)
    tree.tick(NOW_MS + TREE_GATHER_MS)
    tree.heard(1, have((2, 2)), NOW_MS)
    (push,) = tree.received(0, ref(9, 2), 1_000, 5, NOW_MS)
    assert set(push.links) == {2}


def test_a_graft_is_answered_once_and_makes_the_link_eager():
    tree = machine(range(2))
    tree.received(0, ref(9, 1), 1_000, 5, NOW_MS)
    tree.heard(1, PRUNE, NOW_MS)
    assert tree.heard(1, graft((1, 1)), NOW_MS) == [Push(ref(9, 1), 4, (1,))]
    assert 1 in tree.eager(BRANCH)
    assert tree.heard(1, graft((1, 1)), NOW_MS) == []
    assert tree.counts["graft-flood"] == 1
    tree.unsent(1, ref(9, 1), NOW_MS)
    assert tree.heard(1, graft((1, 1)), NOW_MS) == [Push(ref(9, 1), 4, (1,))]


def test_of_too_many_grafters_each_gets_the_batch_and_the_last_are_pruned():
    tree = machine(range(40))
    tree.publish(ref(9, 1), 1_000, NOW_MS)
    tree.tick(NOW_MS + TREE_GATHER_MS)
    for link in range(40):
        (push,) = tree.heard(link, graft((1, 1)), NOW_MS)
        assert push.links == (link,)
    assert len(tree.eager(BRANCH)) == TREE_EAGER_MAX
    (say,) = tree.tick(NOW_MS + TREE_GATHER_MS)
    assert set(say.links) == set(range(40)) - set(tree.eager(BRANCH))
    assert say.tree == PRUNE


def test_who_pruned_us_is_grafted_last():
    tree = machine(range(3))
    tree.received(2, ref(9, 1), 1_000, 5, NOW_MS)
    tree.tick(NOW_MS + TREE_GATHER_MS)
    tree.heard(0, PRUNE, NOW_MS)
    tree.heard(0, have((2, 2)), NOW_MS)
    tree.heard(1, have((2, 2)), NOW_MS)
    says = tree.tick(NOW_MS + 2 * TREE_GRAFT_MS)
    assert [say.links for say in says if say.tree.graft] == [(1,)]


def test_a_link_that_announces_much_earlier_is_grafted_and_a_liar_gains_nothing():
    tree = machine(range(3))
    tree.received(0, ref(9, 1), 1_000, 5, NOW_MS)
    tree.tick(NOW_MS + TREE_GATHER_MS)
    tree.heard(1, have((2, 2)), NOW_MS)
    tree.received(0, ref(9, 2), 1_000, 5, NOW_MS + TREE_FASTER_MS)
    says = tree.tick(NOW_MS + TREE_FASTER_MS)
    assert [say.tree.graft for say in says if 1 in say.links] == [[BatchRefs(SPACE, account(9), 0, [])]]
    # It lied: it never pushes, and the way that there was stays.
    tree.received(0, ref(9, 3), 1_000, 5, NOW_MS + 5_000)
    assert tree.parent(BRANCH) == 0


def test_the_wish_of_another_is_taken_without_a_batch():
    tree = machine(range(2))
    tree.received(0, ref(9, 1), 1_000, 5, NOW_MS)
    tree.heard(1, PRUNE, NOW_MS)
    assert tree.heard(1, Tree([], [BatchRefs(SPACE, account(9), 0, [])], []), NOW_MS) == []
    assert 1 in tree.eager(BRANCH)


def test_a_link_that_went_is_asked_for_nothing():
    tree = machine(range(2))
    tree.heard(0, have((1, 1)), NOW_MS)
    tree.heard(1, have((1, 1)), NOW_MS)
    tree.link_down(0)
    (say,) = tree.tick(NOW_MS + 2 * TREE_GRAFT_MS)
    assert say.links == (1,)
    assert tree.heard(0, have((2, 2)), NOW_MS) == []
    tree.unsent(0, ref(9, 1), NOW_MS)
    tree.received(0, ref(9, 1), 1_000, 5, NOW_MS)
    assert 0 not in tree.eager(BRANCH)


def test_an_origin_whose_links_all_went_draws_anew():
    tree = machine(range(2))
    tree.publish(ref(9, 1), 1_000, NOW_MS)
    for link in range(2):
        tree.link_down(link)
    assert tree.publish(ref(9, 2), 1_000, NOW_MS) == []
    for link in (7, 8):
        tree.link_up(link)
    (push,) = tree.publish(ref(9, 3), 1_000, NOW_MS)
    assert set(push.links) <= {7, 8}


def test_many_announcements_go_at_once_and_in_messages_of_their_size():
    tree = machine([0, 1])
    tree.publish(ref(9, 1), 1_000, NOW_MS)
    tree.heard(1, PRUNE, NOW_MS)
    for seq in range(2, 2 + TREE_REFS_MAX + 10):
        tree.publish(ref(9, seq), 1_000, NOW_MS)
    assert tree.due_ms == NOW_MS
    says = tree.tick(NOW_MS)
    assert [len(say.tree.have[0].spans) for say in says if 1 in say.links] == [TREE_REFS_MAX, 10]
    for say in says:
        say.tree.encode()


def test_the_largest_message_can_be_written():
    """Each ref of another origin, in a space with the longest name, beside as many prunes and wishes."""
    space = "s" * 64
    tree = machine([0, 1])
    for number in range(TREE_REFS_MAX * 2):
        name = number.to_bytes(32, "big")
        one = Ref(space, name, 2**64 - 1, 1, 1)
        tree.received(0, one, 1_000, 5, NOW_MS)
        tree.heard(1, Tree([], [], [one.branch]), NOW_MS)
        tree.repeated(1, one, NOW_MS)
        tree.received(0, one._replace(first=2, last=2), 1_000, 5, NOW_MS)
    says = tree.tick(NOW_MS + TREE_GATHER_MS)
    assert sum(len(say.tree.have) for say in says) >= TREE_REFS_MAX
    assert sum(len(say.tree.prune) for say in says) >= TREE_REFS_MAX
    assert all(Tree.decode(say.tree.encode()) == say.tree for say in says)


def test_a_new_tree_begins_with_links_that_take_part_in_trees():
    tree = machine(range(20))
    for link in (3, 5, 7, 11):
        tree.heard(link, have((1, 1), node=2), NOW_MS)
    (push,) = tree.publish(ref(9, 1), 1_000, NOW_MS)
    assert set(push.links) == {3, 5, 7, 11}


@pytest.mark.parametrize("seed", [1, 2])
def test_also_with_many_batches_under_way_a_tree_settles(seed):
    """A batch each 15 ms on links of up to 150 ms, whose latency varies by a tenth."""
    rng = random.Random(seed)
    lags = {}

    def latency_ms(edge):
        base = lags.setdefault(tuple(sorted(edge)), rng.randrange(5, 150))
        return base + rng.randrange(1 + base // 10)

    net = Net(rings(32, 6, seed), seed, latency_ms)
    sent = []
    for _ in range(400):
        sent.append(net.nodes[0].publish())
        net.run(15)
    net.run(3_000)
    assert all(node.held >= set(sent) for node in net.nodes)
    assert sum(net.copies[one] for one in sent[250:]) / 150 / 31 <= 1.05
