"""What the chain tells by itself: new heads and changes of storage, over whatever connection there is.

Owns how a lost subscription goes on: it is begun again, for as long as the connection is not closed, and nothing is
given twice. Sans-IO, but for `HeadFeed.blocking`; `aio` drives the same feeds from an event loop.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from mycelium.chain.access import Access
from mycelium.chain.header import Head, head_of
from mycelium.errors import ChainError, ChainUnreachable

log = logging.getLogger(__name__)

Wanted = tuple[str, str, Sequence[Any]]
"""Pallet, storage item, and its keys."""
RETRY_S: Final = 1.0
"""Between two tries to begin a subscription again; each of them waits for endpoints on its own."""
_LOOK_S: Final = 60.0


class HeadFeed:
    """New heads. Finalised ones grow in number, and some may be left out; best ones come as the node sees them.

    growing: False for finalised ones too as nodes see them: another endpoint may be behind the one before it.
    """

    params: Final[tuple[Any, ...]] = ()

    def __init__(self, finalised: bool, growing: bool = True) -> None:
        self.method = "chain_subscribeFinalizedHeads" if finalised else "chain_subscribeNewHeads"
        self._growing = finalised and growing
        self._last: Head | None = None

    def heard(self, notice: Any) -> list[Head]:
        """What a notice tells that is new."""
        head = head_of(notice)
        last = self._last
        if last is not None and (head == last or (self._growing and head.number <= last.number)):
            return []
        self._last = head
        return [head]

    def blocking(self, access: Access) -> Iterator[Head]:
        """Heads, for ever, on this thread; ends with ChainUnreachable when the connection is closed."""
        while True:
            try:
                socket, subscription = access.rpc.subscribe(self.method, self.params)
            except ChainUnreachable as error:
                if access.rpc.closed:
                    raise
                log.warning("new heads are not heard of: %s", error.what)
                time.sleep(RETRY_S)
                continue
            try:
                while True:
                    try:
                        notice = subscription.next(_LOOK_S)
                    except TimeoutError:
                        continue  # a chain that stands still; the connection itself is watched by pings
                    yield from self.heard(notice)
            except ChainUnreachable as error:
                log.info("heads are heard of over another connection: %s", error.what)
            finally:
                socket.unsubscribe(subscription)


class StorageFeed:
    """Values of storage keys: all of them first, then whatever changes."""

    method: Final = "state_subscribeStorage"

    def __init__(self, wanted: Sequence[Wanted], keys: Sequence[str]) -> None:
        self.params: tuple[Any, ...] = (list(keys),)
        self._wanted = dict(zip(keys, wanted, strict=True))
        self._known: dict[str, str | None] = {}

    def heard(self, notice: Any) -> list[tuple[Wanted, str | None]]:
        """What a notice tells that is new: whose value, and the value in hex."""
        try:
            changes = [(str(key), value) for key, value in notice["changes"]]
        except (KeyError, TypeError, ValueError):
            raise ChainError(f"the node told {str(notice)[:80]!r} of storage") from None
        new = []
        for key, value in changes:
            if key in self._wanted and not (key in self._known and self._known[key] == value):
                self._known[key] = value
                new.append((self._wanted[key], value))
        return new
