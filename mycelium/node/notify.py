"""What the service manager is told: ready, what the node does, that its loop still turns, stopping (sd_notify(3)).

Owns the datagram socket that NOTIFY_SOCKET names; without that variable all of it does nothing. Decides nothing about
the node: what cannot be said is said again with the next beat, and is no reason to stop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mycelium.node.node import Node

STATUS_S: Final = 5.0
"""Between two looks at what there is to say; nothing is sent where it is the same."""
BEATS: Final = 3
"""In each WatchdogSec, so that one which is late or lost costs nothing."""
TEXT_MAX: Final = 200

log = logging.getLogger(__name__)


class Notify:
    """address: of NOTIFY_SOCKET, "" where nobody listens. watchdog_s: silence that the manager takes for a hang."""

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self._address = ""
        self._socket: socket.socket | None = None
        self._complained = False
        self._watchdog_s = watchdog_s
        if address.startswith(("/", "@")):
            # An @ stands for the zero byte of the names that lie in no file system.
            self._address = "\0" + address[1:] if address[0] == "@" else address
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        elif address:
            log.warning(
                "NOTIFY_SOCKET %r is no socket of this machine -- unset it, or use Type=exec", address
            )

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> Notify:
        """What systemd set for this process, taken out of `environ`: a program that we start is not the service."""
        address = environ.pop("NOTIFY_SOCKET", "")
        interval_us, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        asked = interval_us.isdecimal() and int(interval_us) > 0 and pid in ("", str(os.getpid()))
        return cls(address, int(interval_us) / 1e6 if asked else None)

    @property
    def listened_to(self) -> bool:
        """Whether there is anybody to tell."""
        return self._socket is not None

    def status(self, text: str) -> bool:
        """One line for people, shown by `systemctl status`; whether it was taken."""
        return self._send(f"STATUS={_line(text)}")

    def stopping(self) -> None:
        """Draining has begun."""
        self._send("STOPPING=1", "STATUS=draining: no new sessions, what is queued is sent")

    def close(self) -> None:
        """Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @asynccontextmanager
    async def serving(self, status: Callable[[], str]) -> AsyncIterator[None]:
        """Say that the service is ready; within the block, that the loop turns, and `status` when it is another."""
        task = asyncio.create_task(self._beat(status), name="notify") if self.listened_to else None
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _beat(self, status: Callable[[], str]) -> None:
        wait_s = STATUS_S if self._watchdog_s is None else min(STATUS_S, self._watchdog_s / BEATS)
        ready, said = False, ""
        while True:
            try:
                text = status()
            except Exception:
                # The watchdog would restart a node that works.
                log.exception("what the node does cannot be said; it goes on")
                text = said
            lines = [] if self._watchdog_s is None else ["WATCHDOG=1"]
            if not ready:
                lines.append("READY=1")
            if text != said:
                lines.append(f"STATUS={_line(text)}")
            if lines and self._send(*lines):
                ready, said = True, text
            await asyncio.sleep(wait_s)

    def _send(self, *lines: str) -> bool:
        """Without waiting: a manager that does not read must not hold up the loop."""
        if self._socket is None:
            return False
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._complained:
                log.warning(
                    "the service manager does not hear: %s -- look at NotifyAccess of the unit", error
                )
            self._complained = True
            return False
        self._complained = False
        return True


def _line(text: str) -> str:
    """A line break would be the next assignment."""
    return " ".join(text.split())[:TEXT_MAX]


def summary(node: Node) -> str:
    """What a node does, in a line: where it is in time, with whom, and what is wrong first of all."""
    parts = [
        f"{node.url}: epoch {node.source.epoch().number}",
        f"sessions with {len(node.replicator.members())} of {len(node.roster.near)} members",
        *node.incidents.problems[:1],
    ]
    return "; ".join(parts)
