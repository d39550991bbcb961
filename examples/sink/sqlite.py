"""Somebody's own sink: the tables `lww` and `own` of a node as one table of SQLite, and the counters as another.

    python examples/sink/sqlite.py --config net/node1/node.toml --file facts.db

The position of the feed is in the transaction of the rows, so whatever is killed, each change counts once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import mycelium
from mycelium.database.value import value_of
from mycelium.errors import MyceliumError
from mycelium.feed.batch import ExportRow, FeedBatch
from mycelium.feed.cursor import Cursor
from mycelium.protocol.messages import MergeType, Op
from mycelium.sinks.interface import Position
from mycelium.sinks.runner import Runner

SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (space, name, key, value, PRIMARY KEY (space, name, key));
CREATE TABLE IF NOT EXISTS counts (space, name, key, value, PRIMARY KEY (space, name, key));
CREATE TABLE IF NOT EXISTS position (only INTEGER PRIMARY KEY CHECK (only = 1), at TEXT);
"""
PUT = "INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?)"
DELETE = "DELETE FROM facts WHERE space = ? AND name = ? AND key = ?"
ADD = """INSERT INTO counts VALUES (?, ?, ?, ?)
         ON CONFLICT (space, name, key) DO UPDATE SET value = value + excluded.value"""


class SqliteSink:
    gather_s = 0.0
    gather_changes = 10_000
    gather_bytes = 8 * 2**20

    def __init__(self, path: str) -> None:
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.executescript(SCHEMA)

    async def open(self) -> Position | None:
        if self.database.in_transaction:
            self.database.execute("ROLLBACK")
        found = self.database.execute("SELECT at FROM position").fetchone()
        return Position.parse(found[0]) if found else None

    async def begin(self, spaces: Iterable[str] | None, cursor: Cursor) -> None:
        # Other readers see all of the fill or none of it: it is one transaction, which `finish` ends.
        self.database.execute("BEGIN IMMEDIATE")
        for table in ("facts", "counts"):
            for space in [None] if spaces is None else spaces:
                self.database.execute(f"DELETE FROM {table} WHERE ?1 IS NULL OR space = ?1", (space,))  # noqa: S608

    async def fill(self, rows: Sequence[ExportRow]) -> None:
        for row in rows:
            self.write(row.space, row.table, row.merge, Op.PUT, row.key, row.value)

    async def finish(self, position: Position) -> None:
        self.keep(position)

    async def prepare(self, batches: Sequence[FeedBatch]) -> Any:
        return batches

    async def apply(self, prepared: Any, position: Position) -> None:
        self.database.execute("BEGIN IMMEDIATE")
        for batch in prepared:
            for change in batch.changes:
                if change.wins or change.merge is MergeType.COUNTER:
                    self.write(batch.space, change.table, change.merge, change.op, change.key, change.value)
        self.keep(position)

    async def close(self) -> None:
        self.database.rollback()

    def keep(self, position: Position) -> None:
        self.database.execute("INSERT OR REPLACE INTO position VALUES (1, ?)", (str(position),))
        self.database.execute("COMMIT")

    def write(self, space: str, name: str, merge: MergeType, op: Op, key: bytes, value: bytes) -> None:
        where = (space, name, key.decode("utf-8", "replace"))
        if merge is MergeType.COUNTER:
            self.database.execute(ADD, (*where, int.from_bytes(value, "big", signed=True)))
        elif merge in (MergeType.LWW, MergeType.OWN):
            if op is Op.DELETE:
                self.database.execute(DELETE, where)
            else:
                self.database.execute(PUT, (*where, json.dumps(value_of(value), default=repr)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="the node.toml of a node that runs")
    parser.add_argument("--file", default="facts.db")
    given = parser.parse_args()
    runner = Runner(lambda: mycelium.connect(given.config), SqliteSink(given.file), say=print)
    try:
        asyncio.run(runner.run())
    except MyceliumError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
