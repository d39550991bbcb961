"""Several nodes of one account: a session for each generation, one share for all, and who gives way when full."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from peer.linkkit import CONTROL, PING, Node, local, run, until

from mycelium.config import DUPLICATE_STALE_MS
from mycelium.errors import LinkClosed, Overloaded
from mycelium.peer import hub as hub_module
from mycelium.peer.bucket import Allowances
from mycelium.peer.plumtree import Plumtree


def bob(generation: int) -> Node:
    return Node(replace(local("//Bob"), generation=generation), server=False)


@contextlib.asynccontextmanager
async def nodes(*found: Node):
    async with contextlib.AsyncExitStack() as stack:
        for node in found:
            await stack.enter_async_context(node)
        yield found


def test_each_generation_has_its_session_and_duplicates_are_judged_within_one():
    async def main():
        async with Node("//Alice") as alice, nodes(bob(1), bob(2), bob(1)) as (one, two, again):
            first, second = await one.dial(alice), await two.dial(alice)
            await until(lambda: len(alice.hub.links()) == 2)
            account = one.local.account
            assert [link.generation for link in alice.hub.links_of(account)] == [1, 2]
            assert alice.hub.link_of(account).generation == 1
            assert alice.hub.link_to(account, 2).generation == 2
            assert alice.hub.link_to(account, 9).generation == 1
            assert alice.hub.clients() == 0
            third = await again.dial(alice)  # the first of them after a crash
            assert await first.closed is None
            await until(lambda: len(alice.hub.links()) == 2)
            assert [link.generation for link in alice.hub.links_of(account)] == [2, 1]
            assert not second.closed.done()
            assert not third.closed.done()
            second.close()
            await until(lambda: len(alice.hub.links()) == 1)
            assert [link.generation for link in alice.hub.links_of(account)] == [1]
            third.close()
            await until(lambda: not alice.hub.links())
            assert alice.hub.link_of(account) is None
            assert (alice.hub.links_of(account), alice.hub._paired, alice.hub._members) == ([], 0, {})

    run(main())


def test_of_several_the_one_that_is_heard_is_used():
    async def main():
        async with Node("//Alice") as alice, nodes(bob(1), bob(2)) as (one, two):
            await one.dial(alice)
            live = await two.dial(alice)
            await until(lambda: len(alice.hub.links()) == 2)
            account, now_ns = one.local.account, alice.hub.clock_ns()
            alice.hub.clock_ns = lambda: now_ns + (DUPLICATE_STALE_MS + 100) * 1_000_000
            live.post(PING, b"x", CONTROL)
            await alice.messages.get()
            assert alice.hub.link_of(account).generation == 2

    run(main())


def test_beyond_the_most_a_silent_one_gives_way_and_else_nobody_does(monkeypatch):
    monkeypatch.setattr(hub_module, "MEMBER_NODES_MAX", 2)

    async def main():
        async with Node("//Alice") as alice, nodes(*map(bob, (1, 2, 3, 4))) as (one, two, three, four):
            await one.dial(alice)
            second = await two.dial(alice)
            with pytest.raises((LinkClosed, Overloaded), match="2 nodes of this account are connected"):
                await three.dial(alice)
            assert alice.counts.reasons["fleet-full"] == 1
            now_ns = alice.hub.clock_ns()
            alice.hub.clock_ns = lambda: now_ns + (DUPLICATE_STALE_MS + 100) * 1_000_000
            second.post(PING, b"x", CONTROL)
            await alice.messages.get()
            await four.dial(alice)
            assert [link.generation for link in alice.hub.links_of(one.local.account)] == [2, 4]

    run(main())


def test_further_nodes_take_no_place_of_other_members_and_few_come_before_many(monkeypatch):
    monkeypatch.setattr(hub_module, "SESSIONS_MAX", 2)
    monkeypatch.setattr(hub_module, "FURTHER_NODES_MAX", 2)

    async def main():
        charlie = [Node(replace(local("//Charlie"), generation=number), server=False) for number in (1, 2)]
        async with Node("//Alice") as alice, nodes(*map(bob, (1, 2, 3, 4)), *charlie) as found:
            for node in found[:3]:
                await node.dial(alice)
            with pytest.raises((LinkClosed, Overloaded), match="2 further nodes"):
                await found[3].dial(alice)
            for node in charlie:
                await node.dial(alice)
            theirs = [
                [link.generation for link in alice.hub.links_of(one.local.account)] for one in found[::4]
            ]
            assert theirs == [[1, 2], [1, 2]]
            async with Node("//Dave", server=False) as dave:
                with pytest.raises((LinkClosed, Overloaded), match="2 members are connected"):
                    await dave.dial(alice)

    run(main())


def test_what_one_node_sends_is_taken_off_what_another_may():
    async def main():
        async with Node("//Alice") as alice, nodes(bob(1), bob(2), Node("//Charlie", server=False)) as found:
            for node in found:
                await node.dial(alice)
            await until(lambda: len(alice.hub.links()) == 3)
            one, two = alice.hub.links_of(found[0].local.account)
            other = alice.hub.link_of(found[2].local.account)
            assert one.intake is two.intake
            assert one.intake is not other.intake
            assert two.intake[0].take(100_000, alice.hub.clock_ns()) > 0
            assert one.intake[0].take(0, alice.hub.clock_ns()) > 0
            assert other.intake[0].take(0, alice.hub.clock_ns()) == 0

    run(main())


def test_an_allowance_lives_as_long_as_a_session_of_its_account():
    shares = Allowances(1, 4)
    assert shares.take(b"a", 1, 0) > 0, "who has no session may take nothing"
    shares.opened(b"a")
    shares.opened(b"a")
    shares.opened(b"b")
    assert (shares.take(b"a", 4, 0), shares.take(b"b", 4, 0)) == (0, 0)
    shares.closed(b"a")
    assert shares.take(b"a", 1, 0) > 0
    shares.closed(b"a")
    shares.closed(b"a")
    assert shares.take(b"a", 0, 0) > 0
    shares.opened(b"a")
    assert shares.take(b"a", 4, 0) == 0
    assert shares.take(b"b", 1, 0) > 0


def test_links_of_one_member_announce_out_of_one_share():
    tree = Plumtree(lambda link, space: True, lambda ref: False, None, 10**6)
    tree.link_up(1)
    tree.link_up(2, 1)
    tree.link_up(3)
    assert tree._links[1].share is tree._links[2].share is not tree._links[3].share
    tree.link_down(1)
    tree.link_up(4, 1)
    assert tree._links[4].share is not tree._links[2].share, "the link that was named is gone"
