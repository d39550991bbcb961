"""A development chain's state in a file, so that it goes on where it was when it is started again.

One SQLite file, written once a block in one transaction: a chain that is killed loses nothing that it told anybody.
Its size is bounded by what the chain itself keeps. Decides nothing about blocks. Observes one `Core`.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final

import msgspec

from mycelium.config import DEVCHAIN_BLOCKS_MAX
from mycelium.devnet.chain import specfile
from mycelium.devnet.chain.blocks import Block, Header
from mycelium.devnet.chain.core import Core, Event, NewHead, Restarted, Upgraded
from mycelium.devnet.chain.metadata import RuntimeSpec
from mycelium.devnet.chain.storage import Undo
from mycelium.errors import ConfigError

_FORMAT: Final = 1
_SCHEMA: Final = """
create table if not exists state(key blob primary key, value blob not null) without rowid;
create table if not exists blocks(number integer primary key, hash blob not null, block blob, undo blob);
create table if not exists runtimes(since integer primary key, spec blob not null);
"""
_Undo = dict[bytes, bytes | None]


class StateFile:
    """`path`: made when it is not there. Raises ConfigError for a file that is another chain's, or no such file."""

    def __init__(self, path: Path, core: Core) -> None:
        self._path = path
        self._core = core
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("pragma journal_mode=wal")
            self._db.execute("pragma synchronous=normal")
            self._open()
        except sqlite3.Error as error:
            raise ConfigError(
                f"{path}: {error}", "name another file, or remove this one to begin anew"
            ) from None
        core.observers.append(self._told)

    def close(self) -> None:
        """The chain may go on; nothing is written any more."""
        if self._told in self._core.observers:
            self._core.observers.remove(self._told)
        self._db.close()

    # --- reading ----------------------------------------------------------------------------------------

    def _open(self) -> None:
        version = self._db.execute("pragma user_version").fetchone()[0]
        if version not in {0, _FORMAT}:
            raise ConfigError(f"{self._path} has format {version}, not {_FORMAT}", "remove it to begin anew")
        self._db.executescript(_SCHEMA)
        self._db.execute(f"pragma user_version={_FORMAT}")
        first = self._db.execute("select hash from blocks where number=0").fetchone()
        if first is None:
            self._write_all()
        elif first[0] != self._core.chain.genesis:
            raise ConfigError(
                f"{self._path} is of another chain, that of genesis 0x{first[0].hex()}",
                "begin with the spec that it began with, or remove it to begin anew",
            )
        else:
            self._restore()

    def _restore(self) -> None:
        rows = self._db.execute("select hash, block, undo from blocks order by number").fetchall()
        blocks = [_block(row[0], row[1]) for row in rows if row[1] is not None]
        undo = [msgspec.msgpack.decode(row[2], type=_Undo) for row in rows if row[2] is not None]
        runtimes = [
            (since, specfile.from_json(RuntimeSpec, msgspec.json.decode(spec), "runtime"))
            for since, spec in self._db.execute("select since, spec from runtimes order by since")
        ]
        state = dict(self._db.execute("select key, value from state").fetchall())
        self._core.take_over(state, undo, [row[0] for row in rows], blocks, runtimes)

    # --- writing ----------------------------------------------------------------------------------------

    def _told(self, event: Event) -> None:
        if isinstance(event, Restarted) or (isinstance(event, NewHead) and event.reorganised):
            self._write_all()
        elif isinstance(event, NewHead):
            self._write_block(event)
        elif isinstance(event, Upgraded):
            spec = msgspec.json.encode(specfile.to_json(self._core.runtime_spec))
            number = self._core.chain.best.number
            self._db.execute("insert or replace into runtimes values(?, ?)", (number, spec))

    def _write_block(self, event: NewHead) -> None:
        chain, number = self._core.chain, event.block.number
        self._db.execute("begin")
        for key, value in event.changes.items():
            if value is None:
                self._db.execute("delete from state where key=?", (key,))
            else:
                self._db.execute("insert or replace into state values(?, ?)", (key, value))
        self._db.execute(
            "insert or replace into blocks values(?, ?, ?, ?)",
            _row(event.block, chain.storage.undo_of_last()),
        )
        # What the chain itself has forgotten; of every block the hash stays.
        if number > chain.storage.depth:
            oldest = number - chain.storage.depth
            self._db.execute("update blocks set undo=null where number=?", (oldest,))
        self._db.execute("update blocks set block=null where number=?", (number - DEVCHAIN_BLOCKS_MAX,))
        self._db.execute("commit")

    def _write_all(self) -> None:
        chain = self._core.chain
        hashes, blocks, undo = chain.kept()
        best = len(hashes) - 1
        by_hash = {block.hash: block for block in blocks}
        first_undo = best - len(undo) + 1
        self._db.execute("begin")
        for table in ("state", "blocks"):
            self._db.execute(f"delete from {table}")  # noqa: S608 - two names, written here
        self._db.execute("delete from runtimes where since>?", (best,))
        self._db.executemany("insert into state values(?, ?)", chain.storage.items())
        for number, name in enumerate(hashes):
            found = by_hash.get(name)
            overwritten = undo[number - first_undo] if number >= first_undo and number else None
            row = (number, name, None, None) if found is None else _row(found, overwritten)
            self._db.execute("insert into blocks values(?, ?, ?, ?)", row)
        self._db.execute("commit")


def _row(block: Block, undo: Undo | None) -> tuple[int, bytes, bytes, bytes | None]:
    header = block.header
    fields: list[Any] = [header.parent, header.state_root, header.extrinsics_root, header.logs]
    encoded = msgspec.msgpack.encode([*fields, block.extrinsics, block.timestamp_ms, block.number])
    return block.number, block.hash, encoded, None if undo is None else msgspec.msgpack.encode(undo)


_Fields = tuple[bytes, bytes, bytes, tuple[bytes, ...], tuple[bytes, ...], int, int]


def _block(name: bytes, encoded: bytes) -> Block:
    parent, state, extrinsics, logs, body, timestamp_ms, number = msgspec.msgpack.decode(
        encoded, type=_Fields
    )
    return Block(name, Header(parent, number, state, extrinsics, logs), body, timestamp_ms)
