"""A watch of a running node, as another process reads it: an async iterator that gives its place when it breaks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable

from mycelium.database.value import key_of
from mycelium.database.watch import Change
from mycelium.errors import LinkClosed, WatchBroken
from mycelium.node import calls
from mycelium.node.calls import RECORD_BYTES_MAX

Messages = Callable[[str, bytes], AsyncGenerator[bytes, None]]
"""The messages of one stream: method and body of the call."""


class RemoteWatch:
    """An async iterator of changes. It begins with the first `anext`, or with `await watch.start()`.

    Cancelling an `anext` (a timeout around it) loses nothing: the next one goes on. Raises WatchBroken when the
    connection is lost; its `cursor`, and this object's, resume after the last change.
    """

    def __init__(self, messages: Messages, asked: calls.Watch) -> None:
        self.cursor = asked.after
        self._messages = messages(calls.WATCH, calls.request(asked))
        self._gathered = calls.Records(RECORD_BYTES_MAX)
        self._ready: deque[bytes] = deque()
        self._pending: asyncio.Future[bytes] | None = None
        self._started = False

    async def start(self) -> int:
        """Wait until the node follows its changes for us; the cursor from which it does."""
        if not self._started:
            self.cursor = calls.decode(await self._next(), calls.Started).cursor
            self._started = True
        assert self.cursor is not None
        return self.cursor

    def __aiter__(self) -> RemoteWatch:
        return self

    async def __anext__(self) -> Change:
        await self.start()
        found = calls.decode(await self._next(), calls.Change)
        self.cursor = found.cursor
        return Change(
            found.cursor, found.table, key_of(found.key), found.op, found.value, found.account, found.hlc
        )

    async def aclose(self) -> None:
        """Tell the node to stop."""
        if self._pending is not None:
            self._pending.cancel()
            await asyncio.gather(self._pending, return_exceptions=True)
        await self._messages.aclose()

    async def _next(self) -> bytes:
        while not self._ready:
            # A task of its own, because cancelling a generator's anext would end the generator.
            if self._pending is None:
                self._pending = asyncio.ensure_future(anext(self._messages))
                self._pending.add_done_callback(_retrieve)
            try:
                message = await asyncio.shield(self._pending)
            except LinkClosed as error:
                raise self._broken(f"the watch lost its connection: {error}") from None
            except StopAsyncIteration:
                raise self._broken("the node ended the watch") from None
            self._pending = None
            self._ready.extend(self._gathered.feed(message))
        return self._ready.popleft()

    def _broken(self, text: str) -> WatchBroken:
        where = "" if self.cursor is None else f"; resume with after={self.cursor}"
        return WatchBroken(text + where, self.cursor)


def _retrieve(future: asyncio.Future[bytes]) -> None:
    """Note the error of a watch that nobody reads any more, so that it is not reported as lost."""
    if not future.cancelled():
        future.exception()
