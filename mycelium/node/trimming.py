"""Has the log and the feed trimmed: the runtime around `database.horizon` and `feed.retention`, once an hour.

Owns when; the log also when the operator asks for it. Without `log_keep_hours` in the settings the log drops nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mycelium.config.database import HORIZON_PERIOD_MS
from mycelium.database.horizon import Horizon, Trimmed
from mycelium.errors import StoreError, UsageError
from mycelium.feed.retention import Retention

if TYPE_CHECKING:
    from mycelium.node.node import Node

log = logging.getLogger(__name__)


class Trimming:
    """Of one node."""

    def __init__(self, horizon: Horizon, retention: Retention, now_ms: Callable[[], int]) -> None:
        self._horizon = horizon
        self._retention = retention
        self._now_ms = now_ms
        self._task: asyncio.Task[Trimmed] | None = None
        self._due_ms: int | None = None

    def tick(self) -> None:
        """Now and then: begin a walk that is due. The first is due a while after the start."""
        now_ms = self._now_ms()
        if self._due_ms is not None and 0 < self._due_ms - now_ms <= HORIZON_PERIOD_MS:
            return
        first, self._due_ms = self._due_ms is None, now_ms + HORIZON_PERIOD_MS
        try:
            self._retention.mark(now_ms)
        except StoreError as error:
            log.warning("trimming the log stopped: %s", error)
            return
        if not first:
            self._begin()

    def _begin(self) -> asyncio.Task[Trimmed]:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._walk(), name="trimming")
            self._task.add_done_callback(self._done)
        return self._task

    def _done(self, task: asyncio.Task[Trimmed]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            if isinstance(error, StoreError):
                log.warning("trimming the log stopped: %s", error)
            else:
                log.error("trimming the log failed", exc_info=error)

    async def _walk(self) -> Trimmed:
        found = await self._horizon.walk(self._now_ms())
        if found.dropped:
            log.info(
                "%d of %d batches in the log were superseded and are dropped: %d MiB",
                found.dropped,
                found.looked,
                found.dropped_bytes >> 20,
            )
        forgotten = await self._retention.prune(self._now_ms())
        if forgotten:
            log.info("the feed's oldest %d entries are older than is kept, and are deleted", forgotten)
        return found

    async def trim(self) -> dict[str, Any]:
        """Walk now, or wait for the walk that is under way; what it did. UsageError, StoreError."""
        if self._horizon.keep_ms is None:
            raise UsageError("this node keeps its whole log: set log_keep_hours in [store]")
        found = await asyncio.shield(self._begin())
        return {"looked": found.looked, "dropped": found.dropped, "dropped_bytes": found.dropped_bytes}

    def status(self) -> dict[str, Any]:
        """For people: since the node started."""
        keep_ms, feed_keep_ms = self._horizon.keep_ms, self._retention.keep_ms
        return {
            "log_keep_hours": None if keep_ms is None else keep_ms // 3_600_000,
            "feed_keep_hours": None if feed_keep_ms is None else feed_keep_ms // 3_600_000,
            "dropped": self._horizon.dropped,
            "dropped_bytes": self._horizon.dropped_bytes,
        }

    async def close(self) -> None:
        """Stop where it is: what was dropped is dropped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


def of(node: Node) -> Trimming:
    """The trimming of a node whose other parts exist; the node's service answers calls about it from now on."""
    database, settings = node.database, node.settings.store
    horizon = Horizon(
        database.store, database.engine, node.authority, _ms(settings.log_keep_hours), node.around.clock_ns
    )
    retention = Retention(database.store, _ms(settings.feed_keep_hours))
    found = Trimming(horizon, retention, lambda: node.now_ms())
    node.service.trim = found.trim
    return found


def _ms(hours: int | None) -> int | None:
    return None if hours is None else hours * 3_600_000
