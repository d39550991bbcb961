"""Members, and strangers, that misbehave: a right key and a right handshake, and after that whatever harms.

They use the node's own sessions, so that what they send is sealed and signed as it should be and only its meaning is
wrong. Each kind is a function of the seed like everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import Sequence
from typing import Final

from mycelium._core import codec, fanout
from mycelium.database.clock import hlc_of
from mycelium.database.vector import ZERO_DIGEST
from mycelium.errors import MyceliumError
from mycelium.identity import signing
from mycelium.identity.keys import Keypair
from mycelium.metagraph.membership import BLOCK_MS, TEMPO
from mycelium.peer.dialer import Dialer, dial_once
from mycelium.peer.greeting import Local
from mycelium.peer.hub import Hub
from mycelium.peer.link import Link
from mycelium.peer.network import Network as Subnet
from mycelium.protocol.messages import (
    BlacklistSync,
    Claim,
    MergeType,
    MessageType,
    Op,
    Ping,
    ProofHead,
    SyncRequest,
)
from mycelium.sim.carrier import SimCarrier, SimWay
from mycelium.sim.listener import SimListener
from mycelium.sim.member import GENESIS, GENESIS_MS, NETUID, PORT, NodeClock, Shared, url_of
from mycelium.sim.network import Host

FLOOD_EVERY_S: Final = 0.02
FLOOD_MESSAGES: Final = 8
STRANGER_EVERY_S: Final = 0.05
EQUIVOCATES_AFTER_S: Final = 2.0
POISONS_EVERY_S: Final = 1.0
STALLS_AFTER_S: Final = 1.0


class Hostile:
    """One of them. kind: of `scenario.KINDS`. victims: (number, account) of the honest members."""

    def __init__(self, shared: Shared, host: Host, keypair: Keypair, rng: random.Random, kind: str) -> None:
        self.shared = shared
        self.host = host
        self.keypair = keypair
        self.kind = kind
        self.victims: Sequence[tuple[int, bytes]] = ()
        self.sent = 0
        self._rng = rng
        self._clock = NodeClock(shared.loop)
        self._dial = functools.partial(dial_once, way=SimWay(host.network, host))
        local = Local(
            keypair,
            Subnet(NETUID, GENESIS),
            rng.getrandbits(63) | 1,
            self._role_of,
            random=rng.randbytes,
            now_ns=self._clock.now_ns,
        )
        self.hub = Hub(local, self._message, on_open=self._opened, clock_ns=shared.loop.now_ns)
        self._dialer = Dialer(self.hub, rng, dial=self._dial)

    def start(self) -> asyncio.Task[None]:
        """Listen, dial everyone, misbehave."""
        return self.host.context.run(self.shared.loop.create_task, self._run())

    async def stop(self) -> None:
        """The end of the run."""
        self.host.stall(False)
        await self._dialer.close()
        for task in self.host.take_tasks():
            task.cancel()
        self.host.fail(power=False)
        await self.hub.close()

    async def _run(self) -> None:
        if self.kind == "stranger":
            await self._strange()
            return
        await SimListener(self.host, self.hub, PORT).start()
        for number, account in self.victims:
            self._dialer.want(account, [url_of(number)])
        if self.kind == "flood":
            await self._flood()
        elif self.kind == "equivocator":
            await asyncio.sleep(EQUIVOCATES_AFTER_S)
            self._equivocate()
        elif self.kind == "poisoner":
            await self._poison()
        elif self.kind == "stalled":
            await asyncio.sleep(STALLS_AFTER_S)
            self.host.stall(True)

    def _role_of(self, account: bytes) -> str | None:
        member = self.shared.members.get(account)
        return None if member is None else member.role

    def _message(self, link: Link, message: codec.Message, size_bytes: int) -> None:
        """Whatever it is, it is not answered."""

    def _opened(self, link: Link) -> None:
        if self.kind == "garbage":
            self._garbage(link)

    # --- garbage ----------------------------------------------------------------------------------------

    def _garbage(self, link: Link) -> None:
        """Sealed rubbish, a message cut short, a batch that is none, or bytes that were never sealed."""
        rng, wire = self._rng, link.wire
        assert isinstance(wire, SimCarrier)
        choice = rng.randrange(4)
        rubbish = rng.randbytes(rng.randrange(1, 4_096))
        if choice == 0:
            wire.send(rubbish)
        elif choice == 1 and not rubbish.startswith(b"\xff" * 4):
            wire.send(link.session.seal(rubbish))
        elif choice == 2:
            link.post(MessageType.GOSSIP, codec.encode_gossip([(rubbish, bytes(64))]), fanout.PUSH)
        else:
            whole = Ping(1, 1, []).encode()
            link.post(MessageType.DB_SYNC_REQ, whole[: len(whole) // 2] + rubbish[:64], fanout.CONTROL)
        self.sent += 1

    # --- floods -----------------------------------------------------------------------------------------

    async def _flood(self) -> None:
        """Pings, requests for everything, and one and the same batch, as much as the queues take."""
        request = SyncRequest(1, "main", [], 2**31, 0)
        batch = codec.encode_gossip([self._batch(b"flood", self._rng.randbytes(16_384))])
        while True:
            await asyncio.sleep(FLOOD_EVERY_S)
            for link in self.hub.links():
                for _ in range(FLOOD_MESSAGES):
                    self.sent += link.post(MessageType.PING, Ping(1, 1, []).encode(), fanout.PUSH)
                self.sent += link.post(MessageType.GOSSIP, batch, fanout.PUSH)
                self.sent += link.post(MessageType.DB_SYNC_REQ, request.encode(), fanout.PUSH)

    async def _strange(self) -> None:
        """Somebody with a key that nobody knows: handshakes without end, half of them left in the middle."""
        while True:
            await asyncio.sleep(STRANGER_EVERY_S)
            number, account = self._rng.choice(list(self.victims))
            self.sent += 1
            task = asyncio.create_task(self._knock(number, account))
            if self._rng.random() < 0.5:
                asyncio.get_running_loop().call_later(self._rng.random(), task.cancel)

    async def _knock(self, number: int, account: bytes) -> None:
        with contextlib.suppress(MyceliumError):
            await self._dial(self.hub, url_of(number), account, as_client=False)

    # --- poison -----------------------------------------------------------------------------------------

    async def _poison(self) -> None:
        """Claims about everybody, true to form and false, and proofs that do not exist: all that a member can say."""
        while True:
            await asyncio.sleep(POISONS_EVERY_S)
            now_ns = self._clock.now_ns()
            claims = [self._claim(account, now_ns) for _, account in self.victims]
            proofs = [
                ProofHead("main", account, self._rng.getrandbits(63) | 1, 1) for _, account in self.victims
            ]
            said = BlacklistSync(claims, proofs).encode()
            for link in self.hub.links():
                self.sent += link.post(MessageType.BLACKLIST_SYNC, said, fanout.PUSH)

    def _claim(self, accused: bytes, now_ns: int) -> tuple[bytes, bytes]:
        lasts_ns = 3_600 * 10**9
        claim = Claim(NETUID, GENESIS, self.keypair.account, accused, "malformed", now_ns, now_ns + lasts_ns)
        raw = claim.encode()
        return raw, self.keypair.sign(signing.CLAIM, raw)

    # --- equivocation -----------------------------------------------------------------------------------

    def _equivocate(self) -> None:
        """Two batches with one sequence number, each signed, each to one half of the others."""
        two = [self._batch(b"which", side) for side in (b"left", b"right")]
        for at, (_, account) in enumerate(self.victims):
            link = self.hub.link_of(account)
            if link is not None:
                self.sent += link.post(MessageType.GOSSIP, codec.encode_gossip([two[at % 2]]), fanout.PUSH)

    def _batch(self, key: bytes, content: bytes) -> tuple[bytes, bytes]:
        """A right batch, the first of its origin."""
        now_ms = self._clock.now_ms()
        block = (now_ms - GENESIS_MS) // BLOCK_MS
        raw = codec.encode_batch(
            NETUID,
            GENESIS,
            "main",
            self.keypair.account,
            self.hub.local.generation,
            1,
            ZERO_DIGEST,
            block // TEMPO,
            block,
            hlc_of(now_ms),
            [("scores", int(MergeType.LWW))],
            [(0, int(Op.PUT), key, b"\0" + content)],
        )
        return raw, self.keypair.sign(signing.BATCH, raw)
