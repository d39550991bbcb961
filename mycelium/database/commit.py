"""Group commit: one `Store.sync` at a time in a thread of its own, for everything applied before it began.

Knows feed indices only. Who waits for what, and what to tell whom, is its callers' business.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from heapq import heappop, heappush
from itertools import count

from mycelium.config import COMMIT_RETRY_S
from mycelium.database.latency import Latency
from mycelium.errors import NotDurable, StoreClosed, StoreError

log = logging.getLogger(__name__)


class Committer:
    """Turns applied into durable.

    `durable` is the last feed index that survives a crash. Every `on_durable` callback is called with it, on the
    loop, each time it advances. A sync that fails is told to those who wait for it, and tried again.

    For operators: `failure` is why the last sync failed, None if it did not; `syncs` how long syncs took, `commits` how
    long the first batch of each waited from applied to durable.
    """

    def __init__(self, sync: Callable[[], None], durable: int) -> None:
        self.durable = durable
        self.on_durable: list[Callable[[int], None]] = []
        self.failure: StoreError | None = None
        self.syncs = Latency()
        self.commits = Latency()
        self._since_ns = 0
        self._sync = sync
        self._applied = durable
        self._tie = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._advanced: asyncio.Future[None] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="mycelium-sync")
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._closed = False

    def applied(self, index: int) -> None:
        """A batch was applied at `index`; make it durable soon."""
        self._applied = index
        if not self._since_ns:
            self._since_ns = time.perf_counter_ns()
        if self._task is None and not self._closing.is_set():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="group-commit")

    async def wait(self, index: int) -> None:
        """Return once `index` is durable. NotDurable when the sync that would cover it fails, StoreClosed."""
        if index <= self.durable:
            return
        if self._closed:
            raise StoreClosed("the store is closed")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (index, next(self._tie), future))
        await future

    async def advanced(self) -> None:
        """Return when `durable` next advances. StoreClosed."""
        if self._closed:
            raise StoreClosed("the store is closed")
        if self._advanced is None:
            self._advanced = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._advanced)

    async def close(self) -> None:
        """One last sync for what is applied, then nobody waits any more. Raises what that sync raised."""
        self._closing.set()
        if self._task is not None:
            await self._task
        # Those whose batch was flushed a moment ago come to wait in this turn of the loop.
        await asyncio.sleep(0)
        target = self._applied
        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._timed_sync)
            self._advance(target)
        except StoreError as error:
            self._fail(target, error)
            raise
        finally:
            self._closed = True
            self._pool.shutdown(wait=False)
            if self._advanced is not None:
                self._advanced.set_exception(StoreClosed("the store is closed"))
                self._advanced.exception()
                self._advanced = None

    async def _run(self) -> None:
        """Sync until everything applied is durable, or the committer closes."""
        loop = asyncio.get_running_loop()
        try:
            while self.durable < self._applied and not self._closing.is_set():
                target = self._applied
                since_ns, self._since_ns = self._since_ns, 0
                try:
                    await loop.run_in_executor(self._pool, self._timed_sync)
                except StoreError as error:
                    self._since_ns = since_ns
                    self._fail(target, error)
                    await self._pause()
                else:
                    if since_ns:
                        self.commits.record(time.perf_counter_ns() - since_ns)
                    self._advance(target)
        finally:
            self._task = None

    def _timed_sync(self) -> None:
        began_ns = time.perf_counter_ns()
        self._sync()
        self.syncs.record(time.perf_counter_ns() - began_ns)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(COMMIT_RETRY_S):
                await self._closing.wait()
        except TimeoutError:
            return

    def _advance(self, target: int) -> None:
        self.failure = None
        if target > self.durable:
            self.durable = target
            for callback in self.on_durable:
                try:
                    callback(target)
                except Exception:
                    # A bug of who is told; what is durable is durable all the same, and others wait to hear it.
                    log.exception("telling that %d is durable failed", target)
        while self._waiting and self._waiting[0][0] <= target:
            future = heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)
        if self._advanced is not None:
            self._advanced.set_result(None)
            self._advanced = None

    def _fail(self, target: int, error: StoreError) -> None:
        self.failure = error
        while self._waiting and self._waiting[0][0] <= target:
            future = heappop(self._waiting)[2]
            if not future.done():
                future.set_exception(NotDurable(f"applied here, but not durable yet: {error}"))
