"""A watch of a running node, as another process reads it: an async iterator that gives its place when it breaks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from mycelium.database.value import key_of
from mycelium.database.watch import Change
from mycelium.errors import LinkClosed, WatchBroken
from mycelium.node import calls
from mycelium.node.calls import RECORD_BYTES_MAX
from mycelium.node.recordstream import RecordStream

Messages = Callable[[str, bytes], AsyncGenerator[bytes, None]]
"""The messages of one stream: method and body of the call."""


class RemoteWatch:
    """An async iterator of changes. It begins with the first `anext`, or with `await watch.start()`.

    Cancelling an `anext` (a timeout around it) loses nothing: the next one goes on. Raises WatchBroken when the
    connection is lost; its `cursor`, and this object's, resume after the last change.
    """

    def __init__(self, messages: Messages, asked: calls.Watch) -> None:
        self.cursor = asked.after
        self._records = RecordStream(messages(calls.WATCH, calls.request(asked)), RECORD_BYTES_MAX)
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
        await self._records.aclose()

    async def _next(self) -> bytes:
        try:
            return await self._records.next()
        except LinkClosed as error:
            raise self._broken(f"the watch lost its connection: {error}") from None
        except StopAsyncIteration:
            raise self._broken("the node ended the watch") from None

    def _broken(self, text: str) -> WatchBroken:
        where = "" if self.cursor is None else f"; resume with after={self.cursor}"
        return WatchBroken(text + where, self.cursor)
