"""Notices of one subscription, from the thread that reads a connection to whoever wants them.

Bounded: a reader that is too slow loses the subscription, not the connection. Knows no socket.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from mycelium.config import CHAIN_NOTICES_MAX
from mycelium.errors import ChainUnreachable

NOTHING: Final = object()
"""No notice is there; None would be one."""


class Subscription:
    """Notices in order, and then the reason why there are no more."""

    def __init__(self, method: str, most: int = CHAIN_NOTICES_MAX) -> None:
        self.method = method
        self.id = ""
        self._most = most
        self._notices: deque[Any] = deque()
        self._changed = threading.Condition()
        self._ended: str | None = None
        self._listener: Callable[[], object] | None = None

    @property
    def ended(self) -> bool:
        """Whether no further notice comes; some may still be there to read."""
        return self._ended is not None

    def next(self, timeout_s: float) -> Any:
        """The next notice. TimeoutError when there is none in time, ChainUnreachable when there are no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._notices or self._ended is not None, timeout_s)
            notice = self._take()
        if notice is NOTHING:
            raise TimeoutError(f"no notice of {self.method} within {timeout_s:g} s")
        return notice

    def poll(self) -> Any:
        """The next notice or NOTHING, without waiting. ChainUnreachable when there are no more."""
        with self._changed:
            return self._take()

    def listen(self, listener: Callable[[], object]) -> None:
        """Call `listener`, from the reading thread, whenever `poll` may have something to say; once at once."""
        with self._changed:
            self._listener = listener
        listener()

    def put(self, notice: Any) -> None:
        """One more. Beyond the cap the subscription ends."""
        with self._changed:
            full = len(self._notices) >= self._most
            if not full and self._ended is None:
                self._notices.append(notice)
        if full:
            self.end(f"{self.method}: its notices came faster than they were read")
        else:
            self._tell()

    def end(self, why: str) -> None:
        """No more notices; what came before is still there to read."""
        with self._changed:
            if self._ended is None:
                self._ended = why
        self._tell()

    def _take(self) -> Any:
        if self._notices:
            return self._notices.popleft()
        if self._ended is not None:
            raise ChainUnreachable(self._ended)
        return NOTHING

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()
            listener = self._listener
        if listener is not None:
            listener()


def unsubscriber(method: str) -> str:
    """The method that ends a subscription begun by `method`."""
    if method == "author_submitAndWatchExtrinsic":
        return "author_unwatchExtrinsic"
    return method.replace("_subscribe", "_unsubscribe")
