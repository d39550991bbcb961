"""Places for programs: one client cannot take them all, and one that vanished gives its place back."""

from __future__ import annotations

import socket

import pytest
from peer.linkkit import Node, local, run

from mycelium.errors import Overloaded
from mycelium.peer import hub as hub_module
from mycelium.peer.dialer import dial_once


def test_one_client_cannot_take_every_place(monkeypatch):
    monkeypatch.setattr(hub_module, "CLIENTS_PER_ACCOUNT_MAX", 2)

    async def main():
        greedy, other = Node("//Greedy", server=False), Node("//Other", server=False)
        async with Node(local("//Alice", role="client")) as alice:
            links = [await greedy.dial(alice, as_client=True) for _ in range(2)]
            with pytest.raises(Overloaded, match="of this client"):
                await greedy.dial(alice, as_client=True)
            assert alice.counts.reasons == {"client-full": 1}
            await other.dial(alice, as_client=True)
            links[0].close()
            await links[0].wire.disconnected()
            await greedy.dial(alice, as_client=True)
            await greedy.hub.close()
            await other.hub.close()

    run(main())


def test_the_node_s_own_programs_may_take_any_place(monkeypatch):
    monkeypatch.setattr(hub_module, "CLIENTS_PER_ACCOUNT_MAX", 2)

    async def main():
        async with Node(local("//Alice", role="client")) as alice, Node("//Alice", server=False) as program:
            for _ in range(4):
                await dial_once(program.hub, alice.url, alice.local.account)
            assert alice.hub.clients() == 4

    run(main())


@pytest.mark.parametrize("as_client", [True, False])
def test_the_system_probes_a_session_that_says_nothing(as_client):
    """A program sends nothing while it watches: without probes one whose machine lost power stays for ever."""

    async def main():
        role = "client" if as_client else "validator"
        async with Node(local("//Alice", role=role)) as alice, Node("//Bob", server=False) as bob:
            there = await bob.dial(alice, as_client=as_client)
            for link in (await alice.opened.get(), there):
                found = link.wire.transport.underlying_transport.get_extra_info("socket")
                assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
                assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 60

    run(main())
