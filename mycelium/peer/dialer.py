"""Dials: once for a client, for ever for the accounts a node wants sessions with.

Owns the attempts under way and their backoff; the links belong to the hub. Backoff is exponential with full
jitter (a uniform draw below a doubling bound), so that nodes that lost a peer together do not return together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from picows import WSError, WSInvalidURL, WSUpgradeRequest, WSUpgradeResponse, ws_connect
from picows.url import parse_url

from mycelium.config import (
    DIAL_BACKOFF_MAX_MS,
    DIAL_BACKOFF_MIN_MS,
    DIAL_TIMEOUT_MS,
    DIALS_MAX,
    FRAME_BYTES_MAX,
    GREETING_BUFFER_BYTES,
    SUBPROTOCOL,
)
from mycelium.errors import LinkClosed, MyceliumError, ProtocolError, Silence, Unreachable, UsageError
from mycelium.peer.carrier import Carrier
from mycelium.peer.greeting import Greeting
from mycelium.peer.handshake import Initiator
from mycelium.peer.hub import NODE, Hub
from mycelium.peer.link import Link
from mycelium.peer.observer import Observer
from mycelium.peer.session import Session
from mycelium.peer.wire import PICOWS_LOG, Intake, Wire

log = logging.getLogger(__name__)

SUBPROTOCOL_HEADER: Final = "Sec-WebSocket-Protocol"
_BACKOFF_DOUBLINGS_MAX: Final = 16

Dial = Callable[..., Awaitable[Link]]
"""`dial_once`, or what stands for it."""


class Way(Protocol):
    """How a connection is made: over sockets, or through a simulated network."""

    def carrier(self, observer: Observer) -> Carrier:
        """A carrier that is connected to nothing yet."""

    async def connect(self, carrier: Carrier, url: str, timeout_s: float) -> None:
        """Connect it. Unreachable when nothing answers, or no node does; it is cancelled when the time is over."""


class _Attempt:
    """One connection from dialling to the session; `link` resolves to the Link or raises why there is none."""

    def __init__(self, hub: Hub, wire: Carrier, url: str, expected: bytes | None, as_client: bool) -> None:
        self._hub = hub
        self._url = url
        self._as_client = as_client
        self.link: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        local = hub.local
        self._initiator = Initiator(
            local.keypair,
            local.network,
            expected,
            local.generation,
            local.random,
            local.encodings,
            authorise=None if as_client else local.authorise,
        )
        self.wire = wire
        self.connected = False
        self.wire.owner = Greeting(
            self.wire,
            self._initiator,
            inbound=False,
            now_ns=local.now_ns,
            done=self._session_made,
            lost=self._session_failed,
        )

    def greet(self) -> None:
        self.connected = True
        self.wire.send(self._initiator.hello())

    def _session_made(self, session: Session, body: bytes) -> None:
        role = NODE if self._as_client else session.role
        try:
            link = self._hub.admit(self.wire, session, inbound=False, role=role, url=self._url, body=body)
        except Exception as error:  # of a handler; the wire deals with it, and the dialler is told
            failure = (
                error if isinstance(error, ProtocolError) else LinkClosed(f"{self._url}: internal error")
            )
            self._session_failed(failure)
            raise
        # Without a link the hub closed the wire and said why, through _session_failed.
        if link is not None and not self.link.done():
            self.link.set_result(link)

    def _session_failed(self, error: MyceliumError | None) -> None:
        if not self.link.done():
            self.link.set_exception(error or LinkClosed(f"{self._url}: closed before there was a session"))


async def dial_once(
    hub: Hub,
    url: str,
    expected: bytes | None = None,
    *,
    as_client: bool = True,
    timeout_ms: int = DIAL_TIMEOUT_MS,
    way: Way | None = None,
) -> Link:
    """Open one session through `hub` and return its link, which the other side has accepted.

    expected: the account to be found there, 32 bytes, or None for whoever answers. as_client: the link's
    role is `node`, there may be many, and the other side's membership is not asked for. way: None for sockets.
    Raises UsageError (no url), Unreachable (nobody answers, or no Mycelium node does), Silence, LinkClosed,
    Overloaded, or the ProtocolError by which either side refused: VersionRefused, WrongPeer, Unauthorised...
    """
    _check_url(url)
    way = way or Sockets()
    attempt = _Attempt(hub, way.carrier(hub.observer), url, expected, as_client)
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            await way.connect(attempt.wire, url, timeout_ms / 1000)
            attempt.greet()
            return await asyncio.shield(attempt.link)
    except TimeoutError:
        if not attempt.connected:
            raise Unreachable(f"{url}: no answer in {timeout_ms} ms") from None
        silence = Silence(f"{url}: no session in {timeout_ms} ms")
        attempt.wire.fail(silence)
        raise silence from None
    except MyceliumError:
        # A program may end its loop right after; the socket is closed by then.
        await attempt.wire.disconnected()
        raise
    finally:
        if not attempt.link.done():
            attempt.wire.abort()
        if attempt.link.done():
            attempt.link.exception()  # taken note of, also where another error is on its way out


def _check_url(url: str) -> None:
    try:
        parse_url(url)
    except (WSInvalidURL, ValueError) as error:
        raise UsageError(
            f"{url!r} is not the address of a node, as ws://127.0.0.1:9090 would be: {error}"
        ) from None


class Sockets:
    """WebSockets over TCP, as picows makes them."""

    def carrier(self, observer: Observer) -> Wire:
        return Wire(observer)

    async def connect(self, carrier: Carrier, url: str, timeout_s: float) -> None:
        assert isinstance(carrier, Wire)
        await _connect(carrier, url, timeout_s)
        Intake.install(carrier)


async def _connect(wire: Wire, url: str, timeout_s: float) -> None:
    def upgraded(request: WSUpgradeRequest, response: WSUpgradeResponse) -> Wire:
        """The other side agreed to speak WebSocket; picows takes the wire as its listener."""
        del request
        if response.headers.get(SUBPROTOCOL_HEADER) != SUBPROTOCOL:
            raise WSError(f"it does not speak the subprotocol {SUBPROTOCOL}")
        return wire

    try:
        await ws_connect(
            upgraded,
            url,
            # Cancelled while it waits for the upgrade, picows leaves the socket open; its own timer closes it.
            websocket_handshake_timeout=timeout_s + 0.1,
            logger_name=PICOWS_LOG,
            enable_auto_pong=False,
            max_frame_size=FRAME_BYTES_MAX,
            read_buffer_init_size=GREETING_BUFFER_BYTES,
            extra_headers={SUBPROTOCOL_HEADER: SUBPROTOCOL},
            max_redirects=0,
        )
    except WSError as error:
        raise Unreachable(f"{url}: something answers, but not a Mycelium node: {error}") from None
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"{url}: {_why(error)}") from None
    if wire.transport is None:
        raise Unreachable(f"{url}: the connection closed before it was a WebSocket")


def _why(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number is not None and number > 0:  # those of name resolution are negative, and say it in words
        return os.strerror(number).lower()
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


class Dialer:
    """Keeps one session with each wanted account, over whichever of its urls answers. New urls are tried at once.

    rng: the source of jitter. dial: what dials once. failures: account -> the last error, while it has no session,
    for people.
    """

    def __init__(
        self, hub: Hub, rng: random.Random, *, dials_max: int = DIALS_MAX, dial: Dial | None = None
    ) -> None:
        self.hub = hub
        self._dial = dial
        self.failures: dict[bytes, MyceliumError] = {}
        self._rng = rng
        self._slots = asyncio.Semaphore(dials_max)
        self._wanted: dict[bytes, tuple[str, ...]] = {}
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._news: dict[bytes, asyncio.Event] = {}

    def want(self, account: bytes, urls: Sequence[str]) -> None:
        """Keep a session with that account from now on. Called again, it replaces the urls.

        Raises UsageError for our own account: a node does not dial itself.
        """
        if account == self.hub.local.account:
            raise UsageError("a node does not dial itself")
        if not urls:
            self.forget(account)
            return
        news = self._wanted.get(account) != tuple(urls)
        self._wanted[account] = tuple(urls)
        if news and account in self._news:
            self._news[account].set()
        if account not in self._tasks:
            self._news[account] = asyncio.Event()
            self._tasks[account] = asyncio.get_running_loop().create_task(
                self._keep(account), name=f"dial {account.hex()[:16]}"
            )

    def forget(self, account: bytes) -> None:
        """Dial that account no more. A session that exists stays."""
        self._wanted.pop(account, None)
        self._news.pop(account, None)
        self.failures.pop(account, None)
        task = self._tasks.pop(account, None)
        if task is not None:
            task.cancel()

    def wanted(self) -> dict[bytes, tuple[str, ...]]:
        return dict(self._wanted)

    async def close(self) -> None:
        """Stop dialling; links stay with the hub."""
        tasks = list(self._tasks.values())
        self._wanted.clear()
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def backoff_ms(self, failures: int) -> float:
        """How long to wait after so many failures in a row: uniform below a bound that doubles."""
        bound = DIAL_BACKOFF_MIN_MS << min(failures - 1, _BACKOFF_DOUBLINGS_MAX)
        return self._rng.uniform(0, min(bound, DIAL_BACKOFF_MAX_MS))

    async def _keep(self, account: bytes) -> None:
        failures = 0
        news = self._news[account]
        while True:
            link = self.hub.link_of(account)
            if link is None:
                link = await self._try(account, failures)
            if link is not None:
                await asyncio.shield(link.closed)
                lived_ms = (self.hub.clock_ns() - link.opened_ns) / 1e6
                # A session that ends at once was no success: someone accepts and then throws us out.
                failures = 0 if lived_ms > DIAL_BACKOFF_MAX_MS else failures
            failures += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.backoff_ms(failures) / 1000):
                    await news.wait()
                    failures = 0  # other urls: the first of them at once
            news.clear()

    async def _try(self, account: bytes, failures: int) -> Link | None:
        urls = self._wanted[account]
        url = urls[failures % len(urls)]
        async with self._slots:
            present = self.hub.link_of(account)  # it may have dialled us while this one waited its turn
            if present is not None:
                return present
            try:
                link = await (self._dial or dial_once)(self.hub, url, account, as_client=False)
            except MyceliumError as error:
                if self.hub.link_of(account) is None:
                    self.failures[account] = error
                    log.info("no session with %s: %s", url, error)
                return None
            except Exception as error:
                log.exception("dialling %s failed", url)
                self.failures[account] = Unreachable(f"{url}: internal error: {error}")
                return None
        self.failures.pop(account, None)
        return link
