"""A real nats-server with JetStream for tests: one, or three in a cluster, on loopback, with its data in a tmp_path.

Servers listen on ports that were free a moment ago and are ended by their process id. `sync_interval: always` unless a
test wants a server that acknowledges what is not on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

STARTED_S = 20.0
"""A cluster elects its leader on a machine that does other things too."""


def binary() -> str:
    """nats-server's path; skips where it is not installed."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        pytest.skip("nats-server is not installed")
    return found


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Server:
    """One nats-server process. Its data stay in `path` when it is killed, and are there again when it starts."""

    def __init__(self, path: Path, config: str, port: int, monitor: int) -> None:
        self.path = path
        self.port = port
        self.monitor = monitor
        self._config = path / "nats.conf"
        path.mkdir(parents=True, exist_ok=True)
        self._config.write_text(config)
        self._log = path / "log.txt"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitor_url(self) -> str:
        return f"http://127.0.0.1:{self.monitor}"

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [binary(), "-c", str(self._config)], stdout=log, stderr=log, start_new_session=True
            )

    def healthy(self) -> bool:
        """Whether JetStream answers; in a cluster, once there is a leader. Not whether every stream is whole: one
        that a kill met while it was made or deleted is never, and who uses it sees to that."""
        try:
            with urllib.request.urlopen(
                f"{self.monitor_url}/healthz?js-server-only=true", timeout=2
            ) as answer:
                return json.load(answer)["status"] == "ok"
        except (OSError, ValueError, KeyError):
            return False

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.stop(signal.SIGKILL)

    def stop(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.send_signal(number)
            self.process.wait(20)
            self.process = None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")


class Servers:
    """One server, or a cluster of three: `with Servers.of(tmp_path) as nats`."""

    def __init__(self, servers: list[Server]) -> None:
        self.servers = servers

    @classmethod
    @contextlib.contextmanager
    def of(cls, path: Path, count: int = 1, *, synced: bool = True, jetstream: str = "", extra: str = ""):
        """jetstream: more settings of its section. extra: more of the whole file's."""
        ports = free_ports(3 * count)
        clients, monitors, routes = ports[:count], ports[count : 2 * count], ports[2 * count :]
        every = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        servers = []
        for number in range(count):
            home = path / f"nats{number}"
            sync = "sync_interval: always\n" if synced else ""
            text = (
                f'server_name: "n{number}"\nlisten: "127.0.0.1:{clients[number]}"\n'
                f'http: "127.0.0.1:{monitors[number]}"\n'
                f'jetstream {{\n store_dir: "{home}/data"\n {sync}{jetstream}\n}}\n{extra}\n'
            )
            if count > 1:
                text += f'cluster {{\n name: "tests"\n listen: "127.0.0.1:{routes[number]}"\n routes: [{every}]\n}}\n'
            servers.append(Server(home, text, clients[number], monitors[number]))
        found = cls(servers)
        try:
            for server in servers:
                server.start()
            found.wait()
            yield found
        finally:
            for server in servers:
                server.stop()

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers]

    @property
    def monitors(self) -> list[str]:
        return [server.monitor_url for server in self.servers]

    @property
    def url(self) -> str:
        return self.servers[0].url

    def wait(self) -> None:
        """Until every server that runs is healthy."""
        until = time.monotonic() + STARTED_S
        waiting = [server for server in self.servers if server.process is not None]
        while waiting:
            waiting = [server for server in waiting if not server.healthy()]
            if waiting and time.monotonic() > until:
                raise AssertionError(f"nats-server does not come up:\n{waiting[0].log[-2000:]}")
            if waiting:
                time.sleep(0.05)

    async def ready(self) -> None:
        """`wait`, for a test whose loop goes on meanwhile."""
        await asyncio.to_thread(self.wait)


async def emptied(url: str, only: str = "") -> None:
    """Delete all streams of a server, or one."""
    import nats

    nc = await nats.connect(url)
    js = nc.jetstream()
    for stream in await js.streams_info():
        if only in ("", stream.config.name):
            await js.delete_stream(stream.config.name)
    await nc.close()
