"""Several nodes of one account share its tree: everybody gets what each of them writes, at hardly more than a copy."""

from __future__ import annotations

import random
import statistics

import pytest
from peer.treekit import SPACE, Net, account, rings

from mycelium.peer.plumtree import Ref

NODES, WRITERS, ROUNDS = 24, 3, 80


@pytest.mark.parametrize("seed", [1, 2])
def test_what_each_node_of_an_account_writes_reaches_everybody(seed):
    rng, latencies = random.Random(seed), {}

    def latency_ms(edge):
        return latencies.setdefault(tuple(sorted(edge)), rng.choice([5, 20, 60, 120]))

    net, born = Net(rings(NODES, 5, seed), seed, latency_ms), []
    for number in range(1, ROUNDS + 1):
        for generation, node in enumerate(net.nodes[:WRITERS], start=1):
            one = Ref(SPACE, account(0), generation, number, number)
            node.held.add(one)
            born.append(one)
            net.carry_out(node, node.tree.publish(one, 1_000, net.now_ms))
        net.run(50)
    net.run(5_000)
    assert all(one in node.held for node in net.nodes for one in born)
    settled = [one for one in born if one.first > ROUNDS // 2]
    # Each with a tree of its own would have 1.0: two origins that share links settle on parents in turns.
    assert statistics.mean(net.copies[one] for one in settled) / (NODES - 1) < 1.5
