"""What a member asks of another: one session with each, over its ordinary API and with the account's own hotkey.

    fleet.write   changes of one space, by who has their shards       fleet.get    one key's value, by who has its shard
    fleet.fetch   the same as a stream, for a large value

Whoever is asked answers from what is its own at that moment, or NoOwner: nothing is passed on twice, so that nothing
can go round in circles. Decides nothing about where a request goes: `routing` does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from mycelium.config import CALL_BYTES_MAX
from mycelium.config.fleet import FLEET_DIAL_S, FLEET_WRITE_S
from mycelium.database.access import SYS_TABLES
from mycelium.database.database import Database
from mycelium.database.originating import LocalChange
from mycelium.database.schema import TableSpec
from mycelium.database.writer import Ack
from mycelium.errors import (
    CallFailed,
    CallTimeout,
    LinkClosed,
    MyceliumError,
    Overloaded,
    Unauthorised,
    Unreachable,
    UsageError,
    WriteUnknown,
)
from mycelium.fleet.records import Member
from mycelium.fleet.writer import REMOVE, Removal
from mycelium.identity.keys import Keypair
from mycelium.node import calls
from mycelium.node.remote import RemoteNode, connect
from mycelium.node.service import Caller, Service
from mycelium.peer.envelope import AuthMode
from mycelium.peer.network import Network

log = logging.getLogger(__name__)

WRITE: Final = "fleet.write"
GET: Final = "fleet.get"
FETCH: Final = "fleet.fetch"
_ACK_S: Final = 600.0
"""A write that waits for peers waits as long as they need, as it does in the process that applies it."""

Here = Callable[[Sequence[LocalChange], Ack, bool], Awaitable[None]]
"""Write what is this member's own: NoOwner for anything else."""
Read = Callable[[TableSpec, bytes], Any]
"""Read what is this member's own: NoOwner for anything else."""


class Forwarded(msgspec.Struct, array_like=True, frozen=True):
    """changes: (table, op, key, payload); a remove has its element as payload. whole: one batch of nothing else."""

    changes: list[tuple[str, int, bytes, bytes]]
    ack: str | int
    whole: bool


class _Peer:
    """The session with one member, made when it is asked for."""

    def __init__(self, url: str, incarnation: str) -> None:
        self.url = url
        self.incarnation = incarnation
        self.node: RemoteNode | None = None
        self.lock = asyncio.Lock()


class Forwarding:
    """The calling end."""

    def __init__(self, keypair: Keypair, network: Network, auth_mode: AuthMode) -> None:
        self.forwarded = 0
        self._keypair = keypair
        self._network = network
        self._auth_mode: AuthMode = auth_mode
        self._peers: dict[str, _Peer] = {}

    async def node(self, name: str, member: Member) -> RemoteNode:
        """A session with a member. Unreachable: it has none with us, and nothing was asked of it."""
        peer = self._peers.get(name)
        if peer is None or (peer.url, peer.incarnation) != (member.url, member.incarnation):
            await self._drop(name)
            peer = self._peers[name] = _Peer(member.url, member.incarnation)
        async with peer.lock:
            if peer.node is None or not peer.node.connected:
                if peer.node is not None:
                    await peer.node.close()
                peer.node = None
                peer.node = await self._connect(name, member)
            return peer.node

    async def _connect(self, name: str, member: Member) -> RemoteNode:
        if not member.url:
            raise Unreachable(f"the member {name!r} has no address: set url in [fleet] there")
        try:
            return await connect(
                member.url,
                self._keypair,
                self._keypair.account,
                network=self._network,
                auth_mode=self._auth_mode,
                timeout_s=FLEET_DIAL_S,
            )
        except MyceliumError as error:
            raise Unreachable(f"the member {name!r} at {member.url}: {error}") from None

    async def write(
        self, name: str, member: Member, changes: Sequence[LocalChange], ack: Ack, *, whole: bool
    ) -> None:
        """Let a member write. Unreachable, NoOwner, Fenced...: nothing was written. WriteUnknown."""
        rows = [(spec.name, op, key, payload) for spec, op, key, payload in changes]
        body = calls.request(Forwarded(rows, ack, whole))
        node = await self.node(name, member)
        timeout_s = _ACK_S if isinstance(ack, int) else FLEET_WRITE_S + FLEET_DIAL_S
        self.forwarded += 1
        try:
            await node.database.ask(WRITE, body, None, timeout_s=timeout_s)
        except (LinkClosed, CallTimeout) as error:
            raise WriteUnknown(f"the member {name!r} did not say whether it was written: {error}") from None
        except CallFailed as error:
            raise _refused(name, error) from None

    async def get(self, name: str, member: Member, table: str, key: bytes) -> Any:
        """What a member has of its own. Unreachable, NoOwner, and what a call raises."""
        body = calls.request(calls.Get(table, key))
        node = await self.node(name, member)
        self.forwarded += 1
        try:
            got: calls.Got = await node.database.ask(GET, body, calls.Got, timeout_s=FLEET_DIAL_S)
            if got.large:
                async for record in node.database.records(FETCH, body):
                    got = calls.decode(record, calls.Got)
        except (LinkClosed, CallTimeout, CallFailed) as error:
            raise Unreachable(f"the member {name!r}: {error}") from None
        return got.value

    async def _drop(self, name: str) -> None:
        peer = self._peers.pop(name, None)
        if peer is not None and peer.node is not None:
            await peer.node.close()

    async def close(self) -> None:
        """End all sessions."""
        await asyncio.gather(*(self._drop(name) for name in list(self._peers)))


def _refused(name: str, error: CallFailed) -> MyceliumError:
    if error.kind == Overloaded.__name__:
        return Overloaded(str(error))
    return WriteUnknown(f"the member {name!r} failed, and whether it was written is not known: {error}")


class Serving:
    """The answering end: methods of the API that only the account's own hotkey may call."""

    def __init__(self, service: Service, database: Database, here: Here, read: Read) -> None:
        self._database = database
        self._here = here
        self._read = read
        self._specs = {spec.name: spec for spec in SYS_TABLES} | dict(database.tables)
        service.handlers[WRITE] = self._write
        service.handlers[GET] = self._get
        service.streams[FETCH] = self._fetch

    def _require(self, link: Caller) -> None:
        if link.account != self._database.account:
            raise Unauthorised("only members of a fleet, which have its own hotkey, forward to each other")

    def _spec(self, table: str) -> TableSpec:
        spec = self._specs.get(table)
        if spec is None:
            raise UsageError(
                f"this member of the fleet declares no table {table[:100]!r}: give all members the same tables"
            )
        return spec

    async def _write(self, link: Caller, body: bytes) -> bytes:
        self._require(link)
        asked = calls.decode(body, Forwarded)
        changes: list[LocalChange] = []
        for table, op, key, payload in asked.changes:
            change = (self._spec(table), op, key, payload)
            changes.append(Removal(change) if op == REMOVE else change)
        if changes:
            await self._here(changes, asked.ack, asked.whole)
        return b""

    def _got(self, link: Caller, body: bytes) -> calls.Got:
        self._require(link)
        asked = calls.decode(body, calls.Get)
        return calls.Got(calls.wire_value(self._read(self._spec(asked.table), asked.key)))

    async def _get(self, link: Caller, body: bytes) -> bytes:
        answer = calls.encode(self._got(link, body))
        return answer if len(answer) <= CALL_BYTES_MAX else calls.encode(calls.Got(None, large=True))

    async def _fetch(self, link: Caller, body: bytes) -> AsyncIterator[bytes]:
        for message in calls.cut(calls.record(self._got(link, body))):
            yield message
