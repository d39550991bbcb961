"""One end of a simulated connection, behind `peer.carrier.Carrier` as a WebSocket is. Ends the ways those end."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

from mycelium.config import CLOSE_LINGER_MS
from mycelium.errors import MalformedMessage, MyceliumError, OversizedMessage, ProtocolError, Unreachable
from mycelium.peer.carrier import Carrier
from mycelium.peer.closing import ABNORMAL, INTERNAL, NORMAL, error_of
from mycelium.peer.observer import Observer
from mycelium.sim.loop import SECOND_NS
from mycelium.sim.network import Flow, Frame, Host, Network

log = logging.getLogger(__name__)

DATA: Final = 0
CLOSE: Final = 1
RESET: Final = 2


class SimCarrier(Carrier):
    """host: whose end this is. Connected by `join`; before that, and after the end, what is sent goes nowhere."""

    def __init__(self, observer: Observer, host: Host, *, inbound: bool = False) -> None:
        super().__init__(observer)
        self.host = host
        self.resuming = False
        self._flow: Flow | None = None
        self._inbound = inbound
        self._in_bytes = 0
        self._out_bytes = 0
        self._unread: deque[tuple[Flow, Frame]] = deque()
        self._hold_until_ns = 0
        self._gone = asyncio.Event()
        self._linger: asyncio.TimerHandle | None = None

    def join(self, other: SimCarrier, port: int) -> None:
        """Make a connection of two ends; `self` was dialled at `port`."""
        network = self.host.network
        self._flow, other._flow = Flow(network, self, other), Flow(network, other, self)
        self.remote, other.remote = f"{other.host.name}:0", f"{self.host.name}:{port}"
        self.host.carriers[self] = other.host.carriers[other] = None

    @property
    def buffered_bytes(self) -> int:
        """What was sent and not read by the other side yet."""
        return self._flow.buffered_bytes if self._flow is not None else 0

    # --- towards the peer -------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        if self.closing or self._flow is None:
            return
        self.observer.bytes_out(len(data))
        if self._inbound and self.greeting:
            self._out_bytes += len(data)
            if self._out_bytes > self._in_bytes:
                self.host.network.amplified.append(
                    f"{self.host.name} answered a stranger with more than it sent"
                )
        self._flow.send(DATA, data)

    def send_anyway(self, data: bytes) -> None:
        """A frame of a hostile program, which asks nobody."""
        if self._flow is not None:
            self._flow.send(DATA, data)

    def _say_goodbye(self, code: int, text: str) -> None:
        if self._flow is not None:
            self._flow.send(CLOSE, b"", code, text)
            self._disconnect_later()

    def _disconnect_later(self) -> None:
        self._linger = asyncio.get_running_loop().call_later(CLOSE_LINGER_MS / 1000, self._disconnect)

    def _disconnect(self) -> None:
        self._leave(tell=True)

    def hold(self, delay_s: float) -> None:
        loop = self.host.network.loop
        until_ns = loop.now_ns() + round(delay_s * SECOND_NS)
        if until_ns > self._hold_until_ns:
            self._hold_until_ns = until_ns
            loop.at_ns(until_ns, self.read_on, context=self.host.context)

    def abort(self) -> None:
        self.closing = True
        self._leave(tell=True)
        self._end(None, by_peer=False)

    async def disconnected(self) -> None:
        if self._flow is not None:
            await self._gone.wait()

    def vanish(self, *, tell: bool) -> None:
        """The program that held this end is no more. tell: its system resets the connection."""
        self.closing = True
        self.owner = None
        self._ended = True
        self._leave(tell=tell)

    def broken(self) -> None:
        """The system gave the connection up."""
        if not self._gone.is_set():
            self.host.network.loop.call_soon(self._lost, context=self.host.context)

    # --- from the network -------------------------------------------------------------------------------

    def arrived(self, flow: Flow, frame: Frame) -> None:
        """A frame came. The end that is gone answers with a reset, as a system does."""
        if self._gone.is_set():
            if frame.kind == DATA:
                self._reset(flow.sender)
        elif frame.kind == RESET:
            self._lost()
        elif self._unread or self._waits:
            self._unread.append((flow, frame))
        else:
            self._take(flow, frame)

    @property
    def _waits(self) -> bool:
        return self.host.stalled or self.host.network.loop.now_ns() < self._hold_until_ns

    def read_on(self) -> None:
        """The program reads again."""
        while self._unread and not self._waits:
            self._take(*self._unread.popleft())

    def resume(self) -> None:
        """There is room in the buffer again."""
        self.resuming = False
        if self._flow is None or self._gone.is_set():
            return
        self.paused = False
        if self.owner is not None:
            self.owner.writable()

    def _take(self, flow: Flow, frame: Frame) -> None:
        flow.read(frame)
        if frame.kind == CLOSE:
            self._peer_closed(frame)
            return
        self.observer.bytes_in(len(frame.data))
        self._in_bytes += len(frame.data)
        if self.closing:
            return
        try:
            if len(frame.data) > self._size_max:
                raise OversizedMessage(f"a frame of {len(frame.data)} bytes, at most {self._size_max} here")
            if self.owner is None:
                raise MalformedMessage("nobody expected this frame")
            self.owner.frame_received(frame.data)
        except ProtocolError as error:
            self.fail(error)
        except Exception:
            log.exception("a handler failed on a message of %s", self.remote)
            self.host.network.counts["internal"] += 1
            self.observer.rejected("internal")
            self.close(INTERNAL, "internal error")

    def _peer_closed(self, frame: Frame) -> None:
        if not self.closing:
            self.closing = True
            error = error_of(frame.code, frame.text, self.remote)
            if self._flow is not None:
                self._flow.send(CLOSE, b"", NORMAL)
            self._leave(tell=False)
            self._end(error, by_peer=True)
        else:
            self._leave(tell=False)

    def _lost(self) -> None:
        self._leave(tell=False)
        if not self.closing:
            self.closing = True
            self._end(error_of(ABNORMAL, "", self.remote), by_peer=True)

    def _end(self, error: MyceliumError | None, by_peer: bool) -> None:
        self._unread.clear()
        super()._end(error, by_peer)

    # --- the end ----------------------------------------------------------------------------------------

    def _leave(self, *, tell: bool) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._flow is None or self._gone.is_set():
            return
        self._gone.set()
        self.host.carriers.pop(self, None)
        if tell:
            self._flow.drop()
            self._reset(self._flow.receiver)

    def _reset(self, other: SimCarrier) -> None:
        network = self.host.network
        flow = self._flow
        if flow is not None:
            loop = network.loop
            frame = Frame(RESET, b"", 0)
            loop.at_ns(loop.now_ns() + flow.base_ns, other.reset, flow, frame, context=other.host.context)

    def reset(self, flow: Flow, frame: Frame) -> None:
        """A reset came, which waits for nothing that was sent before it."""
        network = self.host.network
        if not self._gone.is_set() and self.host.up and not network.separated(flow.sender.host, self.host):
            self.arrived(flow, frame)


class SimWay:
    """How the programs of one host dial: `peer.dialer.Way` through the simulated network."""

    def __init__(self, network: Network, host: Host) -> None:
        self._network = network
        self._host = host

    def carrier(self, observer: Observer) -> SimCarrier:
        return SimCarrier(observer, self._host)

    async def connect(self, carrier: Carrier, url: str, timeout_s: float) -> None:
        del timeout_s
        if not isinstance(carrier, SimCarrier):
            raise Unreachable(f"{url}: a carrier of another network")
        await self._network.connect(self._host, carrier, url)
