"""Properties of the seen-set and the outbound queues, held against `reference.fanout`."""

from __future__ import annotations

import gc
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from reference import fanout as reference

from mycelium._core import fanout
from mycelium._core.fanout import BULK, CONTROL, PUSH, REPAIR, Fanout, SeenSet
from mycelium.errors import Overloaded, UsageError

MIB = 1024 * 1024


def fan(*peers, queue_bytes_max=8 * MIB, queue_messages_max=4_096, control_bytes_max=MIB):
    made = Fanout(queue_bytes_max, queue_messages_max, control_bytes_max)
    for peer in peers:
        made.add_peer(peer)
    return made


def split(frame):
    messages = []
    while frame:
        size = int.from_bytes(frame[:4], "little")
        messages.append(frame[4 : 4 + size])
        assert len(messages[-1]) == size
        frame = frame[4 + size :]
    return messages


def message(number, size=100):
    return number.to_bytes(size, "little")


# --- seen-set -----------------------------------------------------------------------------------------------


@given(st.integers(1, 9), st.lists(st.binary(max_size=2).map(lambda b: b * 9), max_size=80))
def test_seen_set_is_that_of_the_reference(entries_max, ids):
    seen, oracle = SeenSet(entries_max), reference.SeenSet(entries_max)
    for name in ids:
        assert (name in seen) == (name in oracle)
        assert seen.add(name) == oracle.add(name)
        assert len(seen) == len(oracle) <= entries_max
    assert all((name in seen) == (name in oracle) for name in ids)


def test_seen_set_forgets_the_oldest_first():
    seen = SeenSet(1_000)
    for number in range(10_000):
        assert seen.add(message(number, 32))
    assert len(seen) == 1_000
    assert [number for number in range(10_000) if message(number, 32) in seen] == list(range(9_000, 10_000))


def test_adding_again_does_not_make_younger():
    seen = SeenSet(2)
    assert [seen.add(name) for name in (b"a", b"b", b"a", b"c")] == [True, True, False, True]
    assert b"a" not in seen
    assert b"b" in seen


def test_seen_set_memory_is_constant():
    seen = SeenSet(4_096)
    memory = seen.memory_bytes
    assert memory < 25 * 4_096
    for number in range(20_000):
        seen.add(message(number, 32))
    assert seen.memory_bytes == memory


def test_seen_sets_have_seeds_of_their_own(monkeypatch):
    drawn = []
    monkeypatch.setattr(fanout.os, "urandom", lambda size: drawn.append(size) or bytes(size))
    SeenSet(1)
    SeenSet(1, bytes(16))
    assert drawn == [16]


@pytest.mark.parametrize("arguments", [(0,), (2**30 + 1,), (1, bytes(17))])
def test_impossible_seen_sets_are_refused(arguments):
    with pytest.raises(UsageError):
        SeenSet(*arguments)


def test_ids_are_bytes():
    seen = SeenSet(4)
    for wrong in (None, "text", 7):
        with pytest.raises(TypeError):
            seen.add(wrong)
        with pytest.raises(TypeError):
            wrong in seen  # noqa: B015


# --- frames -------------------------------------------------------------------------------------------------


def test_constants_are_those_of_the_reference():
    names = ["CONTROL", "REPAIR", "PUSH", "BULK"]
    assert [getattr(fanout, name) for name in names] == [getattr(reference, name) for name in names]


def test_a_frame_is_built_once_for_all_peers():
    peers = range(64)
    queues = fan(*peers)
    for number in range(10):
        assert queues.publish(message(number), PUSH, peers) == []
    frames = [queues.take(peer, MIB) for peer in peers]
    assert all(frame is frames[0] for frame in frames)
    assert split(frames[0]) == [message(number) for number in range(10)]
    assert (queues.frames_built, queues.frames_shared) == (1, 63)


def test_sending_one_object_to_each_shares_its_frame_too():
    queues = fan(1, 2)
    first, second = message(1), message(2)
    for peer in (1, 2):
        queues.send(peer, first, PUSH)
        queues.send(peer, second, PUSH)
    assert queues.take(1, MIB) is queues.take(2, MIB)


def test_identical_queues_that_are_taken_in_parts_share_every_part():
    queues = fan(1, 2, 3)
    for number in range(30):
        queues.publish(message(number), PUSH, [1, 2, 3])
    for _ in range(10):
        frames = [queues.take(peer, 3 * 104) for peer in (1, 2, 3)]
        assert frames[0] is frames[1] is frames[2]
    assert queues.frames_built == 10


def test_groups_that_take_in_turn_do_not_evict_each_other():
    groups = [range(start, 40, 4) for start in range(4)]
    queues = fan(*range(40))
    for number, group in enumerate(groups):
        queues.publish(message(number), PUSH, group)
    for peer in range(40):
        assert split(queues.take(peer, MIB)) == [message(peer % 4)]
    assert queues.frames_built == 4


def test_a_differing_queue_gets_a_frame_of_its_own():
    queues = fan(1, 2)
    queues.publish(message(1), PUSH, [1, 2])
    queues.send(2, message(2), PUSH)
    assert split(queues.take(1, MIB)) == [message(1)]
    assert split(queues.take(2, MIB)) == [message(1), message(2)]


def test_an_address_that_is_reused_is_not_mistaken():
    """A frame is found by the addresses of its messages, so it must keep them from being given to others."""
    queues = fan(1, 2)
    queues.send(2, b"keeps the queues from being empty", PUSH)
    for number in range(1_000):
        queues.send(1, bytes(bytearray(message(number))), PUSH)
        assert split(queues.take(1, MIB)) == [message(number)]
    assert queues.frames_shared == 0


def test_classes_go_out_in_their_order():
    queues = fan(1)
    for klass in (BULK, PUSH, REPAIR, CONTROL, BULK, PUSH, REPAIR, CONTROL):
        queues.send(1, bytes([klass]), klass)
    assert split(queues.take(1, MIB)) == [bytes([klass]) for klass in (0, 0, 1, 1, 2, 2, 3, 3)]


def test_a_class_waits_for_the_classes_before_it():
    """A small push must not slip in front of a repair that did not fit."""
    queues = fan(1)
    queues.send(1, message(1, 50), CONTROL)
    queues.send(1, message(2, 60), REPAIR)
    queues.send(1, message(3, 1), PUSH)
    assert split(queues.take(1, 100)) == [message(1, 50)]
    assert split(queues.take(1, 100)) == [message(2, 60), message(3, 1)]


def test_a_large_message_travels_alone():
    queues = fan(1)
    for size in (10, 500, 10):
        queues.send(1, message(1, size), PUSH)
    assert [len(queues.take(1, 100)) for _ in range(3)] == [14, 504, 14]
    assert queues.take(1, 100) is None
    queues.send(1, b"", CONTROL)
    assert queues.take(1, -1) == bytes(4)


# --- bounds -------------------------------------------------------------------------------------------------


def test_a_full_queue_drops_pushes_and_marks_its_peer_alone():
    queues = fan(1, 2, queue_messages_max=3)
    for number in range(3):
        assert queues.publish(message(number), PUSH, [1, 2]) == []
    queues.take(2, MIB)
    assert queues.publish(message(9), PUSH, [1, 2]) == [1]
    assert (queues.lagging(1), queues.dropped(1)) == (True, 1)
    assert (queues.lagging(2), queues.dropped(2)) == (False, 0)
    assert split(queues.take(1, MIB)) == [message(number) for number in range(3)]
    assert queues.lagging(1), "until the caller has repaired it"
    queues.clear_lagging(1)
    assert not queues.lagging(1)
    assert queues.dropped(1) == 1


@pytest.mark.parametrize("klass", [REPAIR, BULK])
def test_what_the_caller_can_send_again_is_refused_without_a_mark(klass):
    queues = fan(1, queue_messages_max=1)
    assert queues.send(1, b"a", PUSH)
    assert not queues.send(1, b"b", klass)
    assert not queues.lagging(1)
    assert queues.dropped(1) == 0


def test_control_is_never_dropped():
    queues = fan(1, queue_bytes_max=104, control_bytes_max=3 * 104)
    assert queues.send(1, message(1), PUSH)
    assert not queues.send(1, message(2), PUSH)
    for number in range(3):
        assert queues.send(1, message(number), CONTROL), "the queue of the others is full, its own is not"
    with pytest.raises(Overloaded, match="312 bytes"):
        queues.send(1, message(3), CONTROL)
    assert queues.publish(message(3), CONTROL, [1]) == [1]
    assert split(queues.take(1, MIB)) == [message(0), message(1), message(2), message(1)]


def test_empty_control_messages_are_counted_too():
    queues = fan(1, queue_messages_max=16)
    for _ in range(16):
        assert queues.send(1, b"", CONTROL)
    with pytest.raises(Overloaded):
        queues.send(1, b"", CONTROL)


def test_a_stalled_peer_costs_no_more_than_its_bounds():
    """Pushes for ever: 8 MiB of queue and what the kept frames hold, though nobody reads and others do."""
    queues = fan(1, 2)
    tracemalloc.start()
    try:
        for number in range(1_000):
            queues.publish(message(number, 64 * 1024), PUSH, [1, 2])
            queues.take(2, MIB)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert queues.lagging(1)
    assert not queues.lagging(2)
    assert held < 13 * MIB


def references(items):
    """How often each of the items is referred to; no name outside this function refers to one while it counts."""
    return [sys.getrefcount(items[at]) for at in range(len(items))]


def test_nothing_is_held_once_all_is_taken():
    queues = fan(1, 2, 3)
    sent = [message(number, 1_000) for number in range(500)]
    before = references(sent)
    for at in range(500):
        queues.publish(sent[at], PUSH, [1, 2, 3])
    queues.take(1, MIB)
    queues.take(2, 10_000)
    queues.remove_peer(2)
    held = references(sent)
    assert all(now > then for now, then in zip(held, before, strict=True))
    queues.take(3, MIB)
    assert references(sent) == before


def test_a_fanout_that_goes_away_lets_go():
    sent = [message(1, 1_000)]
    before = references(sent)
    queues = fan(1, 2)
    for klass in (CONTROL, REPAIR, PUSH, BULK):
        queues.publish(sent[0], klass, [1, 2])
    queues.take(1, 10)
    held = references(sent)
    assert held > before
    del queues
    gc.collect()
    assert references(sent) == before


# --- peers --------------------------------------------------------------------------------------------------


def test_an_unknown_peer_is_an_empty_one():
    queues = fan(1)
    queues.remove_peer(9)
    queues.clear_lagging(9)
    assert queues.publish(b"a", PUSH, [1, 9]) == [9]
    assert queues.send(9, b"a", CONTROL) is False
    assert queues.take(9, MIB) is None
    assert (queues.pending(9), queues.pending_bytes(9), queues.lagging(9), queues.dropped(9)) == (
        False,
        0,
        False,
        0,
    )


def test_a_peer_that_returns_finds_nothing_of_its_former_life():
    queues = fan(1, queue_messages_max=1)
    queues.send(1, b"a", PUSH)
    queues.send(1, b"b", PUSH)
    queues.remove_peer(1)
    queues.add_peer(1)
    assert (queues.pending(1), queues.lagging(1), queues.dropped(1)) == (False, False, 0)
    assert queues.ready() == []
    with pytest.raises(UsageError, match="before"):
        queues.add_peer(1)


def test_ready_names_each_peer_once_after_it_gained_something():
    queues = fan(1, 2, 3, queue_messages_max=1)
    assert queues.ready() == []
    queues.publish(b"a", PUSH, [3, 1])
    queues.publish(b"b", PUSH, [1])
    queues.send(1, b"c", CONTROL)
    assert queues.ready() == [3, 1]
    assert queues.ready() == []
    queues.send(2, b"a", PUSH)
    queues.remove_peer(2)
    assert queues.ready() == []


@pytest.mark.parametrize("klass", [-1, 4])
def test_a_class_that_is_none_is_refused(klass):
    queues = fan(1)
    with pytest.raises(UsageError, match="class"):
        queues.send(1, b"a", klass)
    with pytest.raises(UsageError, match="class"):
        queues.publish(b"a", klass, [1])
    assert not queues.pending(1)


def test_messages_are_bytes():
    queues = fan(1)
    for wrong in (None, "text", bytearray(b"a")):
        with pytest.raises(TypeError):
            queues.send(1, wrong, PUSH)
        with pytest.raises(TypeError):
            queues.publish(wrong, PUSH, [1])
    for wrong in (None, 7):
        with pytest.raises(TypeError):
            queues.publish(b"a", PUSH, wrong)
        with pytest.raises(TypeError):
            queues.pick(wrong, 1, 1)


@pytest.mark.parametrize("limits", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (2**31, 1, 1)])
def test_impossible_limits_are_refused(limits):
    with pytest.raises(UsageError):
        Fanout(*limits)


@given(
    st.lists(st.integers(0, 2**40), unique=True, max_size=40), st.integers(0, 50), st.integers(0, 2**64 - 1)
)
def test_picks_are_distinct_and_those_of_the_reference(peers, count, seed):
    picked = fan().pick(peers, count, seed)
    assert picked == reference.Fanout(1, 1, 1).pick(peers, count, seed)
    assert len(set(picked)) == len(picked) == min(count, len(peers))
    assert set(picked) <= set(peers)


def test_picks_are_even():
    """Chi-squared over 20,000 seeded picks of 3 in 10: each peer 6,000 times, give or take."""
    queues = fan()
    counts = dict.fromkeys(range(10), 0)
    for seed in range(20_000):
        for peer in queues.pick(range(10), 3, seed):
            counts[peer] += 1
    assert sum((count - 6_000) ** 2 / 6_000 for count in counts.values()) < 30


def test_a_negative_pick_is_refused():
    with pytest.raises(UsageError):
        fan().pick([1], -1, 0)


MESSAGES = [bytes([number]) * size for number, size in enumerate([0, 1, 2, 5, 9, 20, 33])]
PEERS = st.integers(1, 4)
CLASSES = st.integers(0, 3)


class AgainstReference(RuleBasedStateMachine):
    """Four peers that come and go, under caps that a few messages reach."""

    def __init__(self):
        super().__init__()
        self.queues = Fanout(120, 12, 60)
        self.oracle = reference.Fanout(120, 12, 60)
        self.taken = 0
        for peer in (1, 2, 3):
            self.queues.add_peer(peer)
            self.oracle.add_peer(peer)

    @rule(peer=PEERS)
    def come_or_go(self, peer):
        act = "remove_peer" if peer in self.oracle.peers() else "add_peer"
        getattr(self.queues, act)(peer)
        getattr(self.oracle, act)(peer)

    @rule(sent=st.sampled_from(MESSAGES), klass=CLASSES, peers=st.lists(PEERS, max_size=6))
    def publish(self, sent, klass, peers):
        assert self.queues.publish(sent, klass, peers) == self.oracle.publish(sent, klass, peers)

    @rule(sent=st.sampled_from(MESSAGES), klass=CLASSES, peer=PEERS)
    def send(self, sent, klass, peer):
        expected = self.oracle.send(peer, sent, klass)
        if expected is None:
            with pytest.raises(Overloaded):
                self.queues.send(peer, sent, klass)
        else:
            assert self.queues.send(peer, sent, klass) == expected

    @rule(peer=PEERS, bytes_max=st.integers(0, 200))
    def take(self, peer, bytes_max):
        frame = self.queues.take(peer, bytes_max)
        assert frame == self.oracle.take(peer, bytes_max)
        self.taken += frame is not None

    @rule()
    def take_twins(self):
        """Peers whose queues are equal, message by message, are handed one object."""
        frames: dict[tuple, bytes] = {}
        for peer in self.oracle.peers():
            twin = tuple(sorted(self.oracle.queued[peer], key=lambda item: item[0]))
            frame = self.queues.take(peer, 1_000)
            assert frame == self.oracle.take(peer, 1_000)
            self.taken += frame is not None
            assert frames.setdefault(twin, frame) is frame

    @rule(peer=PEERS)
    def repair(self, peer):
        self.queues.clear_lagging(peer)
        self.oracle.clear_lagging(peer)

    @rule()
    def ready(self):
        assert self.queues.ready() == self.oracle.ready()

    @invariant()
    def agrees(self):
        assert self.queues.peers() == self.oracle.peers()
        assert self.queues.frames_built + self.queues.frames_shared == self.taken
        for peer in (1, 2, 3, 4):
            for name in ("pending", "pending_bytes", "lagging", "dropped"):
                assert getattr(self.queues, name)(peer) == getattr(self.oracle, name)(peer)
            assert self.queues.pending_bytes(peer) <= 120 + 60


TestAgainstReference = AgainstReference.TestCase
TestAgainstReference.settings = settings(max_examples=150, stateful_step_count=50)
