"""Checks of the machine: each with what makes it good, worse and bad."""

import resource

import pytest

from mycelium._version import __version__
from mycelium.config import DISK_RESERVE_BYTES
from mycelium.doctor import machine
from mycelium.doctor.finding import Verdict

OK, WARN, FAIL, SKIPPED = Verdict.OK, Verdict.WARN, Verdict.FAIL, Verdict.SKIPPED


def clocks(wall_passes):
    """A wall clock that passes so many seconds while the other passes CLOCK_SECONDS."""
    now = {"wall": 0.0, "monotonic": 0.0}

    def sleep(seconds):
        now["monotonic"] += seconds
        now["wall"] += wall_passes

    return lambda: now["wall"], lambda: now["monotonic"], sleep


@pytest.mark.parametrize(
    ("passes", "verdict"), [(0.5, OK), (0.54, OK), (0.6, WARN), (0.4, WARN), (-3600.0, WARN)]
)
def test_the_rate_of_the_clock(passes, verdict):
    found = machine.clock_rate(*clocks(passes))
    assert found.verdict is verdict
    assert bool(found.remedy) is (verdict is not OK)


def test_the_clock_of_this_machine():
    assert "in 0.5 s" in machine.clock_rate().found


@pytest.mark.parametrize(
    ("syncs_ms", "speed", "verdict"),
    [
        ([1.0, 2.0, 30.0], 500.0, OK),
        ([21.0] * 3, 500.0, WARN),
        ([1.0] * 3, 49.0, WARN),
        ([201.0] * 3, 500.0, FAIL),
        ([1.0] * 3, 4.0, FAIL),
    ],
)
def test_the_speed_of_a_disk(syncs_ms, speed, verdict):
    found = machine.judge_disk(syncs_ms, speed)
    assert found.verdict is verdict
    assert f"the slowest {max(syncs_ms):.2f} ms" in found.found


def test_measuring_a_disk_leaves_nothing_behind(tmp_path):
    (tmp_path / "data").mkdir()
    assert "fsync" in machine.disk_speed(tmp_path / "data/not/yet").found
    assert list((tmp_path / "data").iterdir()) == []


def test_a_disk_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refuse)
    found = machine.disk_speed(tmp_path)
    assert (found.verdict, found.found) == (FAIL, f"{tmp_path} cannot be written: Permission denied")


@pytest.mark.parametrize(
    ("free", "verdict"),
    [(DISK_RESERVE_BYTES - 1, FAIL), (DISK_RESERVE_BYTES, WARN), (machine.FREE_WARN_BYTES, OK)],
)
def test_free_space(tmp_path, free, verdict):
    assert machine.free_space(tmp_path / "absent", free).verdict is verdict
    assert f"free in {tmp_path}" in machine.free_space(tmp_path / "absent").found


@pytest.mark.parametrize(
    ("hard", "verdict"), [(1023, FAIL), (1024, WARN), (4096, OK), (resource.RLIM_INFINITY, OK)]
)
def test_open_files(hard, verdict):
    assert machine.open_files((256, hard)).verdict is verdict


def test_versions():
    good = machine.versions(__version__, ["rocksdict>=0.3", "numpy>=1; extra == 'numpy'"])
    assert good.verdict is OK
    assert "rocksdict 0." in good.found
    assert "numpy" not in good.found
    old = machine.versions("0.0.1", ["rocksdict"])
    assert (old.verdict, old.remedy) == (WARN, "restart it, so that it is what is installed")
    missing = machine.versions(None, ["rocksdict", "no-such-package-of-ours>=3"])
    assert (missing.verdict, missing.found) == (FAIL, "not installed: no-such-package-of-ours")


def test_versions_without_a_package(monkeypatch):
    def absent(name):
        raise machine.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(machine.metadata, "requires", absent)
    assert machine.versions().verdict is SKIPPED
