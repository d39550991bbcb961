"""`mycelium.connect` over real sockets: who gets in, what the connection's end looks like, flow control."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import uvloop

import mycelium
from mycelium.devnet.layout import prepare
from mycelium.errors import (
    AccountRefused,
    CallTimeout,
    LinkClosed,
    MyceliumError,
    Unauthorised,
    UnknownTable,
    Unreachable,
    WatchBroken,
    WrongNetwork,
    WrongPeer,
)
from mycelium.identity import account as accounts
from mycelium.identity.keys import Keypair
from mycelium.node.node import Node
from mycelium.node.remote import _on_this_machine
from mycelium.node.settings import Settings
from mycelium.peer.network import Network


@pytest.fixture
def places(tmp_path):
    return prepare(tmp_path / "net", 2)


def settings(place, **changes):
    return replace(Settings.load(place.config), **changes)


def run(scenario):
    async def limited():
        async with asyncio.timeout(30):
            await scenario

    uvloop.run(limited())


@asynccontextmanager
async def node_and_remote(place, **changes):
    config = settings(place, **changes)
    async with Node.open(config) as node, mycelium.connect(place.url, place.keypair) as remote:
        yield node, remote


def test_the_own_hotkey_gets_the_same_tables(places):
    async def scenario():
        async with node_and_remote(places[0]) as (node, remote):
            assert remote.account == node.account
            assert remote.generation == node.generation
            assert remote.database.tables == node.database.tables
            await remote.database.table("records").put("k", {"n": 1})
            assert await node.database.table("records").get("k") == {"n": 1}
            assert (await remote.status())["account"] == places[0].address
            assert await remote.database.state_digests() == await node.database.state_digests()
            with pytest.raises(UnknownTable):
                remote.database.table("nope")

    run(scenario())


def test_without_a_block(places):
    async def scenario():
        async with Node.open(places[0].config):
            remote = await mycelium.connect(places[0].url, places[0].keypair, places[0].address)
            assert remote.connected
            await remote.database.table("hits").add("h", 2)
            await remote.close()
            assert not remote.connected
            with pytest.raises(LinkClosed):
                await remote.database.table("hits").get("h")

    run(scenario())


def test_a_listed_client_gets_in_and_a_stranger_does_not(places):
    client, stranger = Keypair.generate(), Keypair.generate()

    async def scenario():
        async with Node.open(settings(places[0], clients=frozenset({client.account}))) as node:
            async with mycelium.connect(node.url, client) as remote:
                await remote.database.table("records").put("k", 1)
            with pytest.raises(Unauthorised):
                await mycelium.connect(node.url, stranger)

    run(scenario())


def test_a_member_writes_through_no_node_but_its_own(places):
    async def scenario():
        async with Node.open(places[0].config) as node:
            with pytest.raises(MyceliumError):
                await mycelium.connect(node.url, places[1].keypair, timeout_s=5)
            assert await node.database.table("records").count() == 0

    run(scenario())


def test_the_node_must_be_the_one_that_is_expected(places):
    async def scenario():
        async with Node.open(places[0].config) as node:
            with pytest.raises(WrongPeer):
                await mycelium.connect(node.url, places[0].keypair, places[1].address)
            with pytest.raises(WrongNetwork):
                await mycelium.connect(node.url, places[0].keypair, network=Network(7, bytes(32)))
            network = Network(node.settings.netuid, node.settings.genesis)
            async with mycelium.connect(node.url, places[0].keypair, network=network) as remote:
                assert remote.connected

    run(scenario())
    with pytest.raises(AccountRefused):
        mycelium.connect("ws://127.0.0.1:1", places[0].keypair, "5xyz")


def test_away_from_this_machine_the_own_account_is_expected():
    assert _on_this_machine("ws://127.0.0.1:9090")
    assert _on_this_machine("ws://[::1]:9090")
    assert _on_this_machine("ws://localhost:9090")
    assert not _on_this_machine("ws://192.0.2.1:9090")
    assert not _on_this_machine("ws://localhost.example:9090")
    keypair = Keypair.generate()
    assert mycelium.connect("ws://192.0.2.1:9090", keypair)._expected == keypair.account
    assert mycelium.connect("ws://127.0.0.1:9090", keypair)._expected is None
    assert mycelium.connect("ws://192.0.2.1:9090", keypair, bytes(32))._expected == bytes(32)


def test_nobody_answers(places):
    with pytest.raises(Unreachable, match=str(places[0].port)):
        run(mycelium.connect(places[0].url, places[0].keypair)._open())


@pytest.mark.parametrize("mode", [None, "signed"])
def test_a_node_that_wants_every_message_signed(places, mode):
    async def scenario():
        config = settings(places[0], auth_mode="signed")
        connection = mycelium.connect(places[0].url, places[0].keypair, auth_mode=mode)
        async with Node.open(config), connection as remote:
            await remote.database.table("records").put("k", 1)
            assert await remote.database.table("records").get("k") == 1

    run(scenario())


def test_the_end_of_the_node_ends_calls_and_watches(places):
    async def scenario():
        async with Node.open(places[0].config):
            remote = await mycelium.connect(places[0].url, places[0].keypair)
            table = remote.database.table("records")
            watch = table.watch()
            await watch.start()
            await table.put("k", 1)
            write = asyncio.ensure_future(table.put("unacknowledged", 1, ack=1))
            assert [(await anext(watch)).key for _ in range(2)] == ["k", "unacknowledged"]
            waiting = asyncio.ensure_future(anext(watch))
        with pytest.raises(WatchBroken) as caught:
            await waiting
        assert caught.value.cursor == watch.cursor
        with pytest.raises(LinkClosed):
            await write
        with pytest.raises(LinkClosed):
            await table.get("k")
        await remote.close()
        async with Node.open(places[0].config) as node:
            await node.database.table("records").put("later", 2)
            await node.database.table("records").put("last", 2)
            async with mycelium.connect(places[0].url, places[0].keypair) as remote:
                watch = remote.database.table("records").watch(after=caught.value.cursor)
                keys = [(await anext(watch)).key for _ in range(2)]
                assert keys == ["later", "last"]
                await watch.aclose()

    run(scenario())


def test_a_call_that_takes_too_long(places):
    async def scenario():
        connection = mycelium.connect(places[0].url, places[0].keypair, timeout_s=0.2)
        async with Node.open(places[0].config), connection as remote:
            with pytest.raises(CallTimeout):
                await remote.database.table("records").put("k", 1, ack=1)
            assert await remote.database.table("records").get("k") == 1

    run(scenario())


def test_many_calls_at_once(places):
    async def scenario():
        async with node_and_remote(places[0]) as (_, remote):
            table = remote.database.table("hits")
            await asyncio.gather(*(table.add(f"k{number % 7}") for number in range(700)))
            assert [row.value async for row in table.scan()] == [100] * 7

    run(scenario())


def test_two_programs_with_one_hotkey(places):
    async def scenario():
        async with Node.open(places[0].config) as node:
            async with (
                mycelium.connect(node.url, places[0].keypair) as one,
                mycelium.connect(node.url, places[0].keypair) as two,
            ):
                await one.database.table("records").put("k", 1)
                assert await two.database.table("records").get("k") == 1
            async with mycelium.connect(node.url, places[0].keypair) as three:
                assert await three.database.table("records").get("k") == 1

    run(scenario())


def test_leaving_a_scan_early_stops_it_and_the_connection_lives_on(places):
    async def scenario():
        async with node_and_remote(places[0]) as (node, remote):
            table = remote.database.table("records")
            async with node.database.batch(ack="applied") as batch:
                for number in range(2000):
                    batch.put("records", f"{number:05d}", b"v" * 300)
            for limit in (1, 10):
                seen = []
                rows = table.scan()
                async for row in rows:
                    seen.append(row.key)
                    if len(seen) == limit:
                        break
                await rows.aclose()
                assert seen == [f"{number:05d}" for number in range(limit)]
            assert await table.count() == 2000
            while node.calls.active:
                await asyncio.sleep(0.01)

    run(scenario())


def test_a_reader_that_stalls_holds_one_window_and_misses_nothing(places):
    async def scenario():
        async with node_and_remote(places[0]) as (node, remote):
            watch = remote.database.table("records").watch(after=0)
            await watch.start()
            size = 4_000
            for first in range(0, 3000, 100):
                async with node.database.batch(ack="applied") as batch:
                    for number in range(first, first + 100):
                        batch.put("records", f"{number:05d}", b"v" * size)
            await asyncio.sleep(0.3)
            (link,) = node.hub.links()
            assert node.hub.fanout.pending_bytes(link.id) < 4 * 2**20
            assert [(await anext(watch)).key for _ in range(3000)] == [
                f"{number:05d}" for number in range(3000)
            ]
            await watch.aclose()

    run(scenario())


def test_accounts_print_as_ss58(places):
    assert accounts.format(places[0].keypair.account) == places[0].address
