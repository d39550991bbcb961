"""A real PostgreSQL for tests, on loopback, with its data in a directory of its own.

Its binaries: those on PATH, Debian's, or those that the `pgserver` package brings. PostgreSQL refuses to run as root,
so for root it runs as another user. Servers are ended by their process id; without PostgreSQL the test is skipped.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

STARTED_S = 30.0
_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 40
shared_buffers = 64MB
max_wal_size = 4GB
autovacuum = off
timezone = 'UTC'
lc_messages = 'C'
"""


@functools.cache
def binaries() -> Path | None:
    """The directory of `initdb` and `postgres`."""
    places = []
    for name in ("initdb", "postgres"):
        found = shutil.which(name)
        if found is not None:
            places.append(Path(found).resolve().parent)
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    spec = find_spec("pgserver")
    if spec is not None and spec.origin is not None:
        places.append(Path(spec.origin).parent / "pginstall" / "bin")
    return next((one for one in places if (one / "initdb").exists() and (one / "postgres").exists()), None)


def user() -> str | None:
    """Whom the server runs as: None where this process may run it itself."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


def need() -> Path:
    """The binaries; skips the test where there are none."""
    found = binaries()
    if found is None:
        pytest.skip("PostgreSQL is not installed (neither initdb and postgres nor the package pgserver)")
    if os.geteuid() == 0 and user() is None:
        pytest.skip("PostgreSQL does not run as root, and there is no user to run it as")
    return found


@functools.cache
def _template() -> Path:
    """A fresh cluster, made once a process: copying it takes a tenth of what initdb takes."""
    home = Path(tempfile.mkdtemp(prefix="mycelium-pg-"))
    _own(home)
    data = home / "template"
    subprocess.run(
        [need() / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-N"],
        check=True,
        capture_output=True,
        user=user(),
        cwd="/",
    )
    import atexit

    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return data


def _own(path: Path) -> None:
    path.chmod(0o755)
    if user() is not None:
        shutil.chown(path, user())


class Server:
    """One PostgreSQL. `with Server.running() as pg`: `pg.dsn` is a fresh database of it."""

    def __init__(self, *, fsync: bool = False, settings: str = "") -> None:
        with socket.create_server(("127.0.0.1", 0)) as one:
            self.port = one.getsockname()[1]
        template = _template()
        self.home = Path(tempfile.mkdtemp(prefix="mycelium-pg-"))
        _own(self.home)
        self._data = self.home / "data"
        subprocess.run(["cp", "-a", template, self._data], check=True)
        text = f"{_SETTINGS}port = {self.port}\nfsync = {'on' if fsync else 'off'}\n{settings}\n"
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(text)
        self._log = self.home / "log.txt"
        self.process: subprocess.Popen[bytes] | None = None
        self._made = 0

    @classmethod
    @contextlib.contextmanager
    def running(cls, *, fsync: bool = False, settings: str = "") -> Iterator[Server]:
        """A server for the time of the block."""
        server = cls(fsync=fsync, settings=settings)
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGQUIT)
            shutil.rmtree(server.home, ignore_errors=True)

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        until = time.monotonic() + STARTED_S
        self._spawn()
        while True:
            try:
                self.execute("SELECT 1")
                return
            except OSError:
                assert self.process is not None
                ended = self.process.poll() is not None
                if time.monotonic() > until or (ended and "is still in use" not in self.log[-500:]):
                    raise AssertionError(f"PostgreSQL does not come up:\n{self.log[-2000:]}") from None
                time.sleep(0.02)
                if ended:
                    # Backends of one that was killed see it in a moment, and the next insists that they are gone.
                    self._spawn()

    def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [need() / "postgres", "-D", self._data],
                stdout=log,
                stderr=log,
                user=user(),
                cwd="/",
                start_new_session=True,
            )

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it: SIGINT is a fast shutdown, SIGQUIT an immediate one. Waits until it is gone."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)
            self.process.wait(30)
            self.process = None

    def kill(self) -> None:
        """SIGKILL, to the server alone: its backends end when they see that it is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)
        self.process = None

    def execute(
        self, query: str, *parameters: object, database: str = "postgres"
    ) -> list[tuple[object, ...]]:
        """Run one statement as the superuser. OSError where nothing answers."""
        import psycopg

        try:
            with psycopg.connect(self.url(database), autocommit=True, connect_timeout=5) as connection:
                cursor = connection.execute(query, parameters or None)
                return cursor.fetchall() if cursor.description is not None else []
        except psycopg.OperationalError as error:
            raise OSError(str(error)) from None

    def url(self, database: str, who: str = "postgres", password: str = "") -> str:
        """The DSN of a database."""
        secret = f":{password}" if password else ""
        return f"postgresql://{who}{secret}@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """The DSN of a database made now."""
        self._made += 1
        name = f"t{os.getpid()}_{self._made}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")
