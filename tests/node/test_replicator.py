"""The replicator against members that misbehave, with links that are only recorded."""

from __future__ import annotations

import asyncio

import kit
from node.replkit import message, world

from mycelium._core import codec
from mycelium.config import GAPS_PER_ORIGIN_MAX
from mycelium.database.access import Rights
from mycelium.database.policy import DEFAULT, MINER
from mycelium.database.sync import SyncMachine
from mycelium.database.vector import Held, Origin
from mycelium.errors import StoreFull
from mycelium.protocol.messages import (
    MessageType,
    OriginVersion,
    Ping,
    SpaceAck,
    SpaceDigest,
    Sync,
    SyncRequest,
)


def test_acknowledgements_of_spaces_that_are_not_cost_nothing() -> None:
    async def main() -> None:
        database, replicator, (link,) = world(1)
        own = database.engine.origin
        for n in range(500):
            wire = [OriginVersion(own.account, own.generation, 0, [])]
            sync = Sync([SpaceAck(f"s{n}", wire)])
            replicator.message(link, message(link, MessageType.SYNC, sync.encode()))
        assert len(database.acks._heads) < 10
        await database.close()

    asyncio.run(main())


def test_what_the_chain_tells_lets_what_was_left_be_asked_for_again() -> None:
    async def main() -> None:
        database, replicator, _ = world(1)
        barred = replicator.sync._barred
        barred["main", database.engine.origin] = 2**60
        replicator.known(False)
        assert barred
        replicator.known(True)
        assert not barred
        database.engine.known = full
        replicator.known(False)
        await database.close()

    def full(now_ms: int) -> int:
        raise StoreFull("no space left")

    asyncio.run(main())


def test_pings_of_spaces_that_are_not_cost_nothing() -> None:
    async def main() -> None:
        database, replicator, (link,) = world(1)
        empty = database.engine.vector_digest("main")
        for n in range(10):
            digests = [SpaceDigest(f"s{n}.{m}", empty) for m in range(100)]
            ping = Ping(1, 1, digests)
            replicator.message(link, message(link, MessageType.PING, ping.encode()))
        engine = database.engine
        assert len(engine._digests) + len(engine._vectors) < 10
        await database.close()

    asyncio.run(main())


def test_peers_that_read_nothing_do_not_keep_others_from_being_served() -> None:
    async def main() -> None:
        database, replicator, links = world(6)
        await database.table("scores").put("k", 1)
        request = SyncRequest(1, "main", [], 2**20, 0).encode()
        for link in links:
            link.stalled = link is not links[-1]
            replicator.message(link, message(link, MessageType.DB_SYNC_REQ, request))
        try:
            async with asyncio.timeout(2):
                while not links[-1].of(MessageType.DB_SYNC_RESP):
                    await asyncio.sleep(0.01)
        finally:
            replicator.close()
            await database.close()

    asyncio.run(main())


def test_a_response_that_found_the_queue_full_is_sent_again() -> None:
    async def main() -> None:
        database, replicator, (link,) = world(1)
        await database.table("scores").put("k", 1)
        link.refuse = 1
        request = SyncRequest(1, "main", [], 2**20, 0).encode()
        replicator.message(link, message(link, MessageType.DB_SYNC_REQ, request))
        try:
            async with asyncio.timeout(2):
                while not link.of(MessageType.DB_SYNC_RESP):
                    await asyncio.sleep(0.01)
        finally:
            await database.close()

    asyncio.run(main())


def test_a_large_batch_travels_in_the_json_encoding() -> None:
    """Peers may agree on JSON; the base64 of a batch must fit the message that carries it."""
    engine = kit.engine("a")
    applied = kit.write(engine, kit.put("k", "x" * 350_000), kit.put("m", "x" * 350_000))
    payload = codec.encode_gossip([(applied.batch.raw, applied.signature)])
    encoded = codec.encode_message(1, MessageType.GOSSIP, bytes(32), 1, 1, payload, b"", 1)
    assert codec.decode_message(encoded).payload == payload


class Inflated:
    """A library whose vector one account has filled: it took this account seconds to do."""

    def __init__(self, engine) -> None:
        self.receive = engine.receive
        ranges = tuple((2 * n + 3, 2 * n + 3) for n in range(GAPS_PER_ORIGIN_MAX))
        self.held = {Origin(bytes(32), n): Held(1, ranges) for n in range(80)}

    def vector(self, _space):
        return self.held

    def vector_digest(self, _space):
        return bytes(16)

    def doubted(self, _space):
        return []


def test_a_vector_that_a_member_inflated_can_be_asked_with() -> None:
    """80 origins with all the gaps they may have: the request must still fit its message."""
    machine = SyncMachine(Inflated(kit.engine("a")), lambda _peer, _space: True, ["main"])
    machine.peer_up(1, kit.NOW_MS)
    request = machine.digest_seen(1, "main", b"x" * 16, kit.NOW_MS)
    assert request is not None
    codec.encode_message(1, MessageType.DB_SYNC_REQ, bytes(32), 1, 1, request.encode(), b"")


def test_who_may_not_read_a_space_is_not_told_its_vector_however_it_asks() -> None:
    """Found by the simulator: a ping that named the space was answered with a request, and in it our vector."""

    async def main() -> None:
        database, replicator, (link,) = world(1)
        await database.table("scores").put("k", 1)
        replicator._rights_now = lambda account: Rights(DEFAULT, MINER, account)
        link.posted.clear()
        for _ in range(3):
            ping = Ping(1, 1, [SpaceDigest("main", bytes(16))])
            replicator.message(link, message(link, MessageType.PING, ping.encode()))
        assert [kind for kind, _ in link.posted] == [MessageType.PONG] * 3
        await database.close()

    asyncio.run(main())
