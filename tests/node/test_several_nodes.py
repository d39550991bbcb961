"""Two nodes of one hotkey in a mesh, each with its own generation: a third has a session with both, and counts one."""

from __future__ import annotations

import asyncio
import shutil

from nodekit import AGREE_S, Mesh, places, run, until

from mycelium.protocol.messages import MessageType


def of_one_account(tmp_path):
    """Three places; the first two have one hotkey, and it is a member once."""
    found = places(tmp_path, 3, extra=())
    one, two, third = found
    shutil.copy(one.directory / "hotkey.json", two.directory / "hotkey.json")
    for place in found:
        text = (place.directory / "members.toml").read_text()
        parts = text.split("[[member]]")
        own = [part for part in parts if two.address not in part]
        (place.directory / "members.toml").write_text("[[member]]".join(own))
    return [one, type(two)(two.name, two.directory, one.keypair, two.port), third]


def test_both_push_both_sync_and_the_third_has_all(tmp_path):
    async def main():
        async with Mesh(of_one_account(tmp_path)) as mesh:
            one, two, third = [await mesh.start(number) for number in range(3)]
            await until(lambda: len(third.hub.links_of(one.account)) == 2, "a session with each")
            assert one.account == two.account
            assert one.generation != two.generation
            assert third.hub.clients() == 0
            await asyncio.gather(
                *(one.database.table("scores").put(f"one {at}", at) for at in range(20)),
                *(two.database.table("scores").put(f"two {at}", at) for at in range(20)),
                one.database.table("hits").add("n", 3),
                two.database.table("hits").add("n", 4),
            )
            writes = [
                node.database.table("scores").put("last", node.generation, ack=1) for node in (one, two)
            ]
            await asyncio.gather(*writes)
            # With each other they have no session: what the one wrote reaches the other by way of the third.
            digests = lambda: {node.database.engine.vector_digest("main") for node in (one, two, third)}  # noqa: E731
            await until(lambda: len(digests()) == 1, "the same batches everywhere", AGREE_S)
            assert [await node.database.table("hits").get("n") for node in (one, two, third)] == [7, 7, 7]
            assert len({await node.database.state_digest("main") for node in (one, two, third)}) == 1
            status = third.node_status()
            assert status.peer_count == 1
            assert {peer["generation"] for peer in third.status()["peers"]} == {
                f"{node.generation:016x}" for node in (one, two)
            }

    run(main())


def test_an_account_with_two_nodes_is_one_acknowledgement(tmp_path):
    async def main():
        async with Mesh(of_one_account(tmp_path)) as mesh:
            one, _, third = [await mesh.start(number) for number in range(3)]
            await until(lambda: len(third.hub.links_of(one.account)) == 2, "a session with each")
            await third.database.table("scores").put("k", 1, ack=1)
            acks = third.database.acks
            await until(lambda: len(acks._heads["main"][one.account]) == 2, "both have said so")
            assert acks.heads("main") == {one.account: 1}
            writing = asyncio.ensure_future(third.database.table("scores").put("k", 2, ack=2))
            await until(lambda: set(acks._heads["main"][one.account].values()) == {2}, "both have the second")
            assert not writing.done(), "two nodes of one account are not two peers"
            writing.cancel()
            # One of them that lags, or stops, takes nothing away from what the other holds.
            await mesh.stop(1)
            await third.database.table("scores").put("k", 3, ack=1)
            assert acks.head("main", one.account) == 3
            await until(lambda: len(third.hub.links_of(one.account)) == 1, "one is left")

    run(main())


def test_each_gets_the_acknowledgements_of_its_own_log(tmp_path):
    async def main():
        async with Mesh(of_one_account(tmp_path)) as mesh:
            one, two, third = [await mesh.start(number) for number in range(3)]
            await until(lambda: len(third.hub.links_of(one.account)) == 2, "a session with each")
            for node, count in ((one, 3), (two, 5)):
                for at in range(count):
                    await node.database.table("scores").put(f"{node.generation} {at}", at, ack=1)
            assert one.database.acks.head("main", third.account) == 3
            assert two.database.acks.head("main", third.account) == 5
            # Silence is of the account: while one node is heard, nobody is suspected.
            third.presence._told_ms.clear()
            third.presence.tick()
            assert third.presence.liveness.standing(one.account) is not None
            await mesh.stop(0)
            for _ in range(3):
                heard = third.metrics.messages_in[MessageType.PONG]
                await until(lambda heard=heard: third.metrics.messages_in[MessageType.PONG] > heard, "pongs")
            third.presence.tick()
            assert third.presence.liveness.standing(two.account).value == "alive"
            await third.database.table("scores").put("after", 1, ack=1)

    run(main())


def test_a_restored_database_is_a_new_node_and_its_old_word_counts_no_more(tmp_path):
    """Of a node that starts anew with nothing, what it held before is not held by anybody."""

    async def main():
        async with Mesh(of_one_account(tmp_path)) as mesh:
            one, third = await mesh.start(0), await mesh.start(2)
            await until(lambda: bool(third.hub.links_of(one.account)), "a session")
            await third.database.table("scores").put("k", 1, ack=1)
            await mesh.stop(0)
            await until(lambda: not third.hub.links_of(one.account), "the goodbye")
            assert third.database.acks.head("main", one.account) == 1
            two = await mesh.start(1)
            await until(lambda: bool(third.hub.links_of(one.account)), "the other")
            assert set(third.database.acks._heads["main"].get(one.account, {})) <= {two.generation}

    run(main())
