"""What `peer.server` is over sockets: lets strangers in as far as the handshake allows, with the real admission."""

from __future__ import annotations

import asyncio

from mycelium.config import HANDSHAKE_TIMEOUT_MS
from mycelium.errors import AddressInUse, MyceliumError, Silence
from mycelium.peer.admission import Admission, address_group
from mycelium.peer.greeting import Greeting
from mycelium.peer.hub import Hub
from mycelium.peer.session import Session
from mycelium.sim.carrier import SimCarrier
from mycelium.sim.network import Host


class SimListener:
    """One port of a host. Implements `node.surroundings.Listener`."""

    def __init__(self, host: Host, hub: Hub, port: int) -> None:
        self._host = host
        self.hub = hub
        self.port = port
        self.admission = Admission(hub.local, hub.observer, host.network.loop.now_ns, hub.addresses)

    async def start(self) -> None:
        """AddressInUse when the host has a listener there."""
        if self.port in self._host.listeners:
            raise AddressInUse(f"cannot listen on {self._host.name}:{self.port}: somebody does")
        self._host.listeners[self.port] = self

    def drain(self) -> None:
        """Take nobody in any more; who is in a handshake may finish it."""
        if self._host.listeners.get(self.port) is self:
            del self._host.listeners[self.port]

    async def close(self) -> None:
        """Take nobody in any more, and drop who is no session yet."""
        self.drain()
        for stranger in self.admission.strangers():
            stranger.drop()

    def accept(self, dialled_by: SimCarrier) -> None:
        """A connection of another host has arrived here."""
        carrier = SimCarrier(self.hub.observer, self._host, inbound=True)
        carrier.join(dialled_by, self.port)
        arrival = _Arrival(self, carrier, address_group(dialled_by.host.name))
        if not self.admission.arrive(arrival):
            carrier.abort()
            return
        arrival.begin()


class _Arrival:
    """A connection until it has a session, with one time limit for all of it."""

    def __init__(self, listener: SimListener, carrier: SimCarrier, address: str) -> None:
        self.address = address
        self._listener = listener
        self._carrier = carrier
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        hub = self._listener.hub
        self._carrier.owner = Greeting(
            self._carrier,
            self._listener.admission.responder(self.address),
            inbound=True,
            now_ns=hub.local.now_ns,
            done=self._session_made,
            lost=self._session_failed,
        )
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_TIMEOUT_MS / 1000, self._expired)

    def drop(self) -> None:
        """End the connection at once, to make room."""
        self._release()
        self._carrier.abort()

    def _release(self) -> None:
        self._listener.admission.leave(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expired(self) -> None:
        self._timer = None
        self._carrier.fail(Silence(f"no session within {HANDSHAKE_TIMEOUT_MS} ms"))

    def _session_made(self, session: Session, body: bytes) -> None:
        del body
        self._release()
        self._listener.hub.admit(self._carrier, session, inbound=True, role=session.role)

    def _session_failed(self, error: MyceliumError | None) -> None:
        del error
        self._release()
