"""Headless Chromium over the DevTools protocol: opens a page, asks it questions, keeps what its console says.

The browser is a child of the test, on a profile in the test's directory, and ends with the block.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
START_S = 30


def browser() -> str | None:
    """The path of a browser, None where there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


class Page:
    """One tab. console: errors and warnings of scripts, and entries of the log of level error."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.console: list[str] = []
        self._loaded = asyncio.Event()
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        async for raw in self._socket:
            message = json.loads(raw)
            if "id" in message:
                answer = self._answers.pop(message["id"])
                if not answer.done():
                    answer.set_result(message)
                continue
            said = message["params"]
            if message["method"] == "Runtime.exceptionThrown":
                self.console.append(json.dumps(said["exceptionDetails"]))
            elif message["method"] == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning"):
                self.console.append(json.dumps(said["args"]))
            elif message["method"] == "Log.entryAdded" and said["entry"]["level"] == "error":
                self.console.append(said["entry"]["text"])
            elif message["method"] == "Page.loadEventFired":
                self._loaded.set()

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol."""
        number = next(self._ids)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        answer = await self._answers[number]
        assert "error" not in answer, answer
        return answer["result"]

    async def begin(self) -> None:
        for domain in ("Page", "Runtime", "Log", "Performance"):
            await self.call(f"{domain}.enable")

    async def open(self, url: str) -> None:
        """Go there and wait until it is loaded."""
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        await self._loaded.wait()

    async def ask(self, expression: str) -> Any:
        """The value of an expression of JavaScript; a promise is awaited."""
        found = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, expression: str, seconds: float = 30) -> Any:
        """Wait until the expression is true."""
        try:
            async with asyncio.timeout(seconds):
                while not (found := await self.ask(expression)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s: {expression}; console: {self.console}") from None
        return found

    async def look(
        self, *, width: int = 1280, height: int = 800, scale: float = 1, scheme: str = "light"
    ) -> None:
        """The size of the window, and whether the reader likes it dark."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def picture(self, path: Path | None = None) -> bytes:
        """A PNG of what is in the window."""
        found = base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])
        if path is not None:
            path.write_bytes(found)
        return found

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._socket.close()


@contextlib.asynccontextmanager
async def open_page(profile: Path, *flags: str) -> AsyncIterator[Page]:
    """A fresh browser with one empty tab."""
    path = browser()
    assert path is not None, "skip before: there is no browser"
    process = await asyncio.create_subprocess_exec(
        path,
        "--headless=new",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "--no-first-run",
        "--no-default-browser-check",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        *(("--no-sandbox",) if os.getuid() == 0 else ()),
        *flags,
        "about:blank",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(START_S):
            port = await _port(profile, process)
        async with asyncio.timeout(START_S):
            target = await _target(port)
            socket = await connect(target, max_size=None, compression=None, ping_interval=None)
        page = Page(socket)
        await page.begin()
        try:
            yield page
        finally:
            await page.close()
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(10):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _port(profile: Path, process: asyncio.subprocess.Process) -> int:
    file = profile / "DevToolsActivePort"
    while True:
        assert process.returncode is None, f"the browser ended with {process.returncode}"
        with contextlib.suppress(OSError, IndexError, ValueError):
            return int(file.read_text().splitlines()[0])
        await asyncio.sleep(0.02)


async def _target(port: int) -> str:
    """The address of the first tab."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /json/list HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % port)
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        raw = await reader.readexactly(int(lengths[0].split(b":")[1]))
        writer.close()
        found = [one["webSocketDebuggerUrl"] for one in json.loads(raw) if one["type"] == "page"]
        if found:
            return found[0]
        await asyncio.sleep(0.02)
