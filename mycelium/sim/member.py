"""One honest member: a real `Node` on a simulated machine, with its disk, its clock, its crashes and restarts."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mycelium._core import codec
from mycelium.config.peer import UPLINK_MBIT
from mycelium.database import backup, schema
from mycelium.database.database import Database
from mycelium.database.memory import MemoryStore
from mycelium.database.schema import StoreIdentity, TableSpec
from mycelium.identity.keys import Keypair
from mycelium.metagraph.membership import Epoch, Member, StaticSource
from mycelium.node.authority import SourceAuthority
from mycelium.node.node import Node
from mycelium.node.settings import IdentitySettings, Settings, TableSettings
from mycelium.node.surroundings import Surroundings
from mycelium.peer.dialer import dial_once
from mycelium.peer.hub import Hub
from mycelium.peer.link import Link
from mycelium.peer.mesh import MESH, Mesh
from mycelium.peer.steadyclock import SteadyClock
from mycelium.protocol.messages import MergeType
from mycelium.sim.carrier import SimWay
from mycelium.sim.listener import SimListener
from mycelium.sim.loop import VirtualLoop
from mycelium.sim.network import HOST, Host

NETUID: Final = 7
GENESIS: Final = bytes(range(32))
PORT: Final = 9090
START_MS: Final = 1_700_000_000_000
"""What a right clock says when a run begins."""
GENESIS_MS: Final = START_MS - 1_000_000_000
TABLES: Final = {
    spec.name: spec
    for spec in (
        TableSpec("scores", "main", MergeType.LWW),
        TableSpec("hits", "main", MergeType.COUNTER),
        TableSpec("tags", "main", MergeType.SET),
        TableSpec("events", "main", MergeType.APPEND),
        TableSpec("secrets", "private", MergeType.LWW),
    )
}


class NodeClock:
    """The wall clock of one machine: right, plus an offset, plus a drift."""

    def __init__(self, loop: VirtualLoop, offset_ms: int = 0, drift_ppm: int = 0) -> None:
        self._loop = loop
        self.offset_ms = offset_ms
        self.drift_ppm = drift_ppm

    def now_ns(self) -> int:
        now_ns = self._loop.now_ns()
        drift_ns = now_ns * self.drift_ppm // 1_000_000
        return (START_MS + self.offset_ms) * 1_000_000 + now_ns + drift_ns

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000


class SimSource(StaticSource):
    """A membership of a file, and the policy that is in force in every epoch."""

    def __init__(
        self, members: Mapping[bytes, Member], clock_ms: Callable[[], int], policy: bytes | None
    ) -> None:
        super().__init__(members, genesis_time_ms=GENESIS_MS, clock_ms=clock_ms)
        self._policy = policy
        self._last = Epoch(0, self.members, policy)

    def epoch_at(self, number: int) -> Epoch:
        if self._last.number != number:
            self._last = Epoch(number, self.members, self._policy)
        return self._last


@dataclass(frozen=True)
class HeldKey(IdentitySettings):
    """A hotkey that is in no file."""

    held: Keypair | None = None

    def keypair(self) -> Keypair:
        assert self.held is not None
        return self.held


class TappedNode(Node):
    """A node whose messages are also shown to the run, before it handles them."""

    tap: Callable[[Link, codec.Message, int], None] | None = None

    def _message(self, link: Link, message: codec.Message, size_bytes: int) -> None:
        if self.tap is not None:
            self.tap(link, message, size_bytes)
        super()._message(link, message, size_bytes)


def settings_of(
    host: Host,
    keypair: Keypair,
    auth_mode: str = "session",
    uplink_mbit: int = UPLINK_MBIT,
    mesh: Mesh = MESH,
) -> Settings:
    """As a file would give them."""
    return Settings(
        path=Path("sim"),
        data_dir=Path(host.name),
        host=host.name,
        port=PORT,
        identity=HeldKey(held=keypair),
        netuid=NETUID,
        genesis=GENESIS,
        members_file=None,
        chain=None,
        tables={
            spec.name: TableSettings(spec.name, spec.space, spec.merge.name.lower())
            for spec in TABLES.values()
        },
        auth_mode=auth_mode,
        uplink_mbit=uplink_mbit,
        mesh=mesh,
    )


@dataclass(frozen=True, slots=True)
class Shared:
    """What all members of one run have in common. policy: digest and document, or None for the default one."""

    loop: VirtualLoop
    members: Mapping[bytes, Member]
    policy: tuple[bytes, bytes] | None = None
    auth_mode: str = "session"
    uplink_mbit: int = UPLINK_MBIT
    mesh: Mesh = MESH


class SimMember:
    """node: None while it is down. store: its disk. attached: called with each database before a node is made of it.
    tap: shown each message.

    lives: how often it was started.
    """

    def __init__(
        self, shared: Shared, host: Host, keypair: Keypair, clock: NodeClock, rng: random.Random
    ) -> None:
        self.shared = shared
        self.host = host
        self.keypair = keypair
        self.clock = clock
        self.node: TappedNode | None = None
        self.store = MemoryStore()
        self.attached: list[Callable[[SimMember, Database], None]] = []
        self.tap: Callable[[SimMember, Link, codec.Message, int], None] | None = None
        self.wanted = True
        """Whether it is meant to be running at the end."""
        self.lives = 0
        self._rng = rng
        self._backup: MemoryStore | None = None

    @property
    def number(self) -> int:
        return self.host.number

    @property
    def account(self) -> bytes:
        return self.keypair.account

    @property
    def running(self) -> TappedNode:
        """The node; it must be up."""
        assert self.node is not None
        return self.node

    # --- its life ---------------------------------------------------------------------------------------

    def start(self) -> asyncio.Task[None]:
        """Open the store and run a node on it, as the process of this host."""
        self.host.up = True
        return self.host.context.run(self.shared.loop.create_task, self._start())

    async def _start(self) -> None:
        shared, host, clock = self.shared, self.host, self.clock
        self.lives += 1
        self._mint(self.store)
        steady = SteadyClock(clock.now_ns, shared.loop.now_ns)
        source = SimSource(shared.members, steady.now_ms, shared.policy[0] if shared.policy else None)
        authority = SourceAuthority(source)
        database = Database(self.store, TABLES, self.keypair, NETUID, GENESIS, authority, steady.now_ms)
        authority.documents = database.policy_document
        if shared.policy:
            # As if the owner had published it long ago.
            known = dict([shared.policy])
            authority.documents = lambda name: known.get(name) or database.policy_document(name)
        around = Surroundings(
            clock=steady,
            clock_ns=shared.loop.now_ns,
            random=self._rng.randbytes,
            dial=functools.partial(dial_once, way=SimWay(host.network, host)),
            listen=self._listen,
            cpu_s=lambda: 0.0,
            resident_bytes=lambda: 0,
        )
        settings = settings_of(host, self.keypair, shared.auth_mode, shared.uplink_mbit, shared.mesh)
        for attach in self.attached:
            attach(self, database)
        node = TappedNode(settings, source, authority, database, GENESIS, around=around)
        if self.tap is not None:
            node.tap = functools.partial(self.tap, self)
        self.node = node
        await node.start()

    def _listen(self, hub: Hub, host: str, port: int) -> SimListener:
        del host
        return SimListener(self.host, hub, port)

    def _mint(self, store: MemoryStore) -> None:
        """A new store's identity, whose generation is drawn from the run's seed."""
        if backup.read_identity(store) is None:
            identity = StoreIdentity(schema.FORMAT, self.account, NETUID, GENESIS, self._generation())
            backup.write_identity(store, identity)

    def _generation(self) -> int:
        return self._rng.getrandbits(63) | 1

    def crash(self, *, power: bool, lost: int | None) -> None:
        """Gone between two instructions. lost: how many of the commits after the last sync are lost, None for all."""
        node, self.node = self.node, None
        if node is None:
            return
        self.store = self.store.crash(lost)
        self.host.fail(power=power)
        for task in self.host.take_tasks():
            task.cancel()
        # Nothing is connected to it any more; this only ends its timers.
        self.shared.loop.create_task(node.hub.close())

    async def stop(self) -> None:
        """End in order, as on SIGTERM."""
        node, self.node = self.node, None
        if node is not None:
            await self.host.context.run(self.shared.loop.create_task, node.close())
            for task in self.host.take_tasks():
                task.cancel()

    # --- its disk ---------------------------------------------------------------------------------------

    def back_up(self) -> None:
        """Copy what is applied now, as `Database.checkpoint` would."""
        self.store.sync()
        self._backup = self.store.copy()

    def restore(self) -> None:
        """While it is down: put the backup in place of the disk, under a new generation, as `backup.restore` does."""
        assert self.node is None
        assert self._backup is not None
        self.store = self._backup.copy()
        identity = backup.read_identity(self.store)
        assert identity is not None
        backup.write_identity(
            self.store,
            StoreIdentity(
                identity.format, identity.account, identity.netuid, identity.genesis, self._generation()
            ),
        )


def name_of(number: int) -> str:
    """The host name of a member."""
    return f"n{number}.sim"


def url_of(number: int) -> str:
    return f"ws://{name_of(number)}:{PORT}"


def task_factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
    """Tasks belong to the host on whose behalf they were made, and end with it."""
    context = options.get("context")
    host = HOST.get() if context is None else context.get(HOST)
    task = asyncio.Task(coro, loop=loop, **options)
    if host is not None:
        host.own(task)
    return task
