"""A development chain's state in a file, so that it goes on where it was when it is started again.

One SQLite file, written once a block in one transaction: a chain that is killed loses nothing that it told anybody,
unless it said before that the file cannot be written. Its size is bounded by what the chain itself keeps. Decides
nothing about blocks. Observes one `Core`.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from pathlib import Path
from typing import Any, Final

import msgspec

from mycelium import sqlitefile
from mycelium.config import DEVCHAIN_BLOCKS_MAX
from mycelium.devnet.chain import specfile
from mycelium.devnet.chain.blocks import Block, Header, Kept
from mycelium.devnet.chain.core import Core, Event, NewHead, Restarted
from mycelium.devnet.chain.metadata import RuntimeSpec
from mycelium.devnet.chain.storage import Undo
from mycelium.errors import ConfigError
from mycelium.sqlitefile import transaction

log = logging.getLogger(__name__)

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
        self._lags = False
        """Whether a block is missing in the file."""
        with contextlib.ExitStack() as failed:
            try:
                self._db = sqlitefile.connect(path)
                failed.callback(self._db.close)
                self._open()
            except sqlite3.Error as error:
                raise ConfigError(
                    f"{path}: {error}", "name another file, or remove this one to begin anew"
                ) from None
            failed.pop_all()
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
            with transaction(self._db):
                self._write_all()
        elif first[0] != self._core.chain.genesis:
            raise ConfigError(
                f"{self._path} is of another chain, that of genesis 0x{first[0].hex()}",
                "begin with the spec that it began with, or remove it to begin anew",
            )
        else:
            self._restore()

    def _restore(self) -> None:
        numbered = self._db.execute("select hash, block, undo, number from blocks order by number").fetchall()
        rows = [row[:3] for row in numbered]
        if [row[3] for row in numbered] != list(range(len(rows))) or rows[-1][1] is None:
            raise ConfigError(f"{self._path} lacks blocks", "remove it to begin anew")
        blocks = [_block(row[0], row[1]) for row in rows if row[1] is not None]
        undo = [msgspec.msgpack.decode(row[2], type=_Undo) for row in rows if row[2] is not None]
        runtimes = [
            (since, specfile.from_json(RuntimeSpec, msgspec.json.decode(spec), "runtime"))
            for since, spec in self._db.execute("select since, spec from runtimes order by since")
        ]
        state = dict(self._db.execute("select key, value from state").fetchall())
        self._core.take_over(state, Kept([row[0] for row in rows], blocks, undo), runtimes)

    # --- writing ----------------------------------------------------------------------------------------

    def _told(self, event: Event) -> None:
        if not isinstance(event, NewHead | Restarted):
            return
        try:
            with transaction(self._db):
                if self._lags or isinstance(event, Restarted) or event.reorganised:
                    self._write_all()
                else:
                    self._write_block(event)
            self._lags = False
        except sqlite3.Error as error:
            # The chain does not stop for its file, and one with a gap would say what never was.
            self._lags = True
            log.error("%s: %s; it lags behind, and is written anew with the next block", self._path, error)

    def _write_block(self, event: NewHead) -> None:
        chain, number = self._core.chain, event.block.number
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
        self._write_upgrades(number)

    def _write_all(self) -> None:
        chain = self._core.chain
        kept = chain.kept()
        by_hash = {block.hash: block for block in kept.blocks}
        first_undo = len(kept.hashes) - len(kept.undo)
        for table in ("state", "blocks", "runtimes"):
            self._db.execute(f"delete from {table}")  # noqa: S608 - three names, written here
        self._db.executemany("insert into state values(?, ?)", chain.storage.items())
        for number, name in enumerate(kept.hashes):
            found = by_hash.get(name)
            overwritten = kept.undo[number - first_undo] if number >= first_undo and number else None
            row = (number, name, None, None) if found is None else _row(found, overwritten)
            self._db.execute("insert into blocks values(?, ?, ?, ?)", row)
        self._write_upgrades(0)

    def _write_upgrades(self, least: int) -> None:
        """The runtimes that came with a block of this number or a later one."""
        for since, spec in self._core.upgrades():
            if since >= least:
                encoded = msgspec.json.encode(specfile.to_json(spec))
                self._db.execute("insert or replace into runtimes values(?, ?)", (since, encoded))


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
