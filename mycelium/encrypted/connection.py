"""An encrypted connection with a miner, by the protocol that both have: the node's session, or Fiber's keys over HTTP.

Owns how each is used, kept and renewed, behind one interface; `mycelium.validator.handshake.connect` chooses and makes
one. Errors of requests are httpx's; those of a handshake are Mycelium's.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import httpx
from cryptography.fernet import Fernet

from mycelium.config import CALL_BYTES_MAX, HTTP_KEY_TTL_S
from mycelium.encrypted.validator import handshake, requests
from mycelium.errors import UsageError
from mycelium.http import client, gate, sealing
from mycelium.http.session.sessions import NotSent, Session, Sessions
from mycelium.peer.cipher import AES_256_GCM

SESSION: Final = "session"
FIBER: Final = "fiber"
PROTOCOLS: Final = (SESSION, FIBER)
"""Best first."""
_FERNET: Final = "Fernet (AES-128-CBC, HMAC-SHA256)"
_CIPHERS: Final = {True: "AES-256-GCM", False: "ChaCha20-Poly1305"}
_RENEW_S: Final = HTTP_KEY_TTL_S * 0.9
"""A symmetric key is replaced before the miner forgets it."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """What a handshake settled.

    protocol: SESSION or FIBER. version: of a session's protocol; 0 for Fiber's, which has no number. miner_proved: the
    miner has proved its hotkey. answers_sealed: answers are encrypted, and nothing else is taken. forward_secret: a key
    that is stolen later opens nothing of before.
    """

    protocol: str
    version: int
    cipher: str
    miner_proved: bool
    answers_sealed: bool
    forward_secret: bool

    def __str__(self) -> str:
        name = f"{self.protocol}/{self.version}" if self.version else self.protocol
        said = [name, self.cipher]
        said.append("miner proved" if self.miner_proved else "miner not proved")
        said.append("answers sealed" if self.answers_sealed else "answers in plain text")
        return ", ".join([*said, *(["forward secret"] if self.forward_secret else [])])


class SecureConnection(ABC):
    """Requests to one miner, encrypted. agreed: how. address: http://host:port. validator, miner: SS58.

    Requests take paths ("/ask") and seconds, raise what httpx raises, and may be made at once, as many as one likes.
    What the connection rests on is renewed by itself: a lost session, a key whose time is over.
    """

    def __init__(self, agreed: Agreed, address: str, validator: str, miner: str) -> None:
        self.agreed = agreed
        self.address = address
        self.validator = validator
        self.miner = miner

    @abstractmethod
    async def get(self, endpoint: str, timeout: float = 10) -> httpx.Response:
        """A GET."""

    @abstractmethod
    async def post(self, endpoint: str, payload: Mapping[str, Any], timeout: float = 10) -> httpx.Response:
        """A POST of a payload that has JSON."""

    @abstractmethod
    def lines(self, endpoint: str, payload: Mapping[str, Any], timeout: float = 10) -> AsyncIterator[str]:
        """A POST whose answer comes in lines. httpx.HTTPStatusError for a status but 2xx."""

    @abstractmethod
    async def aclose(self) -> None:
        """Use it no more. The httpx client stays open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address} {self.miner}: {self.agreed}>"


class SessionConnection(SecureConnection):
    """Over the node's session. sessions: that it is one of. owned: they are nobody else's."""

    def __init__(
        self, sessions: Sessions, session: Session, validator: str, miner: str, keypair: Any, *, owned: bool
    ) -> None:
        suite = session.link.session.suite
        agreed = Agreed(
            SESSION, session.link.session.version, _CIPHERS[suite == AES_256_GCM], True, True, True
        )
        super().__init__(agreed, session.address, validator, miner)
        self._sessions = sessions
        self._keypair = keypair
        self._owned = owned

    async def get(self, endpoint: str, timeout: float = 10) -> httpx.Response:
        return await self._ask("GET", endpoint, b"", timeout)

    async def post(self, endpoint: str, payload: Mapping[str, Any], timeout: float = 10) -> httpx.Response:
        return await self._ask("POST", endpoint, client.plain_body(payload), timeout)

    async def _ask(self, method: str, endpoint: str, body: bytes, timeout_s: float) -> httpx.Response:
        _check_size(body)
        session = await self._session()
        with contextlib.suppress(NotSent):
            return await session.ask(method, endpoint, body, timeout_s)
        # It ended between two steps, or the miner had no room: nothing was done, so once more is not twice.
        session = await self._session()
        try:
            return await session.ask(method, endpoint, body, timeout_s)
        except NotSent as error:
            raise _not_taken(error, method, self.address + endpoint) from None

    async def lines(
        self, endpoint: str, payload: Mapping[str, Any], timeout: float = 10
    ) -> AsyncIterator[str]:
        body = client.plain_body(payload)
        _check_size(body)
        session = await self._session()
        try:
            async with session.stream("POST", endpoint, body, timeout) as response:
                await client.check_status(response)
                async for line in response.aiter_lines():
                    yield line
        except NotSent as error:
            raise _not_taken(error, "POST", self.address + endpoint) from None

    async def _session(self) -> Session:
        return await self._sessions.open(self.address, self.validator, self.miner, self._keypair)

    async def aclose(self) -> None:
        if self._owned:
            await self._sessions.aclose()


class FiberConnection(SecureConnection):
    """With a symmetric key, each request one of HTTP, as Fiber's encrypted miners take them.

    secret: the key and its uuid, as `perform_handshake` gives them.
    """

    def __init__(
        self, httpx_client: httpx.AsyncClient, address: str, keypair: Any, miner: str, secret: tuple[str, str]
    ) -> None:
        proved = secret[1] in sealing.SEALING
        super().__init__(
            Agreed(FIBER, 0, _FERNET, miner_proved=proved, answers_sealed=proved, forward_secret=False),
            address,
            client.address_text(keypair),
            miner,
        )
        self._client = httpx_client
        self._parties = client.Parties(address, self.validator, miner, keypair)
        self._use(secret)

    def _use(self, secret: tuple[str, str]) -> None:
        self._fernet, self._uuid = Fernet(secret[0]), secret[1]
        self._made_s = time.monotonic()

    async def get(self, endpoint: str, timeout: float = 10) -> httpx.Response:
        """A GET. Its answer is in plain text: what has no body is signed and nothing more."""
        request = requests.request_of(self._parties, endpoint, None, None, self._uuid)
        return await client.ask(self._client, self._parties, request, timeout, over_session=False)

    async def post(self, endpoint: str, payload: Mapping[str, Any], timeout: float = 10) -> httpx.Response:
        request = await self._request(endpoint, payload)
        answer = await client.ask(self._client, self._parties, request, timeout, over_session=False)
        if answer.status_code == 400 and gate.KEY_UNKNOWN in answer.text:
            # The miner began anew without its keys. It refused before it did anything.
            await self._renew()
            request = await self._request(endpoint, payload)
            answer = await client.ask(self._client, self._parties, request, timeout, over_session=False)
        return answer

    async def lines(
        self, endpoint: str, payload: Mapping[str, Any], timeout: float = 10
    ) -> AsyncIterator[str]:
        request = await self._request(endpoint, payload)
        found = client.stream(self._client, self._parties, request, timeout, over_session=False)
        async for line in found:
            yield line

    async def _request(self, endpoint: str, payload: Mapping[str, Any]) -> client.Request:
        if time.monotonic() - self._made_s > _RENEW_S:
            await self._renew()
        body = client.nonced_body(payload)
        return requests.request_of(self._parties, endpoint, body, self._fernet, self._uuid)

    async def _renew(self) -> None:
        """A new key, of no less than was agreed."""
        secret = await handshake.perform_handshake(
            self._client,
            self.address,
            self._parties.keypair,
            self.miner,
            signed_only=self.agreed.miner_proved or None,
        )
        self._use(secret)

    async def aclose(self) -> None:
        """Nothing is held but the key."""


def _check_size(body: bytes) -> None:
    if len(body) > CALL_BYTES_MAX:
        raise UsageError(
            f"a request of {len(body)} bytes: a session takes {CALL_BYTES_MAX}; "
            "connect with protocols=(FIBER,) for larger ones"
        )


def _not_taken(error: NotSent, method: str, url: str) -> httpx.ConnectError:
    return httpx.ConnectError(f"the miner takes no call now: {error}", request=httpx.Request(method, url))
