"""A connection for asyncio: the same methods as coroutines, and subscriptions as asynchronous iterators.

Owns a few threads, on which the blocking connection does its work; the event loop never waits for a socket. A
coroutine that is cancelled ends at once; what its thread was doing, a submission too, it does to the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from mycelium.chain.connection import Connection
from mycelium.chain.extrinsics import Receipt
from mycelium.chain.feeds import RETRY_S, HeadFeed, StorageFeed, Wanted
from mycelium.chain.header import Head
from mycelium.chain.subscription import NOTHING, Subscription
from mycelium.config import CHAIN_THREADS_MAX
from mycelium.errors import ChainUnreachable

log = logging.getLogger(__name__)
T = TypeVar("T")


class _Lane:
    """Threads, and no more calls given to them than there are: the others wait in the loop, and can be cancelled."""

    def __init__(self, name: str, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._places = asyncio.Semaphore(threads)

    async def run(self, function: Callable[[], T]) -> T:
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        try:
            future = self._executor.submit(function)
        except BaseException:
            self._places.release()
            raise

        def done(_: Future[T]) -> None:
            # The place is free when the thread is, not when its asker gives up.
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits for a place
                loop.call_soon_threadsafe(self._places.release)

        future.add_done_callback(done)
        return await asyncio.wrap_future(future)

    def soon(self, function: Callable[[], object]) -> None:
        """Do it when a thread is free; nobody waits for it."""
        with contextlib.suppress(RuntimeError):  # closed meanwhile
            self._executor.submit(function)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


class AsyncConnection:
    """Around a `Connection`, which it does not own unless it is closed through this. For one event loop."""

    def __init__(self, connection: Connection, *, threads_max: int = CHAIN_THREADS_MAX) -> None:
        self.connection = connection
        # Submissions wait for blocks; reads do not wait for them.
        self._reads = _Lane("chain read", threads_max)
        self._submissions = _Lane("chain submit", threads_max)

    # --- as `Connection` has them -------------------------------------------------------------------------

    async def genesis(self) -> bytes:
        return await self._reads.run(lambda: self.connection.genesis)

    async def spec_version(self) -> int:
        return await self._reads.run(lambda: self.connection.spec_version)

    async def read(
        self, pallet: str, item: str, params: Sequence[Any] = (), block_hash: str | None = None
    ) -> Any:
        return await self._reads.run(partial(self.connection.read, pallet, item, params, block_hash))

    async def read_many(self, wanted: Sequence[Wanted], block_hash: str | None = None) -> list[Any]:
        return await self._reads.run(partial(self.connection.read_many, wanted, block_hash))

    async def read_map(
        self, pallet: str, item: str, params: Sequence[Any] = (), block_hash: str | None = None
    ) -> dict[Any, Any]:
        return await self._reads.run(partial(self.connection.read_map, pallet, item, params, block_hash))

    async def runtime_api(
        self,
        api: str,
        method: str,
        params: Sequence[Any] | Mapping[str, Any] = (),
        block_hash: str | None = None,
    ) -> Any:
        return await self._reads.run(partial(self.connection.runtime_api, api, method, params, block_hash))

    async def constant(self, pallet: str, name: str) -> Any:
        return await self._reads.run(partial(self.connection.constant, pallet, name))

    async def has_call(self, pallet: str, name: str) -> bool:
        return await self._reads.run(partial(self.connection.has_call, pallet, name))

    async def has_storage(self, pallet: str, item: str) -> bool:
        return await self._reads.run(partial(self.connection.has_storage, pallet, item))

    async def has_api(self, api: str, method: str) -> bool:
        return await self._reads.run(partial(self.connection.has_api, api, method))

    async def call_parameters(self, pallet: str, name: str) -> list[str]:
        return await self._reads.run(partial(self.connection.call_parameters, pallet, name))

    async def head(self) -> Head:
        return await self._reads.run(self.connection.head)

    async def finalised_head(self) -> Head:
        return await self._reads.run(self.connection.finalised_head)

    async def hash_of(self, number: int) -> str | None:
        return await self._reads.run(partial(self.connection.hash_of, number))

    async def number_of(self, block_hash: str) -> int:
        return await self._reads.run(partial(self.connection.number_of, block_hash))

    async def timestamp_ms(self, block_hash: str) -> int:
        return await self._reads.run(partial(self.connection.timestamp_ms, block_hash))

    async def compose(self, pallet: str, function: str, params: Mapping[str, Any]) -> bytes:
        return await self._reads.run(partial(self.connection.compose, pallet, function, params))

    async def submit(self, call: bytes, keypair: Any, **keywords: Any) -> Receipt:
        """Cancelled, it may have been submitted all the same: look before submitting anew."""
        return await self._submissions.run(partial(self.connection.submit, call, keypair, **keywords))

    async def call(self, function: Callable[..., T], *arguments: Any, **keywords: Any) -> T:
        """Any other blocking function of the connection, on one of its threads."""
        return await self._reads.run(partial(function, *arguments, **keywords))

    # --- subscriptions ------------------------------------------------------------------------------------

    async def heads(self, finalised: bool = True, *, growing: bool = True) -> AsyncIterator[Head]:
        """New heads, beginning with the present one, for ever; some may be left out.

        Finalised ones only grow, unless `growing` is False: then they are told as each endpoint tells them.
        """
        async for head in self._follow(HeadFeed(finalised, growing)):
            yield head

    async def storage(self, wanted: Sequence[Wanted]) -> AsyncIterator[tuple[Wanted, Any]]:
        """(one of wanted, its value as `read` gives it): all of them first, then whatever changes, for ever."""
        keys = await self._reads.run(partial(self.connection.storage_keys, wanted))
        async for one, value in self._follow(StorageFeed(wanted, keys)):
            yield one, await self._reads.run(partial(self.connection.decode_value, one, value))

    async def _follow(self, feed: Any) -> AsyncIterator[Any]:
        rpc = self.connection.access.rpc
        while True:
            try:
                socket, subscription = await self._reads.run(partial(rpc.subscribe, feed.method, feed.params))
            except ChainUnreachable as error:
                if rpc.closed:
                    raise
                log.warning("the feed of %s ended: %s", feed.method, error.what)
                await asyncio.sleep(RETRY_S)
                continue
            try:
                async for notice in _notices(subscription):
                    for one in feed.heard(notice):
                        yield one
            except ChainUnreachable as error:
                log.info("%s goes on over another connection: %s", feed.method, error.what)
            finally:
                self._reads.soon(partial(socket.unsubscribe, subscription))

    # --- end ----------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close the connection too; whatever waits raises ChainUnreachable."""
        try:
            await asyncio.to_thread(self.connection.close)
        finally:
            self._reads.close()
            self._submissions.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _notices(subscription: Subscription) -> AsyncIterator[Any]:
    """Notices until ChainUnreachable. No thread waits for them: the reading thread wakes the loop."""
    loop = asyncio.get_running_loop()
    there = asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(
            RuntimeError
        ):  # the loop is closed; the subscription goes with its connection
            loop.call_soon_threadsafe(there.set)

    subscription.listen(wake)
    while True:
        await there.wait()
        there.clear()
        while (notice := subscription.poll()) is not NOTHING:
            yield notice
