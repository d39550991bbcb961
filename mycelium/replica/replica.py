"""A read replica: a database that is kept by streams and serves reads over sessions; opened and closed together.

The composition root. What a node is but its mesh: epochs come from the chain or a file of members, batches are checked
by the same engine, and who may read what is decided by the same function. It has no hotkey, dials nobody and writes
nothing of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from mycelium._core import codec
from mycelium.config import DRAIN_S
from mycelium.config.replica import REPLICA_TICK_S, SNAPSHOT_LOOK_MS
from mycelium.database.access import SYS
from mycelium.database.backup import check_label
from mycelium.database.database import Database
from mycelium.database.engine import Applied
from mycelium.database.horizon import Horizon
from mycelium.database.rocks import RocksStore
from mycelium.database.schema import TableSpec
from mycelium.errors import BrokerError, ChainOutage, ConfigError, MyceliumError, StoreError, Unauthorised
from mycelium.feed.retention import Retention
from mycelium.identity.account import format as format_account
from mycelium.jetstream.beginning import Beginning
from mycelium.jetstream.following import Connections
from mycelium.jetstream.layout import Network as Layout
from mycelium.metagraph.membership import Epoch, Source
from mycelium.node import calls, joining
from mycelium.node.authority import SourceAuthority
from mycelium.node.feeding import Feeding
from mycelium.node.incidents import Incidents
from mycelium.node.metrics import Metrics
from mycelium.node.ratelimit import Quiet
from mycelium.node.service import Caller, Service
from mycelium.node.settings import Settings, listen_url
from mycelium.node.surroundings import Surroundings
from mycelium.node.timekeeping import Timekeeping
from mycelium.node.trimming import Trimming
from mycelium.peer.callserver import CallServer
from mycelium.peer.greeting import Local
from mycelium.peer.hub import CLIENT, Hub
from mycelium.peer.link import Link
from mycelium.peer.network import Network
from mycelium.peer.server import check_address
from mycelium.protocol.messages import MergeType, MessageType
from mycelium.replica import status
from mycelium.replica.key import open_key
from mycelium.replica.readonly import ReadOnly, refused
from mycelium.replica.tail import Tail

log = logging.getLogger(__name__)

_CALLS = frozenset({MessageType.REQUEST, MessageType.RESPONSE, MessageType.STREAM})


class Replica:
    """`async with Replica.open(settings, connections) as replica: ...`

    database: its tables, for reading. account: of its own key, which its clients expect. tails: by space.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source,
        authority: SourceAuthority,
        database: Database,
        genesis: bytes,
        connections: Connections,
        *,
        around: Surroundings,
    ) -> None:
        self.settings = settings
        self.source = source
        self.authority = authority
        self.database = database
        self.account = database.account
        self.around = around
        self.now_ms = around.now_ms
        self.started_s = time.monotonic()
        self.metrics = Metrics(lambda: status.gauges(self))
        self.health: Callable[[], dict[str, Any]] = dict  # whoever judges it sets it
        self.incidents = Incidents(self.now_ms)
        self.timekeeping = Timekeeping(around.clock, around.clock_ns, self.incidents)
        self.network = Network(settings.netuid, genesis)
        self._writes_at = settings.replica.writes_at if settings.replica is not None else ""
        database.writer = ReadOnly(self._writes_at)
        database.engine.on_applied.append(self.metrics.applied)
        database.engine.on_applied.append(self._applied)
        self.service = self._make_service()
        self.hub = Hub(
            Local(
                settings.keypair(),
                self.network,
                database.generation,
                self._role_of,
                random=around.random,
                now_ns=around.now_ns,
                machine_ns=around.clock.wall_ns,
            ),
            self._message,
            on_close=self._closed,
            observer=self.metrics,
            auth_mode="signed" if settings.auth_mode == "signed" else "session",
            clock_ns=around.clock_ns,
        )
        self.calls = CallServer(self.service.handlers, self.service.streams)
        self.server = around.listen(self.hub, settings.host, settings.port)
        layout = Layout(settings.netuid, genesis)
        beginning = Beginning(connections, layout, settings.data_dir)
        self.tails = {
            space: Tail(database, connections, layout.stream(space), space, self.now_ms, beginning)
            # Without the policies in `sys` nothing else can be judged: it is asked for first.
            for space in sorted(database.spaces, key=lambda space: (space != SYS, space))
        }
        self.trimming = self._make_trimming()
        self._quiet = Quiet(log, interval_s=10)
        self._hurried = False
        self._tasks: list[asyncio.Task[None]] = []

    def _make_service(self) -> Service:
        """Reads as a node answers them, and no writes."""
        database, authority = self.database, self.authority
        service = Service(
            database,
            lambda: status.replica_status(self),
            self.settings.clients,
            authority.rights_now,
            authority.policy_now,
        )
        service.epoch = self._epoch_info
        service.feeding = Feeding(database, authority, authority.rights_now, service.may_everything)

        async def no_write(link: Caller, body: bytes) -> bytes:
            # Whoever it is: to write here is a mistake, and no lack of rights.
            raise refused(self._writes_at)

        service.handlers[calls.WRITE] = no_write
        return service

    def _make_trimming(self) -> Trimming:
        kept = self.settings.store
        hours = [
            None if one is None else one * 3_600_000 for one in (kept.log_keep_hours, kept.feed_keep_hours)
        ]
        store = self.database.store
        horizon = Horizon(store, self.database.engine, self.authority, hours[0], self.around.clock_ns)
        trimming = Trimming(horizon, Retention(store, hours[1]), self.now_ms)
        self.service.trim = trimming.trim
        return trimming

    @property
    def url(self) -> str:
        """Where it listens."""
        return listen_url(self.settings.host, self.server.port)

    @property
    def address(self) -> str:
        """Its account as SS58."""
        return format_account(self.account)

    def allow(self, clients: frozenset[bytes]) -> None:
        """Let these accounts read everything, and no others but by the policy; sessions without a right end."""
        self.service.allow(clients)
        for link in self.hub.links():
            if not self.service.may_call(link.account):
                link.close(Unauthorised(f"{format_account(link.account)} may not use this replica any more"))

    def status(self) -> dict[str, Any]:
        """See `replica.status`."""
        return status.replica_status(self)

    def _epoch_info(self) -> calls.EpochInfo:
        found = self.source.status(self.now_ms())
        head = found.block if found.head is None else found.head
        return calls.epoch_info(self.source.epoch(), head, self.source.tempo)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, connections: Connections) -> AsyncIterator[Replica]:
        """Start a replica and stop it at the end of the block.

        Raises ConfigError (no [replica] in the settings, a port in use, another chain, a foreign or damaged data
        directory), and ChainError when the chain is needed and cannot be had.
        """
        if settings.replica is None:
            raise ConfigError(
                f"{settings.path} is a node's, not a replica's", "write [replica] in place of [identity]"
            )
        tables = {
            name: TableSpec(name, table.space, MergeType[table.merge.upper()])
            for name, table in settings.tables.items()
        }
        check_address(settings.host, settings.port)
        keypair = open_key(settings.data_dir)
        around = Surroundings()
        joined = await joining.find(settings, around.now_ms)
        try:
            check_label(settings.data_dir, keypair.account, settings.netuid, joined.genesis)
            store = RocksStore(settings.data_dir)
        except BaseException:
            joined.close()
            raise
        source: Source | None = None
        try:
            source = await joined.open_source()
            authority = SourceAuthority(source)
            database = Database(
                store, tables, keypair, settings.netuid, joined.genesis, authority, around.now_ms
            )
            authority.documents = database.policy_document
            replica = cls(
                settings,
                source,
                authority,
                database,
                joined.genesis,
                connections,
                around=around,
            )
        except BaseException:
            if source is not None:
                await source.close()
            joined.close()
            store.close()
            raise
        try:
            await replica.start()
            yield replica
        finally:
            await replica.close()

    async def start(self) -> None:
        """Listen and follow; `open` does it. AddressInUse, ConfigError."""
        await self.server.start()
        self.source.on_epoch.append(self._entered)
        self.source.on_known.append(self._known)
        for tail in self.tails.values():
            tail.start()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._tick(), name="tick"),
            loop.create_task(self._look(), name="look"),
        ]

    async def close(self) -> None:
        """Drain and stop: no new sessions, what is queued is sent, everything applied is made durable."""
        self.server.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for tail in self.tails.values():
            await tail.close()
        await self.trimming.close()
        await self.calls.close(drain_s=DRAIN_S / 4)
        await self.hub.close(drain_s=DRAIN_S / 2)
        await self.server.close()
        try:
            await self.database.close()
        except StoreError as error:
            log.error("closing the store: %s", error)
        await self.source.close()

    # --- what comes -------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(REPLICA_TICK_S)
            for name, tick in (
                ("timekeeping", self.timekeeping.tick),
                ("what waits", partial(self._release, learned=False)),
                ("trimming", self.trimming.tick),
            ):
                try:
                    tick()
                except Exception:  # one part's bug must not keep the others from their turn
                    log.exception("the periodic work of %s failed; the others have theirs", name)

    async def _look(self) -> None:
        """Now and then look at the snapshots that there are."""
        while True:
            await asyncio.sleep(SNAPSHOT_LOOK_MS / 1000)
            for tail in self.tails.values():
                try:
                    await tail.look()
                except (BrokerError, StoreError) as error:
                    self._quiet.warning("the snapshots of %r cannot be looked at: %s", tail.space, error)
                except Exception:
                    log.exception("looking at the snapshots of %r failed; it is tried again", tail.space)

    def _release(self, *, learned: bool) -> None:
        """Try again what waits, and give up what seals ask for."""
        engine = self.database.engine
        try:
            if learned:
                engine.known(self.now_ms())
            engine.release(self.now_ms())
            engine.seal(self.now_ms())
        except ChainOutage as error:
            log.debug("sealing waits for the chain: %s", error)
        except StoreError as error:
            self._quiet.error("cannot store what was held: %s", error)
        for tail in self.tails.values():
            tail.tick(hurry=learned)

    def _known(self, learned: bool) -> None:
        """The chain told something."""
        del learned  # a block alone may be what a batch waited for
        self._release(learned=True)

    def _entered(self, epoch: Epoch) -> None:
        log.info("epoch %d, members: %d", epoch.number, len(epoch.members))

    def _applied(self, applied: Applied) -> None:
        """A policy or a seal may be what other batches wait for."""
        if applied.batch.space == SYS and not self._hurried:
            self._hurried = True
            asyncio.get_running_loop().call_soon(self._hurry)

    def _hurry(self) -> None:
        self._hurried = False
        self._release(learned=True)

    # --- sessions ---------------------------------------------------------------------------------------

    def _role_of(self, account: bytes) -> str | None:
        return CLIENT if self.service.may_call(account) else None

    def _message(self, link: Link, message: codec.Message, size_bytes: int) -> None:
        del size_bytes
        if message.type in _CALLS:
            self.calls.receive(link, message)
        # A program's pings and pongs need no answer but the link's own.

    def _closed(self, link: Link, error: MyceliumError | None) -> None:
        if error is not None:
            log.info("session with %s ended: %s", link.remote, error)
