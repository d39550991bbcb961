"""The listening sockets of a node, and their rotation: the runtime around `peer.rotation`.

Owns the servers and the file that tells programs on this machine where the node listens. Must not decide when a port
changes or which one is closed: the machine does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from mycelium import wholefile
from mycelium.errors import ConfigError, MyceliumError, Unreachable, UsageError
from mycelium.node.settings import PORT_FILE, listen_url
from mycelium.node.surroundings import Listener, Surroundings
from mycelium.peer.dialer import dial_once
from mycelium.peer.hub import Hub
from mycelium.peer.rotation import (
    Announce,
    Announced,
    AnnounceFailed,
    Asked,
    Bind,
    BindFailed,
    Bound,
    Close,
    Drain,
    Effect,
    Event,
    NotReached,
    Plan,
    Reached,
    Rotation,
    SelfTest,
    State,
    Tick,
)

log = logging.getLogger(__name__)


class Rotating:
    """Where a node listens. announce: says to everybody that it is this port; a MyceliumError if it cannot.

    plan: None where the port stays.
    """

    def __init__(
        self,
        hub: Hub,
        host: str,
        port: int,
        plan: Plan | None,
        announce: Callable[[int], Awaitable[None]],
        rng: random.Random,
        data_dir: Path,
        around: Surroundings,
    ) -> None:
        self._hub = hub
        self._host = host
        self._plan = plan
        self._announce = announce
        self._rng = rng
        self._file = data_dir / PORT_FILE
        self._around = around
        self._first = around.listen(hub, host, port)
        self._servers: dict[int, Listener] = {}
        self._machine: Rotation | None = None
        self._task: asyncio.Task[None] | None = None
        self._asked: asyncio.Future[None] | None = None
        self._woken = asyncio.Event()

    def _now_ms(self) -> float:
        """Monotonic: a clock that is set must not rotate anything."""
        return self._around.clock_ns() / 1e6

    @property
    def server(self) -> Listener:
        """The one whose address is announced."""
        return self._first if self._machine is None else self._servers[self._machine.port]

    @property
    def ports(self) -> list[int]:
        """All ports that are bound."""
        return list(self._servers) or [self._first.port]

    async def start(self) -> None:
        """Listen. Raises AddressInUse and ConfigError."""
        await self._first.start()
        self._servers[self._first.port] = self._first
        if self._plan is None:
            self._file.unlink(missing_ok=True)  # of a time when it rotated
            return
        self._machine = Rotation(self._plan, self._first.port, self._rng, self._now_ms())
        self._write_port()
        self._task = asyncio.get_running_loop().create_task(self._run(self._machine), name="rotation")

    async def close(self) -> None:
        """Stop listening everywhere. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._file.unlink(missing_ok=True)
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(UsageError("this node is shutting down"))
        for server in self._servers.values():
            await server.close()

    async def rotate(self) -> dict[str, Any]:
        """Rotate now; returns `status()` when the new port is announced.

        Raises UsageError: the node does not rotate, or a rotation is under way. Unreachable: it failed, and the old
        port stays.
        """
        machine = self._machine
        if machine is None:
            raise UsageError("this node does not rotate: add a [rotation] section to its node.toml")
        if self._task is None or self._task.done():
            raise UsageError("this node is shutting down")
        if self._asked is not None or machine.state is not State.IDLE:
            raise UsageError(f"a rotation is under way: {machine.state.value}")
        self._asked = asyncio.get_running_loop().create_future()
        self._woken.set()
        try:
            await self._asked
        finally:
            self._asked = None
        return self.status()

    def status(self) -> dict[str, Any]:
        """For people and programs; {} where the port stays. Times in seconds from now."""
        machine, plan = self._machine, self._plan
        if machine is None or plan is None:
            return {}
        due_ms = machine.due_ms
        return {
            "state": machine.state.value,
            "port": machine.port,
            "ports": sorted(self.ports),
            "range": f"{plan.ports[0]}-{plan.ports[-1]}",
            "next_s": None if due_ms is None else round(max(0.0, due_ms - self._now_ms()) / 1000, 1),
            "rotations": machine.rotations,
            "failures": machine.failures,
            "last_error": machine.last_error,
        }

    # --- the machine's runtime ----------------------------------------------------------------------------

    async def _run(self, machine: Rotation) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                due_ms = machine.due_ms
                async with asyncio.timeout(
                    None if due_ms is None else max(0.0, due_ms - self._now_ms()) / 1000
                ):
                    await self._woken.wait()
            self._woken.clear()
            asked = self._asked
            if asked is None or asked.done():
                await self._feed(machine, Tick())
                continue
            try:
                await self._feed(machine, Asked())
            except UsageError as error:
                _settle(asked, error)
            else:
                _settle(asked, None if machine.state is State.OVERLAP else Unreachable(machine.last_error))

    async def _feed(self, machine: Rotation, event: Event) -> None:
        failures = machine.failures
        effects = deque(machine.handle(event, self._now_ms()))
        while effects:
            answer = await self._do(effects.popleft())
            if answer is not None:
                effects.extend(machine.handle(answer, self._now_ms()))
            if isinstance(answer, Announced):
                log.info("this node listens on port %d now, and no longer says %s", answer.port, machine.old)
                self._write_port()
        if machine.failures > failures:
            log.warning("the port stays %d, a rotation failed: %s", machine.port, machine.last_error)

    async def _do(self, effect: Effect) -> Event | None:
        port = effect.port
        if isinstance(effect, Drain):
            self._servers[port].drain()
            return None
        if isinstance(effect, Close):
            await self._servers.pop(port).close()
            return None
        work: Callable[[int], Awaitable[None]]
        passed: Event
        failed: Callable[[int, str], Event]
        if isinstance(effect, Bind):
            work, passed, failed = self._bind, Bound(port), BindFailed
        elif isinstance(effect, SelfTest):
            work, passed, failed = self._reach, Reached(port), NotReached
        else:
            assert isinstance(effect, Announce), effect
            work, passed, failed = self._announce, Announced(port), AnnounceFailed
        try:
            await work(port)
        except MyceliumError as error:
            log.info("rotation to port %d: %s", port, error)
            return failed(port, str(error))
        except Exception as error:
            # A bug of ours; the machine must have its answer, else the node never rotates again.
            log.exception("rotation to port %d failed", port)
            return failed(port, f"internal error: {error}")
        return passed

    async def _bind(self, port: int) -> None:
        if port in self._servers:
            raise ConfigError(f"port {port} is ours already")
        server = self._around.listen(self._hub, self._host, port)
        await server.start()
        self._servers[port] = server

    async def _reach(self, port: int) -> None:
        """Dial ourselves there. The hub takes our own account as a program's, so that a session comes to be."""
        link = await (self._around.dial or dial_once)(
            self._hub, listen_url(self._host, port), self._hub.local.account, as_client=False
        )
        link.close(text="self-test")

    def _write_port(self) -> None:
        try:
            wholefile.write(self._file, f"{self.server.port}\n".encode())
        except OSError as error:
            log.error("programs on this machine will not find the node: %s: %s", self._file, error)


def _settle(asked: asyncio.Future[None], error: MyceliumError | None) -> None:
    if asked.done():
        return
    if error is None:
        asked.set_result(None)
    else:
        asked.set_exception(error)
