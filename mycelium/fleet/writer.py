"""Writes of a fleet's member: a batch is in the stream before it is in the store, and before anybody is answered.

While one batch of a space is on its way, the writes that come are gathered into the next one. A batch that the stream
refused spends no number and leaves nothing; one whose fate is not known holds up the space until it is, as nothing may
follow it before. Stands in the place of `database.writer.Writer`; where a write goes that is not this member's own,
`forwarding` says.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from mycelium.config import BATCH_BYTES, BATCH_CHANGES_MAX, DOTS_PER_REMOVE_MAX
from mycelium.config.fleet import FLEET_LOOK_S, FLEET_WAITING_MAX, FLEET_WRITE_S
from mycelium.database import rows
from mycelium.database.acks import Acks
from mycelium.database.engine import Applied, Engine
from mycelium.database.originating import LocalChange, Own
from mycelium.database.schema import DOT_BYTES, TableSpec
from mycelium.database.store import Store
from mycelium.database.writer import Ack
from mycelium.errors import (
    BrokerUnreachable,
    Fenced,
    MyceliumError,
    NoOwner,
    Overloaded,
    StoreClosed,
    StoreError,
    WriteUnknown,
)
from mycelium.fleet.slots import Place, Slots
from mycelium.node.ratelimit import Quiet
from mycelium.protocol.messages import Op

log = logging.getLogger(__name__)

REMOVE = int(Op.REMOVE)
_APPLY_RETRY_S = 0.5


class Removal(tuple[TableSpec, int, bytes, bytes]):
    """A change that takes an element out of a set: as REMOVE, but with the element instead of its dots.

    Which dots there are is known to the slot's owner alone, and only when everything before it is applied.
    """

    __slots__ = ()


class Publishing(Protocol):
    """What is asked of `origin.Origins`."""

    async def publish(self, space: str, raw: bytes, signature: bytes, batch_id: bytes) -> int:
        """Once it is certain that the batch is in the stream. Fenced: once it is that it never will be."""
        ...


class _Write:
    """One caller's changes. under_way: they are in a batch that may be in the stream."""

    __slots__ = ("changes", "done", "places", "size_bytes", "under_way", "whole")

    def __init__(self, changes: Sequence[LocalChange], places: Sequence[Place], *, whole: bool) -> None:
        self.changes = changes
        self.places = places
        self.whole = whole
        self.size_bytes = sum(len(change[2]) + len(change[3]) for change in changes)
        self.under_way = False
        self.done: asyncio.Future[Applied | None] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # who has stopped waiting is not to be told of it at exit

    def succeed(self, applied: Applied | None) -> None:
        if not self.done.done():
            self.done.set_result(applied)


class _Lane:
    """The writes of one space, in order."""

    def __init__(self) -> None:
        self.waiting: deque[_Write] = deque()
        self.task: asyncio.Task[None] | None = None


class StreamWriter:
    """Writes to slots of this member's own, through the stream.

    connected: whether a publish would leave now. problem: why it is not to be waited for, "" while it is.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        acks: Acks,
        origins: Publishing,
        slots: Slots,
        now_ms: Callable[[], int],
        connected: Callable[[], bool],
        problem: Callable[[], str],
    ) -> None:
        self.refusal: Callable[[], str | None] = lambda: None
        self.batches = 0
        self.changes = 0
        self._engine = engine
        self._store = store
        self._acks = acks
        self._origins = origins
        self._slots = slots
        self._now_ms = now_ms
        self._connected = connected
        self._problem = problem
        self._lanes: dict[str, _Lane] = {}
        self._closed = False
        self._quiet = Quiet(log, interval_s=10)

    # --- for its callers --------------------------------------------------------------------------------

    async def write(
        self, changes: Sequence[LocalChange], places: Sequence[Place], ack: Ack, *, whole: bool
    ) -> None:
        """Write changes of one space. whole: in one batch that holds nothing else.

        NoOwner, Fenced, BrokerUnreachable, Overloaded: nothing was written. WriteUnknown.
        """
        problem = self._problem()
        if problem:
            raise BrokerUnreachable(f"nothing can be written: {problem}")
        if not self._slots.takes(places):
            raise NoOwner("the shard is another member's by now; nothing was written: try again")
        write = self._taken(changes, places, whole=whole)
        try:
            # Who is cancelled must not cancel what is under way.
            await asyncio.wait((write.done,), timeout=FLEET_WRITE_S)
            if not write.done.done():
                raise self._late(write)
        finally:
            if not write.under_way and not write.done.done():
                # Its lane leaves it out when its turn comes.
                self._end(write, BrokerUnreachable("its caller waits no more; nothing was written"))
        applied = await write.done
        if applied is not None and isinstance(ack, int):
            batch = applied.batch
            await self._acks.wait(batch.space, batch.seq_first + batch.count - 1, ack)

    def close(self) -> None:
        """Take no more."""
        self._closed = True

    async def stop(self) -> None:
        """Let go of what is under way: the next start finds out what became of it."""
        self.close()
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- one space --------------------------------------------------------------------------------------

    def _taken(self, changes: Sequence[LocalChange], places: Sequence[Place], *, whole: bool) -> _Write:
        if self._closed:
            raise StoreClosed("the database is closed")
        space = places[0][0]
        lane = self._lanes.setdefault(space, _Lane())
        if len(lane.waiting) >= FLEET_WAITING_MAX:
            raise Overloaded(f"{FLEET_WAITING_MAX} writes to {space!r} wait already; nothing was written")
        write = _Write(changes, places, whole=whole)
        self._slots.begin(places)
        lane.waiting.append(write)
        if lane.task is None:
            lane.task = asyncio.get_running_loop().create_task(self._run(space, lane), name=f"write {space}")
        return write

    def _late(self, write: _Write) -> MyceliumError:
        if write.under_way:
            return WriteUnknown(
                f"no word from the stream in {FLEET_WRITE_S} s: whether it was written is not known"
            )
        return BrokerUnreachable(
            f"what was written before is not confirmed after {FLEET_WRITE_S} s; this was not written"
        )

    async def _run(self, space: str, lane: _Lane) -> None:
        group: list[_Write] = []
        try:
            # The writes of this turn of the loop go together.
            await asyncio.sleep(0)
            while lane.waiting:
                group = self._gather(lane)
                await self._write(space, group)
        except asyncio.CancelledError:
            for write in [*group, *lane.waiting]:
                known = StoreClosed("the node is closing; nothing was written")
                unknown = WriteUnknown("the node is closing: whether it was written is not known")
                write.fail(unknown if write.under_way else known)
            raise
        finally:
            lane.task = None

    @staticmethod
    def _gather(lane: _Lane) -> list[_Write]:
        group = [lane.waiting.popleft()]
        count, size = len(group[0].changes), group[0].size_bytes
        while lane.waiting and not group[0].whole and not lane.waiting[0].whole:
            following = lane.waiting[0]
            count += len(following.changes)
            size += following.size_bytes
            if count > BATCH_CHANGES_MAX or size > BATCH_BYTES:
                break
            group.append(lane.waiting.popleft())
        return group

    async def _write(self, space: str, group: list[_Write]) -> None:
        """One batch, from its making until its fate is known."""
        while not self._connected():
            # What has not left is certain not to be written; what has left may have to be waited for.
            problem = self._problem()
            if problem:
                for write in group:
                    if not write.done.done():
                        self._end(write, BrokerUnreachable(f"nothing can be written: {problem}"))
                return
            await asyncio.sleep(FLEET_LOOK_S)
        kept, own = self._make(space, group)
        if own is None:
            return
        for write in kept:
            write.under_way = True
        error: MyceliumError | None = None
        applied: Applied | None = None
        try:
            await self._origins.publish(space, own.batch.raw, own.signature, own.digest)
            applied = await self._applied(space, own)
            self.batches += 1
            self.changes += own.batch.count
        except Fenced as fenced:
            self._engine.abandon(own)
            error = fenced
        except WriteUnknown as unknown:
            error = unknown
        except Exception as bug:
            # The engine makes no other batch of this space after it: the next start finds out what became of it.
            log.exception("writing to %s failed", space)
            error = WriteUnknown(f"internal error: {bug}")
        for write in kept:
            self._end(write, error, applied)

    def _make(self, space: str, group: list[_Write]) -> tuple[list[_Write], Own | None]:
        """Sign what of the group may be written now; the rest is told, and left out."""
        kept: list[_Write] = []
        changes: list[LocalChange] = []
        for write in group:
            if write.done.done():
                continue
            # A slot may have gone since it was taken: with the lease, without waiting for what was in flight.
            if not all(map(self._slots.mine, write.places)):
                self._end(write, NoOwner("the shard was lost meanwhile; nothing was written: try again"))
                continue
            found = [one for change in write.changes for one in self._expanded(change)]
            if not found:
                self._end(write, None)
                continue
            kept.append(write)
            changes += found
        if not kept:
            return [], None
        try:
            why = self.refusal()
            if why is not None:
                raise StoreError(why)
            return kept, self._engine.make(space, changes, self._now_ms())
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
            for write in kept:
                self._end(write, error)
        return [], None

    def _end(self, write: _Write, error: Exception | None, applied: Applied | None = None) -> None:
        if error is None:
            write.succeed(applied)
        else:
            write.fail(error)
        self._slots.end(write.places)

    def _expanded(self, change: LocalChange) -> list[LocalChange]:
        if not isinstance(change, Removal):
            return [change]
        spec, op, key, element = change
        dots = rows.observed(self._store, spec, key, element)
        size = DOTS_PER_REMOVE_MAX * DOT_BYTES
        return [(spec, op, key, dots[at : at + size]) for at in range(0, len(dots), size)]

    async def _applied(self, space: str, own: Own) -> Applied:
        """It is in the stream, so that it must come into the store: nothing else may be written before."""
        while True:
            try:
                return self._engine.apply_own(own)
            except StoreError as error:
                if self._engine.own_log_cut:
                    raise WriteUnknown(str(error)) from None
                self._quiet.error("what is in the stream of %s cannot be stored: %s", space, error)
            await asyncio.sleep(_APPLY_RETRY_S)
