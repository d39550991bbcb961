"""Tables of a fleet's member: as any node's, but that a key is read where its shard is.

Scans, watches and counts are of the copy that is here; of a space of which there is none here, of a member's that has
one. What is written goes the way of all writes, through the database's writer (`routing`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from mycelium.database import value
from mycelium.database.originating import LocalChange
from mycelium.database.ranges import EVERYTHING, Ranges
from mycelium.database.rows import Row
from mycelium.database.schema import TableSpec
from mycelium.database.table import Key, Table
from mycelium.database.watch import Change, Watch
from mycelium.errors import UsageError
from mycelium.fleet.forwarding import Forwarding
from mycelium.fleet.routing import Routing
from mycelium.fleet.writer import REMOVE, Removal
from mycelium.node.remote import RemoteTable
from mycelium.node.remotewatch import RemoteWatch

if TYPE_CHECKING:
    from mycelium.database.database import Database

Within = Ranges | Callable[[], Ranges]


class FleetTable(Table):
    """One table of a member."""

    def __init__(self, database: Database, spec: TableSpec, routing: Routing, forwarding: Forwarding) -> None:
        super().__init__(database, spec)
        self._routing = routing
        self._forwarding = forwarding

    @property
    def _held(self) -> bool:
        return self.spec.space in self._routing.held

    async def get(self, key: Key) -> Any:
        """The value; None when there is none. Of the member that has the key's shard. NoOwner."""
        return await self._routing.read(self.spec, value.key_bytes(key))

    def removals(self, key: Key, element: Any) -> list[LocalChange]:
        """The change that removes `element`, wherever it is written."""
        if REMOVE not in self._ops:
            self._refuse(REMOVE)
        return [Removal((self.spec, REMOVE, value.key_bytes(key), value.value_bytes(element)))]

    def scan(
        self,
        prefix: Key | None = None,
        start: Key | None = None,
        end: Key | None = None,
        limit: int | None = None,
        reverse: bool = False,
        *,
        within: Ranges = EVERYTHING,
    ) -> AsyncIterator[Row]:
        """Rows in key order with start <= key < end."""
        if self._held:
            return super().scan(prefix, start, end, limit, reverse, within=within)
        return self._scan_there(prefix, start, end, limit, reverse, within)

    async def _scan_there(
        self,
        prefix: Key | None,
        start: Key | None,
        end: Key | None,
        limit: int | None,
        reverse: bool,
        within: Ranges,
    ) -> AsyncIterator[Row]:
        table = await self._there()
        given = 0
        async for row in table.scan(prefix, start, end, limit if within is EVERYTHING else None, reverse):
            if limit is not None and given >= limit:
                return
            if within is EVERYTHING or value.key_bytes(row.key) in within:
                given += 1
                yield row

    async def count(self, *, within: Ranges = EVERYTHING) -> int:
        """The number of keys. Reads them all."""
        if self._held:
            return await super().count(within=within)
        if within is EVERYTHING:
            return await (await self._there()).count()
        return sum([1 async for _ in self._scan_there(None, None, None, None, False, within)])

    def watch(
        self, prefix: Key | None = None, after: int | None = None, *, within: Within = EVERYTHING
    ) -> Watch:
        """Changes as they become durable at this member, or at one that holds the space; there from now only."""
        if self._held:
            return super().watch(prefix, after, within=within)
        if after is not None:
            raise UsageError(
                f"the space {self.spec.space!r} is not held by this member, so that a cursor means nothing here: "
                "watch at a member that holds it, or let this one hold it ([fleet] holds)"
            )
        return ForwardedWatch(self, prefix, within)

    async def _there(self) -> RemoteTable:
        node = await self._forwarding.node(*self._routing.holder(self.spec.space))
        return node.database.table(self.name)


class ForwardedWatch(Watch):
    """A watch at another member. It ends with WatchBroken when that one does."""

    def __init__(self, table: FleetTable, prefix: Key | None, within: Within) -> None:
        self.cursor = 0
        self._at = table
        self._prefix = prefix
        self._within = within
        self._found: RemoteWatch | None = None

    async def __anext__(self) -> Change:
        if self._found is None:
            table = await self._at._there()  # noqa: SLF001 - of its own table
            self._found = table.watch(self._prefix)
        while True:
            change = await anext(self._found)
            within = self._within if isinstance(self._within, Ranges) else self._within()
            if value.key_bytes(change.key) in within:
                self.cursor = change.cursor
                return change
