"""Shared by tests of the replicator and of dissemination: a real database, with links that only record."""

from __future__ import annotations

import asyncio
import itertools
import random
import time

import kit

from mycelium._core import codec
from mycelium.database.database import Database
from mycelium.database.memory import MemoryStore
from mycelium.errors import LinkClosed
from mycelium.metagraph.membership import Member, StaticSource
from mycelium.node.authority import SourceAuthority
from mycelium.node.replicator import Replicator
from mycelium.protocol.messages import MessageType


class FakeLink:
    """Takes what is posted; `stalled` is a peer that reads nothing, `refuse` how many posts find the queue full."""

    ids = itertools.count(1)

    def __init__(self, account: bytes) -> None:
        self.id = next(self.ids)
        self.account = account
        self.generation = 1
        self.posted: list[tuple[int, bytes]] = []
        self.stalled = False
        self.refuse = 0
        self.last_received_ns = 2**62
        self.rtt_ms = None

    def post(self, type: int, payload: bytes, klass: int) -> bool:
        if type == MessageType.DB_SYNC_RESP and self.refuse:
            self.refuse -= 1
            return False
        self.posted.append((type, payload))
        return True

    async def drained(self, klass: int) -> None:
        while self.stalled:
            await asyncio.sleep(0.01)
        if klass is None:
            raise LinkClosed

    def of(self, type: int) -> list[bytes]:
        return [payload for kind, payload in self.posted if kind == type]


class FakeHub:
    def __init__(self) -> None:
        self.members: dict[bytes, FakeLink] = {}
        self.clock_ns = time.monotonic_ns

    def link_of(self, account: bytes) -> FakeLink | None:
        return self.members.get(account)

    def links_of(self, account: bytes) -> list[FakeLink]:
        return [self.members[account]] if account in self.members else []

    def link_to(self, account: bytes, generation: int) -> FakeLink | None:
        return self.members.get(account)

    def post(self, type: int, payload: bytes, klass: int, links: list[FakeLink]) -> list[FakeLink]:
        return [link for link in links if not link.post(type, payload, klass)]


def world(peers: int, store=None) -> tuple[Database, Replicator, list[FakeLink]]:
    pairs = [kit.keypair(f"peer {n}") for n in range(peers)]
    accounts = [kit.keypair("a").account, *(pair.account for pair in pairs)]
    source = StaticSource(
        {account: Member(account, "validator") for account in accounts},
        genesis_time_ms=kit.GENESIS_MS,
        clock_ms=lambda: kit.NOW_MS,
    )
    authority = SourceAuthority(source)
    database = Database(
        store or MemoryStore(),
        kit.TABLES,
        kit.keypair("a"),
        kit.NETUID,
        kit.GENESIS,
        authority,
        now_ms=lambda: kit.NOW_MS,
    )
    hub = FakeHub()
    replicator = Replicator(
        database, hub, authority.rights_now, lambda: kit.NOW_MS + 60_000, random.Random(1)
    )
    links = [FakeLink(pair.account) for pair in pairs]
    for link in links:
        hub.members[link.account] = link
        replicator.link_opened(link)
    return database, replicator, links


def message(link: FakeLink, type: int, payload: bytes) -> codec.Message:
    return codec.decode_message(codec.encode_message(1, type, link.account, 1, 1, payload, b""))
