"""A member that says anything: messages of every type over a real session, made from valid ones and spoilt.

Whatever comes is taken, answered or refused with a ProtocolError; nothing raises what nobody expected, and everybody
else goes on as if nothing were.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from pathlib import Path

import kit
import pytest
from nodekit import Author, Hostile, Mesh, agreed, places, run
from spoilkit import spoilt

from mycelium._core import codec
from mycelium.protocol.messages import BatchRefs, BlacklistSync, Branch, Call, MessageType, ProofHead, Tree

VECTORS = Path(__file__).parents[2] / "schemas" / "vectors"
SESSIONS, NIGHTLY_SESSIONS = 150, 6_000
MESSAGES = 6
TIMES = range(4)
"""So often each is changed; now and then not at all."""
TABLES = {
    MessageType.PING: "Ping",
    MessageType.PONG: "Ping",
    MessageType.GOSSIP: "Gossip",
    MessageType.SYNC: "Sync",
    MessageType.DB_SYNC_REQ: "SyncRequest",
    MessageType.DB_SYNC_RESP: "SyncResponse",
    MessageType.BLACKLIST_SYNC: "BlacklistSync",
    MessageType.REQUEST: "Call",
    MessageType.RESPONSE: "Call",
    MessageType.STREAM: "Call",
    MessageType.TREE: "Tree",
}


def corpus(node, author: Author) -> list[tuple[int, bytes]]:
    """(type, payload), each right as it is: the golden buffers, real batches, and calls of every method there is."""
    found = [
        (type_, bytes.fromhex(one["flatbuffers"]))
        for type_, table in TABLES.items()
        for one in json.loads((VECTORS / f"{table}.json").read_text())["valid"]
    ]
    found += [(MessageType.GOSSIP, codec.encode_gossip([author.batch(f"fuzz {at}")])) for at in range(3)]
    found += [
        (MessageType.GOSSIP, codec.encode_gossip([author.batch(f"relayed {at}")], 9)) for at in range(3)
    ]
    refs = [BatchRefs("main", author.keypair.account, author.generation, [(1, 1), (2, 2)], 300)]
    branches = [Branch("main", author.keypair.account)]
    found += [(MessageType.TREE, Tree(*parts).encode()) for parts in ((refs, [], []), ([], refs, branches))]
    heads = [ProofHead("main", author.keypair.account, 7, 3)]
    found.append((MessageType.BLACKLIST_SYNC, BlacklistSync([], heads).encode()))
    methods = [*node.peercalls._handlers, *node.peercalls._streams]
    assert len(methods) > 5
    bodies = [b"", b"\x90", b"\x94\xa4main\x00\xc4\x00\xc0", bytes(32), b"\x92\xa4main\x90"]
    found += [
        (MessageType.REQUEST, Call(at, method, 0, 0, True, body).encode())
        for at, method in enumerate(methods)
        for body in bodies
    ]
    return found


async def one_session(node, keypair, right, rng: random.Random) -> None:
    """Say some things, until the node has had enough."""
    others = [payload for _, payload in right]
    async with Hostile.open(node, keypair) as liar:
        for _ in range(MESSAGES):
            type_, payload = rng.choice(right)
            if rng.random() < 0.05:
                type_ = rng.randrange(len(MessageType))
            message = liar.message(type_, spoilt(payload, rng, others, TIMES))
            if rng.random() < 0.1:
                message = spoilt(message, rng, others, TIMES)
            await liar.send(message)
        # All of it was read once an answer to a last ping is here, or the session has ended.
        await liar.send(liar.message(MessageType.PING, right[0][1]))
        closing = asyncio.ensure_future(liar.closing())
        await asyncio.wait([closing], timeout=0.02)
        closing.cancel()


async def fuzzed(tmp_path, sessions: int, seed: int, caplog) -> None:
    rng = random.Random(seed)
    stranger = kit.keypair("says anything")
    async with Mesh(places(tmp_path, 2, extra=[stranger])) as mesh:
        await mesh.start()
        await mesh.connected()
        victim, other = mesh.nodes
        author = Author(victim, stranger)
        right = corpus(victim, author)
        for number in range(sessions):
            victim.blacklisting.machine.scores.forgive(stranger.account)
            if victim.blacklisting.is_blocked(stranger.account):
                await victim.blacklisting.remove(stranger.account)
            await one_session(victim, stranger, right, rng)
            assert victim.metrics.rejects["internal"] == 0, f"session {number}"
            if number % 10 == 0:
                await asyncio.wait_for(victim.database.table("hits").add("n", 1, ack=1), 10)
        assert sum(victim.metrics.rejects.values()) > sessions / 4, "much of it was refused"
        assert victim.status()["account"]
        await agreed([victim, other])
        assert (await other.database.table("hits").get("n")) == (sessions + 9) // 10
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR and record.exc_info]
    assert errors == []


@pytest.mark.parametrize("seed", [1, 2])
def test_anything_said_over_a_session_is_taken_or_refused(tmp_path, caplog, seed):
    run(fuzzed(tmp_path, SESSIONS, seed, caplog), seconds=90)


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(10, 14))
def test_anything_said_over_thousands_of_sessions(tmp_path, caplog, seed):
    run(fuzzed(tmp_path, NIGHTLY_SESSIONS, seed, caplog), seconds=1100)
