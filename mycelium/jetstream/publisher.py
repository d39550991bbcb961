"""Publishing into streams without waiting for each acknowledgement: what is published has a number, and is told by it.

One inbox takes all acknowledgements of a session; the number is the last part of its subject, so that nothing is looked
up and nothing is remembered here. How much may be under way is its caller's to bound, and so is how long it waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from mycelium.errors import BrokerError, BrokerUnreachable, StreamGone
from mycelium.jetstream.client import Session, broker_errors, library_errors, refused, translated

_STATUS: Final = "Status"
_NOBODY: Final = "503"


class Ack(msgspec.Struct, frozen=True):
    """JetStream's answer. seq: of the message in its stream. duplicate: the server had it before."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False


class _Error(msgspec.Struct, frozen=True):
    code: int | None = None
    err_code: int | None = None
    description: str | None = None


class _Answer(Ack, frozen=True):
    error: _Error | None = None


Acked = Callable[[int, Ack | BrokerError], None]
_DECODER: Final = msgspec.json.Decoder(_Answer)


class Publisher:
    """Of one session. acked: called with the number of a message, and what its stream says; in no certain order."""

    def __init__(self, session: Session, acked: Acked) -> None:
        self._session = session
        self._nc = session.nc
        self._acked = acked
        self._errors = library_errors()
        self._prefix = ""
        self._subscription: Any = None

    async def open(self) -> None:
        """Listen for acknowledgements. BrokerError."""
        self._prefix = f"{self._nc.new_inbox()}."
        with broker_errors("acknowledgements"):
            self._subscription = await self._nc.subscribe(f"{self._prefix}*", cb=self._take)

    async def close(self) -> None:
        """Listen no more."""
        if self._subscription is not None and self._session.alive:
            with broker_errors("acknowledgements"):
                await self._subscription.unsubscribe()

    async def send(self, number: int, subject: str, body: bytes, headers: dict[str, str]) -> None:
        """Hand a message to the connection. Waits only while its buffer is full. BrokerUnreachable."""
        try:
            await self._nc.publish(subject, body, f"{self._prefix}{number}", headers)
        except self._errors as error:
            raise translated(subject, error) from None

    async def _take(self, message: Any) -> None:
        number = int(message.subject[len(self._prefix) :])
        headers = message.headers
        if headers and headers.get(_STATUS) == _NOBODY:
            self._acked(number, StreamGone("no stream takes what is published"))
            return
        try:
            answer = _DECODER.decode(message.data)
        except (msgspec.DecodeError, ValueError):
            self._acked(number, BrokerUnreachable("an acknowledgement that does not parse"))
            return
        error = answer.error
        if error is None:
            self._acked(number, answer)
        else:
            what = answer.stream or "publishing"
            self._acked(number, refused(what, error.code, error.err_code, error.description))
