"""Replay window against what one would write in Python: a dict of (sender, nonce) with expiry.

Target: check and commit at least 2 times the dict, at most 80 bytes an entry at a full table.
"""

from __future__ import annotations

import os
import random
import tracemalloc
from collections import deque

import pytest

from mycelium._core.replay import OK, ReplayWindow

SECOND = 10**9
WINDOW_NS = 60 * SECOND
AHEAD_NS = 2 * SECOND
MESSAGES = 100_000
ENTRIES_MAX = 65_536
"""Below MESSAGES; at 1,000 messages a second by their stamps, both tables expire entries while measured."""


class DictWindow:
    """The leanest dict that decides honest traffic alike: no cap for a sender, no second look at commit."""

    def __init__(self, entries_max, window_ns, ahead_ns):
        self.entries_max = entries_max
        self.window_ns = window_ns
        self.ahead_ns = ahead_ns
        self.accepted = {}
        self.order = deque()

    def check(self, sender, nonce, timestamp_ns, now_ns):
        if timestamp_ns < now_ns - self.window_ns:
            return 1
        if timestamp_ns > now_ns + self.ahead_ns:
            return 2
        if (sender, nonce) in self.accepted:
            return 3
        return 4 if len(self.accepted) >= self.entries_max else 0

    def commit(self, sender, nonce, timestamp_ns, now_ns):
        oldest = now_ns - self.window_ns
        order = self.order
        while order and order[0][1] < oldest:
            del self.accepted[order.popleft()[0]]
        pair = (sender, nonce)
        self.accepted[pair] = timestamp_ns
        order.append((pair, timestamp_ns))


def core():
    return ReplayWindow(ENTRIES_MAX, ENTRIES_MAX, WINDOW_NS, AHEAD_NS, 0)


def python():
    return DictWindow(ENTRIES_MAX, WINDOW_NS, AHEAD_NS)


def traffic(count=MESSAGES, senders=64):
    """(sender, nonce, timestamp_ns) of a seeded run: nonces over all of u64, one message a millisecond."""
    source = random.Random(5)
    accounts = [source.randbytes(32) for _ in range(senders)]
    return [
        (source.choice(accounts), source.getrandbits(64), 1_000 * SECOND + i * 1_000_000)
        for i in range(count)
    ]


def run(table, messages):
    check, commit = table.check, table.commit
    for sender, nonce, timestamp_ns in messages:
        if check(sender, nonce, timestamp_ns, timestamp_ns) == OK:
            commit(sender, nonce, timestamp_ns, timestamp_ns)


KINDS = pytest.mark.parametrize("make", [core, python], ids=["core", "dict"])


@pytest.mark.benchmark(group="replay: check + commit, 100,000 messages of 64 senders")
@KINDS
def test_check_and_commit(benchmark, make):
    messages = traffic()
    benchmark.extra_info |= {"target": "at least 2 times the dict"} if make is core else {}
    benchmark.pedantic(run, setup=lambda: ((make(), messages), {}), rounds=9, warmup_rounds=1)


@pytest.mark.benchmark(group="replay: check alone, 10,000 messages that were seen")
@KINDS
def test_check_of_replays(benchmark, make):
    messages = traffic(50_000)
    table = make()
    run(table, messages)
    benchmark.pedantic(run, (table, messages[-10_000:]), rounds=15, warmup_rounds=1)


@pytest.mark.benchmark(group="replay: filling a table to its cap, traced; the number is bytes_an_entry")
@pytest.mark.parametrize("senders", [64, ENTRIES_MAX], ids=["64-senders", "a-sender-an-entry"])
@KINDS
def test_bytes_an_entry(benchmark, make, senders):
    """Traced allocations. Nonces are made while tracing, as a dict keeps them; accounts are not."""
    accounts = [os.urandom(32) for _ in range(senders)]

    def fill():
        before = tracemalloc.get_traced_memory()[0]
        table = make()
        for index in range(ENTRIES_MAX):
            nonce = int.from_bytes(os.urandom(8), "little")
            table.commit(accounts[index % senders], nonce, 1_000 * SECOND, 1_000 * SECOND)
        return (tracemalloc.get_traced_memory()[0] - before) / ENTRIES_MAX

    tracemalloc.start()
    try:
        bytes_an_entry = benchmark.pedantic(fill, rounds=1)
    finally:
        tracemalloc.stop()
    benchmark.extra_info["bytes_an_entry"] = round(bytes_an_entry, 1)
    benchmark.extra_info |= {"target": "at most 80"} if make is core else {}
    assert make is python or bytes_an_entry <= 80
