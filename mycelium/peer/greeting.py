"""Drives one handshake over one wire, from the open WebSocket to the session. Owns no timer: the caller does.

The machines are sans-IO (`handshake.Initiator`, `handshake.Responder`). The dialler's side waits for one
thing more: the first sealed frame, by which the other side says that it accepted us. Until then nobody is
told of a session.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from mycelium.errors import MyceliumError, ProtocolError
from mycelium.identity.signing import Signer
from mycelium.peer.carrier import Carrier
from mycelium.peer.network import Network
from mycelium.peer.session import Session

Authorise = Callable[[bytes], str | None]
"""The role of an account, or None for a stranger."""

CONFIRMATION: Final = b""
"""The body of the first frame a responder seals: no message."""


@dataclass(frozen=True, slots=True)
class Local:
    """Who we are on every link: the key, the network, the generation of our database (u64, 0 for a client)."""

    keypair: Signer
    network: Network
    generation: int
    authorise: Authorise
    encodings: Sequence[int] = (2, 1)
    random: Callable[[int], bytes] = os.urandom
    now_ns: Callable[[], int] = time.time_ns
    machine_ns: Callable[[], int] = time.time_ns
    """What the machine's clock says, whatever this node thinks of it."""

    @property
    def account(self) -> bytes:
        return self.keypair.account


class Machine(Protocol):
    """What Initiator and Responder have in common."""

    @property
    def session(self) -> Session | None: ...

    def receive(self, data: bytes, now_ns: int) -> bytes | None: ...


class Greeting:
    """Owner of a wire until there is a session.

    done: called once with the session, and with the body of the first frame on the dialler's side.
    lost: called once instead, with the error that ended the attempt (None: the other side said goodbye).
    """

    def __init__(
        self,
        wire: Carrier,
        machine: Machine,
        *,
        inbound: bool,
        now_ns: Callable[[], int],
        done: Callable[[Session, bytes], None],
        lost: Callable[[MyceliumError | None], None],
    ) -> None:
        self._wire = wire
        self._machine = machine
        self._inbound = inbound
        self._now_ns = now_ns
        self._done = done
        self._lost = lost
        self._settled = False
        self.ended_by_peer = False

    def frame_received(self, data: bytes) -> None:
        session = self._machine.session
        if session is not None:
            body = session.open(data)
            for frame in session.take_control():
                self._wire.send(frame)
            if body is not None:
                self._finish(session, body)
            return
        try:
            reply = self._machine.receive(data, self._now_ns())
        except ProtocolError:
            refusal = getattr(self._machine, "refusal", None)
            if refusal:
                self._wire.send(refusal)
            raise
        if reply is not None:
            self._wire.send(reply)
        session = self._machine.session
        if session is None:
            return
        self._wire.open_session()
        if self._inbound:
            self._settle(ok=True)
            self._done(session, CONFIRMATION)

    def _finish(self, session: Session, body: bytes) -> None:
        self._settle(ok=True)
        self._done(session, body)

    def _settle(self, ok: bool) -> None:
        if not self._settled:
            self._settled = True
            self._wire.observer.handshake(ok=ok, inbound=self._inbound)

    def writable(self) -> None:
        """Nothing waits to be written before there is a session."""

    def wire_closed(self, error: MyceliumError | None, by_peer: bool) -> None:
        self.ended_by_peer = by_peer
        self._settle(ok=False)
        self._lost(error)
