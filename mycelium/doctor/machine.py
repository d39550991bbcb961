"""Checks of the machine: its clock, disk, open files, and the versions that are installed. Leaves nothing behind."""

from __future__ import annotations

import os
import platform
import re
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from mycelium._version import __version__
from mycelium.config import DISK_RESERVE_BYTES, PROTOCOL_VERSION
from mycelium.doctor.finding import Finding, fail, ok, skipped, warn

CLOCK_SECONDS: Final = 0.5
CLOCK_DRIFT_WARN_S: Final = 0.05
"""So much in CLOCK_SECONDS, a tenth of the time: the clock is being set, or the machine sleeps."""
FSYNC_WARN_MS: Final = 20.0
FSYNC_FAIL_MS: Final = 200.0
"""Each durable write waits for one; batches share it, so that a slow disk costs latency first."""
SPEED_WARN_MB_S: Final = 50.0
SPEED_FAIL_MB_S: Final = 5.0
FREE_WARN_BYTES: Final = 5 * 2**30
FILES_WARN: Final = 4096
FILES_FAIL: Final = 1024
"""The store alone keeps 512 open, and each peer one."""
_FSYNCS: Final = 20
_BLOCK_BYTES: Final = 2**20
_BLOCKS: Final = 16


def clock_rate(
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Finding:
    """Whether the wall clock goes as fast as the monotonic one, for half a second."""
    wall_s, monotonic_s = wall(), monotonic()
    sleep(CLOCK_SECONDS)
    drift_s = (wall() - wall_s) - (monotonic() - monotonic_s)
    found = f"wall and monotonic clock differ by {abs(drift_s) * 1000:.1f} ms in {CLOCK_SECONDS} s"
    if abs(drift_s) > CLOCK_DRIFT_WARN_S:
        return warn("clock rate", found, "let one program alone set the clock: chronyd or systemd-timesyncd")
    return ok("clock rate", found)


def existing(path: Path) -> Path:
    """The nearest directory above a path that is there."""
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def disk_speed(data_dir: Path, clock: Callable[[], float] = time.perf_counter) -> Finding:
    """How long an fsync takes where the data lies, and how fast it writes: 16 MiB, in a file that has no name."""
    name, folder = "disk speed", existing(data_dir)
    syncs_ms = []
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(_FSYNCS):
                os.write(file.fileno(), b"m" * 4096)
                began_s = clock()
                os.fsync(file.fileno())
                syncs_ms.append((clock() - began_s) * 1000)
            block = os.urandom(_BLOCK_BYTES)
            began_s = clock()
            for _ in range(_BLOCKS):
                os.write(file.fileno(), block)
            os.fsync(file.fileno())
            took_s = max(clock() - began_s, 1e-9)
    except OSError as error:
        return fail(
            name,
            f"{folder} cannot be written: {error.strerror}",
            "make data_dir writable for this user, or set another",
        )
    return judge_disk(syncs_ms, _BLOCKS * _BLOCK_BYTES / took_s / 1e6)


def judge_disk(syncs_ms: Sequence[float], speed_mb_s: float) -> Finding:
    """The verdict on what was measured."""
    median_ms = statistics.median(syncs_ms)
    found = f"fsync {median_ms:.2f} ms (the slowest {max(syncs_ms):.2f} ms), writes {speed_mb_s:,.0f} MB/s"
    remedy = "put data_dir on a local SSD; network and spinning disks make every durable write wait"
    if median_ms > FSYNC_FAIL_MS or speed_mb_s < SPEED_FAIL_MB_S:
        return fail("disk speed", found, remedy)
    if median_ms > FSYNC_WARN_MS or speed_mb_s < SPEED_WARN_MB_S:
        return warn("disk speed", found, remedy)
    return ok("disk speed", found)


def free_space(data_dir: Path, free_bytes: int | None = None) -> Finding:
    """What is left where the data lies."""
    folder = existing(data_dir)
    if free_bytes is None:
        stat = os.statvfs(folder)
        free_bytes = stat.f_bavail * stat.f_frsize
    found = f"{free_bytes / 2**30:,.1f} GiB free in {folder}"
    remedy = "free some space, or set data_dir on a larger disk"
    if free_bytes < DISK_RESERVE_BYTES:
        return fail("disk space", f"{found}; writes are refused below {DISK_RESERVE_BYTES >> 20} MiB", remedy)
    return warn("disk space", found, remedy) if free_bytes < FREE_WARN_BYTES else ok("disk space", found)


def open_files(limits: tuple[int, int] | None = None) -> Finding:
    """How many files and sockets a process may have open. A node raises the soft limit to the hard one by itself."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE) if limits is None else limits
    if hard == resource.RLIM_INFINITY:
        return ok("open files", "no limit")
    found = f"at most {hard:,}"
    remedy = "raise it: LimitNOFILE=65536 in the systemd unit, ulimits in compose, or `ulimit -n 65536`"
    if hard < FILES_FAIL:
        return fail("open files", found, remedy)
    return warn("open files", found, remedy) if hard < FILES_WARN else ok("open files", found)


def versions(running: str | None = None, requires: Sequence[str] | None = None) -> Finding:
    """What is installed, whether all that it needs is there, and whether the running node is of the same version."""
    name = "versions"
    found = f"mycelium {__version__}, protocol {PROTOCOL_VERSION}, Python {platform.python_version()}"
    if requires is None:
        try:
            requires = metadata.requires("mycelium-node") or []
        except metadata.PackageNotFoundError:
            return skipped(name, f"{found}; not installed as a package", "install it with pip")
    missing = []
    shown = []
    for requirement in requires:
        package = re.match(r"[A-Za-z0-9._-]+", requirement)
        if package is None or "extra ==" in requirement:
            continue
        try:
            version = metadata.version(package[0])
        except metadata.PackageNotFoundError:
            missing.append(package[0])
            continue
        if package[0] in ("rocksdict", "picows", "bittensor-core", "uvloop"):
            shown.append(f"{package[0]} {version}")
    found = ", ".join([found, *shown])
    if missing:
        return fail(name, f"not installed: {', '.join(missing)}", "install mycelium-node anew with pip")
    if running is not None and running != __version__:
        return warn(
            name, f"{found}; the running node is {running}", "restart it, so that it is what is installed"
        )
    return ok(name, found)
