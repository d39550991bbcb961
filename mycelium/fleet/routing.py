"""Where a request goes: to this member, if it has the shard, else to who has it. Stands in for the writer.

A request whose shard nobody has at the moment, or is just moving, waits for whoever gets it: so that neither a
fail-over nor a move is an error to its caller. It is sent again only where it is certain that nothing was written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mycelium.config.fleet import FLEET_LOOK_S, FLEET_ROUTE_S
from mycelium.database import rows
from mycelium.database.originating import LocalChange
from mycelium.database.schema import TableSpec
from mycelium.database.store import Store
from mycelium.database.writer import Ack, check_ack, space_of
from mycelium.errors import (
    BrokerUnreachable,
    Fenced,
    MyceliumError,
    NoOwner,
    StoreClosed,
    Unreachable,
    UsageError,
)
from mycelium.fleet.forwarding import Forwarding
from mycelium.fleet.layout import slot_of
from mycelium.fleet.records import Member
from mycelium.fleet.slots import Place, Slots
from mycelium.fleet.view import View
from mycelium.fleet.writer import StreamWriter


class Directory(Protocol):
    """What is asked of `placement.Placement`."""

    def slots(self, space: str) -> int: ...

    def owner(self, space: str, slot: int) -> tuple[str, Member] | None: ...

    @property
    def view(self) -> View: ...


class Routing:
    """Of one member, `name`. serves: whether a slot may be read here, now. held: spaces of which there is a copy here.

    problem: why NATS cannot be used, "" while it can. It is a `database.writer.Writes`.
    """

    def __init__(
        self,
        name: str,
        directory: Directory,
        serves: Callable[[str, int], bool],
        slots: Slots,
        writer: StreamWriter,
        forwarding: Forwarding,
        store: Store,
        held: frozenset[str],
        problem: Callable[[], str],
    ) -> None:
        self.held = held
        self._name = name
        self._directory = directory
        self._serves = serves
        self._slots = slots
        self._writer = writer
        self._forwarding = forwarding
        self._store = store
        self._problem = problem
        self._closed = False

    # --- a `Writes` -------------------------------------------------------------------------------------

    @property
    def refusal(self) -> Callable[[], str | None]:
        """See `database.writer.Writes`."""
        return self._writer.refusal

    @refusal.setter
    def refusal(self, asked: Callable[[], str | None]) -> None:
        self._writer.refusal = asked

    async def write(self, change: LocalChange, ack: Ack) -> None:
        """One change, in one batch with others of its time."""
        check_ack(ack)
        await self._send([change], ack, whole=False)

    async def write_atomic(self, changes: Sequence[LocalChange], ack: Ack) -> None:
        """One batch of exactly these changes. UsageError where no one member may write all of them."""
        check_ack(ack)
        if changes:
            space_of(changes)
            await self._send(changes, ack, whole=True)

    async def settle(self, space: str) -> None:
        """Nothing to wait for: what a remove takes out is looked up where and when it is written."""

    def flush_all(self) -> None:
        """Nothing waits for more to come."""

    def close(self) -> None:
        """Take no more."""
        self._closed = True
        self._writer.close()

    # --- writes -----------------------------------------------------------------------------------------

    async def here(self, changes: Sequence[LocalChange], ack: Ack, whole: bool) -> None:
        """Write what another member sent. NoOwner for what is not this one's own at the moment."""
        check_ack(ack)
        space_of(changes)
        await self._writer.write(changes, self._places(changes), ack, whole=whole)

    async def _send(self, changes: Sequence[LocalChange], ack: Ack, *, whole: bool) -> None:
        until = _now() + FLEET_ROUTE_S
        while True:
            if self._closed:
                raise StoreClosed("the database is closed")
            try:
                await self._try(changes, ack, whole=whole)
            except (NoOwner, Fenced, Unreachable, BrokerUnreachable) as error:
                await self._again(error, until)
            else:
                return

    async def _try(self, changes: Sequence[LocalChange], ack: Ack, *, whole: bool) -> None:
        """Whatever it raises but WriteUnknown says that nothing was written."""
        places = self._places(changes)
        if self._slots.takes(places):
            await self._writer.write(changes, places, ack, whole=whole)
            return
        name, member = self._owner(places)
        await self._forwarding.write(name, member, changes, ack, whole=whole)

    async def _again(self, error: MyceliumError, until: float) -> None:
        """Wait for a change, or raise why there is nothing to wait for."""
        problem = self._problem()
        if problem:
            raise BrokerUnreachable(f"nothing can be written: {problem}") from None
        left = until - _now()
        if left <= 0:
            raise error
        await self._slots.until_changed(min(left, FLEET_LOOK_S))

    # --- reads ------------------------------------------------------------------------------------------

    def read_here(self, spec: TableSpec, key: bytes) -> Any:
        """A key's value, if its shard is this member's own: everything that was acknowledged is in it. NoOwner."""
        place = self._place(spec, key)
        if not self._serves(*place):
            raise NoOwner("the shard is another member's by now: try again")
        return rows.read(self._store, spec, key)

    async def read(self, spec: TableSpec, key: bytes) -> Any:
        """A key's value as the member has it that has its shard.

        While this member does not reach NATS and no other answers, the value that its own copy has. NoOwner.
        """
        until = _now() + FLEET_ROUTE_S
        while True:
            try:
                place = self._place(spec, key)
                if self._serves(*place):
                    return rows.read(self._store, spec, key)
                name, member = self._owner([place])
                return await self._forwarding.get(name, member, spec.name, key)
            except (NoOwner, Unreachable) as error:
                if self._problem() and spec.space in self.held:
                    return rows.read(self._store, spec, key)
                await self._again(error, until)

    def holder(self, space: str) -> tuple[str, Member]:
        """A member that has a copy of a space that is not held here, always the same one while it lives. NoOwner."""
        for name, member in sorted(self._directory.view.members.items()):
            if name != self._name and space in member.holds and not member.gone:
                return name, member
        raise NoOwner(f"no member that lives holds the space {space!r}: try again, or let one hold it")

    # --- inside -----------------------------------------------------------------------------------------

    def _place(self, spec: TableSpec, key: bytes) -> Place:
        slots = self._directory.slots(spec.space)
        if not slots:
            raise NoOwner(f"how the space {spec.space!r} is divided is not known yet: try again")
        return spec.space, slot_of(spec.name, key, slots)

    def _places(self, changes: Sequence[LocalChange]) -> list[Place]:
        return list({self._place(spec, key): None for spec, _, key, _ in changes})

    def _owner(self, places: Sequence[Place]) -> tuple[str, Member]:
        """The other member that has all of these. NoOwner, UsageError."""
        found: dict[str, Member] = {}
        for place in places:
            owner = self._directory.owner(*place)
            if owner is None:
                raise NoOwner(
                    f"nobody has shard {place[1]} of {place[0]!r} at the moment; nothing was written"
                )
            found[owner[0]] = owner[1]
        if len(found) > 1:
            space = places[0][0]
            raise UsageError(
                f"the keys of this batch are in the hands of {len(found)} members ({', '.join(sorted(found))}), and a "
                f"batch is one member's: write them one by one, or make {space!r} a space of one shard "
                f"([fleet.spaces.{space}] shards = 1, when the fleet is made)"
            )
        name, member = next(iter(found.items()))
        if name == self._name:
            raise NoOwner("the shard is about to move; nothing was written: try again")
        return name, member


def _now() -> float:
    return asyncio.get_running_loop().time()
