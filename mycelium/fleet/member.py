"""A node that is a member of a fleet: the composition of its parts, opened and closed with the node.

Owns the order in which they begin and end. A member that cannot reach NATS is a node like any other but that it cannot
write: reads and the mesh go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mycelium._version import __version__
from mycelium.config.fleet import (
    FLEET_CONDITION_S,
    FLEET_GRACE_S,
    FLEET_LEAVE_S,
    FLEET_LOOK_S,
    FLEET_PAUSE_MAX_S,
    FLEET_PUBLISH_S,
    FLEET_START_S,
)
from mycelium.database.access import SYS
from mycelium.database.originating import LocalChange
from mycelium.errors import BrokerError, BrokerUnreachable, BrokerUnsafe, MyceliumError, UsageError
from mycelium.fleet import events, republishing
from mycelium.fleet.bucket import Bucket
from mycelium.fleet.following import Following
from mycelium.fleet.forwarding import Forwarding, Serving
from mycelium.fleet.leases import Leases
from mycelium.fleet.origin import Origins
from mycelium.fleet.parts import Self
from mycelium.fleet.placement import Placement
from mycelium.fleet.routing import Routing
from mycelium.fleet.slots import Slots
from mycelium.fleet.status import member_status, problems
from mycelium.fleet.tables import FleetTable
from mycelium.fleet.writer import StreamWriter
from mycelium.jetstream import durability, streams
from mycelium.jetstream.client import Broker, Session
from mycelium.jetstream.layout import Network
from mycelium.jetstream.streams import StreamState
from mycelium.node import advertising
from mycelium.node.fleet_settings import FleetSettings
from mycelium.node.node import Node
from mycelium.node.settings import Settings

log = logging.getLogger(__name__)


class Member:
    """What makes a node a member. Made before the node starts; `run` while it does."""

    def __init__(self, node: Node, settings: FleetSettings, broker: Broker) -> None:
        database = node.database
        self.node = node
        self.settings = settings
        self.broker = broker
        self.incarnation = secrets.token_hex(8)
        self.leaves = True
        """Whether its end is said, and waited for, or found out by the others."""
        self.unsafe = ""
        """Why what NATS acknowledges may be lost; "" where it may not, or nobody minds."""
        self.network = Network(node.network.netuid, node.network.genesis)
        self._lost_s: float | None = time.monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        self._attesting: asyncio.Task[None] | None = None
        self.placement = Placement(self._self(), lambda: secrets.token_hex(8))
        self.slots = Slots(self._tell, lambda space: self.origins.last(space))
        bucket = Bucket(self.network.fleet(node.account), node.settings.nats.replicas, check=self._check_kept)
        self.leases = Leases(broker, bucket, self.placement, self.slots)
        self.origins = Origins(
            broker,
            self.network,
            node.account,
            node.generation,
            self.incarnation,
            self._ensure,
            self._tell,
            self._opened,
        )
        self.following = Following(
            broker,
            self.network,
            database.engine,
            database.store,
            database.spaces,
            node.now_ms,
            self._tell,
            lambda space: node.replicator.sync.last_sync_ms.get(space, 0),
            node.settings.data_dir,
        )
        self.writer = StreamWriter(
            database.engine,
            database.store,
            database.acks,
            self.origins,
            self.slots,
            lambda: node.now_ms(),  # a test may set another clock
            self.connected,
            self.problem,
        )
        mode = node.settings.auth_mode
        self.forwarding = Forwarding(
            node.settings.keypair(), node.network, "signed" if mode == "signed" else "session"
        )
        self.routing = Routing(
            settings.id,
            self.placement,
            self.leases.serves,
            self.slots,
            self.writer,
            self.forwarding,
            database.store,
            frozenset(database.spaces),
            self.problem,
        )
        self._wire()

    def _self(self) -> Self:
        return Self(
            self.settings.id,
            self.node.generation,
            self.incarnation,
            self.settings.url or self.node.settings.url,
            {space: self.settings.slots_of(space) for space in self.node.database.spaces},
            __version__,
            self.settings.lease_ms,
        )

    def _wire(self) -> None:
        """Put the parts into the node."""
        node, database = self.node, self.node.database
        database.route(self.routing, lambda spec: FleetTable(database, spec, self.routing, self.forwarding))
        database.engine.stream_first = True
        database.engine.attest = self._attest
        Serving(node.service, database, self.routing.here, self.routing.read_here)
        node.parts["fleet"] = lambda: member_status(self)
        node.discovery.speaks = self._speaks
        node.source.on_known.append(lambda learned: self.following.tick(hurry=True))
        self.slots.on_serve.append(self._served)

    def _tell(self, event: events.Event) -> None:
        self.leases.tell(event)

    # --- NATS -------------------------------------------------------------------------------------------

    def problem(self) -> str:
        """Why nothing can be written by way of NATS; "" while it can, or has hardly begun not to."""
        if self.unsafe:
            return self.unsafe
        try:
            self.broker.session.check()
        except BrokerUnreachable as error:
            now_s = time.monotonic()
            self._lost_s = now_s if self._lost_s is None else self._lost_s
            return str(error) if now_s - self._lost_s >= FLEET_GRACE_S else ""
        self._lost_s = None
        return ""

    def connected(self) -> bool:
        """Whether there is a connection to NATS now, and what it acknowledges is safe."""
        try:
            self.broker.session.check()
        except BrokerUnreachable:
            return False
        return not self.unsafe

    def _check_kept(self, config: dict[str, Any]) -> None:
        if not self.node.settings.nats.accept_unsynced:
            streams.check_kept(config)

    async def _ensure(self, session: Session, space: str) -> StreamState:
        return await streams.ensure(session, self.network, space, self.node.settings.nats)

    async def check(self) -> None:
        """BrokerUnsafe where what the servers acknowledge may be lost. Without a server there is nothing to check."""
        try:
            session = await self.broker.ready(FLEET_START_S, once=True)
            if not self.node.settings.nats.accept_unsynced:
                await self._require_synced(session)
            for space in self.node.database.spaces:
                await self._ensure(session, space)
        except BrokerUnsafe:
            raise
        except BrokerError as error:
            log.warning("the fleet cannot be joined yet, and nothing can be written: %s", error)

    async def _require_synced(self, session: Session) -> None:
        until = time.monotonic() + FLEET_START_S
        while True:
            verdict = await durability.ask(self.node.settings.nats, session)
            # The others take a while to notice that a server is down: until then it cannot be asked, and counts.
            known = any(answer.synced is False for answer in verdict.answers if not answer.problem)
            if verdict.safe or known or time.monotonic() > until:
                verdict.require()
                return
            await asyncio.sleep(FLEET_LOOK_S)

    async def _watch_servers(self) -> None:
        """Another server may be another thing: nothing more is written where one says that it does not sync."""
        if self.node.settings.nats.accept_unsynced:
            return
        async for session in self.broker.sessions():
            verdict = await durability.ask(self.node.settings.nats, session)
            known = any(answer.synced is False for answer in verdict.answers if not answer.problem)
            self.unsafe = verdict.problem if known else ""
            if self.unsafe:
                log.error("nothing is written any more: %s", self.unsafe)

    async def _watch_itself(self) -> None:
        while True:
            self.node.incidents.condition(
                "fleet", problems(self), over="this member of the fleet writes again"
            )
            await asyncio.sleep(FLEET_CONDITION_S)

    async def _opened(self, space: str, term: str, stream: str) -> None:
        del term
        await republishing.into(self.node.database, self.origins, space, stream)

    # --- what one member does for all -------------------------------------------------------------------

    def _speaks(self) -> bool:
        """Whether it is this member that says where the account listens: who has the slot of `sys`."""
        return self.leases.serves(SYS, 0)

    def _served(self, space: str, slot: int) -> None:
        if space == SYS:
            node = self.node
            node.discovery.say(
                advertising.addresses(node.settings, node.source.epoch(), node.account, node.server.port)
            )

    def _attest(self, rows: Sequence[LocalChange], now_ms: int) -> None:
        """Say where the logs of those who left ended: only who has all logs can."""
        del now_ms
        everything = {SYS, *(table.space for table in self.node.database.tables.values())}
        if self._attesting is not None or not self._speaks() or everything != self.routing.held:
            return
        self._attesting = asyncio.get_running_loop().create_task(self._attested(list(rows)), name="attest")

    async def _attested(self, rows: list[LocalChange]) -> None:
        try:
            await self.routing.write_atomic(rows, "durable")
        except MyceliumError as error:
            log.info("where the logs of those who left ended is said later: %s", error)
        finally:
            self._attesting = None

    # --- its life ---------------------------------------------------------------------------------------

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Take part until the end of the block; then give everything away, and leave."""
        works: dict[str, Coroutine[Any, Any, None]] = {
            "leases": self.leases.run(self.origins),
            "streams": self.following.run(),
            "servers": self._watch_servers(),
            "conditions": self._watch_itself(),
        }
        for name, work in works.items():
            task = asyncio.create_task(work, name=f"fleet {name}")
            task.add_done_callback(self._ended)
            self._tasks.append(task)
        try:
            yield
        finally:
            await self._leave()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.unsafe = f"{task.get_name()} ended: {task.exception()}"
            log.error("%s ended; nothing can be written any more", task.get_name(), exc_info=task.exception())

    async def _leave(self) -> None:
        if self.leaves:
            await self._give_away()
        self.routing.close()
        await self.writer.stop()
        if self._attesting is not None:
            self._attesting.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.forwarding.close()

    async def _give_away(self) -> None:
        self._tell(events.Leave())
        until = time.monotonic() + FLEET_LEAVE_S
        while not self.slots.gone and not self.problem() and time.monotonic() < until:
            await self.slots.until_changed(0.1)


@asynccontextmanager
async def open_member(config: str | Path | Settings) -> AsyncIterator[Node]:
    """`Node.open` for a node whose settings have a [fleet]. ConfigError, BrokerUnsafe."""
    settings = config if isinstance(config, Settings) else Settings.load(config)
    if settings.fleet is None:
        raise UsageError(f"{settings.path} has no [fleet] section")
    fleet, made = settings.fleet, []
    async with contextlib.AsyncExitStack() as stack:
        # A request to a server that has just gone has no answer, however long one waits: the next one may.
        broker = await stack.enter_async_context(
            Broker(
                settings.nats,
                f"fleet {fleet.id}",
                pause_max_s=FLEET_PAUSE_MAX_S,
                request_s=FLEET_PUBLISH_S,
            )
        )
        node = await stack.enter_async_context(
            Node.open(settings, lambda node: made.append(Member(node, fleet, broker)))
        )
        await made[0].check()
        await stack.enter_async_context(made[0].run())
        yield node
