"""One node of a local network as a process of its own: started, killed, restarted, ended. Never in this process.

The child is `python -m mycelium.cli.main node run`. Its standard input is a pipe that nobody writes to: when this
process is gone, however it went, the pipe ends and so does the child. Signals go to its process id and no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec

import mycelium
from mycelium.devnet.layout import NodePlace
from mycelium.errors import MyceliumError

READY_S: Final = 60
"""A node with much to load takes its time; one that says nothing for this long will not come."""
STOP_S: Final = 10
"""From SIGTERM to SIGKILL."""
_LOG_TAIL_BYTES: Final = 2_000
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Ready(msgspec.Struct):
    """The line a node prints when it is ready."""

    event: str
    url: str
    account: str
    generation: int
    pid: int
    data_dir: str


class NodeProcess:
    """The process of one place. `ready` is set while it runs."""

    def __init__(self, place: NodePlace) -> None:
        self.place = place
        self.ready: Ready | None = None
        self.starts = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        """Whether it is ready and has not ended."""
        return self.ready is not None and self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The id of the process, 0 when there is none."""
        return 0 if self._process is None or self._process.returncode is not None else self._process.pid

    async def start(self) -> Ready:
        """Start it and wait until it is ready. MyceliumError with the end of its log when it is not."""
        assert not self.pid, f"{self.place.name} runs already"
        with self.place.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "mycelium.cli.main"),
                *("node", "run", "--config", str(self.place.config), "--json", "--until-eof"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=_environment(),
                # A Ctrl-C at the terminal is for us: we end the nodes in order.
                start_new_session=True,
            )
        self.starts += 1
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(READY_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            await self.kill()
            raise MyceliumError(
                f"{self.place.name} was not ready within {READY_S} s{self._log_tail()}"
            ) from None
        except BaseException:
            await self.kill()
            raise
        try:
            self.ready = msgspec.json.decode(line, type=Ready)
        except msgspec.DecodeError:
            await self.kill()
            raise MyceliumError(f"{self.place.name} did not start{self._log_tail()}") from None
        return self.ready

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        await self._gone()

    async def stop(self) -> int | None:
        """SIGTERM, after STOP_S SIGKILL; its exit code, None if it never ran."""
        if self._process is None:
            return None
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await self._gone()
        except TimeoutError:
            await self.kill()
        return self._process.returncode

    def rss_bytes(self) -> int:
        """Memory that is resident; 0 when it does not run."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE_BYTES
        except (OSError, ValueError, IndexError):
            return 0

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _gone(self) -> None:
        if self._process is not None:
            await self._process.wait()
        self.ready = None

    def _log_tail(self) -> str:
        try:
            tail = self.place.log.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
        except OSError:
            tail = ""
        last = tail.splitlines()[-1] if tail else "it said nothing"
        with contextlib.suppress(msgspec.DecodeError):
            last = msgspec.json.decode(last, type=_Failure).message
        return f": {last} (log: {self.place.log})"


class _Failure(msgspec.Struct):
    """The line in which a node that is run with --json says why it ends."""

    message: str


def _environment() -> dict[str, str]:
    """Ours, with the directory of this very package first: the nodes run the code that started them."""
    package = str(Path(mycelium.__file__).parents[1])
    paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONUNBUFFERED": "1"}
