"""A validator's sessions with the miners that offered one, for one httpx client. Calls are made over them.

Owns dialling, in the background and never twice at once, and what a failed attempt means for the next. A call that was
not sent is its caller's to send by HTTP; one that was sent is not sent again. Errors are httpx's, as programs expect.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast
from urllib.parse import urlsplit

import httpx

from mycelium._core import codec
from mycelium.config import (
    CALL_BYTES_MAX,
    SESSION_ANSWER_BYTES_MAX,
    SESSION_DIAL_MS,
    SESSION_RETRY_MAX_S,
    SESSION_RETRY_MIN_S,
    SUBPROTOCOL,
)
from mycelium.errors import (
    CallFailed,
    CallTimeout,
    LinkClosed,
    MyceliumError,
    Overloaded,
    Unreachable,
    UsageError,
)
from mycelium.http.session.answer import SessionResponse
from mycelium.http.session.identity import signer_of
from mycelium.http.session.message import JSON_HEADERS, PROBE, STREAM, TARGET_CHARS_MAX, split
from mycelium.identity import account as accounts
from mycelium.peer.caller import Caller
from mycelium.peer.dialer import dial_once
from mycelium.peer.greeting import Local
from mycelium.peer.hub import Hub
from mycelium.peer.link import Link
from mycelium.peer.network import ANY_NETWORK
from mycelium.protocol.messages import MessageType

log = logging.getLogger(__name__)

PATH: Final = "/mycelium/session"
_ANSWERS: Final = frozenset({MessageType.RESPONSE, MessageType.STREAM})
_NOT_BEGUN: Final = frozenset({"Overloaded", "UsageError", "Unauthorised"})
"""Failures by which a server says that it has not begun with a call."""


class NotSent(MyceliumError):
    """The call did not reach the miner's program: by HTTP it may."""


class Session:
    """One session with a miner, whose hotkey the handshake proved. address: http://host:port."""

    def __init__(self, link: Link, caller: Caller, address: str) -> None:
        self.link = link
        self.address = address
        self._caller = caller
        self._probe: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether calls can be made. Not while the miner is asked whether it is still there."""
        return self._probe is None and not self.link.closed.done()

    @property
    def ended(self) -> bool:
        """For good."""
        return self.link.closed.done()

    async def ask(self, method: str, target: str, body: bytes, timeout_s: float | None) -> httpx.Response:
        """A request and its whole answer. NotSent, and what httpx raises."""
        self._check(target, body)
        began_s = time.perf_counter()
        text = f"{method} {target}"
        try:
            answer = await self._caller.call(text, body, timeout_s or _FOREVER_S, SESSION_ANSWER_BYTES_MAX)
            status, headers, content = split(answer)
        except MyceliumError as error:
            raise self._told(error, method, target, began_s) from None
        if headers is not JSON_HEADERS and any(name == b"content-encoding" for name, _ in headers):
            request = httpx.Request(method, self.address + target)
            return httpx.Response(status, headers=list(headers), content=content, request=request)
        took_s = time.perf_counter() - began_s
        return SessionResponse(status, headers, content, method, self.address + target, took_s)

    @asynccontextmanager
    async def stream(
        self, method: str, target: str, body: bytes, timeout_s: float | None
    ) -> AsyncIterator[httpx.Response]:
        """A request and its answer as it comes. timeout_s: for each part. NotSent, and what httpx raises."""
        self._check(target, body)
        request = httpx.Request(method, self.address + target)
        items = self._items(method, target, body, timeout_s)
        async with contextlib.aclosing(items):
            status, headers, first = split(await anext(items, b""))
            yield httpx.Response(status, headers=list(headers), stream=_Items(first, items), request=request)

    async def _items(
        self, method: str, target: str, body: bytes, timeout_s: float | None
    ) -> AsyncGenerator[bytes, None]:
        began_s = time.perf_counter()
        stream = cast("AsyncGenerator[bytes, None]", self._caller.stream(f"{STREAM}{method} {target}", body))
        begun = False
        try:
            async with contextlib.aclosing(stream):
                while True:
                    try:
                        async with asyncio.timeout(timeout_s):
                            item = await anext(stream, None)
                    except TimeoutError:
                        raise CallTimeout(f"nothing came for {timeout_s} s") from None
                    if item is None:
                        return
                    yield item
                    begun = True
        except MyceliumError as error:
            raise self._told(error, method, target, began_s, begun=begun) from None

    def _check(self, target: str, body: bytes) -> None:
        if self._probe is not None or self.link.closed.done():
            raise NotSent("the session has ended")
        if len(body) > CALL_BYTES_MAX or len(target) > TARGET_CHARS_MAX or not target.isascii():
            raise NotSent("too large for a call")

    def _told(
        self, error: MyceliumError, method: str, target: str, began_s: float, *, begun: bool = False
    ) -> Exception:
        request = httpx.Request(method, self.address + target)
        if isinstance(error, CallFailed) and error.kind in _NOT_BEGUN and not begun:
            return NotSent(str(error))
        if isinstance(error, Overloaded | UsageError):
            return NotSent(str(error))
        if isinstance(error, CallTimeout):
            silent_s = (time.monotonic_ns() - self.link.last_received_ns) / 1e9
            if silent_s > time.perf_counter() - began_s and self.alive:
                # Not only this call was without an answer: the miner may be gone without a word.
                self._probe = asyncio.get_running_loop().create_task(self._ask_for_life())
            return httpx.ReadTimeout(str(error), request=request)
        if isinstance(error, LinkClosed):
            return httpx.RemoteProtocolError(f"the session ended: {error}", request=request)
        return httpx.RemoteProtocolError(str(error), request=request)

    async def _ask_for_life(self) -> None:
        try:
            # There is no such method, and that is an answer.
            await self._caller.call(PROBE, b"", SESSION_DIAL_MS / 1000)
        except CallFailed:
            log.debug("%s is slow, and there", self.address)
        except MyceliumError as error:
            self.link.close(text="no answer")
            log.info("the session with %s is given up: %s", self.address, error)
        finally:
            self._probe = None

    async def aclose(self) -> None:
        """Ask no more."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)


_FOREVER_S: Final = 365 * 86_400.0


class _Items(httpx.AsyncByteStream):
    """The body of a streamed answer."""

    def __init__(self, first: bytes, items: AsyncIterator[bytes]) -> None:
        self._first = first
        self._items = items

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._first:
            yield self._first
        async for item in self._items:
            yield item


class _Place:
    """What is known of one miner at one address."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.dialling: asyncio.Task[None] | None = None
        self.failures = 0
        self.retry_s = 0.0


Key = tuple[str, str, str]
"""Address, validator and miner."""


class Sessions:
    """The sessions of one httpx client, on one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._places: dict[Key, _Place] = {}
        self._hubs: dict[bytes, _Dialled] = {}
        self._closed = False

    def find(self, address: str, validator: str, miner: str) -> Session | None:
        """The session with a miner at an address, if there is one now."""
        place = self._places.get((address, validator, miner))
        session = None if place is None else place.session
        if session is None:
            return None
        if session.link.closed.done() or self._loop is not asyncio.get_running_loop():
            assert place is not None, "its session is in it"
            place.session = None
            return None
        return session if session.alive else None

    def offered(self, address: str, validator: str, miner: str, keypair: Any, version: str) -> None:
        """The miner at this address says that it takes sessions: open one, in the background."""
        key = address, validator, miner
        place = self._places.setdefault(key, _Place())
        if (
            self._closed
            or version != SUBPROTOCOL
            or place.session is not None
            or place.dialling is not None
            or time.monotonic() < place.retry_s
            or self._loop is not asyncio.get_running_loop()
        ):
            return
        place.dialling = self._loop.create_task(self._dial(place, key, keypair))

    async def open(
        self,
        address: str,
        validator: str,
        miner: str,
        keypair: Any,
        timeout_s: float = SESSION_DIAL_MS / 1000,
    ) -> Session:
        """A session with the miner at an address, now. Raises what `peer.dialer.dial_once` raises, UsageError for a
        keypair that is another's."""
        found = self.find(address, validator, miner)
        if found is not None:
            return found
        session = await self._connect(address, validator, miner, keypair, timeout_s)
        self._places.setdefault((address, validator, miner), _Place()).session = session
        return session

    async def _dial(self, place: _Place, key: Key, keypair: Any) -> None:
        address, validator, miner = key
        try:
            place.session = await self._connect(address, validator, miner, keypair, SESSION_DIAL_MS / 1000)
            place.failures = 0
        except MyceliumError as error:
            log.info("no session with %s, requests go by HTTP: %s", address, error)
            pause_s = min(SESSION_RETRY_MIN_S * 2**place.failures, SESSION_RETRY_MAX_S)
            place.failures += 1
            place.retry_s = time.monotonic() + pause_s
        finally:
            place.dialling = None

    async def _connect(
        self, address: str, validator: str, miner: str, keypair: Any, timeout_s: float
    ) -> Session:
        signer = signer_of(keypair)
        if signer.account != accounts.parse(validator):
            raise UsageError(f"the keypair is not that of {validator}")
        dialled = self._hubs.get(signer.account)
        if dialled is None:
            dialled = self._hubs[signer.account] = _Dialled(Local(signer, ANY_NETWORK, 0, _nobody))
        parts = urlsplit(address)
        if parts.scheme != "http":
            raise Unreachable(f"a session is dialled at an http:// address, not {address}")
        url = f"ws://{parts.netloc}{parts.path.rstrip('/')}{PATH}"
        link = await dial_once(dialled.hub, url, accounts.parse(miner), timeout_ms=int(timeout_s * 1000))
        caller = dialled.callers[link.id] = Caller(link)
        link.closed.add_done_callback(lambda _: dialled.callers.pop(link.id))
        return Session(link, caller, address)

    async def aclose(self) -> None:
        """End them all."""
        self._closed = True
        if self._loop is not asyncio.get_running_loop():
            return  # the loop that they lived on has taken them with it
        tasks = [place.dialling for place in self._places.values() if place.dialling is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for place in self._places.values():
            if place.session is not None:
                await place.session.aclose()
        for dialled in self._hubs.values():
            await dialled.hub.close()


class _Dialled:
    """The sessions of one account, and who calls over each."""

    def __init__(self, local: Local) -> None:
        self.hub = Hub(local, self._receive)
        self.callers: dict[int, Caller] = {}

    def _receive(self, link: Link, message: codec.Message, size_bytes: int) -> None:
        del size_bytes
        caller = self.callers.get(link.id)
        if caller is not None and message.type in _ANSWERS:
            caller.receive(message)


def _nobody(account: bytes) -> None:
    """A validator takes no sessions."""
    del account
