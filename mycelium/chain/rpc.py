"""JSON-RPC over several endpoints: one connection at a time, another endpoint when it fails, patience in between.

Owns which connection is used. A request that may be repeated is; one that may not (a submission) raises as soon as its
answer cannot come. Safe from several threads. Knows no method of any node, but for which of them may not be repeated.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from mycelium.chain.endpoints import Endpoints
from mycelium.chain.socket import Busy, NotSent, Socket
from mycelium.chain.subscription import Subscription
from mycelium.config import CHAIN_CONNECT_S, CHAIN_REQUEST_S
from mycelium.errors import ChainError, ChainUnreachable

log = logging.getLogger(__name__)
T = TypeVar("T")

ONCE: Final = (
    "author_submit",
    "author_insertKey",
    "author_rotateKeys",
    "author_removeExtrinsic",
    "dev_",
    "system_addReservedPeer",
    "system_removeReservedPeer",
    "offchain_localStorageSet",
)
"""Beginnings of the methods that change something: never sent a second time unasked."""
_LEAST_S: Final = 0.02
"""With less left no connection is opened."""
_HURRIED_S: Final = 1.0
"""What fails with less left says that there was no time, and does not hide what was said before."""
_TRIES: Final = 3
"""The part of a request's time that one endpoint gets before another is tried."""


def repeatable(method: str) -> bool:
    """Whether asking twice does no more than asking once."""
    return not method.startswith(ONCE)


class Lost(ChainUnreachable):
    """A request that must not be repeated was sent, and its answer cannot come. Internal: its sender looks it up."""


class Rpc:
    """The way to a chain. `endpoints`: WebSocket addresses, the preferred one first. Opens nothing before it is asked.

    greet: called with each new socket and the seconds left before anything else uses it; what it returns is the
    socket's `greeting`. It may raise ChainUnreachable or WrongChain, and then another endpoint is tried.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        timeout_s: float = CHAIN_REQUEST_S,
        rng: random.Random | None = None,
        clock_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        greet: Callable[[Socket, float], Any] | None = None,
    ) -> None:
        self._endpoints = Endpoints(endpoints, rng or random.Random())  # noqa: S311 - jitter, not a secret
        self.timeout_s = timeout_s
        self._clock_s = clock_s
        self._closing = threading.Event()
        self._sleep = sleep or self._closing.wait
        self._greet = greet
        self._opening = threading.Lock()
        """Held by the thread that opens a connection, for as long as that takes."""
        self._state = threading.Lock()
        """Held for an instant: the fields below."""
        self._current: tuple[Socket, Any] | None = None
        self._greeted: Socket | None = None
        """The one that is about to be the next."""
        self.connections = 0
        """How many were opened."""

    @property
    def endpoints(self) -> tuple[str, ...]:
        return self._endpoints.urls

    @property
    def endpoint(self) -> str:
        """The address in use, or the preferred one while there is none."""
        socket = self.socket
        return self.endpoints[0] if socket is None else socket.url

    @property
    def closed(self) -> bool:
        """Whether `close` was called, and `reopen` not since."""
        return self._closing.is_set()

    @property
    def socket(self) -> Socket | None:
        """The connection in use, if there is one."""
        current = self._current
        return None if current is None else current[0]

    # --- asking -----------------------------------------------------------------------------------------

    def request(self, method: str, params: Sequence[Any] = (), *, timeout_s: float | None = None) -> Any:
        """A call's result. Raises ChainRefused (the node said no), ChainUnreachable (no answer in time), WrongChain."""
        return self._ask(
            lambda socket, try_s, left_s: socket.request(method, list(params), try_s, left_s),
            repeatable(method),
            timeout_s,
        )

    def batch(
        self, calls: Sequence[tuple[str, Sequence[Any]]], *, timeout_s: float | None = None
    ) -> list[Any]:
        """Several calls at once; their results. Raises as `request` does, of the first that is refused."""
        if not calls:
            return []
        return self._ask(
            lambda socket, try_s, left_s: socket.batch(calls, try_s, left_s),
            all(repeatable(method) for method, _ in calls),
            timeout_s,
        )

    def subscribe(
        self, method: str, params: Sequence[Any] = (), *, timeout_s: float | None = None
    ) -> tuple[Socket, Subscription]:
        """Begin a subscription; it lives and ends with the connection it was begun on."""
        return self._ask(
            lambda socket, try_s, left_s: (
                socket,
                socket.subscribe(method, list(params), try_s if repeatable(method) else left_s),
            ),
            repeatable(method),
            timeout_s,
        )

    def greeting(self, timeout_s: float | None = None) -> Any:
        """What `greet` returned for the connection in use; one is opened if there is none."""
        return self._open(self._deadline_s(timeout_s))[1]

    def _deadline_s(self, timeout_s: float | None) -> float:
        return self._clock_s() + (self.timeout_s if timeout_s is None else timeout_s)

    def _ask(self, ask: Callable[[Socket, float, float], T], repeat: bool, timeout_s: float | None) -> T:
        deadline_s = self._deadline_s(timeout_s)
        share_s = (deadline_s - self._clock_s()) / _TRIES
        while True:
            socket, _ = self._open(deadline_s)
            left_s = max(0.01, deadline_s - self._clock_s())
            try:
                answer = ask(socket, min(left_s, share_s) if repeat else left_s, left_s)
            except ChainUnreachable as error:
                self._failed(socket, error)
                if not (repeat or isinstance(error, NotSent | Busy)):
                    raise Lost(error.what) from None
                if self._clock_s() >= deadline_s:
                    raise self._endpoints.error() from None
            else:
                self._endpoints.good(socket.url)
                return answer

    # --- connecting -------------------------------------------------------------------------------------

    def _open(self, deadline_s: float) -> tuple[Socket, Any]:
        """The connection and its greeting, opened if there is none: at the best endpoint whose time has come."""
        current = self._current
        if current is not None and current[0].open:
            return current
        if not self._opening.acquire(timeout=max(0.0, deadline_s - self._clock_s())):
            raise self._endpoints.error()
        try:
            while True:
                if self._closing.is_set():
                    raise ChainUnreachable("the connection to the chain was closed", "open another one")
                current = self._current
                if current is not None and current[0].open:
                    return current
                url, wait_s = self._endpoints.next(self._clock_s())
                left_s = deadline_s - self._clock_s()
                if self._endpoints.hopeless or wait_s >= left_s or left_s < _LEAST_S:
                    raise self._endpoints.error()
                if wait_s > 0:
                    self._sleep(wait_s)
                else:
                    self._try(url, left_s)
        finally:
            self._opening.release()

    def _try(self, url: str, left_s: float) -> None:
        began_s, hurried = self._clock_s(), left_s < _HURRIED_S
        try:
            socket = Socket(url, min(CHAIN_CONNECT_S, left_s), ended=self._closing)
        except ChainUnreachable as error:
            self._note(url, error, hurried)
            return
        self._greeted = socket
        try:
            left_s = max(0.01, left_s - (self._clock_s() - began_s))
            greeting = None if self._greet is None else self._greet(socket, min(CHAIN_CONNECT_S, left_s))
        except ChainError as error:
            socket.close()
            self._note(url, error, hurried)
            return
        except BaseException:
            socket.close()
            raise
        finally:
            self._greeted = None
        with self._state:
            old, self._current = self._current, (socket, greeting)
            self.connections += 1
            closing = self._closing.is_set()
        if old is not None:
            old[0].close()
        if closing:
            socket.close()

    def _failed(self, socket: Socket, error: ChainUnreachable) -> None:
        with self._state:
            mine = self._current is not None and self._current[0] is socket
            if mine:
                self._current = None
        # Of several threads whose requests failed with one connection, the first tells; before what waits on the
        # connection ends with it, and asks for the next one.
        if mine:
            self._note(socket.url, error)
            socket.close()

    def _note(self, url: str, error: ChainError, hurried: bool = False) -> None:
        with self._state:
            wait_s = self._endpoints.failed(url, error, self._clock_s(), hurried=hurried)
        log.info("%s; left alone for %.1f s", error.what, wait_s)

    def leave(self, why: str, url: str | None = None) -> None:
        """Drop the connection: its endpoint answers, and not as it should. The next one is to another, if there is one.

        url: only if the connection is to this one. What was subscribed over it ends, and can be begun again.
        """
        socket = self.socket
        if socket is not None and url in {None, socket.url}:
            self._failed(socket, ChainUnreachable(f"{socket.name}: {why}"))

    def close(self) -> None:
        """End the connection; everything that waits raises ChainUnreachable, who waits for a connection too."""
        self._closing.set()
        with self._state:
            current, self._current = self._current, None
        for socket in (self._greeted, None if current is None else current[0]):
            if socket is not None:
                socket.close()

    def reopen(self) -> None:
        """Let the next request open a connection again after `close`."""
        self._closing.clear()
