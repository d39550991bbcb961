"""Faults on demand, as a client on a socket meets them; each can be taken back."""

from __future__ import annotations

import asyncio
import json

import pytest
from devnet.chain.fakechain import extrinsic, make_core
from devnet.chain.test_server import Asker, client, run
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus

from mycelium.devnet.chain.server import ChainServer
from mycelium.errors import UsageError


def with_server(what, **keywords):
    async def main():
        keywords.setdefault("blocks", "instant")
        async with ChainServer(make_core(**keywords)) as server, client(server) as wire:
            await what(server, server.faults, Asker(wire))

    run(main())


def test_a_stalled_head_goes_on_with_what_waited():
    async def what(server, faults, asker):
        faults.stall_head()
        await asker.ask("author_submitExtrinsic", "0x" + extrinsic().hex())
        assert (await asker.ask("chain_getHeader"))["number"] == "0x0"
        faults.stall_head(False)
        assert (await asker.ask("chain_getHeader"))["number"] == "0x1"
        assert await asker.ask("author_pendingExtrinsics") == []

    with_server(what)


def test_a_stalled_head_makes_no_blocks_by_time():
    async def what(server, faults, asker):
        faults.stall_head()
        number = (await asker.ask("chain_getHeader"))["number"]
        await asyncio.sleep(0.03)
        assert (await asker.ask("chain_getHeader"))["number"] == number
        faults.stall_head(False)
        await asker.ask("chain_subscribeNewHeads")
        await asker.note()
        assert (await asker.note())["params"]["result"]["number"] > number

    with_server(what, blocks="time", block_ms=5)


def test_stalled_finality():
    async def what(server, faults, asker):
        genesis = await asker.ask("chain_getBlockHash", 0)
        faults.stall_finality()
        await asker.ask("dev_step", 4)
        assert await asker.ask("chain_getFinalizedHead") == genesis
        faults.stall_finality(False)
        assert await asker.ask("chain_getFinalizedHead") == await asker.ask("chain_getHead")

    with_server(what)


def test_dropped_connections_can_come_again():
    async def what(server, faults, asker):
        async with client(server, "/dev") as spared:
            await Asker(spared).ask("system_chain")
            assert faults.drop_connections() == 1
            with pytest.raises(ConnectionClosed):
                await asker.wire.recv()
            assert asker.wire.close_code == 1006, "without a closing handshake"
            assert await Asker(spared).ask("system_chain") == "a fake chain"
        async with client(server) as again:
            assert await Asker(again).ask("system_chain") == "a fake chain"

    with_server(what)


def test_the_one_who_asks_for_it_is_answered_first():
    async def what(server, faults, asker):
        assert await asker.ask("dev_dropConnections") == 1
        with pytest.raises(ConnectionClosed):
            await asker.wire.recv()

    with_server(what)


def test_refused_connections():
    async def what(server, faults, asker):
        faults.drop_connections(refuse=True)
        with pytest.raises((InvalidHandshake, InvalidMessage, EOFError, ConnectionError)):
            await client(server)
        async with client(server, "/dev") as spared:
            await Asker(spared).ask("dev_refuseConnections", False)
        async with client(server) as again:
            assert await Asker(again).ask("system_chain") == "a fake chain"

    with_server(what)


def test_429_to_new_connections():
    async def what(server, faults, asker):
        faults.too_many_requests()
        with pytest.raises(InvalidStatus) as refused:
            await client(server)
        assert refused.value.response.status_code == 429
        assert await asker.ask("system_chain") == "a fake chain", "one that is there stays"
        faults.clear()
        async with client(server) as again:
            assert await Asker(again).ask("system_chain") == "a fake chain"

    with_server(what)


def test_429_to_requests():
    async def what(server, faults, asker):
        faults.too_many_requests("rpc")
        error = await asker.ask("chain_getHead")
        assert (error["code"], error["message"]) == (-32029, "Too many requests")
        await asker.wire.send('[{"jsonrpc":"2.0","id":4,"method":"chain_getHead"},5]')
        answers = json.loads(await asker.wire.recv())
        assert [(answer["id"], answer["error"]["code"]) for answer in answers] == [
            (4, -32029),
            (None, -32029),
        ]
        await asker.wire.send("{")
        assert json.loads(await asker.wire.recv())["error"]["code"] == -32029
        await asker.ask("dev_tooManyRequests", "off")
        assert await asker.ask("system_chain") == "a fake chain"

    with_server(what)


def test_delayed_answers_do_not_add_up():
    async def what(server, faults, asker):
        loop = asyncio.get_running_loop()
        faults.delay(60)
        began = loop.time()
        for number in range(50):
            await asker.wire.send(f'{{"jsonrpc":"2.0","id":{number},"method":"system_chain"}}')
        answers = [json.loads(await asker.wire.recv())["id"] for _ in range(50)]
        assert answers == list(range(50))
        assert 0.05 < loop.time() - began < 2
        await asker.ask("dev_delay", 0)

    with_server(what)


def test_only_some_methods_are_concerned():
    async def what(server, faults, asker):
        faults.never_answer(methods=["state_call"])
        assert await asker.ask("system_chain") == "a fake chain"
        await asker.wire.send('{"jsonrpc":"2.0","id":99,"method":"state_call","params":["Fake_echo","0x"]}')
        assert await asker.ask("system_chain") == "a fake chain"
        faults.never_answer(False)
        assert await asker.ask("state_call", "Fake_echo", "0x01") == "0x01"

    with_server(what)


def test_no_answers_at_all():
    async def what(server, faults, asker):
        faults.never_answer()
        await asker.wire.send('{"jsonrpc":"2.0","id":99,"method":"system_chain"}')
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asker.wire.recv(), 0.03)
        assert await asker.ask("dev_status") == {
            "head_stalled": False,
            "finality_stalled": False,
            "refusing": False,
            "too_many_requests": "off",
            "delay_ms": 0,
            "silent": True,
            "garbage": False,
            "mute": False,
            "methods": [],
            "unanswered": 1,
        }
        await asker.ask("dev_clear")
        assert await asker.ask("system_chain") == "a fake chain"

    with_server(what)


def test_garbage():
    async def what(server, faults, asker):
        faults.garbage()
        await asker.wire.send('{"jsonrpc":"2.0","id":1,"method":"system_chain"}')
        with pytest.raises(json.JSONDecodeError):
            json.loads(await asker.wire.recv())
        faults.garbage(False)
        assert await asker.ask("system_chain") == "a fake chain"

    with_server(what)


def test_nothing_new_is_told():
    async def what(server, faults, asker):
        await asker.ask("chain_subscribeNewHeads")
        first = (await asker.note())["params"]["result"]["number"]
        faults.mute()
        await asker.ask("dev_step", 3)
        # A subscription begins as ever, and the chain answers.
        await asker.ask("chain_subscribeNewHeads")
        await asker.ask("system_name")
        (other,) = asker.notes
        assert int(other["params"]["result"]["number"], 16) == int(first, 16) + 3
        asker.notes.clear()
        faults.mute(False)
        await asker.ask("dev_step")
        assert await asker.note()

    with_server(what)


def test_a_spared_connection_meets_no_fault():
    async def what(server, faults, asker):
        faults.garbage()
        async with client(server, "/dev") as spared:
            assert await Asker(spared).ask("system_chain") == "a fake chain"

    with_server(what)


def test_a_reorganisation_is_seen_by_watchers():
    async def what(server, faults, asker):
        await asker.ask("chain_subscribeNewHeads")
        await asker.note()
        watched = await asker.ask("author_submitAndWatchExtrinsic", "0x" + extrinsic().hex())
        await asker.ask("dev_step")
        await asker.ask("dev_reorg", 1)
        await asker.ask("dev_step")
        await asker.ask("system_name")  # what was noticed before comes before this answer
        seen = [note["params"] for note in asker.notes]
        statuses = [
            next(iter(item["result"])) if isinstance(item["result"], dict) else item["result"]
            for item in seen
            if item["subscription"] == watched
        ]
        assert statuses == ["ready", "inBlock", "retracted", "ready", "inBlock"]
        numbers = [item["result"]["number"] for item in seen if item["subscription"] != watched]
        assert numbers == ["0x1", "0x1", "0x2"]

    with_server(what, blocks="manual", finality_lag=9)


def test_another_genesis_drops_everyone():
    async def what(server, faults, asker):
        genesis = await asker.ask("chain_getBlockHash", 0)
        assert faults.new_genesis() != genesis
        with pytest.raises(ConnectionClosed):
            await asker.wire.recv()
        async with client(server) as again:
            assert await Asker(again).ask("chain_getBlockHash", 0) != genesis

    with_server(what)


def test_time_can_be_shifted():
    async def what(server, faults, asker):
        await asker.ask("dev_step")
        before = server.core.chain.best.timestamp_ms
        faults.shift_time(3_600_000)
        await asker.ask("dev_step")
        assert server.core.chain.best.timestamp_ms == before + 3_600_250

    with_server(what, blocks="manual")


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("delay", (-1,)), ("too_many_requests", ("often",)), ("step", (0,)), ("reorg", (9,))],
)
def test_what_cannot_be_is_a_usage_error(method, arguments):
    async def what(server, faults, asker):
        with pytest.raises(UsageError):
            getattr(faults, method)(*arguments)

    with_server(what)
