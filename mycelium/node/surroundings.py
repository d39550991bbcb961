"""What a node takes from the machine it runs on: clocks, randomness, and the network under its sessions.

Everything else it is given. The simulator hands in others and so runs a node unchanged.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from mycelium.node.status import resident_bytes
from mycelium.peer.dialer import Dial
from mycelium.peer.hub import Hub
from mycelium.peer.server import Server
from mycelium.peer.steadyclock import SteadyClock


class Listener(Protocol):
    """What lets strangers in at one address; `peer.server.Server` is one."""

    @property
    def port(self) -> int: ...

    async def start(self) -> None: ...

    def drain(self) -> None:
        """Take no new connections."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """clock: the wall clock as the node believes it. clock_ns: monotonic. random: so many secret bytes.

    dial: what dials once, None for sockets. listen: makes the listener of a hub at a host and port. cpu_s,
    resident_bytes: what this process has used, and uses.
    """

    clock: SteadyClock = field(default_factory=SteadyClock)
    clock_ns: Callable[[], int] = time.monotonic_ns
    random: Callable[[int], bytes] = os.urandom
    dial: Dial | None = None
    listen: Callable[[Hub, str, int], Listener] = Server
    cpu_s: Callable[[], float] = time.process_time
    resident_bytes: Callable[[], int] = resident_bytes

    @property
    def now_ms(self) -> Callable[[], int]:
        """Since the Unix epoch."""
        return self.clock.now_ms

    @property
    def now_ns(self) -> Callable[[], int]:
        """Since the Unix epoch."""
        return self.clock.now_ns
