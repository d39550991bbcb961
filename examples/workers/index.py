"""Whose each worker is, in SQLite, and how far the store was read: both change in one transaction, or neither does."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

SCHEMA = """
    CREATE TABLE IF NOT EXISTS workers (worker TEXT PRIMARY KEY, hotkey TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY CHECK (one = 1), generation TEXT, cursor INTEGER);
"""


class Index:
    """One file. Whatever moment the program is killed at, it goes on where it was."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path)
        self._database.executescript(SCHEMA)

    def cursor(self, generation: int) -> int:
        """Where to go on; 0, the beginning, when the node has other data than before: cursors hold for one."""
        row = self._database.execute("SELECT generation, cursor FROM place").fetchone()
        return int(row[1]) if row is not None and row[0] == str(generation) else 0

    def keep(self, generation: int, cursor: int, worker: str, hotkey: str | None) -> bool:
        """Note whose a worker is, and that everything up to the cursor was read. Whether that was news."""
        with self._database:
            before = self._database.execute(
                "SELECT hotkey FROM workers WHERE worker = ?", (worker,)
            ).fetchone()
            if hotkey is None:
                self._database.execute("DELETE FROM workers WHERE worker = ?", (worker,))
            else:
                self._database.execute("INSERT OR REPLACE INTO workers VALUES (?, ?)", (worker, hotkey))
            place = (str(generation), cursor)
            self._database.execute("INSERT OR REPLACE INTO place VALUES (1, ?, ?)", place)
        return (None if before is None else before[0]) != hotkey

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def workers(path: Path) -> dict[str, str]:
    """What an index says: worker -> hotkey."""
    with closing(sqlite3.connect(path)) as database:
        return dict(database.execute("SELECT worker, hotkey FROM workers"))
