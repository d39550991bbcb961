"""The client in an event loop: nothing blocks it, what is cancelled ends, and subscriptions go on."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from chain.clientkit import Eager, chain_threads, until

from mycelium.chain.aio import AsyncConnection
from mycelium.chain.connection import Connection
from mycelium.devnet.chain.population import RICH_RAO
from mycelium.errors import ChainUnreachable, UnknownToChain
from mycelium.identity.keys import Keypair

ALICE, BOB = Keypair.development("//Alice"), Keypair.development("//Bob")


def run(chain, main, **keywords):
    async def whole():
        connection = Connection(chain.url, cache_dir=None, rng=Eager(), **keywords)
        async with AsyncConnection(connection) as client:
            return await asyncio.wait_for(main(client), 30)

    return asyncio.run(whole())


async def eventually(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


def test_everything_that_the_connection_has(chain):
    async def main(client):
        assert await client.genesis() == chain.genesis
        assert await client.spec_version() == 424
        assert await client.read("SubtensorModule", "Tempo", [1]) == 20
        assert await client.read_many([("SubtensorModule", "Tempo", [1])]) == [20]
        assert len(await client.read_map("SubtensorModule", "Keys", [1])) == 4
        assert (await client.runtime_api("SubnetInfoRuntimeApi", "get_metagraph", [1]))["netuid"] == 1
        assert await client.constant("System", "SS58Prefix") == 42
        assert await client.has_call("SubtensorModule", "set_weights")
        assert await client.has_storage("SubtensorModule", "Tempo")
        assert await client.has_api("SubnetInfoRuntimeApi", "get_metagraph")
        assert "netuid" in await client.call_parameters("SubtensorModule", "set_weights")
        call = await client.compose("Balances", "transfer_keep_alive", {"dest": BOB.account, "value": 1})
        receipt = await client.submit(call, ALICE)
        assert receipt.success
        head = await client.head()
        assert head == await client.finalised_head()
        assert head.hash == await client.hash_of(1)
        assert await client.number_of(head.hash) == 1
        assert await client.timestamp_ms(head.hash) > 0
        assert await client.call(lambda number: number + 1, 1) == 2
        with pytest.raises(UnknownToChain):
            await client.read("SubtensorModule", "Nonesuch")

    run(chain, main)
    until(lambda: chain_threads() == [])  # an executor that is shut down ends in its own time


def test_the_loop_never_waits(chain):
    """A hundred questions to a node that takes its time: the loop goes round meanwhile."""

    async def main(client):
        await client.head()
        chain.faults.delay(100)
        longest, stop = 0.0, asyncio.Event()

        async def pulse():
            nonlocal longest
            last = time.monotonic()
            while not stop.is_set():
                await asyncio.sleep(0.001)
                now = time.monotonic()
                longest, last = max(longest, now - last), now

        beating = asyncio.create_task(pulse())
        await asyncio.gather(*(client.head() for _ in range(12)))
        stop.set()
        await beating
        assert longest < 0.1
        chain.faults.clear()

    run(chain, main)


def test_threads_are_few_however_many_ask(chain):
    async def main(client):
        await asyncio.gather(*(client.read("SubtensorModule", "Tempo", [1]) for _ in range(100)))
        names = [thread.name for thread in threading.enumerate()]
        assert sum(name.startswith("chain read") for name in names) <= 4

    run(chain, main)


def test_what_is_cancelled_ends_at_once_and_its_place_is_free_later(chain):
    async def main(client):
        await client.head()
        chain.faults.never_answer()
        tasks = [asyncio.create_task(client.head()) for _ in range(10)]
        await asyncio.sleep(0.02)
        began = time.monotonic()
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in done)
        assert time.monotonic() - began < 0.2
        chain.faults.clear()
        assert (await client.head()).number == 0

    run(chain, main, timeout_s=0.5)


def test_submissions_do_not_hold_up_reads(stepped):
    async def main(client):
        call = await client.compose("Balances", "transfer_keep_alive", {"dest": BOB.account, "value": 10**9})
        submissions = [asyncio.create_task(client.submit(call, ALICE)) for _ in range(4)]
        await eventually(lambda: stepped.run(lambda core: len(core.pool)) == 4)
        assert await client.read("SubtensorModule", "Tempo", [1]) == 20
        stepped.step()
        receipts = await asyncio.gather(*submissions)
        assert {receipt.block_number for receipt in receipts} == {1}
        account = await client.read("System", "Account", [BOB.account])
        assert account["data"]["free"] == RICH_RAO + 4 * 10**9

    run(stepped, main)


def test_a_cancelled_submission_is_carried_out_all_the_same(stepped):
    async def main(client):
        call = await client.compose("Balances", "transfer_keep_alive", {"dest": BOB.account, "value": 10**9})
        submission = asyncio.create_task(client.submit(call, ALICE, timeout_s=5))
        await eventually(lambda: stepped.run(lambda core: len(core.pool)) == 1)
        submission.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submission
        stepped.step()
        assert (await client.read("System", "Account", [BOB.account]))["data"]["free"] == RICH_RAO + 10**9

    run(stepped, main)


@pytest.mark.parametrize("finalised", [True, False])
def test_heads_over_connections_that_break(stepped, finalised):
    async def main(client):
        seen = []
        hear = seen.append

        async def follow():
            async for head in client.heads(finalised):
                hear(head.number)

        following = asyncio.create_task(follow())
        await eventually(lambda: seen == [0])
        stepped.step(4)
        last = 2 if finalised else 4
        await eventually(lambda: seen[-1] == last)
        stepped.faults.drop_connections()
        stepped.step(2)
        await eventually(lambda: seen[-1] == last + 2)
        assert seen == sorted(set(seen))
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
        return client

    run(stepped, main)
    until(lambda: len(stepped.server.hub) == 0)


def test_a_reorganisation_is_seen_by_who_follows_the_best_block(stepped):
    async def main(client):
        seen = []
        hear = seen.append

        async def follow():
            async for head in client.heads(finalised=False):
                hear(head)

        following = asyncio.create_task(follow())
        stepped.step(4)
        await eventually(lambda: seen and seen[-1].number == 4)
        stepped.faults.reorg(2)
        await eventually(lambda: [head.number for head in seen][-2:] == [3, 4])
        assert len(set(seen)) == len(seen)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    run(stepped, main)


def test_changes_of_storage_over_connections_that_break(stepped):
    tempo, number = ("SubtensorModule", "Tempo", [1]), ("SubtensorModule", "Uids", [1, BOB.account])

    async def main(client):
        seen = []

        async def follow():
            async for one, value in client.storage([tempo, number]):
                seen.append((one[1], value))

        following = asyncio.create_task(follow())
        await eventually(lambda: seen == [("Tempo", 20), ("Uids", None)])
        stepped.faults.set_item(*tempo, 21)
        await eventually(lambda: len(seen) == 3)
        stepped.faults.drop_connections()
        stepped.faults.set_item(*tempo, 22)
        await eventually(lambda: seen[-1] == ("Tempo", 22))
        assert seen[2:] == [("Tempo", 21), ("Tempo", 22)]
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    run(stepped, main)


def test_a_subscription_outlives_an_outage(stepped, monkeypatch):
    monkeypatch.setattr("mycelium.chain.aio.RETRY_S", 0.02)

    async def main(client):
        seen = []
        hear = seen.append

        async def follow():
            async for head in client.heads(finalised=False):
                hear(head.number)

        following = asyncio.create_task(follow())
        await eventually(lambda: seen == [0])
        stepped.faults.drop_connections(refuse=True)
        await asyncio.sleep(0.2)
        assert not following.done()
        stepped.step()
        stepped.faults.clear()
        await eventually(lambda: seen == [0, 1])
        await asyncio.to_thread(client.connection.close)
        with pytest.raises(ChainUnreachable, match="was closed"):
            await following

    run(stepped, main, timeout_s=0.1)


def test_heads_without_a_loop(stepped):
    connection = Connection(stepped.url, cache_dir=None, rng=Eager())
    seen, ended = [], []
    hear = seen.append

    def follow():
        with pytest.raises(ChainUnreachable, match="was closed"):
            for head in connection.heads():
                hear(head.number)
        ended.append(True)

    thread = threading.Thread(target=follow)
    thread.start()
    until(lambda: seen == [0])
    stepped.step(5)
    until(lambda: seen[-1] == 3)
    stepped.faults.drop_connections()
    stepped.step(2)
    until(lambda: seen[-1] == 5)
    connection.close()
    thread.join(10)
    assert ended
    assert seen == sorted(set(seen))
