"""Publishing to 64 peers and building their frames, against per-peer deques joined in Python.

No target is set for the ratio; what matters is that the work of a frame does not grow with the number of peers.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque

import pytest

from mycelium._core.fanout import PUSH, Fanout, SeenSet

PEERS = list(range(64))
FRAME_BYTES_MAX = 1024 * 1024


class DequeFanout:
    """What one writes first: a deque for each peer and class, every frame joined for itself."""

    def __init__(self, queue_bytes_max, queue_messages_max, control_bytes_max):
        self.queue_bytes_max = queue_bytes_max
        self.queue_messages_max = queue_messages_max
        self.queues = {}
        self.queued_bytes = {}

    def add_peer(self, peer):
        self.queues[peer] = [deque(), deque(), deque(), deque()]
        self.queued_bytes[peer] = 0

    def publish(self, message, klass, peers):
        refused = []
        size = len(message) + 4
        for peer in peers:
            queue = self.queues[peer][klass]
            if self.queued_bytes[peer] + size > self.queue_bytes_max or len(queue) >= self.queue_messages_max:
                refused.append(peer)
                continue
            queue.append(message)
            self.queued_bytes[peer] += size
        return refused

    def take(self, peer, bytes_max):
        parts = []
        size = 0
        for queue in self.queues[peer]:
            while queue and (not parts or size + len(queue[0]) + 4 <= bytes_max):
                message = queue.popleft()
                parts += (len(message).to_bytes(4, "little"), message)
                size += len(message) + 4
        self.queued_bytes[peer] -= size
        return b"".join(parts) if parts else None


def turn(queues, messages):
    for message in messages:
        queues.publish(message, PUSH, PEERS)
    for peer in PEERS:
        queues.take(peer, FRAME_BYTES_MAX)


@pytest.mark.benchmark(group="fanout: one loop turn, publish to 64 peers and take their frames")
@pytest.mark.parametrize(("count", "size"), [(1, 64 * 1024), (32, 1024), (256, 100)])
@pytest.mark.parametrize("kind", [Fanout, DequeFanout], ids=["core", "python"])
def test_publish_and_take(benchmark, kind, count, size):
    queues = kind(8 * 1024 * 1024, 4_096, 1024 * 1024)
    for peer in PEERS:
        queues.add_peer(peer)
    messages = [random.Random(number).randbytes(size) for number in range(count)]
    benchmark.pedantic(turn, (queues, messages), rounds=30, warmup_rounds=2)


class DictSeen:
    """An OrderedDict whose first entry goes when it is full. (A dict would walk over its graves to find its first.)"""

    def __init__(self, entries_max):
        self.entries_max = entries_max
        self.ids = OrderedDict()

    def add(self, name):
        if name in self.ids:
            return False
        self.ids[name] = None
        if len(self.ids) > self.entries_max:
            self.ids.popitem(last=False)
        return True


def add_all(seen, names):
    for name in names:
        seen.add(name)


@pytest.mark.benchmark(group="seen-set: 100,000 ids of 32 bytes, half of them twice, room for 16,384")
@pytest.mark.parametrize("kind", [SeenSet, DictSeen], ids=["core", "dict"])
def test_seen(benchmark, kind):
    source = random.Random(3)
    names = [name for _ in range(50_000) for name in [source.randbytes(32)] * 2]
    benchmark.pedantic(add_all, setup=lambda: ((kind(16_384), names), {}), rounds=9, warmup_rounds=1)
