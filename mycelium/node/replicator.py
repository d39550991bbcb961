"""Replication between this node and its peers: ping with vectors, sync, acknowledgements, and when to push what is new
(how, `dissemination` knows).

Joins `database` (engine, sync machine, acks) with `peer` (links). It sends and receives messages; it opens no socket,
reads no file, and takes its time from the loop's caller.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from mycelium._core import codec, fanout
from mycelium.config import SILENCE_MS
from mycelium.config.peer import UPLINK_MBIT
from mycelium.database.access import SYS, Rights
from mycelium.database.database import Database
from mycelium.database.engine import Applied, Engine
from mycelium.database.policy import Action
from mycelium.database.sync import SyncMachine
from mycelium.database.vector import Held, Origin, Vector, vector_from_wire
from mycelium.errors import ChainOutage, LinkClosed, MalformedMessage, Silence, StoreError
from mycelium.node.dissemination import Dissemination
from mycelium.node.ratelimit import Quiet
from mycelium.peer.hub import Hub
from mycelium.peer.link import Link
from mycelium.protocol.messages import (
    MessageType,
    NodeStatus,
    OriginVersion,
    Ping,
    SpaceAck,
    SpaceDigest,
    Sync,
    SyncRequest,
    SyncResponse,
)

log = logging.getLogger(__name__)


class _Unacked(NamedTuple):
    """An origin that is owed an acknowledgement of its log up to `head`, once the feed is durable up to there."""

    feed_index: int
    space: str
    origin: Origin
    head: int


class Shown:
    """The engine as peers may see it: without those batches of this node's own that are not durable yet.

    A crash can still undo them, and their sequence numbers would then be signed a second time. The rest is the
    engine's; what was lost of another origin's log is fetched again.
    """

    def __init__(self, engine: Engine, unpushed: Iterable[Applied]) -> None:
        self._engine = engine
        self._unpushed = unpushed
        self.log_records = engine.log_records
        self.receive = engine.receive
        self.doubted = engine.doubted
        self.voided = engine.voided

    def vector(self, space: str) -> Vector:
        vector = self._engine.vector(space)
        first = self._first_unpushed(space)
        own = vector.get(self._engine.origin)
        if first is None or own is None:
            return vector
        others = {origin: held for origin, held in vector.items() if origin != self._engine.origin}
        if first == 1 and not own.ranges:
            return others
        return others | {self._engine.origin: Held(min(own.head, first - 1), own.ranges)}

    def vector_digest(self, space: str) -> bytes:
        if self._first_unpushed(space) is None:
            return self._engine.vector_digest(space)
        first = next(one.batch for one in self._unpushed if one.batch.space == space)
        return self._engine.vector_digest_before(space, first)

    def _first_unpushed(self, space: str) -> int | None:
        return next((one.batch.seq_first for one in self._unpushed if one.batch.space == space), None)


class Replicator:
    """One node's share in the replication of its spaces."""

    def __init__(
        self,
        database: Database,
        hub: Hub,
        rights_now: Callable[[bytes], Rights | None],
        now_ms: Callable[[], int],
        rng: random.Random | None = None,
        uplink_mbit: int = UPLINK_MBIT,
    ) -> None:
        self._database = database
        self._engine = database.engine
        self._hub = hub
        self._rights_now = rights_now
        self._now_ms = now_ms
        self._ping_sequence = 0
        self._links: dict[int, Link] = {}
        self._serving: dict[int, asyncio.Task[None]] = {}
        self._unpushed: deque[Applied] = deque()
        self._unacked: deque[_Unacked] = deque()
        self._quiet = Quiet(log, interval_s=10)
        self._shown = Shown(self._engine, self._unpushed)
        self.on_status: Callable[[Link, NodeStatus], None] = lambda link, status: None
        self.sync = SyncMachine(self._shown, self.may_read, database.spaces)
        self._engine.on_applied.append(self._applied)
        self.dissemination = Dissemination(self._engine, hub, self.members, self.may_read, rng, uplink_mbit)
        database.committer.on_durable.append(self._durable)

    # --- links ------------------------------------------------------------------------------------------

    def link_opened(self, link: Link) -> None:
        """A member's session is up: compare vectors at once."""
        self._links[link.id] = link
        nodes = {other.generation for other in self._hub.links_of(link.account)}
        self._database.acks.keep(link.account, nodes | {link.generation})
        self.sync.peer_up(link.id, self._now_ms(), link.account)
        self.dissemination.link_opened(link)
        self._ping([link])
        # What became durable while there was no session could not be acknowledged then.
        for space in self._database.spaces:
            for origin, held in self._engine.vector(space).items():
                if origin.account == link.account:
                    self._unacked.append(_Unacked(self._engine.feed_last, space, origin, held.head))
        self._acknowledge(self._database.committer.durable)

    def link_closed(self, link: Link) -> None:
        del self._links[link.id]
        self.sync.peer_down(link.id)
        self.dissemination.link_closed(link)
        serving = self._serving.pop(link.id, None)
        if serving is not None:
            serving.cancel()

    def members(self) -> list[Link]:
        """The sessions with members, by the order they opened in."""
        return list(self._links.values())

    def may_read(self, peer: int, space: str) -> bool:
        """Whether a link's member may be sent a space. Batches are signed whole: only who may read all of a space is
        sent any of it."""
        link = self._links.get(peer)
        return link is not None and bool(self._readable(link, (space,)))

    def _readable(self, link: Link, spaces: Iterable[str]) -> tuple[str, ...]:
        """Those of the spaces that its member may be sent."""
        rights = self._rights_now(link.account)
        if rights is None:
            # The policy in force is not here yet; it comes in `sys`, from and for those who hold the store.
            return tuple(space for space in spaces if space == SYS)
        return tuple(space for space in spaces if rights.whole(Action.READ, space))

    # --- messages ---------------------------------------------------------------------------------------

    def message(self, link: Link, message: codec.Message) -> None:
        """Handle one message of a member. A ProtocolError closes that link."""
        kind = message.type
        if kind == MessageType.GOSSIP:
            self.dissemination.gossip(link, message.payload, self._now_ms())
        elif kind == MessageType.TREE:
            self.dissemination.tree(link, message.payload)
        elif kind == MessageType.PING:
            self._ping_received(link, Ping.decode(message.payload))
        elif kind == MessageType.PONG:
            self._pong_received(link, Ping.decode(message.payload))
        elif kind == MessageType.DB_SYNC_REQ:
            self.sync.request(link.id, SyncRequest.decode(message.payload), self._now_ms())
            if link.id not in self._serving:
                self._serving[link.id] = asyncio.create_task(self._serve(link), name=f"serve-{link.id}")
        elif kind == MessageType.DB_SYNC_RESP:
            self._sync_response(link, SyncResponse.decode(message.payload))
        elif kind == MessageType.SYNC:
            self._synced(link, Sync.decode(message.payload))
        else:
            raise MalformedMessage(f"a message of type {kind} has no place in this session")

    def _sync_response(self, link: Link, response: SyncResponse) -> None:
        try:
            request = self.sync.response(link.id, response, self._now_ms())
        except StoreError as error:
            self._quiet.error("cannot store what peers send: %s", error)
            return
        if request is not None:
            link.post(MessageType.DB_SYNC_REQ, request.encode(), fanout.CONTROL)

    def _synced(self, link: Link, sync: Sync) -> None:
        own = self._engine.origin
        for space, vector in sync.acks:
            if space not in self._database.spaces:
                continue
            for origin, held in vector_from_wire(vector).items():
                if origin == own:
                    head = min(held.head, self._engine.own_head(space))
                    self._database.acks.record(space, link.account, head, link.generation)
        if sync.status is not None:
            self.on_status(link, sync.status)

    # --- ping -------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Once every PING_INTERVAL_MS: ping everyone, close the silent, retry what was held."""
        self.dissemination.tick()
        now_ns = self._hub.clock_ns()
        heard = []
        for link in self.members():
            if now_ns - link.last_received_ns > SILENCE_MS * 1_000_000:
                link.close(Silence(f"nothing heard for {SILENCE_MS // 1000} s"))
            else:
                heard.append(link)
        self._ping(heard)
        try:
            self._engine.release(self._now_ms())
        except StoreError as error:
            self._quiet.error("cannot store what was held: %s", error)
        try:
            self._engine.seal(self._now_ms())
        except ChainOutage as error:
            log.debug("sealing waits for the chain: %s", error)
        except StoreError as error:
            self._quiet.error("cannot seal the logs of who has left: %s", error)

    def known(self, learned: bool) -> None:
        """The chain told something. learned: something that was asked for, so that what was left may be taken now."""
        try:
            self._engine.known(self._now_ms())
        except StoreError as error:
            self._quiet.error("cannot store what was held: %s", error)
        if learned:
            self.sync.unbar()

    def _ping(self, links: Sequence[Link]) -> None:
        """One ping for all who may read the same spaces: it is made once."""
        spaces = self._database.spaces
        groups: dict[tuple[str, ...], list[Link]] = {}
        for link in links:
            groups.setdefault(self._readable(link, spaces), []).append(link)
        for readable, group in groups.items():
            self._ping_sequence += 1
            digests = [SpaceDigest(space, self._shown.vector_digest(space)) for space in readable]
            ping = Ping(self._ping_sequence, self._hub.clock_ns(), digests)
            self._hub.post(MessageType.PING, ping.encode(), fanout.CONTROL, group)

    def _ping_received(self, link: Link, ping: Ping) -> None:
        link.post(MessageType.PONG, Ping(ping.sequence, ping.sent, []).encode(), fanout.CONTROL)
        now_ms = self._now_ms()
        # Of others our request would tell it our vector; it says something of every space that *we* may read.
        readable = set(self._readable(link, dict.fromkeys(digest.space for digest in ping.vectors)))
        for digest in ping.vectors:
            if digest.space not in readable:
                continue
            request = self.sync.digest_seen(link.id, digest.space, digest.digest, now_ms)
            if request is not None:
                link.post(MessageType.DB_SYNC_REQ, request.encode(), fanout.CONTROL)

    def _pong_received(self, link: Link, pong: Ping) -> None:
        rtt_ns = self._hub.clock_ns() - pong.sent
        if 0 <= rtt_ns < SILENCE_MS * 1_000_000:
            link.rtt_ms = rtt_ns / 1e6

    # --- what was applied -------------------------------------------------------------------------------

    def _applied(self, applied: Applied) -> None:
        if applied.own:
            self._unpushed.append(applied)
        else:
            batch = applied.batch
            origin = Origin(batch.account, batch.generation)
            head = self._engine.head(batch.space, origin)
            self._unacked.append(_Unacked(applied.feed_index, batch.space, origin, head))

    def _durable(self, index: int) -> None:
        # Pushed only now: a batch that a crash could still undo would leave its numbers signed twice.
        ready = []
        while self._unpushed and self._unpushed[0].feed_index <= index:
            ready.append(self._unpushed.popleft())
        if ready:
            self.dissemination.push(ready)
        self._acknowledge(index)

    def _acknowledge(self, durable: int) -> None:
        """Tell each connected origin how much of its log is durable here."""
        heads: dict[tuple[str, Origin], int] = {}
        while self._unacked and self._unacked[0].feed_index <= durable:
            _, space, origin, head = self._unacked.popleft()
            heads[space, origin] = head
        owed: dict[Link, dict[str, list[OriginVersion]]] = {}
        for (space, origin), head in heads.items():
            link = self._hub.link_to(*origin)
            if link is not None:
                found = OriginVersion(origin.account, origin.generation, head, [])
                owed.setdefault(link, {}).setdefault(space, []).append(found)
        for link, spaces in owed.items():
            acks = [SpaceAck(space, vector) for space, vector in spaces.items()]
            link.post(MessageType.SYNC, Sync(acks).encode(), fanout.CONTROL)

    # --- serving ----------------------------------------------------------------------------------------

    async def _serve(self, link: Link) -> None:
        """Give a peer that is catching up as much as its queue takes, until it has what it asked for."""
        try:
            while True:
                await link.drained(fanout.REPAIR)
                response = self.sync.pump(link.id)
                if response is None:
                    return
                payload = response.encode()
                while not link.post(MessageType.DB_SYNC_RESP, payload, fanout.REPAIR):
                    await link.drained(fanout.REPAIR)
        except LinkClosed:
            return
        except StoreError as error:
            self._quiet.error("cannot read what a peer asked for: %s", error)
        finally:
            if self._serving.get(link.id) is asyncio.current_task():
                del self._serving[link.id]

    def close(self) -> None:
        """Stop serving. Links are the hub's to close."""
        self.dissemination.close()
        for task in self._serving.values():
            task.cancel()
