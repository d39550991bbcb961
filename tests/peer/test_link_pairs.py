"""One session per pair of accounts: who dialled, who replaces whom, who may be many."""

from __future__ import annotations

import asyncio

import pytest
from peer.linkkit import (
    CONTROL,
    PING,
    Node,
    local,
    lower_and_higher,
    run,
    until,
)

from mycelium import errors
from mycelium.errors import LinkClosed, ProtocolError, WrongPeer
from mycelium.peer.dialer import dial_once

PROTOCOL_ERRORS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ProtocolError)
]


# --- one session per pair of accounts ---------------------------------------------------------------------


@pytest.mark.parametrize("first", ["lower", "higher"])
def test_two_who_dial_each_other_keep_what_the_lower_account_dialled(first):
    async def main():
        low, high = lower_and_higher()
        async with Node(low) as lower, Node(high) as higher:
            dialler, dialled = (lower, higher) if first == "lower" else (higher, lower)
            await dialler.dial(dialled)
            await until(lambda: bool(dialled.hub.links()))
            if first == "lower":
                with pytest.raises(LinkClosed):
                    await dialled.dial(dialler)
            else:
                await dialled.dial(dialler)
            await until(lambda: len(lower.hub.links()) == len(higher.hub.links()) == 1)
            assert lower.hub.link_of(high.account).inbound is False
            assert higher.hub.link_of(low.account).inbound is True
            assert lower.counts.reasons == higher.counts.reasons == {}

    run(main())


def test_simultaneous_dials_end_in_one_session_that_works():
    async def main():
        low, high = lower_and_higher()
        async with Node(low) as lower, Node(high) as higher:
            for _ in range(5):
                await asyncio.gather(lower.dial(higher), higher.dial(lower), return_exceptions=True)
                await until(lambda: len(lower.hub.links()) == len(higher.hub.links()) == 1)
                link = lower.hub.link_of(high.account)
                assert not link.inbound
                link.post(PING, b"x", CONTROL)
                await higher.messages.get()
                link.close()
                await until(lambda: not lower.hub.links() and not higher.hub.links())

    run(main())


def test_the_same_account_dialling_again_replaces_its_session():
    async def main():
        async with Node("//Alice") as alice, Node("//Bob") as bob:
            first = await bob.dial(alice)
            again = Node(bob.local, server=False)  # the same account after a crash
            second = await again.dial(alice)
            assert await first.closed is None
            assert alice.hub.link_of(bob.local.account).remote.endswith(
                str(second.wire.transport.underlying_transport.get_extra_info("sockname")[1])
            )
            await again.hub.close()

    run(main())


def test_a_session_gone_silent_gives_way_whoever_dialled_it():
    async def main():
        low, high = lower_and_higher()
        async with Node(low) as lower, Node(high) as higher:
            await lower.dial(higher)
            await until(lambda: bool(higher.hub.links()))
            for node in (lower, higher):
                for link in node.hub.links():
                    link.last_received_ns -= 10**10
            link = await higher.dial(lower)
            await until(lambda: len(lower.hub.links()) == len(higher.hub.links()) == 1)
            assert not link.closed.done()

    run(main())


def test_clients_of_one_account_are_many():
    async def main():
        async with Node(local("//Alice", role="client")) as alice:
            own = [Node(alice.local, server=False) for _ in range(3)]
            links = [await node.dial(alice, as_client=True) for node in own]
            assert len(alice.hub.links()) == alice.hub.clients() == 3
            assert alice.hub.link_of(alice.local.account) is None
            assert {link.role for link in links} == {"node"}
            for node in own:
                await node.hub.close()

    run(main())


def test_a_node_that_reaches_itself_refuses():
    async def main():
        async with Node("//Alice") as alice:
            with pytest.raises(WrongPeer, match="itself"):
                await dial_once(alice.hub, alice.url, as_client=False)
            await until(lambda: not alice.hub.links())

    run(main())
