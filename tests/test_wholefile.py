"""Files whole or not at all: what is there stays when writing fails, and nothing else is left behind."""

from __future__ import annotations

import os
import stat

import pytest

from mycelium import wholefile


def test_it_is_written_and_replaced(tmp_path):
    path = tmp_path / "file"
    wholefile.write(path, b"first")
    wholefile.write(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("private", [True, False])
def test_who_may_read_it(tmp_path, private):
    mask = os.umask(0o027)
    try:
        wholefile.write(tmp_path / "file", b"", private=private)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == (0o600 if private else 0o640)


def test_one_that_is_there_stays_if_it_must_not_be_replaced(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        wholefile.write(path, b"other", replace=False)
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]
    wholefile.write(tmp_path / "new", b"new", replace=False)
    assert (tmp_path / "new").read_bytes() == b"new"


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_what_fails_on_the_way_changes_nothing(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, step, full)
        with pytest.raises(OSError, match="No space left"):
            wholefile.write(path, b"after", replace=step == "fsync")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
