"""A node or the chain of a local network as a process of its own: started, killed, restarted, ended.

The child is `python -m mycelium.cli.main node run` or `devnet chain`. Its standard input is a pipe that nobody writes
to: when this process is gone, however it went, the pipe ends and so does the child. Signals go to its process id and
no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

import mycelium
from mycelium.devnet.layout import ChainPlace, NodePlace
from mycelium.errors import AddressInUse, MyceliumError
from mycelium.node import options

READY_S: Final = 60
"""A node with much to load takes its time; one that says nothing for this long will not come."""
STOP_S: Final = 10
"""From SIGTERM to SIGKILL."""
_FILES: Final = ("MYCELIUM_CONFIG", "MYCELIUM_ENV_FILE")
_LOG_TAIL_BYTES: Final = 2_000
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
T = TypeVar("T")


class Ready(msgspec.Struct):
    """The line a node prints when it is ready."""

    event: str
    url: str
    account: str
    generation: int
    pid: int
    data_dir: str
    admin: str = ""


class ChainReady(msgspec.Struct):
    """The line the development chain prints when it is ready."""

    event: str
    url: str
    genesis: str
    pid: int


class Process:
    """One child. `name` is for messages; what it says on stderr goes to `log`."""

    def __init__(self, name: str, log: Path, arguments: Sequence[str]) -> None:
        self.name = name
        self.starts = 0
        self._log = log
        self._arguments = (*arguments, "--json", "--until-eof")
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The id of the process, 0 when there is none."""
        return 0 if self._process is None or self._process.returncode is not None else self._process.pid

    async def first_line(self) -> bytes:
        """Start it and wait for the line it prints when it is ready. MyceliumError when that does not come."""
        assert not self.pid, f"{self.name} runs already"
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "mycelium.cli.main", *self._arguments),
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
                return await self._process.stdout.readline()
        except TimeoutError:
            await self.kill()
            raise MyceliumError(f"{self.name} was not ready within {READY_S} s{self.log_tail()}") from None
        except BaseException:
            await self.kill()
            raise

    async def decoded(self, kind: type[T]) -> T:
        """`first_line` as what it says. MyceliumError with the end of the log when the child did not start."""
        line = await self.first_line()
        try:
            return msgspec.json.decode(line, type=kind)
        except msgspec.DecodeError:
            await self.kill()
            raise MyceliumError(f"{self.name} did not start{self.log_tail()}") from None

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

    def log_tail(self) -> str:
        """The reason in the last line of its log, and where the log is."""
        try:
            tail = self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
        except OSError:
            tail = ""
        last = tail.splitlines()[-1] if tail else "it said nothing"
        with contextlib.suppress(msgspec.DecodeError):
            failure = msgspec.json.decode(last, type=_Failure)
            last = f"{failure.error} -- {failure.help}" if failure.help else failure.error
            if failure.kind == AddressInUse.__name__:
                # Settings are written anew with each start: the ports of a network stand in one place.
                last = f"{failure.error} -- end what does, or set other ports in network.json"
        return f": {last} (log: {self._log})"


class NodeProcess(Process):
    """The process of one node's place. `ready` is set while it runs."""

    def __init__(self, place: NodePlace) -> None:
        super().__init__(place.name, place.log, ("node", "run", "--config", str(place.config)))
        self.place = place
        self.ready: Ready | None = None

    @property
    def running(self) -> bool:
        """Whether it is ready and has not ended."""
        return self.ready is not None and self.pid != 0

    async def start(self) -> Ready:
        """Start it and wait until it is ready. MyceliumError with the end of its log when it is not."""
        self.ready = await self.decoded(Ready)
        return self.ready

    async def _gone(self) -> None:
        await super()._gone()
        self.ready = None


class ChainProcess(Process):
    """The process of the development chain. `ready` is set once it has started."""

    def __init__(self, place: ChainPlace) -> None:
        super().__init__("the development chain", place.log, place.arguments)
        self.place = place
        self.ready: ChainReady | None = None

    async def start(self) -> ChainReady:
        """Start it and wait until it answers. MyceliumError with the end of its log when it does not."""
        self.ready = await self.decoded(ChainReady)
        return self.ready


class _Failure(msgspec.Struct):
    """The line in which a node that is run with --json says why it ends."""

    error: str
    help: str
    kind: str


def _environment() -> dict[str, str]:
    """Ours, with the directory of this very package first: the nodes run the code that started them."""
    package = str(Path(mycelium.__file__).parents[1])
    paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    # What the caller's environment says of a node of his own (NETUID, WALLET_NAME) is not for these.
    kept = {
        name: text
        for name, text in os.environ.items()
        if name not in options.BY_VARIABLE and name not in options.BY_ALIAS and name not in _FILES
    }
    return {**kept, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONUNBUFFERED": "1"}
