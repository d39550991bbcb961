"""The simulated network: hosts, latencies, uplinks, loss and partitions. Made of a seed; knows no session.

A connection is ordered and reliable, as TCP is, so loss shows as delay: what follows a lost packet waits for its
retransmission, and too many in a row break the connection. Different connections overtake each other. Bytes leave a
host through one uplink, one frame of each connection in turn.

Not modelled: congestion windows, and the receiver's downlink. Both favour the nodes a little when they send much.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from mycelium.config import TRANSPORT_BUFFER_BYTES
from mycelium.errors import Unreachable
from mycelium.sim.loop import SECOND_NS, VirtualLoop
from mycelium.sim.places import one_way_ns

if TYPE_CHECKING:
    from mycelium.sim.carrier import SimCarrier
    from mycelium.sim.listener import SimListener

PACKET_BYTES: Final = 1_448
"""Payload of a TCP packet on Ethernet, with timestamps."""
PACKET_HEADER_BYTES: Final = 78
"""Ethernet, IPv4 and TCP with timestamps."""
FRAME_HEADER_BYTES: Final = 8
"""Of a WebSocket frame with a mask, rounded."""
RTO_MIN_NS: Final = 200_000_000
"""Linux's least retransmission timeout."""
RETRIES_MAX: Final = 8
"""Losses in a row after which a connection is taken for broken; a minute of them."""
SYN_RETRY_NS: Final = SECOND_NS
"""Before the first packet of a connection is sent again, doubling (RFC 6298)."""
PATIENCE_NS: Final = 120 * SECOND_NS
"""The longest pause of TCP between two tries."""

HOST: contextvars.ContextVar[Host | None] = contextvars.ContextVar("host", default=None)
"""On whose behalf the running callback or task works."""


class Frame(NamedTuple):
    """What travels. code, text: of a close frame."""

    kind: int
    data: bytes
    size_bytes: int
    """With all headers."""
    code: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Conditions:
    """uplink_bps: bytes a second that leave one host. loss: share of packets. jitter: the latency grows by up to this
    share of it. spread: whether hosts are in places all over the world, or in one."""

    uplink_bps: int = 12_500_000
    loss: float = 0.0
    jitter: float = 0.1
    spread: bool = True


class Host:
    """One machine. up: the machine runs. stalled: its programs read nothing. listeners: by port."""

    def __init__(self, network: Network, number: int, name: str, place: int) -> None:
        self.network = network
        self.number = number
        self.name = name
        self.place = place
        self.up = True
        self.stalled = False
        self.listeners: dict[int, SimListener] = {}
        self.carriers: dict[SimCarrier, None] = {}
        self.uplink = Uplink(network)
        self.context = contextvars.copy_context()
        self.context.run(HOST.set, self)
        self._tasks: dict[asyncio.Task[Any], None] = {}

    def __repr__(self) -> str:
        return f"<Host {self.name}>"

    def own(self, task: asyncio.Task[Any]) -> None:
        """A task of a program of this machine."""
        self._tasks[task] = None
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    def take_tasks(self) -> list[asyncio.Task[Any]]:
        """All of them, to be ended."""
        tasks, self._tasks = list(self._tasks), {}
        return tasks

    def stall(self, on: bool) -> None:
        """Stop to read, or read what came meanwhile."""
        self.stalled = on
        if not on:
            for carrier in list(self.carriers):
                self.network.loop.call_soon(carrier.read_on, context=self.context)

    def fail(self, *, power: bool) -> None:
        """The program is gone at once, or the whole machine: then nobody is told."""
        self.up = not power
        self.listeners.clear()
        for carrier in list(self.carriers):
            carrier.vanish(tell=not power)


class Uplink:
    """Sends one frame at a time, one of each connection in turn."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._free_ns = 0
        self._ring: deque[Flow] = deque()
        self._armed = False

    def send(self, flow: Flow, frame: Frame) -> None:
        now_ns = self._network.loop.now_ns()
        if not self._armed and self._free_ns <= now_ns:
            self._depart(flow, frame, now_ns)
            return
        if not flow.waiting:
            self._ring.append(flow)
        flow.waiting.append(frame)
        self._arm()

    def _arm(self) -> None:
        if not self._armed and self._ring:
            self._armed = True
            self._network.loop.at_ns(self._free_ns, self._next)

    def _next(self) -> None:
        self._armed = False
        while self._ring:
            flow = self._ring.popleft()
            if not flow.waiting:  # the connection was reset meanwhile
                continue
            frame = flow.waiting.popleft()
            if flow.waiting:
                self._ring.append(flow)
            self._depart(flow, frame, self._network.loop.now_ns())
            break
        self._arm()

    def _depart(self, flow: Flow, frame: Frame, now_ns: int) -> None:
        network = self._network
        self._free_ns = now_ns + frame.size_bytes * SECOND_NS // network.conditions.uplink_bps
        network.bytes += frame.size_bytes
        flow.fly(frame, self._free_ns)


class Flow:
    """One direction of a connection. buffered_bytes: handed over and not read by the other side yet."""

    __slots__ = ("base_ns", "buffered_bytes", "held", "last_ns", "network", "receiver", "sender", "waiting")

    def __init__(self, network: Network, sender: SimCarrier, receiver: SimCarrier) -> None:
        self.network = network
        self.sender = sender
        self.receiver = receiver
        self.base_ns = network.base_ns(sender.host, receiver.host)
        self.buffered_bytes = 0
        self.last_ns = 0
        self.waiting: deque[Frame] = deque()
        self.held: deque[Frame] = deque()

    def send(self, kind: int, data: bytes, code: int = 0, text: str = "") -> None:
        packets = -(-(len(data) + FRAME_HEADER_BYTES) // PACKET_BYTES)
        size = len(data) + FRAME_HEADER_BYTES + packets * PACKET_HEADER_BYTES
        self.buffered_bytes += size
        if self.buffered_bytes > TRANSPORT_BUFFER_BYTES:
            self.sender.paused = True
        self.sender.host.uplink.send(self, Frame(kind, data, size, code, text))

    def fly(self, frame: Frame, departs_ns: int) -> None:
        """It has left the host: it arrives when it does, never before what was sent earlier."""
        network = self.network
        delay_ns = network.travel_ns(self.base_ns)
        if network.conditions.loss:
            late_ns = network.lost_ns(self.base_ns, frame.size_bytes)
            if late_ns is None:
                self.sender.broken()
                self.receiver.broken()
                return
            delay_ns += late_ns
        self.last_ns = max(departs_ns + delay_ns, self.last_ns)
        network.loop.at_ns(self.last_ns, self.arrive, frame, context=self.receiver.host.context)

    def arrive(self, frame: Frame) -> None:
        """In the context of the receiving host."""
        network, source, target = self.network, self.sender.host, self.receiver.host
        if self.held or network.separated(source, target):
            self.held.append(frame)
            network.waiting_flows[self] = None
            return
        if not target.up:
            return
        network.frames += 1
        for listener in network.on_frame:
            listener(source.number, target.number, frame.kind, frame.size_bytes)
        self.receiver.arrived(self, frame)

    def read(self, frame: Frame) -> None:
        """The other side has taken it in: there is room for more."""
        self.buffered_bytes -= frame.size_bytes
        sender = self.sender
        if sender.paused and not sender.resuming and self.buffered_bytes <= TRANSPORT_BUFFER_BYTES // 4:
            sender.resuming = True
            loop = self.network.loop
            loop.at_ns(loop.now_ns() + self.base_ns, sender.resume, context=sender.host.context)

    def drop(self) -> None:
        """The connection is over: what had not left stays."""
        self.waiting.clear()
        self.held.clear()
        self.network.waiting_flows.pop(self, None)

    def release(self, late_ns: int) -> None:
        """The partition is over: what it held back is sent again."""
        held, self.held = self.held, deque()
        loop = self.network.loop
        self.last_ns = max(self.last_ns, loop.now_ns() + self.base_ns + late_ns)
        for frame in held:
            loop.at_ns(self.last_ns, self.arrive, frame, context=self.receiver.host.context)


class Network:
    """All hosts, and what joins them. on_frame(from, to, kind, size_bytes): each frame as it arrives.

    amplified: rules broken against invariant 4: answers to a stranger that were larger than what it sent.
    """

    def __init__(self, loop: VirtualLoop, rng: random.Random, conditions: Conditions) -> None:
        self.loop = loop
        self.conditions = conditions
        self.hosts: dict[str, Host] = {}
        self.frames = 0
        self.bytes = 0
        self.counts: Counter[str] = Counter()
        self.amplified: list[str] = []
        self.on_frame: list[Callable[[int, int, int, int], None]] = []
        self.waiting_flows: dict[Flow, None] = {}
        self._rng = rng
        self._cuts: dict[int, tuple[frozenset[int], int]] = {}
        self._next_cut = 0

    def add(self, number: int, name: str, place: int) -> Host:
        """A machine of that name. place: a number of `places.PLACES`."""
        host = self.hosts[name] = Host(self, number, name, place)
        return host

    # --- how long things take ---------------------------------------------------------------------------

    def base_ns(self, a: Host, b: Host) -> int:
        """One way, without jitter."""
        return one_way_ns(a.place, b.place) if self.conditions.spread else 150_000

    def travel_ns(self, base_ns: int) -> int:
        return base_ns + int(base_ns * self.conditions.jitter * self._rng.random())

    def lost_ns(self, base_ns: int, size_bytes: int) -> int | None:
        """How much later a frame arrives for the packets of it that are lost; None when the connection breaks."""
        rng, loss = self._rng, self.conditions.loss
        packets = -(-size_bytes // (PACKET_BYTES + PACKET_HEADER_BYTES))
        if rng.random() >= 1 - (1 - loss) ** packets:
            return 0
        self.counts["lost"] += 1
        rto_ns = max(RTO_MIN_NS, 3 * base_ns)
        late_ns, tries = rto_ns, 1
        while rng.random() < loss:
            if tries == RETRIES_MAX:
                self.counts["broken"] += 1
                return None
            rto_ns *= 2
            late_ns += rto_ns
            tries += 1
        return late_ns

    # --- partitions -------------------------------------------------------------------------------------

    def cut(self, numbers: Iterable[int]) -> int:
        """Separate those hosts from the others. Returns what `heal` takes."""
        self._next_cut += 1
        self._cuts[self._next_cut] = frozenset(numbers), self.loop.now_ns()
        return self._next_cut

    def heal(self, cut: int) -> None:
        """End it. TCP, whose pauses have doubled meanwhile, notices some time later."""
        _, since_ns = self._cuts.pop(cut)
        lasted_ns = min(self.loop.now_ns() - since_ns, PATIENCE_NS)
        flows, self.waiting_flows = self.waiting_flows, {}
        for flow in flows:
            if self.separated(flow.sender.host, flow.receiver.host):
                self.waiting_flows[flow] = None
            else:
                flow.release(int(lasted_ns * self._rng.random()))

    @property
    def whole(self) -> bool:
        """Whether no partition is in force."""
        return not self._cuts

    def separated(self, a: Host, b: Host) -> bool:
        return any((a.number in side) != (b.number in side) for side, _ in self._cuts.values())

    # --- connections ------------------------------------------------------------------------------------

    async def connect(self, source: Host, carrier: SimCarrier, url: str) -> None:
        """Open a connection: one round trip for TCP, one for the upgrade. Unreachable. Cancelled when it takes too
        long, as it does across a partition and to a machine that is off."""
        parts = urlsplit(url)
        target = self.hosts.get(parts.hostname or "")
        if target is None:
            raise Unreachable(f"{url}: there is no such host")
        base_ns, retry_ns = self.base_ns(source, target), SYN_RETRY_NS
        while True:
            round_trips_ns = 2 * (self.travel_ns(base_ns) + self.travel_ns(base_ns))
            await asyncio.sleep(round_trips_ns / SECOND_NS)
            lost = self._rng.random() < 1 - (1 - self.conditions.loss) ** 4
            if target.up and not lost and not self.separated(source, target):
                break
            await asyncio.sleep(retry_ns / SECOND_NS)
            retry_ns *= 2
        listener = target.listeners.get(parts.port or 0)
        if listener is None:
            raise Unreachable(f"{url}: connection refused")
        target.context.run(listener.accept, carrier)
