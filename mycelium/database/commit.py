"""Group commit: one `Store.sync` at a time in a thread of its own, for everything that was applied before it began.

Knows feed indices only. Who waits for what, and what to tell whom, is its callers' business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from heapq import heappop, heappush
from itertools import count

from mycelium.errors import StoreClosed, StoreError


class Committer:
    """Turns applied into durable.

    `durable` is the last feed index that survives a crash. Every `on_durable` callback is called with it, on the
    loop, each time it advances.
    """

    def __init__(self, sync: Callable[[], None], durable: int) -> None:
        self.durable = durable
        self.on_durable: list[Callable[[int], None]] = []
        self._sync = sync
        self._applied = durable
        self._tie = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._advanced: asyncio.Future[None] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="mycelium-sync")
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def applied(self, index: int) -> None:
        """A batch was applied at `index`; make it durable soon."""
        self._applied = index
        if self._task is None and not self._closed:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="group-commit")

    async def wait(self, index: int) -> None:
        """Return once `index` is durable. StoreFull, StoreError when the sync that would cover it failed."""
        if index <= self.durable:
            return
        if self._closed:
            raise StoreClosed("the store is closed")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (index, next(self._tie), future))
        if self._task is None:
            self.applied(self._applied)
        await future

    async def advanced(self) -> None:
        """Return when `durable` next advances, or raise StoreClosed."""
        if self._closed:
            raise StoreClosed("the store is closed")
        if self._advanced is None:
            self._advanced = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._advanced)

    async def close(self) -> None:
        """Sync what is applied, then stop. Raises what that last sync raised."""
        if self._task is not None:
            await self._task
        self._closed = True
        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._sync)
        finally:
            self._pool.shutdown(wait=False)
            if self._advanced is not None:
                self._advanced.set_exception(StoreClosed("the store is closed"))
                self._advanced.exception()
                self._advanced = None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self.durable < self._applied:
                target = self._applied
                try:
                    await loop.run_in_executor(self._pool, self._sync)
                except StoreError as error:
                    self._fail(target, error)
                    return
                self._advance(target)
        finally:
            self._task = None

    def _advance(self, target: int) -> None:
        self.durable = target
        while self._waiting and self._waiting[0][0] <= target:
            future = heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)
        for callback in self.on_durable:
            callback(target)
        if self._advanced is not None:
            self._advanced.set_result(None)
            self._advanced = None

    def _fail(self, target: int, error: StoreError) -> None:
        while self._waiting and self._waiting[0][0] <= target:
            future = heappop(self._waiting)[2]
            if not future.done():
                future.set_exception(error)
