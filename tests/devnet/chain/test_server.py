"""The server on a real socket: answers, blocks by themselves, limits, and connections that misbehave."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import urllib.error
import urllib.request

import pytest
from devnet.chain.fakechain import ALICE, BOB, Clock, extrinsic, make_core
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mycelium.devnet.chain import server as server_module
from mycelium.devnet.chain.server import ChainServer
from mycelium.errors import AddressInUse


def run(main):
    return asyncio.run(asyncio.wait_for(main, 20))


class Asker:
    """A client that keeps notifications aside."""

    def __init__(self, wire):
        self.wire = wire
        self.notes = []
        self._count = 0

    async def ask(self, method, *params):
        self._count += 1
        request = {"jsonrpc": "2.0", "id": self._count, "method": method, "params": params}
        await self.wire.send(json.dumps(request))
        while True:
            answer = json.loads(await self.wire.recv())
            if "id" in answer:
                assert answer["id"] == self._count
                return answer.get("result", answer.get("error"))
            self.notes.append(answer)

    async def note(self):
        if self.notes:
            return self.notes.pop(0)
        return json.loads(await self.wire.recv())


def client(server, path=""):
    return connect(server.url + path, compression=None, max_size=None)


def test_it_answers_and_makes_blocks_instantly():
    async def main():
        async with ChainServer(make_core(blocks="instant")) as server, client(server) as wire:
            asker = Asker(wire)
            assert await asker.ask("system_chain") == "a fake chain"
            watched = await asker.ask("author_submitAndWatchExtrinsic", "0x" + extrinsic().hex())
            statuses = [(await asker.note())["params"] for _ in range(3)]
            assert {status["subscription"] for status in statuses} == {watched}
            assert statuses[0]["result"] == "ready"
            assert list(statuses[1]["result"]) == ["inBlock"]
            assert list(statuses[2]["result"]) == ["finalized"]
            assert (await asker.ask("chain_getHeader"))["number"] == "0x1"

    run(main())


def test_extrinsics_that_come_together_share_a_block():
    async def main():
        core = make_core(blocks="instant")
        async with ChainServer(core) as server, client(server) as wire:
            batch = [
                {
                    "jsonrpc": "2.0",
                    "id": nonce,
                    "method": "author_submitExtrinsic",
                    "params": ["0x" + raw.hex()],
                }
                for nonce, raw in enumerate([extrinsic(nonce=1), extrinsic(nonce=0), extrinsic(BOB)])
            ]
            await wire.send(json.dumps(batch))
            assert len(json.loads(await wire.recv())) == 3
            await Asker(wire).ask("system_name")
            assert core.chain.best.number == 1
            assert len(core.chain.best.extrinsics) == 4

    run(main())


def test_blocks_come_by_time():
    async def main():
        core = make_core(blocks="time", block_ms=5, clock=server_module.wall_ms)
        async with ChainServer(core) as server, client(server) as wire:
            asker = Asker(wire)
            await asker.ask("chain_subscribeNewHeads")
            numbers = [int((await asker.note())["params"]["result"]["number"], 16) for _ in range(4)]
            assert numbers == list(range(numbers[0], numbers[0] + 4))
            assert core.chain.finalised.number >= numbers[-1] - 2

    run(main())


def test_a_block_that_fails_does_not_end_the_chain(caplog):
    async def main():
        core = make_core(blocks="time", block_ms=5)
        core.runtime.broken = True
        async with ChainServer(core) as server, client(server) as wire:
            while "a block could not be made" not in caplog.text:
                await Asker(wire).ask("system_name")
            core.runtime.broken = False
            asker = Asker(wire)
            await asker.ask("chain_subscribeNewHeads")
            await asker.note()
            assert (await asker.note())["params"]["result"]["number"] == "0x1"

    run(main())


def test_by_hand_no_block_comes_by_itself():
    async def main():
        core = make_core(clock=Clock())
        async with ChainServer(core) as server, client(server) as wire:
            asker = Asker(wire)
            await asker.ask("author_submitExtrinsic", "0x" + extrinsic().hex())
            await asyncio.sleep(0)
            assert (await asker.ask("chain_getHeader"))["number"] == "0x0"
            await asker.ask("dev_step")
            assert (await asker.ask("chain_getHeader"))["number"] == "0x1"
            assert core.runtime.nonce(core.chain.storage, ALICE) == 1

    run(main())


def test_bytes_are_read_as_text_and_a_bad_one_is_a_parse_error():
    async def main():
        async with ChainServer(make_core()) as server, client(server) as wire:
            await wire.send(b'{"jsonrpc":"2.0","id":1,"method":"system_chain"}')
            assert json.loads(await wire.recv())["result"] == "a fake chain"
            await wire.send(b"\xff\xfe")
            assert json.loads(await wire.recv())["error"]["code"] == -32700

    run(main())


def test_a_huge_request_is_refused_and_a_larger_one_closes(monkeypatch):
    from mycelium.devnet.chain import rpc

    monkeypatch.setattr(rpc, "DEVCHAIN_REQUEST_BYTES_MAX", 1000)
    monkeypatch.setattr(server_module, "DEVCHAIN_REQUEST_BYTES_MAX", 1000)

    async def main():
        async with ChainServer(make_core()) as server, client(server) as wire:
            await wire.send("x" * 1001)
            assert json.loads(await wire.recv())["error"]["code"] == -32007
            assert await Asker(wire).ask("system_chain") == "a fake chain"
            await wire.send("x" * 2001)
            with pytest.raises(ConnectionClosed):
                await wire.recv()
            assert wire.close_code == 1009

    run(main())


def test_connections_are_limited(monkeypatch):
    monkeypatch.setattr(server_module, "DEVCHAIN_CONNECTIONS_MAX", 1)

    async def main():
        async with ChainServer(make_core()) as server:
            async with client(server) as wire:
                await Asker(wire).ask("system_chain")
                with pytest.raises(InvalidStatus) as refused:
                    await client(server)
                assert refused.value.response.status_code == 429
            while server.connections:
                await asyncio.sleep(0)
            async with client(server) as wire:
                await Asker(wire).ask("system_chain")

    run(main())


def test_a_reader_that_is_too_slow_is_dropped(monkeypatch):
    monkeypatch.setattr(server_module, "DEVCHAIN_NOTIFICATIONS_BYTES_MAX", 50_000)

    async def main():
        core = make_core()
        async with ChainServer(core) as server, client(server) as slow, client(server) as good:
            await Asker(slow).ask("chain_subscribeNewHeads")
            core.step(200)  # 600 bytes each, in one go: nothing can be sent in between, as if nobody read
            with pytest.raises(ConnectionClosed):
                while True:
                    await slow.recv()
            assert await Asker(good).ask("system_chain") == "a fake chain"
            while len(server.connections) > 1:
                await asyncio.sleep(0)
            assert len(server.hub) == 0

    run(main())


def test_a_client_that_vanishes_leaves_no_subscription():
    async def main():
        core = make_core()
        async with ChainServer(core) as server:
            async with client(server) as wire:
                await Asker(wire).ask("chain_subscribeNewHeads")
                wire.transport.abort()
            while server.connections:
                await asyncio.sleep(0)
            assert len(server.hub) == 0
            core.step(2)

    run(main())


def test_health_over_http():
    async def main():
        async with ChainServer(make_core()) as server:
            url = server.url.replace("ws", "http", 1)

            def get():
                with urllib.request.urlopen(url + "/health", timeout=5) as answer:
                    return answer.status, json.load(answer)

            assert await asyncio.to_thread(get) == (
                200,
                {"peers": 0, "isSyncing": False, "shouldHavePeers": False},
            )

    run(main())


def test_an_address_in_use_is_said():
    async def main():
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(AddressInUse, match=str(port)):
                await ChainServer(make_core(), port=port).start()

    run(main())


def test_it_closes_with_clients_connected():
    async def main():
        async with ChainServer(make_core(blocks="time", block_ms=5)) as server:
            wire = await client(server)
            await Asker(wire).ask("chain_subscribeNewHeads")
        with pytest.raises(ConnectionClosed):
            while True:
                await wire.recv()
        await wire.close()

    run(main())


def test_broken_handshakes_are_not_logged(caplog):
    async def main():
        async with ChainServer(make_core()) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"nonsense\r\n\r\n")
            await reader.read()
            writer.close()
            async with client(server) as wire:
                assert await Asker(wire).ask("system_chain") == "a fake chain"

    with caplog.at_level(logging.WARNING):
        run(main())
    assert caplog.text == ""


def test_instant_blocks_go_on_until_the_pool_is_empty(monkeypatch):
    from mycelium.devnet.chain import blocks

    monkeypatch.setattr(blocks, "DEVCHAIN_BLOCK_EXTRINSICS_MAX", 2)

    async def main():
        core = make_core(blocks="instant")
        async with ChainServer(core) as server, client(server) as wire:
            await Asker(wire).ask("dev_stallHead")
            for nonce in range(5):
                await Asker(wire).ask("author_submitExtrinsic", "0x" + extrinsic(nonce=nonce).hex())
            await Asker(wire).ask("dev_stallHead", False)
            assert core.chain.best.number == 3
            for nonce in range(5, 9):
                core.submit(extrinsic(nonce=nonce))
            while len(core.pool):
                await asyncio.sleep(0)
            assert core.chain.best.number == 5

    run(main())


def test_a_block_that_fails_instantly_is_not_tried_in_a_circle(caplog):
    async def main():
        core = make_core(blocks="instant")
        core.runtime.broken = True
        async with ChainServer(core) as server, client(server) as wire:
            await Asker(wire).ask("author_submitExtrinsic", "0x" + extrinsic().hex())
            for _ in range(5):
                await Asker(wire).ask("system_name")
            assert caplog.text.count("a block could not be made") == 1
            core.runtime.broken = False
            await Asker(wire).ask("author_submitExtrinsic", "0x" + extrinsic(BOB).hex())
            await Asker(wire).ask("system_name")
            assert len(core.chain.best.extrinsics) == 3

    run(main())
