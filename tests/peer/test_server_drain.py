"""A listener that drains takes nobody more, and lets those in their handshake finish; sessions do not notice."""

from __future__ import annotations

import asyncio

import pytest
from peer.linkkit import CONTROL, NETWORK, PING, Node, local, run, until
from websockets.asyncio.client import connect as ws_connect

from mycelium.config import SUBPROTOCOL
from mycelium.errors import Unreachable
from mycelium.peer.handshake import Initiator
from mycelium.peer.server import Server


def test_who_is_in_the_handshake_may_finish_and_nobody_else_comes_in():
    async def main():
        async with Node("//Alice") as alice, Node("//Bob", server=False) as bob:
            me = local("//Charlie")
            async with ws_connect(alice.url, subprotocols=[SUBPROTOCOL], compression=None) as socket:
                initiator = Initiator(me.keypair, NETWORK, alice.local.account, 1, me.random)
                await socket.send(initiator.hello())
                answer = await socket.recv()
                alice.server.drain()
                alice.server.drain()
                with pytest.raises(Unreachable):
                    await bob.dial(alice)
                await socket.send(initiator.receive(answer, me.now_ns()))
                assert initiator.session.open(await socket.recv()) == b""
                assert (await alice.opened.get()).account == me.account
                await alice.server.close()
                assert len(alice.hub.links()) == 1

    run(main())


def test_closing_drops_who_is_in_the_handshake():
    async def main():
        async with (
            Node("//Alice") as alice,
            ws_connect(alice.url, subprotocols=[SUBPROTOCOL], compression=None) as socket,
        ):
            await until(lambda: alice.server.pending == 1)
            alice.server.drain()
            await asyncio.sleep(0)
            assert alice.server.pending == 1
            await alice.server.close()
            await until(lambda: alice.server.pending == 0)
            await socket.wait_closed()

    run(main())


def test_two_listeners_of_one_hub():
    async def main():
        async with Node("//Alice") as alice, Node("//Bob", server=False) as bob:
            link = await bob.dial(alice)
            other = Server(alice.hub, "127.0.0.1", 0)
            await other.start()
            first, alice.server = alice.server, other
            await first.close()
            link.post(PING, b"still", CONTROL)
            assert (await alice.messages.get())[1].payload == b"still"
            link.close()
            await until(lambda: not alice.hub.links())
            assert (await bob.dial(alice)).url == alice.url

    run(main())
