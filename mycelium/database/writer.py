"""Gathers single writes into batches, and waits for the acknowledgement each writer asked for.

A batch is flushed at BATCH_CHANGES_MAX changes, BATCH_BYTES or BATCH_DELAY_MS, whichever is first (design 3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from mycelium.config import (
    BATCH_BYTES,
    BATCH_CHANGES_HARD_MAX,
    BATCH_CHANGES_MAX,
    BATCH_DELAY_MS,
    TABLES_PER_BATCH_MAX,
)
from mycelium.database.acks import Acks
from mycelium.database.commit import Committer
from mycelium.database.engine import Applied, Engine
from mycelium.database.originating import LocalChange
from mycelium.errors import StoreClosed, StoreError, UsageError, ValueRefused

Ack = str | int
"""`applied`: in the store. `durable`: survives a crash here. k: durable here and at k peers."""


def check_ack(ack: Ack) -> None:
    """UsageError for anything but `applied`, `durable` or a positive number of peers."""
    if isinstance(ack, int) and not isinstance(ack, bool) and ack >= 1:
        return
    if ack not in ("applied", "durable"):
        raise UsageError(f"ack is 'applied', 'durable' or a number of peers, not {ack!r}")


def space_of(changes: Sequence[LocalChange]) -> str:
    """The space of an atomic batch of at least one change. UsageError, ValueRefused for what is no batch."""
    if len(changes) > BATCH_CHANGES_HARD_MAX:
        raise ValueRefused(
            f"the batch has {len(changes)} changes; at most {BATCH_CHANGES_HARD_MAX} are allowed"
        )
    tables = {change[0] for change in changes}
    spaces = {table.space for table in tables}
    if len(spaces) > 1:
        raise UsageError(f"a batch is atomic within one space; this one names {', '.join(sorted(spaces))}")
    if len(tables) > TABLES_PER_BATCH_MAX:
        raise UsageError(f"a batch names at most {TABLES_PER_BATCH_MAX} tables")
    return spaces.pop()


class Writes(Protocol):
    """What a database writes through: a `Writer`, or what stands for it. Errors as `Table` says."""

    refusal: Callable[[], str | None]
    """Why nothing may be stamped by this node's clock now; set by who knows."""

    async def write(self, change: LocalChange, ack: Ack) -> None:
        """One change, in one batch with others of its time."""

    async def write_atomic(self, changes: Sequence[LocalChange], ack: Ack) -> None:
        """One batch of exactly these changes, after everything written before it."""

    async def settle(self, space: str) -> None:
        """Return when what was written of the space before can be read, or has failed."""

    def flush_all(self) -> None:
        """Let nothing wait for more to come."""

    def close(self) -> None:
        """Flush, and take no more."""


class Pending:
    """The changes of one space that wait to be flushed together."""

    __slots__ = ("changes", "done", "size_bytes", "timer")

    def __init__(self, done: asyncio.Future[Applied], timer: asyncio.TimerHandle) -> None:
        self.changes: list[LocalChange] = []
        self.size_bytes = 0
        self.done = done
        self.timer = timer


class Writer:
    """This node's own writes: a `Writes` that signs and applies at once."""

    def __init__(self, engine: Engine, committer: Committer, acks: Acks, now_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._committer = committer
        self._acks = acks
        self._now_ms = now_ms
        self.refusal: Callable[[], str | None] = lambda: None
        """Why nothing may be stamped by this node's clock now; set by who knows."""
        self._pending: dict[str, Pending] = {}
        self._closed = False

    async def write(self, change: LocalChange, ack: Ack) -> None:
        """Add one change to the space's next batch and wait for `ack`."""
        check_ack(ack)
        self._require_open()
        space = change[0].space
        pending = self._pending.get(space)
        if pending is None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(BATCH_DELAY_MS / 1000, self.flush, space)
            pending = self._pending[space] = Pending(loop.create_future(), timer)
        pending.changes.append(change)
        pending.size_bytes += len(change[2]) + len(change[3])
        if len(pending.changes) >= BATCH_CHANGES_MAX or pending.size_bytes >= BATCH_BYTES:
            self.flush(space)
        # The future is shared by every writer of the batch: one that is cancelled must not cancel the others.
        await self._acknowledged(await asyncio.shield(pending.done), ack)

    async def write_atomic(self, changes: Sequence[LocalChange], ack: Ack) -> None:
        """One batch of exactly these changes, after everything written before it."""
        check_ack(ack)
        self._require_open()
        if not changes:
            return
        space = space_of(changes)
        self.flush(space)
        await self._acknowledged(self._originate(space, changes), ack)

    def flush(self, space: str) -> None:
        """Sign and apply what waits in the space. An error goes to those who wait for it."""
        pending = self._pending.pop(space, None)
        if pending is None:
            return
        pending.timer.cancel()
        try:
            applied = self._originate(space, pending.changes)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
            pending.done.set_exception(error)
            pending.done.exception()
        else:
            pending.done.set_result(applied)

    def _originate(self, space: str, changes: Sequence[LocalChange]) -> Applied:
        why = self.refusal()
        if why is not None:
            raise StoreError(why)
        return self._engine.originate(space, changes, self._now_ms())

    async def settle(self, space: str) -> None:
        self.flush(space)

    def flush_all(self) -> None:
        for space in list(self._pending):
            self.flush(space)

    def close(self) -> None:
        """Flush, and take no more."""
        self.flush_all()
        self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise StoreClosed("the database is closed")

    async def _acknowledged(self, applied: Applied, ack: Ack) -> None:
        if ack == "applied":
            return
        await self._committer.wait(applied.feed_index)
        if isinstance(ack, int):
            batch = applied.batch
            await self._acks.wait(batch.space, batch.seq_first + batch.count - 1, ack)
