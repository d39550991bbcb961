"""Shared by the tests of the trees: nodes that are only their machines, and a network whose every step is chosen."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import defaultdict, deque

from mycelium.peer.plumtree import Effect, Plumtree, Push, Ref, Say
from mycelium.protocol.messages import BatchRefs, Branch, Tree

SPACE = "main"
Edge = tuple[int, int]


def account(node: int) -> bytes:
    return bytes([node]) * 32


def ref(node: int, seq: int, space: str = SPACE) -> Ref:
    return Ref(space, account(node), 1, seq, seq)


BRANCH = Branch(SPACE, account(9))
NOW_MS = 1_000_000
PRUNE = Tree([], [], [BRANCH])


def refs(*spans, node=9, size=1_000):
    return BatchRefs(SPACE, account(node), 1, list(spans), size)


def have(*spans, **options):
    return Tree([refs(*spans, **options)], [], [])


def graft(*spans, **options):
    return Tree([], [refs(*spans, **options)], [])


def machine(links=(), *, may_read=lambda link, space: True, holds=lambda one: False, seed=1) -> Plumtree:
    """One alone, with those links up."""
    found = Plumtree(may_read, holds, random.Random(seed), 12_500_000)
    for link in links:
        found.link_up(link)
    return found


class Node:
    """What a node does around the machine: it holds batches, and says of a pushed one whether it is new."""

    def __init__(self, net: Net, number: int) -> None:
        self.net = net
        self.number = number
        self.held: set[Ref] = set()
        self.published = 0
        self.tree = Plumtree(
            lambda link, space: True, self.held.__contains__, random.Random(net.seed + number), 12_500_000
        )

    def publish(self) -> Ref:
        self.published += 1
        one = ref(self.number, self.published)
        self.held.add(one)
        self.net.carry_out(self, self.tree.publish(one, 1_000, self.net.now_ms))
        return one

    def arrived(self, link: int, what: Push | Tree) -> None:
        now_ms = self.net.now_ms
        if isinstance(what, Tree):
            self.net.carry_out(self, self.tree.heard(link, what, now_ms))
            return
        self.net.copies[what.ref] += 1
        if what.ref in self.held:
            self.tree.repeated(link, what.ref, now_ms)
        else:
            self.held.add(what.ref)
            self.net.carry_out(self, self.tree.received(link, what.ref, 1_000, what.hops, now_ms))

    def tick(self) -> None:
        self.net.carry_out(self, self.tree.tick(self.net.now_ms))


class Net:
    """Nodes on the edges of a graph. A link is named by the node at its other end. latency_ms: by edge, where `run`
    decides what arrives; without it `deliver` does."""

    def __init__(self, edges, seed: int = 0, latency_ms=None) -> None:
        self.seed = seed
        self.now_ms = 1_000_000
        self.edges = sorted({(min(edge), max(edge)) for edge in edges})
        self.nodes = [Node(self, number) for number in range(max(map(max, self.edges)) + 1)]
        self.copies: dict[Ref, int] = defaultdict(int)
        self.said = 0
        self.queues: dict[Edge, deque[Push | Tree]] = {}
        self._latency_ms = latency_ms
        self._flying: list[tuple[int, int, Edge]] = []
        self._turn = itertools.count()
        for a, b in self.edges:
            self.join(a, b)

    def join(self, a: int, b: int) -> None:
        self.queues[a, b], self.queues[b, a] = deque(), deque()
        self.nodes[a].tree.link_up(b)
        self.nodes[b].tree.link_up(a)

    def part(self, a: int, b: int) -> None:
        """The session ends: what was under way is lost."""
        for edge in ((a, b), (b, a)):
            del self.queues[edge]
        self.nodes[a].tree.link_down(b)
        self.nodes[b].tree.link_down(a)

    def carry_out(self, node: Node, effects: list[Effect]) -> None:
        for effect in effects:
            what = effect.tree if isinstance(effect, Say) else effect
            self.said += isinstance(effect, Say) * len(effect.links)
            for link in effect.links:
                edge = node.number, link
                self.queues[edge].append(what)
                if self._latency_ms is not None:
                    when_ms = self.now_ms + self._latency_ms(edge)
                    heapq.heappush(self._flying, (when_ms, next(self._turn), edge))

    # --- chosen steps -------------------------------------------------------------------------------------

    def busy(self) -> list[Edge]:
        return [edge for edge, queue in sorted(self.queues.items()) if queue]

    def deliver(self, edge: Edge) -> None:
        self.nodes[edge[1]].arrived(edge[0], self.queues[edge].popleft())

    def refuse(self, edge: Edge) -> None:
        """The queue of that link was full when this push was to go on it."""
        what = self.queues[edge][0]
        assert isinstance(what, Push)
        self.queues[edge].popleft()
        self.nodes[edge[0]].tree.unsent(edge[1], what.ref, self.now_ms)

    def pass_time(self, ms: int) -> None:
        self.now_ms += ms
        for node in self.nodes:
            if node.tree.due_ms is not None and node.tree.due_ms <= self.now_ms:
                node.tick()

    def settle(self) -> None:
        """Everything arrives and every timer runs, until nothing is left."""
        while True:
            while edges := self.busy():
                for edge in edges:
                    self.deliver(edge)
            dues = [node.tree.due_ms for node in self.nodes if node.tree.due_ms is not None]
            if not dues:
                return
            self.pass_time(max(0, min(dues) - self.now_ms))

    # --- a network with latencies -------------------------------------------------------------------------

    def run(self, ms: int) -> None:
        """So much time passes, and what arrives in it arrives."""
        end_ms = self.now_ms + ms
        while True:
            dues = [(node.tree.due_ms, node.number) for node in self.nodes if node.tree.due_ms is not None]
            due = min(dues, default=(end_ms + 1, 0))
            flight = self._flying[0] if self._flying else (end_ms + 1, 0, (0, 0))
            if min(due[0], flight[0]) > end_ms:
                self.now_ms = end_ms
                return
            if due[0] < flight[0]:
                self.now_ms = max(self.now_ms, due[0])
                self.nodes[due[1]].tick()
            else:
                heapq.heappop(self._flying)
                self.now_ms = flight[0]
                if self.queues.get(flight[2]):
                    self.deliver(flight[2])


def ring(nodes: int) -> list[Edge]:
    return [(node, (node + 1) % nodes) for node in range(nodes)]


def rings(nodes: int, count: int, seed: int) -> list[Edge]:
    """As `peer.mesh` has it: the union of some random rings."""
    rng = random.Random(seed)
    found = set()
    for _ in range(count):
        order = rng.sample(range(nodes), nodes)
        found |= {tuple(sorted((order[at - 1], order[at]))) for at in range(nodes)}
    return sorted(found)
