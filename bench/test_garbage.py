"""What rubbish costs who sends it, and what it costs the node: CPU seconds of either process for the same sessions.

A member shakes hands rightly, says one thing that is wrong, is thrown out and comes again, for a while. The node
forgives it all (`failures` is out of reach), as that is the dearest for it: else it has no session from the fifth time
on. The member's program is this one, in Python over `websockets`, which is dearer than need be; so what the handshake
costs either side with the node's own code is printed too. Required: the node spends less than its sender.

    python -m pytest bench/test_garbage.py -s
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from types import SimpleNamespace

import kit
import uvloop
from nodekit import NETWORK, Hostile, Process, places

from mycelium._core import codec
from mycelium.database.clock import hlc_of
from mycelium.database.database import wall_ms
from mycelium.database.vector import ZERO_DIGEST
from mycelium.peer.cookie import CookieJar
from mycelium.peer.handshake import Initiator, Responder
from mycelium.protocol.messages import MergeType, MessageType, Op

LIAR = kit.keypair("rubbish")
SECONDS = 6
TICKS = os.sysconf("SC_CLK_TCK")


def used_s(pid: int | str) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def forged(size: int) -> bytes:
    """A batch that is right but for its signature, made once: the dearest thing to refuse."""
    block = (wall_ms() % 10**9) // 12_000
    raw = codec.encode_batch(
        NETWORK.netuid, NETWORK.genesis, "main", LIAR.account, 1, 1, ZERO_DIGEST, 0, block, hlc_of(wall_ms()),
        [("scores", int(MergeType.LWW))], [(0, int(Op.PUT), b"k", b"\0" + bytes(size))],
    )  # fmt: skip
    return codec.encode_gossip([(raw, bytes(64))])


async def throw(node, payload: bytes, type_: int) -> tuple[int, float, float]:
    """Sessions, and CPU seconds of the sender and of the node."""
    target = SimpleNamespace(url=node.place.url, account=node.place.account)
    sessions, ends = 0, time.monotonic() + SECONDS
    mine, theirs = used_s("self"), used_s(node.process.pid)
    while time.monotonic() < ends:
        with contextlib.suppress(Exception):  # thrown out, as it must be
            async with Hostile.open(target, LIAR) as liar:
                await liar.send(liar.message(type_, payload))
                await liar.closing()
        sessions += 1
    return sessions, used_s("self") - mine, used_s(node.process.pid) - theirs


def handshake_s() -> tuple[float, float]:
    """CPU seconds of one handshake for who dials and for who answers, with the node's own code and no sockets."""
    answers, jar = kit.keypair("answers"), CookieJar(os.urandom)
    dials = answering = 0.0
    rounds = 200
    for _ in range(rounds):
        at = time.process_time()
        initiator = Initiator(LIAR, NETWORK, answers.account, 1, os.urandom)
        hello = initiator.hello()
        dials += time.process_time() - at
        responder = Responder(
            answers, NETWORK, 1, lambda account: "validator", jar, lambda: False, os.urandom, b"127.0.0.1"
        )
        at = time.process_time()
        answer = responder.receive(hello, 0)
        answering += time.process_time() - at
        at = time.process_time()
        last = initiator.receive(answer, 0)
        dials += time.process_time() - at
        at = time.process_time()
        responder.receive(last, 0)
        answering += time.process_time() - at
    return dials / rounds, answering / rounds


def test_rubbish_costs_its_sender_more_than_the_node(tmp_path):
    async def main():
        (place,) = places(tmp_path, 1, extra=[LIAR])
        place.config.write_text(place.config.read_text() + "[blacklist]\nfailures = 1000000\n")
        async with Process(place) as node:
            await node.spawn()
            await node.ready()
            for name, type_, payload in (
                ("a batch with a false signature", MessageType.GOSSIP, forged(100)),
                ("64 KiB of it", MessageType.GOSSIP, forged(65_000)),
                ("rubbish of 4 KiB", MessageType.SYNC, os.urandom(4_096)),
            ):
                sessions, sender_s, node_s = await throw(node, payload, type_)
                print(
                    f"\n{name}: {sessions} sessions, {1e6 * sender_s / sessions:.0f} us of the sender and "
                    f"{1e6 * node_s / sessions:.0f} us of the node for each: {node_s / sender_s:.2f} times",
                    end="",
                )

    uvloop.run(main())
    dials_s, answers_s = handshake_s()
    print(f"\nthe handshake alone: {1e6 * dials_s:.0f} us who dials, {1e6 * answers_s:.0f} us who answers")
