"""What every SQLite file here has in common: how it is opened, and what a transaction is. Knows no table."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_LOCKED_S: Final = 0.1
"""A foreign program that looks into the file is waited for so long: an event loop stands still meanwhile."""


def connect(path: Path | None, *, threads: bool = False) -> sqlite3.Connection:
    """Open or make it; None is one in memory. Transactions begin where they are asked for. Raises sqlite3.Error.

    threads: more than one uses it, and takes care that they do so one after the other.
    """
    db = sqlite3.connect(
        path or ":memory:", isolation_level=None, timeout=_LOCKED_S, check_same_thread=not threads
    )
    try:
        # Whole after a crash of the machine too, though the last transactions may be missing.
        db.execute("pragma journal_mode=wal")
        db.execute("pragma synchronous=normal")
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All that is executed inside, or nothing."""
    db.execute("begin")
    try:
        yield
        db.execute("commit")
    except BaseException:
        # SQLite has done it already where the disk is full.
        if db.in_transaction:
            db.execute("rollback")
        raise
