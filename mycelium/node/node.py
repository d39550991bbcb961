"""A node: the database, the links and the replication between them, opened and closed together.

The composition root. It reads settings, opens the store and the socket, and wires; what the parts do is in them.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mycelium._core import codec
from mycelium.config import DRAIN_S, PING_INTERVAL_MS
from mycelium.database.backup import check_label
from mycelium.database.database import Database
from mycelium.database.policy import OBSERVER, Action
from mycelium.database.rocks import RocksStore
from mycelium.database.schema import TableSpec
from mycelium.errors import MyceliumError, StoreError
from mycelium.feed.cursor import Cursor
from mycelium.feed.export import Export, SignedExport
from mycelium.feed.reader import Feed
from mycelium.identity.account import format as format_account
from mycelium.metagraph.membership import Epoch, Source
from mycelium.node import (
    absence,
    advertising,
    blacklisting,
    calls,
    joining,
    snapshotserving,
    snapshotting,
    trimming,
)
from mycelium.node import events as kinds
from mycelium.node.authority import SourceAuthority
from mycelium.node.bootstrap import Bootstrap
from mycelium.node.conditions import Conditions
from mycelium.node.discovery import Discovery
from mycelium.node.events import Events
from mycelium.node.feeding import Feeding
from mycelium.node.fingerprinting import Fingerprinting
from mycelium.node.incidents import Incidents
from mycelium.node.metrics import Metrics
from mycelium.node.peercalls import PeerCalls
from mycelium.node.preflight import check_clients, read_grants
from mycelium.node.presence import Meter, Presence, own_status
from mycelium.node.reaching import Reaching
from mycelium.node.replicator import Replicator
from mycelium.node.roster import Roster
from mycelium.node.rotating import Rotating
from mycelium.node.service import Service
from mycelium.node.settings import Settings, listen_url
from mycelium.node.status import gauges, node_status
from mycelium.node.surroundings import Listener, Surroundings
from mycelium.node.timekeeping import Timekeeping
from mycelium.peer.callserver import CallServer
from mycelium.peer.dialer import Dialer
from mycelium.peer.endpoints import EndpointBook
from mycelium.peer.greeting import Local
from mycelium.peer.hub import CLIENT, Hub
from mycelium.peer.link import Link
from mycelium.peer.network import Network
from mycelium.peer.server import check_address
from mycelium.protocol.messages import MergeType, MessageType, NodeStatus

log = logging.getLogger(__name__)

_CALLS = frozenset({MessageType.REQUEST, MessageType.RESPONSE, MessageType.STREAM})


class Node:
    """One validator's node. `async with Node.open("node.toml") as node: ...`

    database: its tables. account: 32 bytes. url: where it listens. status(): what it says of itself.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source,
        authority: SourceAuthority,
        database: Database,
        genesis: bytes,
        *,
        around: Surroundings | None = None,
    ) -> None:
        around = around or Surroundings()
        keypair = settings.keypair()
        self.settings = settings
        self.source = source
        self.authority = authority
        self.database = database
        self.account = keypair.account
        self.generation = database.generation
        self.metrics = Metrics(lambda: gauges(self))
        self.health: Callable[[], dict[str, Any]] = dict  # whoever judges it sets it
        self.parts: dict[str, Callable[[], Any]] = {}  # what the status has of those who run beside it
        self.started_s = time.monotonic()
        self.around = around
        self.now_ms = around.now_ms
        self.events = Events(lambda: self.now_ms())  # a test may set another clock
        database.engine.on_applied.append(self.metrics.applied)
        self.service = Service(
            database, self.status, settings.clients, authority.rights_now, authority.policy_now, self._rotate
        )
        self.service.epoch = self._epoch_info
        self.feeding = Feeding(
            database, authority, authority.rights_now, self.service.may_everything, lambda: self.now_ms()
        )
        self.service.feeding = self.feeding
        local = Local(
            keypair,
            Network(settings.netuid, genesis),
            database.generation,
            self._role_of,
            random=around.random,
            now_ns=around.now_ns,
            machine_ns=around.clock.wall_ns,
        )
        self.hub = Hub(
            local,
            self._message,
            on_open=self._opened,
            on_close=self._closed,
            observer=self.metrics,
            auth_mode="signed" if settings.auth_mode == "signed" else "session",
            clock_ns=around.clock_ns,
        )
        rng = random.Random(around.random(16))  # noqa: S311 - jitter, not a secret
        self.replicator = Replicator(
            database, self.hub, authority.rights_now, self.now_ms, rng, settings.uplink_mbit
        )
        self.calls = CallServer(self.service.handlers, self.service.streams)
        api = self.service.handlers | self.service.streams
        self.peercalls = PeerCalls(self.hub.link_of, api, self.hub.links_of)
        self.incidents = Incidents(self.now_ms)
        self.incidents.on_news = self.events.add
        self.timekeeping = Timekeeping(around.clock, around.clock_ns, self.incidents)
        database.writer.refusal = self.timekeeping.refusal
        self._meter = Meter(around.clock_ns, around.cpu_s)
        self._started_ns = around.now_ns()
        self.presence = Presence(
            self.hub, self.peercalls, self.node_status, lambda: around.clock_ns() // 1_000_000, rng
        )
        self.replicator.on_status = self.presence.said
        self._make_mesh(rng)
        self._reconsidering: asyncio.TimerHandle | None = None
        self._may_not_write: str | None = None
        self._policy_missing: bytes | None = None
        self._ticker: asyncio.Task[None] | None = None

    def _make_mesh(self, rng: random.Random) -> None:
        """What finds members and keeps sessions with them, and what compares rows over these."""
        settings, database, around = self.settings, self.database, self.around
        self.rotating = Rotating(
            self.hub,
            settings.host,
            settings.port,
            settings.rotation,
            self._announce,
            rng,
            settings.data_dir,
            around,
        )
        self.discovery = Discovery(
            EndpointBook(self.account, self._holds),
            self.hub.local.keypair,
            database.generation,
            database.store,
            self.peercalls,
            self.replicator.members,
            lambda: self.now_ms(),  # a test may set another clock
            rng,
            self.reconsider,
        )
        self.fingerprinting = Fingerprinting(
            database,
            self.peercalls,
            self.replicator.members,
            self.replicator.may_read,
            lambda: self.now_ms(),
            rng,
        )
        self.blacklisting = blacklisting.of(self, rng)
        self.trimming = trimming.of(self)
        self.snapshotserving = snapshotserving.of(self)
        self.snapshotting = snapshotting.of(self, rng)
        reaching = Reaching(
            self.peercalls,
            self.replicator.members,
            lambda account: self.discovery.book.addresses(account, self.now_ms()),
            around.clock_ns,
            rng,
        )
        self.service.reach = reaching.ask
        self.blacklisting.on_news = self.events.add
        self.dialer = Dialer(self.hub, rng, dial=around.dial)
        self.bootstrap = Bootstrap(self.hub, settings.bootstrap, rng, around.dial)
        self.conditions = Conditions(
            self.incidents,
            database.store,
            lambda: len(self.dialer.wanted()),
            lambda: len(self.replicator.members()),
            lambda: self.source.status(self.now_ms()),
            around.clock_ns,
        )
        self.roster = Roster(self.hub, self.dialer, self._role_of, settings.peers, self._said, settings.mesh)
        self.replicator.dissemination.absence = absence.of(self, rng)

    @property
    def server(self) -> Listener:
        """The listener whose address is announced."""
        return self.rotating.server

    @property
    def url(self) -> str:
        return listen_url(self.settings.host, self.server.port)

    @property
    def address(self) -> str:
        """Its account as SS58."""
        return format_account(self.account)

    @property
    def network(self) -> Network:
        """Its netuid, and the genesis hash of its chain: what every signature is bound to."""
        return self.hub.local.network

    def status(self) -> dict[str, Any]:
        """See `node.status`."""
        return node_status(self)

    async def epoch(self) -> calls.EpochInfo:
        """The present epoch: its number, its block, and its members with their stakes."""
        return self._epoch_info()

    def _epoch_info(self) -> calls.EpochInfo:
        status = self.source.status(self.now_ms())
        head = status.block if status.head is None else status.head
        return calls.epoch_info(self.source.epoch(), head, self.source.tempo)

    def feed(
        self,
        after: Cursor | str | None = None,
        spaces: Collection[str] | None = None,
        tables: Collection[str] | None = None,
    ) -> Feed:
        """Every batch that this node applies, its own and others', in the order in which it applied them.

        ```python
        async for batch in node.feed(after=cursor, spaces=["main"]):
            ...  # batch.changes, batch.id; keep batch.cursor with what you derived
        ```

        after: None for now, "start", or the cursor of the last batch that was dealt with: what follows comes without a
        miss, and a repeat has the same `id`. spaces: None for all, with `sys`. tables: names; None for all.

        Raises UsageError for a space that is not here; while it is read FeedBehind where what comes next is kept no
        more (`feed_keep_hours`) and CursorForeign for a cursor of another data directory: begin again with `export`.
        FeedRewound(space, cursor) where batches were taken away, by a proof or a seal: export that space again, and go
        on with this feed or after `cursor`, leaving out batches of the space up to the export's cursor.
        """
        return self.feeding.feed(after, spaces, tables)

    def export(self, spaces: Collection[str] | None = None, tables: Collection[str] | None = None) -> Export:
        """The visible rows of some spaces as of `.cursor`, from which a feed goes on. `async for page in x.pages()`."""
        return self.feeding.export(spaces, tables)

    def signed_export(self, space: str) -> SignedExport:
        """The signed batches of a space as of one moment: see `feed.export.SignedExport`."""
        return self.feeding.signed_export(space)

    def proofs(self, space: str) -> list[bytes]:
        """The proofs by which origins of a space are frozen here, as they travel between nodes."""
        return self.feeding.proofs(space)

    def node_status(self) -> NodeStatus:
        """What members are told of this node."""
        return own_status(self, self._meter, self._started_ns, self.around.resident_bytes())

    @classmethod
    @asynccontextmanager
    async def open(
        cls, config: str | Path | Settings, prepare: Callable[[Node], object] = lambda node: None
    ) -> AsyncIterator[Node]:
        """Start a node and stop it at the end of the block. prepare: called with it before it starts.

        Raises ConfigError (a bad setting, a missing key file, a port in use, another chain, a foreign or damaged data
        directory) before anything is written, and ChainError when the chain is needed and cannot be had.
        """
        settings = config if isinstance(config, Settings) else Settings.load(config)
        keypair = settings.keypair()
        tables = {
            name: TableSpec(name, table.space, MergeType[table.merge.upper()])
            for name, table in settings.tables.items()
        }
        check_address(settings.host, settings.port)
        around = Surroundings()
        joined = await joining.find(settings, around.now_ms)
        try:
            check_label(settings.data_dir, keypair.account, settings.netuid, joined.genesis)
            if joined.members is not None:
                check_clients(settings, joined.members.epoch())
            store = RocksStore(settings.data_dir)
        except BaseException:
            joined.close()
            raise
        source: Source | None = None
        try:
            source = await joined.open_source()
            authority = SourceAuthority(source)
            network = settings.netuid, joined.genesis
            database = Database(store, tables, keypair, *network, authority, around.now_ms, settings.held)
            authority.documents = database.policy_document
            database.engine.grants = read_grants(settings, joined.genesis)
            node = cls(settings, source, authority, database, joined.genesis, around=around)
            prepare(node)
        except BaseException:
            if source is not None:
                await source.close()
            joined.close()
            store.close()
            raise
        try:
            await node.start()
            yield node
        finally:
            await node.close()

    async def start(self) -> None:
        """Listen, dial and begin the periodic work; `open` does it. AddressInUse, ConfigError."""
        await self.rotating.start()
        self.source.on_epoch.append(self._entered)
        self.source.on_known.append(self.replicator.known)
        self._entered(self.source.epoch())
        self.bootstrap.start()
        self._ticker = asyncio.create_task(self._tick(), name="tick")

    async def close(self) -> None:
        """Drain and stop: no new sessions, what is queued is sent, everything applied is made durable."""
        await self.rotating.close()
        await self.bootstrap.close()
        await self.dialer.close()
        await self.discovery.close()
        await self.snapshotting.close()
        await self.snapshotserving.close()
        await self.trimming.close()
        await self.fingerprinting.close()
        await self.blacklisting.close()
        if self._reconsidering is not None:
            self._reconsidering.cancel()
        if self._ticker is not None:
            self._ticker.cancel()
        self.database.writer.flush_all()
        self.replicator.close()
        await self.calls.close(drain_s=DRAIN_S / 4)
        await self.presence.close()
        await self.peercalls.close()
        await self.hub.close(drain_s=DRAIN_S / 2)
        try:
            await self.database.close()
        except StoreError as error:
            log.error("closing the store: %s", error)
        # Last: until the end of the drain batches are checked by its epochs.
        await self.source.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(PING_INTERVAL_MS / 1000)
            for name, tick in (
                ("timekeeping", self.timekeeping.tick),
                ("conditions", self.conditions.tick),
                ("policy", self._look_for_policy),
                ("replicator", self.replicator.tick),
                ("presence", self.presence.tick),
                ("discovery", self.discovery.tick),
                ("fingerprinting", self.fingerprinting.tick),
                ("blacklisting", self.blacklisting.tick),
                ("trimming", self.trimming.tick),
                ("snapshotserving", self.snapshotserving.tick),
                ("snapshotting", self.snapshotting.tick),
            ):
                try:
                    tick()
                except Exception:  # one part's bug must not keep the others from their turn
                    log.exception("the periodic work of %s failed; the others have theirs", name)

    # --- epochs -----------------------------------------------------------------------------------------

    def _entered(self, epoch: Epoch) -> None:
        """Another epoch is the present one: dial its members, end what has no place in it, say what changed for us."""
        self.events.add(kinds.EPOCH, f"epoch {epoch.number}, members: {len(epoch.members)}")
        self.blacklisting.entered(epoch)
        self.roster.follow(epoch)
        self.presence.keep(epoch.members)
        self.fingerprinting.keep(epoch.members)
        self.discovery.members_changed()
        addresses = advertising.addresses(self.settings, epoch, self.account, self.server.port)
        if addresses != self.discovery.announced:
            self.discovery.say(addresses)
        why = self.source.explain(self.account)
        if why is not None and why.split(" (epoch")[0] != (self._may_not_write or "").split(" (epoch")[0]:
            log.warning("%s", why)
        self._may_not_write = why

    def _look_for_policy(self) -> None:
        """A policy that comes after its epoch has begun changes who may be here."""
        missing = self.authority.policy_missing()
        if missing != self._policy_missing:
            self._policy_missing = missing
            self.roster.follow(self.source.epoch())

    # --- where nodes listen -----------------------------------------------------------------------------

    async def _announce(self, port: int) -> None:
        """Tell the members that this node listens on that port, and on no other."""
        found = advertising.addresses(self.settings, self.source.epoch(), self.account, port)
        taken = await self.discovery.announce(found)
        self.events.add(kinds.ROTATED, f"listens on port {port} now")
        log.info("%d of %d peers know by now: %s", taken, len(self.replicator.members()), ", ".join(found))

    async def _rotate(self) -> dict[str, Any]:
        return await self.rotating.rotate()

    def _holds(self, account: bytes) -> bool:
        """Whether the account has a place among those who hold the store."""
        return account == self.account or self._role_of(account) not in {None, CLIENT}

    def _said(self, account: bytes) -> tuple[str, ...] | None:
        found = self.discovery.book.addresses(account, self.now_ms())
        return None if found is None else advertising.dialable(found, self.settings.host)

    def reconsider(self) -> None:
        """Somebody can be reached elsewhere. Many records come together, and each could ask for a new plan."""
        if self._reconsidering is None:
            self._reconsidering = asyncio.get_running_loop().call_later(0.02, self._replan)

    def _replan(self) -> None:
        self._reconsidering = None
        self.roster.follow(self.source.epoch())

    # --- links ------------------------------------------------------------------------------------------

    def _role_of(self, account: bytes) -> str | None:
        """What an account is to this node: a program that may use it, a member, or nobody."""
        if account == self.account:
            return CLIENT
        if self.blacklisting.is_blocked(account):
            return None
        rights = self.authority.rights_now(account)
        epoch = self.source.epoch()
        if rights is None:
            # Its policy is not here yet, and comes from those who hold the store whatever it says.
            return epoch.role(account) if epoch.may_read(account) else None
        if any(rights.whole(Action.READ, space) for space in self.database.spaces):
            return epoch.role(account) or OBSERVER
        return CLIENT if self.service.may_call(account) else None

    def _opened(self, link: Link) -> None:
        if link.role != CLIENT:
            self.events.add(kinds.OPENED, f"{'from' if link.inbound else 'to'} {link.remote}", link.account)
            self.peercalls.link_opened(link)
            self.replicator.link_opened(link)
            self.presence.link_opened(link)
            self.discovery.link_opened(link)
            self.blacklisting.link_opened(link)

    def _closed(self, link: Link, error: MyceliumError | None) -> None:
        if error is not None:
            log.info("session with %s ended: %s", link.remote, error)
        if link.role != CLIENT:
            self.events.add(kinds.CLOSED, str(error or "with a goodbye"), link.account)
            self.peercalls.link_closed(link)
            self.replicator.link_closed(link)
            self.timekeeping.link_closed(link)
            self.presence.link_closed(link)
            # Whoever lost its place here broke no rule by having had one.
            self.blacklisting.link_closed(link, error if self._holds(link.account) else None)

    def _message(self, link: Link, message: codec.Message, size_bytes: int) -> None:
        del size_bytes
        if link.role != CLIENT:
            if message.type in _CALLS:
                self.peercalls.receive(link, message)
            elif message.type == MessageType.BLACKLIST_SYNC:
                self.blacklisting.receive(link, message.payload)
            else:
                if message.type == MessageType.PING:
                    self.timekeeping.heard(link, message.timestamp)
                self.replicator.message(link, message)
        elif message.type in _CALLS:
            self.calls.receive(link, message)
        # A program's pings and pongs need no answer but the link's own.
