"""A run stops when an extension is not the one its sources describe."""

from __future__ import annotations

import importlib.util
import os

import pytest
from freshness import stale

OLD, NEW = 1_000, 2_000


@pytest.fixture
def core(tmp_path):
    (tmp_path / "codec.pyx").write_text("from mycelium._core.cursor cimport Cursor\n")
    (tmp_path / "codec.pxd").write_text("")
    (tmp_path / "cursor.pxd").write_text("")
    (tmp_path / "merge.pyx").write_text("")
    for name in ("codec.cpython-311-x86_64-linux-gnu.so", "merge.abi3.so"):
        (tmp_path / name).write_text("")
    for path in tmp_path.iterdir():
        age(path, NEW if path.suffix == ".so" else OLD)
    return tmp_path


def age(path, seconds):
    os.utime(path, (seconds, seconds))


def test_fresh_extensions_pass(core):
    assert stale(core) == []


def test_a_missing_extension_is_named(core):
    (core / "merge.abi3.so").unlink()
    assert stale(core) == ["merge is not compiled"]


@pytest.mark.parametrize("name", ["codec.pyx", "codec.pxd", "cursor.pxd"])
def test_a_newer_source_is_named(core, name):
    age(core / name, NEW + 1)
    assert stale(core) == [f"codec is older than {name}"]


def test_the_run_stops_with_the_remedy(monkeypatch, root):
    spec = importlib.util.spec_from_file_location("conftest_again", root / "tests" / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "stale", lambda _: ["merge is not compiled"])
    with pytest.raises(pytest.UsageError, match="make build"):
        module.pytest_configure(None)
