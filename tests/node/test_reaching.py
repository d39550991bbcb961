"""Members dial each other's announced addresses on request, and nothing else, and not often."""

import asyncio
import random

import pytest
from nodekit import Mesh, places, run, until

from mycelium.config.peer import REACH_BURST
from mycelium.errors import MalformedMessage, Overloaded
from mycelium.identity.account import format as format_account
from mycelium.node import calls
from mycelium.node.reaching import Reaching
from mycelium.node.remote import connect

SECOND_NS = 10**9


class Registry:
    """Stands for PeerCalls: keeps the handler, and answers calls with what it is told."""

    def __init__(self, answer=b""):
        self.handler = None
        self.answer = answer

    def on(self, method, handler):
        self.handler = handler

    async def call(self, account, method, body, timeout_s, answer_bytes_max):
        return self.answer


class Linked:
    account = bytes(32)


def reaching(registry, urls=(), now=lambda: 0):
    return Reaching(registry, lambda: [Linked()], lambda account: urls, now, random.Random(1))


def test_nodes_of_a_mesh_reach_each_other(tmp_path):
    async def main():
        network = places(tmp_path, 3)
        async with Mesh(network) as mesh:
            await mesh.start()
            await mesh.connected()
            node = mesh.nodes[0]
            await until(
                lambda: all(
                    other.discovery.book.addresses(node.account, other.now_ms()) for other in mesh.nodes
                )
            )
            async with connect(node.url, network[0].keypair) as remote:
                said = await remote.database.ask(calls.REACH, b"", list)
            assert {answer["account"] for answer in said} == {place.address for place in network[1:]}
            assert all(answer["addresses"] == {node.url: ""} for answer in said)
            sessions = len(node.replicator.members())
            assert sessions == 2, "no session ended by it"

    run(main())


def test_an_address_that_nobody_listens_at(tmp_path):
    async def main():
        registry = Registry()
        reaching(registry, ("ws://127.0.0.1:1",))
        answer = calls.decode(await registry.handler(Linked(), b""), dict)
        assert list(answer) == ["ws://127.0.0.1:1"]
        assert "refused" in answer["ws://127.0.0.1:1"].lower()

    run(main())


def test_who_asks_does_not_say_where(tmp_path):
    async def main():
        registry = Registry()
        reaching(registry, ("ws://127.0.0.1:1",))
        with pytest.raises(MalformedMessage):
            await registry.handler(Linked(), b"ws://192.0.2.1:22")

    run(main())


def test_it_dials_only_so_often():
    async def main():
        now = [0]
        registry = Registry()
        reaching(registry, (), lambda: now[0])
        for _ in range(REACH_BURST):
            assert calls.decode(await registry.handler(Linked(), b""), dict) == {}
        with pytest.raises(Overloaded):
            await registry.handler(Linked(), b"")
        now[0] = 3600 * SECOND_NS
        assert calls.decode(await registry.handler(Linked(), b""), dict) == {}

    run(main())


def test_what_a_member_answers_ends_in_terminals():
    async def main():
        hostile = Registry(calls.encode({"ws://x\x1b[2J": "\x07" + "w" * 5000}))
        (said,) = await reaching(hostile).ask()
        assert said["account"] == format_account(bytes(32))
        ((url, why),) = said["addresses"].items()
        assert url == "ws://x?[2J"
        assert len(why) == 200
        assert why.startswith("?w")
        (said,) = await reaching(Registry(b"\xff\x00")).ask()
        assert said["error"]

    run(main())


def test_a_member_that_does_not_accept_is_given_up(monkeypatch):
    async def never(host, port):
        await asyncio.Event().wait()

    async def main():
        monkeypatch.setattr("mycelium.node.reaching.REACH_DIAL_S", 0.01)
        monkeypatch.setattr(asyncio, "open_connection", never)
        registry = Registry()
        reaching(registry, ("ws://127.0.0.1:1",))
        answer = calls.decode(await registry.handler(Linked(), b""), dict)
        assert answer == {"ws://127.0.0.1:1": "no answer within 0.01 s"}

    run(main())
