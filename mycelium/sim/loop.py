"""An asyncio event loop over virtual time: it jumps to the next timer, and the same calls give the same order.

Owns time and order. It has no selector, no sockets, no threads and no signals, and refuses whoever asks for one: what
would depend on the machine has no place in a run that must repeat byte for byte. Work that a real loop gives to a
thread is done here on the loop, after the virtual time that `work_ns` says it takes.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final, NoReturn

from mycelium.errors import SimulationFailed

SECOND_NS: Final = 1_000_000_000
_TURNS_MAX: Final = 1_000_000
"""Turns of the loop at one instant, after which something is taken to wait for itself."""
_PURGE_MIN: Final = 1_024


class VirtualLoop(asyncio.BaseEventLoop):
    """`time()` begins at 0 s. Callbacks run in the order they were scheduled in; of timers that are due together the
    one that was set first runs first.

    work_ns: how long a piece of work for another thread takes, ns. Raises SimulationFailed from `run_*` when nothing is
    left that could ever happen, or when time stands still.
    """

    def __init__(self, work_ns: Callable[[], int] = lambda: 0) -> None:
        super().__init__()
        self._now_ns = 0
        self._heap: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._order = 0
        self._cancelled = 0
        self._turns = 0
        self._work_ns = work_ns
        self.stops: list[Callable[[], None]] = []
        """Called in every turn in which time advances; what one raises ends the run."""

    # --- time -------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds."""
        return self._now_ns / SECOND_NS

    def now_ns(self) -> int:
        """Virtual nanoseconds since the loop was made."""
        return self._now_ns

    def at_ns(
        self, when_ns: int, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """`call_at` in whole nanoseconds. The past is now."""
        timer = asyncio.TimerHandle(when_ns / SECOND_NS, callback, args, self, context)
        timer._scheduled = True  # type: ignore[attr-defined]  # noqa: SLF001 - so that cancelling it is told
        self._order += 1
        heapq.heappush(self._heap, (when_ns, self._order, timer))
        return timer

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.at_ns(self._now_ns + round(delay * SECOND_NS), callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.at_ns(round(when * SECOND_NS), callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._cancelled += 1
        if self._cancelled > _PURGE_MIN and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if not entry[2].cancelled()]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def _run_once(self) -> None:
        """One turn: what is ready, or else what is due next."""
        ready: Any = self._ready  # type: ignore[attr-defined]
        heap = self._heap
        while heap and heap[0][2].cancelled():
            heapq.heappop(heap)
            self._cancelled -= 1
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            if not heap:
                raise SimulationFailed(f"at {self.time():.6f} s nothing is left that could happen")
            if heap[0][0] > self._now_ns:
                self._now_ns = heap[0][0]
                self._turns = 0
                for stop in self.stops:
                    stop()
        self._turns += 1
        if self._turns > _TURNS_MAX:
            raise SimulationFailed(f"time stands still at {self.time():.6f} s: something is always ready")
        while heap and heap[0][0] <= self._now_ns:
            timer = heapq.heappop(heap)[2]
            if timer.cancelled():
                self._cancelled -= 1
            else:
                timer._scheduled = False  # type: ignore[attr-defined]  # noqa: SLF001
                ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()  # noqa: SLF001 - as the base class does

    # --- what a thread would do -------------------------------------------------------------------------

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Call `func` on the loop when the time it takes is over. If the future is cancelled before, it never ran: so
        a crash during a sync loses what was to be synced, the worst of what can happen."""
        del executor
        future: asyncio.Future[Any] = self.create_future()

        def work() -> None:
            if future.done():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:  # noqa: BLE001 - it belongs to who waits for it
                future.set_exception(error)

        self.at_ns(self._now_ns + self._work_ns(), work)
        return future


_REFUSED: Final = {
    "call_soon_threadsafe": "threads",
    "set_default_executor": "threads",
    "getaddrinfo": "name resolution",
    "getnameinfo": "name resolution",
    "create_connection": "sockets",
    "create_server": "sockets",
    "create_datagram_endpoint": "sockets",
    "create_unix_connection": "sockets",
    "create_unix_server": "sockets",
    "connect_accepted_socket": "sockets",
    "sock_connect": "sockets",
    "sock_accept": "sockets",
    "sock_recv": "sockets",
    "sock_recv_into": "sockets",
    "sock_sendall": "sockets",
    "sock_sendfile": "sockets",
    "start_tls": "sockets",
    "add_reader": "sockets",
    "add_writer": "sockets",
    "connect_read_pipe": "pipes",
    "connect_write_pipe": "pipes",
    "add_signal_handler": "signals",
    "subprocess_exec": "processes",
    "subprocess_shell": "processes",
}
"""What of a loop would reach the machine, and what the machine is not asked for."""


def _refuse(what: str) -> Callable[..., NoReturn]:
    def refused(self: VirtualLoop, *args: object, **options: object) -> NoReturn:
        raise RuntimeError(f"the simulator has no {what}: a run must not depend on the machine")

    return refused


for _name, _what in _REFUSED.items():
    setattr(VirtualLoop, _name, _refuse(_what))
