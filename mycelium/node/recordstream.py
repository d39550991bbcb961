"""The records of a stream that has no end, as another process reads them, one by one.

Owns the reading under way, so that cancelling `next` (a timeout around it) loses nothing: the next one goes on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from mycelium.node import calls


class RecordStream:
    """Of one call. Its messages raise what the call raises; StopAsyncIteration where the node ended it."""

    def __init__(self, messages: AsyncGenerator[bytes, None], record_bytes_max: int) -> None:
        self._messages = messages
        self._gathered = calls.Records(record_bytes_max)
        self._ready: deque[bytes] = deque()
        self._pending: asyncio.Future[bytes] | None = None

    async def next(self) -> bytes:
        """The next record."""
        while not self._ready:
            # A task of its own, because cancelling a generator's anext would end the generator.
            if self._pending is None:
                self._pending = asyncio.ensure_future(anext(self._messages))
                self._pending.add_done_callback(_retrieve)
            message = await asyncio.shield(self._pending)
            self._pending = None
            self._ready.extend(self._gathered.feed(message))
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Tell the node to stop."""
        if self._pending is not None:
            self._pending.cancel()
            await asyncio.gather(self._pending, return_exceptions=True)
        await self._messages.aclose()


def _retrieve(future: asyncio.Future[bytes]) -> None:
    """Note the error of a stream that nobody reads any more, so that it is not reported as lost."""
    if not future.cancelled():
        future.exception()
