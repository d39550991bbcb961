"""Shared by the tests of the examples: a network of real nodes on a development chain, and programs as processes."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import clikit

from mycelium.devnet import chainlayout, layout
from mycelium.devnet.chainlayout import ChainNetwork
from mycelium.devnet.network import LocalNetwork

EXAMPLES = clikit.TREE / "examples"
BLOCK_MS = 250
"""Epochs of 20 blocks pass in 5 s, so that no test waits long for one."""
SAYS_S = 20


@contextlib.asynccontextmanager
async def network(
    directory: Path, example: str, nodes: int, *, miners: int = 2, block_ms: int = BLOCK_MS
) -> AsyncIterator[tuple[LocalNetwork, ChainNetwork]]:
    """What an example's README starts, with its tables, and faster blocks."""
    tables = layout.read_tables(EXAMPLES / example / "tables.toml")
    prepared = chainlayout.prepare(directory / "net", nodes, miners=miners, block_ms=block_ms, tables=tables)
    async with LocalNetwork(prepared.nodes, prepared.chain) as running:
        yield running, prepared


def hotkey(prepared: ChainNetwork, wallet: str) -> Path:
    """The key file of a wallet's hotkey."""
    return prepared.directory / "wallets" / wallet / "hotkeys" / "default"


def module(example: str, name: str) -> ModuleType:
    """A module of an example, which lies beside its programs and in no package."""
    spec = importlib.util.spec_from_file_location(f"{example}_{name}", EXAMPLES / example / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # msgspec looks up its annotations there
    spec.loader.exec_module(found)
    return found


async def once(example: str, program: str, *arguments: object, stdin: str = "", code: int = 0) -> str:
    """Run a program to its end; assert its exit code and that it died of nothing unexpected. What it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / example / program), *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clikit.environment(),
    )
    try:
        async with asyncio.timeout(SAYS_S):
            out, err = await process.communicate(stdin.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == code, f"exit {process.returncode}\n{out.decode()}\n{err.decode()}"
    assert "Traceback" not in err.decode(), err.decode()
    return out.decode() + err.decode()


class Program:
    """A program that runs until it is ended, `async with Program(...) as program`; what it says is read by lines."""

    def __init__(self, example: str, program: str, *arguments: object) -> None:
        self.command = (sys.executable, str(EXAMPLES / example / program), *map(str, arguments))
        self.lines: list[str] = []
        self._read = 0

    async def __aenter__(self) -> Program:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        assert not [line for line in self.lines if "Traceback" in line], "\n".join(self.lines)

    async def start(self) -> None:
        """Start it, again after `kill`; what it said before is forgotten."""
        self.lines, self._read = [], 0
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=clikit.environment(PYTHONUNBUFFERED="1"),
        )

    async def says(self, pattern: str, seconds: float = SAYS_S) -> re.Match[str]:
        """Wait for a line, after those waited for before, in which the pattern is found."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    while self._read < len(self.lines):
                        self._read += 1
                        found = re.search(pattern, self.lines[self._read - 1])
                        if found is not None:
                            return found
                    line = await self._process.stdout.readline()
                    assert line, f"it ended, and never said {pattern!r}:\n" + "\n".join(self.lines)
                    self.lines.append(line.decode().rstrip("\n"))
        except TimeoutError:
            raise AssertionError(f"not said in {seconds} s: {pattern!r}\n" + "\n".join(self.lines)) from None

    async def says_all(self, *patterns: str) -> None:
        """Wait for all of them, in whatever order."""
        begun, furthest = self._read, self._read
        for pattern in patterns:
            self._read = begun
            await self.says(pattern)
            furthest = max(furthest, self._read)
        self._read = furthest

    async def kill(self, number: int = signal.SIGKILL) -> int:
        """End it, at whatever it is doing, and read the rest of what it said."""
        if self._process.returncode is None:
            self._process.send_signal(number)
        assert self._process.stdout is not None
        rest = await self._process.stdout.read()
        self.lines += rest.decode().splitlines()
        return await self._process.wait()
