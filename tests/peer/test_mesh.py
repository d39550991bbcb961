"""The partial mesh: the same for all, symmetric, small, connected, also where many cannot be dialled."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from mycelium.config import MESH_FULL_MAX, MESH_NEIGHBOURS
from mycelium.peer.mesh import neighbours, ring_order


def accounts(count, seed=0):
    rng = random.Random(seed)
    return [rng.randbytes(32) for _ in range(count)]


def graph(epoch, members):
    """By the rings themselves, in one go."""
    found = {account: set() for account in members}
    for ring in range(MESH_NEIGHBOURS // 2):
        order = ring_order(epoch, members, ring)
        for at, account in enumerate(order):
            found[account].add(order[at - 1])
            found[order[at - 1]].add(account)
    return found


def reached(edges, start):
    seen, todo = {start}, [start]
    while todo:
        for other in edges[todo.pop()] - seen:
            seen.add(other)
            todo.append(other)
    return seen


def test_up_to_the_limit_everybody_is_everybodys_neighbour():
    members = accounts(MESH_FULL_MAX)
    assert neighbours(3, members, members[5]) == frozenset(members) - {members[5]}
    assert neighbours(3, members, bytes(32)) == frozenset()
    assert neighbours(3, members[:1], members[0]) == frozenset()


@settings(deadline=None, max_examples=12)
@given(st.integers(300, 1000), st.integers(0, 2**40), st.integers(0, 2**32))
def test_a_partial_mesh_is_connected_symmetric_and_small(count, epoch, seed):
    members = accounts(count, seed)
    edges = graph(epoch, members)
    assert reached(edges, members[0]) == set(members)
    assert all(2 <= len(chosen) <= MESH_NEIGHBOURS for chosen in edges.values())
    some = random.Random(seed).sample(members, 5)
    for own in some:
        assert neighbours(epoch, members, own) == edges[own]
        assert neighbours(epoch, members[::-1], own) == edges[own], "whatever the order of the members"

    # A third only dial out: two of them have no session. And another fifth is silent.
    rng = random.Random(seed + 1)
    outbound = set(rng.sample(members, count // 3))
    alive = set(members) - set(rng.sample(members, count // 5))
    open_edges = {
        own: {other for other in edges[own] & alive if not (own in outbound and other in outbound)}
        for own in alive
    }
    assert reached(open_edges, next(iter(alive))) == alive


@settings(deadline=None, max_examples=5)
@given(st.integers(300, 600), st.integers(0, 2**32))
def test_an_epoch_changes_few_sessions_and_after_all_rings_most(count, seed):
    members = accounts(count, seed)
    edges = [graph(epoch, members) for epoch in (100, 101, 100 + MESH_NEIGHBOURS // 2)]
    kept = [
        sum(len(edges[0][own] & later[own]) for own in members) / sum(map(len, edges[0].values()))
        for later in edges[1:]
    ]
    assert kept[0] > 0.85
    assert kept[1] < 0.3
