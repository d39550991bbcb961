"""The design's invariants 1 to 6, checked in every run while it runs and at its end. Changes nothing in the nodes.

1. What was durable at a node is there after a crash, and what the load was promised is there at the end; nothing is
   applied twice.
2. Members whose vectors are equal hold the same bytes.
3. No batch is applied at one member and refused as invalid at another.
4. Every batch in a store was signed by an account that may write, every row comes from such a batch, and no stranger
   is answered with more than it sent.
5. No queue, hold or table is above its cap.
6. Nobody is sent, or can scan, what it may not read.

The first breach ends the run: `failure` says what, when, and the command that repeats it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from blake3 import blake3

from mycelium._core.codec import Message, decode_batch
from mycelium.config import (
    CLIENTS_MAX,
    CONTROL_QUEUE_BYTES_MAX,
    FRAME_BYTES_MAX,
    GAPS_PER_ORIGIN_MAX,
    GENERATIONS_MAX,
    HANDSHAKES_PENDING_MAX,
    HELD_TOTAL_BATCHES_MAX,
    OUTBOUND_BYTES_MAX,
    SESSIONS_MAX,
    TRANSPORT_BUFFER_BYTES,
)
from mycelium.database import schema
from mycelium.database.database import Database
from mycelium.database.engine import SIGNATURE_BYTES, Applied, Outcome
from mycelium.database.schema import space_prefix
from mycelium.database.store import Column, Store, after_prefix
from mycelium.database.vector import Origin
from mycelium.errors import (
    BadSignature,
    MalformedMessage,
    SimulationFailed,
    StaleMessage,
    Unauthorised,
    WrongNetwork,
)
from mycelium.identity import signing
from mycelium.identity.keys import digest, verify
from mycelium.peer.link import Link
from mycelium.protocol.messages import MessageType, Ping, SyncRequest
from mycelium.sim.carrier import SimCarrier
from mycelium.sim.listener import SimListener
from mycelium.sim.loop import VirtualLoop
from mycelium.sim.measure import Propagation
from mycelium.sim.member import SimMember
from mycelium.sim.network import Network

_INVALID = (Unauthorised, StaleMessage, WrongNetwork, BadSignature, MalformedMessage)

MayRead = Callable[[bytes, str], bool]


class LogKey(NamedTuple):
    """Where a batch is in the logs."""

    space: str
    origin: Origin
    seq_first: int


class _Disk:
    """What one member's disk must hold."""

    def __init__(self) -> None:
        self.applied: set[tuple[str, Origin, int]] = set()
        self.waiting: deque[tuple[int, LogKey, bytes]] = deque()
        self.durable: dict[LogKey, bytes] = {}


class Checkers:
    """replay: the command that repeats the run. may_read: whether an account may be sent a space. writers: who may
    write. split: whether some members may not read all."""

    def __init__(
        self,
        loop: VirtualLoop,
        network: Network,
        members: Sequence[SimMember],
        *,
        writers: frozenset[bytes],
        may_read: MayRead,
        split: bool,
        seed: int,
        replay: str,
    ) -> None:
        self.failure: SimulationFailed | None = None
        self.propagation = Propagation()
        self.sweeps = 0
        self._loop = loop
        self._network = network
        self._members = members
        self._writers = writers
        self._may_read = may_read
        self._split = split
        self._said = f"seed {seed}; repeat it with: {replay}"
        self._disks = {member.number: _Disk() for member in members}
        self._promised: dict[LogKey, bytes] = {}
        self._verdicts: dict[bytes, tuple[bool, int, str]] = {}
        self._spaces: dict[bytes, str] = {}
        self._proved: set[bytes] = set()
        self._digests: dict[tuple[int, str], tuple[int, int, bytes]] = {}
        self._retrying = False

    def fail(self, what: str, invariant: int | None = None) -> None:
        """The first failure is the run's."""
        if self.failure is None:
            head = f"invariant {invariant} is broken: " if invariant else ""
            self.failure = SimulationFailed(f"{head}{what} (at {self._loop.time():.6f} s, {self._said})")

    def stop(self) -> None:
        """Raise the failure, if there is one."""
        if self.failure is not None:
            raise self.failure

    # --- while it runs ----------------------------------------------------------------------------------

    def attach(self, member: SimMember, database: Database) -> None:
        """A member starts, perhaps after a crash: look at its disk, and watch it from now on."""
        disk = self._disks[member.number]
        self._survived(member, disk)
        disk.waiting.clear()
        disk.applied = set(_sequences(member.store))
        engine = database.engine
        engine.on_applied.append(lambda applied: self._applied(member, disk, applied))
        database.committer.on_durable.append(lambda index: self._durable(disk, index))
        receive, release = engine.receive, engine.release

        def received(raw: bytes, signature: bytes, now_ms: int, void_first: int = 0) -> Outcome:
            name = self._arrived(member, raw)
            try:
                outcome = receive(raw, signature, now_ms, void_first)
            except _INVALID as error:
                self._judged(name + signature, member, False, error.reason)
                raise
            if outcome is Outcome.APPLIED:
                self._judged(name + signature, member, True, "")
            return outcome

        def released(now_ms: int) -> int:
            self._retrying = True
            try:
                return release(now_ms)
            finally:
                self._retrying = False

        engine.receive = received  # type: ignore[method-assign]
        engine.release = released  # type: ignore[method-assign]

    def replaced(self, member: SimMember) -> set[LogKey]:
        """Its disk is another now: nothing that it held is promised but what others hold too. Returns what is lost."""
        disk = self._disks[member.number]
        others = [one.store for one in self._members if one is not member and one.node is not None]
        lost = {
            key
            for key in disk.durable
            if key in self._promised and not any(_holds(store, key) for store in [*others, member.store])
        }
        for key in lost:
            del self._promised[key]
        disk.durable = {key: name for key, name in disk.durable.items() if _holds(member.store, key)}
        return lost

    def tap(self, member: SimMember, link: Link, message: Message) -> None:
        """A message as it is read: spaces that this member may not read must not be in it."""
        if not self._split:
            return
        named: list[str] = []
        if message.type == MessageType.PING:
            named = [one.space for one in Ping.decode(message.payload).vectors]
        elif message.type == MessageType.DB_SYNC_REQ:
            named = [SyncRequest.decode(message.payload).space]
        for space in named:
            if not self._may_read(member.account, space):
                self.fail(f"{member.host.name} was told of the space {space!r} by {link.remote}", 6)

    def _survived(self, member: SimMember, disk: _Disk) -> None:
        for key, name in disk.durable.items():
            record = member.store.get(Column.LOG, schema.log_key(*key))
            if record is None or digest(record[SIGNATURE_BYTES:]) != name:
                self.fail(f"{member.host.name} lost a batch that was durable: {_named(key)}", 1)

    def _applied(self, member: SimMember, disk: _Disk, applied: Applied) -> None:
        batch = applied.batch
        key = LogKey(batch.space, Origin(batch.account, batch.generation), batch.seq_first)
        for seq in range(batch.seq_first, batch.seq_first + batch.count):
            one = (key.space, key.origin, seq)
            if one in disk.applied:
                self.fail(f"{member.host.name} applied {_named(key)} twice", 1)
            disk.applied.add(one)
        name = digest(batch.raw)
        disk.waiting.append((applied.feed_index, key, name))
        self._signed(member, batch.raw, applied.signature)

    def _durable(self, disk: _Disk, index: int) -> None:
        while disk.waiting and disk.waiting[0][0] <= index:
            _, key, name = disk.waiting.popleft()
            disk.durable[key] = name
            self._promised[key] = name

    def _arrived(self, member: SimMember, raw: bytes) -> bytes:
        """Another copy of a batch came to a member."""
        name = digest(raw)
        if not self._retrying:
            self.propagation.copies += 1
        if self._split:
            space = self._spaces.get(name)
            if space is None:
                try:
                    space = self._spaces[name] = decode_batch(raw).space
                except MalformedMessage:
                    return name
            if not self._may_read(member.account, space):
                self.fail(f"{member.host.name} was sent a batch of {space!r}, which it may not read", 6)
        return name

    def _judged(self, copy: bytes, member: SimMember, valid: bool, reason: str) -> None:
        before = self._verdicts.setdefault(copy, (valid, member.number, reason))
        if before[0] != valid:
            self.fail(
                f"a batch that n{before[1]} {'took' if before[0] else 'refused'} was "
                f"{'taken' if valid else 'refused'} by n{member.number} ({reason or before[2]})",
                3,
            )

    def _signed(self, member: SimMember, raw: bytes, signature: bytes) -> None:
        copy = blake3(raw + signature).digest()
        if copy in self._proved:
            return
        batch = decode_batch(raw)
        if batch.account not in self._writers:
            self.fail(
                f"{member.host.name} stored a batch of {batch.account.hex()[:16]}, who may not write", 4
            )
        elif not verify(batch.account, signing.BATCH, raw, signature):
            self.fail(f"{member.host.name} stored a batch whose signature does not verify", 4)
        self._proved.add(copy)

    # --- now and then -----------------------------------------------------------------------------------

    def sweep(self) -> None:
        """What is looked at from time to time: caps, and equal vectors."""
        self.sweeps += 1
        self.caps()
        groups: dict[tuple[str, bytes], tuple[SimMember, bytes]] = {}
        for member in self._members:
            if member.node is None:
                continue
            engine = member.running.database.engine
            for space in member.running.database.spaces:
                if not self._may_read(member.account, space):
                    continue
                state = self.state(member, space)
                first = groups.setdefault((space, engine.vector_digest(space)), (member, state))
                if first[1] != state:
                    self.fail(
                        f"{first[0].host.name} and {member.host.name} hold the same batches of {space!r}, "
                        "and other rows",
                        2,
                    )
        for what in self._network.amplified:
            self.fail(what, 4)

    def state(self, member: SimMember, space: str) -> bytes:
        """Digest over all rows and tombstones of a space."""
        engine = member.running.database.engine
        # What is given up is in no feed, and changes rows too.
        feed = engine.feed_last + engine.counts["given-up"]
        known = self._digests.get((member.number, space))
        if known is not None and known[:2] == (member.lives, feed):
            return known[2]
        found = state_of(member.store, space)
        self._digests[member.number, space] = member.lives, feed, found
        return found

    def caps(self) -> None:
        """Invariant 5, at each member that is up."""
        for member in self._members:
            if member.node is None:
                continue
            node = member.running
            links = node.hub.links()
            pending = [node.hub.fanout.pending_bytes(link.id) for link in links]
            buffered = [link.wire.buffered_bytes for link in links if isinstance(link.wire, SimCarrier)]
            listener = node.server
            strangers = listener.admission.pending if isinstance(listener, SimListener) else 0
            logs = [node.database.engine.vector(space) for space in node.database.spaces]
            accounts = [origin.account for log in logs for origin in log]
            self.cap(member, "a queue", max(pending, default=0), OUTBOUND_BYTES_MAX + CONTROL_QUEUE_BYTES_MAX)
            room = TRANSPORT_BUFFER_BYTES + 2 * FRAME_BYTES_MAX
            self.cap(member, "a socket's buffer", max(buffered, default=0), room)
            self.cap(member, "batches held", node.database.engine.held, HELD_TOTAL_BATCHES_MAX)
            self.cap(member, "sessions", len(links), SESSIONS_MAX + CLIENTS_MAX)
            self.cap(member, "strangers", strangers, HANDSHAKES_PENDING_MAX)
            most = max((accounts.count(one) for one in set(accounts)), default=0)
            self.cap(member, "generations of one account", most, GENERATIONS_MAX * len(logs))
            gaps = max((len(held.ranges) for log in logs for held in log.values()), default=0)
            self.cap(member, "gaps of one origin", gaps, GAPS_PER_ORIGIN_MAX + 1)

    def cap(self, member: SimMember, what: str, is_now: int, most: int) -> None:
        if is_now > most:
            self.fail(f"{member.host.name}: {what} at {is_now}, at most {most}", 5)

    # --- at the end -------------------------------------------------------------------------------------

    def finish(self) -> None:
        """All members that are up have agreed: every promise is kept, by each that may read it, and every row has a
        batch that somebody signed."""
        self.sweep()
        for member in self._members:
            if member.node is None:
                continue
            self._kept(member)
            self._rows(member)

    def _kept(self, member: SimMember) -> None:
        for key, name in self._promised.items():
            if not self._may_read(member.account, key.space) or key.origin.account not in self.honest:
                continue
            record = member.store.get(Column.LOG, schema.log_key(*key))
            if record is None or digest(record[SIGNATURE_BYTES:]) != name:
                self.fail(f"{member.host.name} lacks {_named(key)}, which was durable", 1)

    @property
    def honest(self) -> frozenset[bytes]:
        """The accounts of the members that are checked."""
        return frozenset(member.account for member in self._members)

    def _rows(self, member: SimMember) -> None:
        logged = set()
        for key, record in member.store.scan(Column.LOG, b"", None):
            space, rest = key.split(b"\0", 1)
            self._signed(member, record[SIGNATURE_BYTES:], record[:SIGNATURE_BYTES])
            batch = decode_batch(record[SIGNATURE_BYTES:])
            origin = Origin(rest[:32], int.from_bytes(rest[32:40], "big"))
            logged |= {
                (space.decode(), origin, seq) for seq in range(batch.seq_first, batch.seq_first + batch.count)
            }
        for column in (Column.LIVE, Column.DEAD):
            for key, row in member.store.scan(column, b"", None):
                head = schema.row_header(row)
                one = (key.split(b"\0", 1)[0].decode(), Origin(head.account, head.generation), head.seq)
                if one not in logged:
                    self.fail(f"{member.host.name} has a row of a batch that it does not hold: {key!r}", 4)


def state_of(store: Store, space: str) -> bytes:
    """32 bytes over the rows and tombstones of a space."""
    hasher = blake3()
    prefix = space_prefix(space)
    for column in (Column.LIVE, Column.DEAD):
        parts = []
        for key, row in store.scan(column, prefix, after_prefix(prefix)):
            parts += [len(key).to_bytes(4, "big"), key, len(row).to_bytes(4, "big"), row]
        hasher.update(b"".join(parts) + b"|")
    return hasher.digest()


def _sequences(store: Store) -> list[tuple[str, Origin, int]]:
    found = []
    for key, record in store.scan(Column.LOG, b"", None):
        space, rest = key.split(b"\0", 1)
        origin = Origin(rest[:32], int.from_bytes(rest[32:40], "big"))
        batch = decode_batch(record[SIGNATURE_BYTES:])
        found += [(space.decode(), origin, batch.seq_first + at) for at in range(batch.count)]
    return found


def _holds(store: Store, key: LogKey) -> bool:
    return store.get(Column.LOG, schema.log_key(*key)) is not None


def _named(key: LogKey) -> str:
    return f"batch {key.seq_first} of {key.origin.account.hex()[:16]} in {key.space!r}"
