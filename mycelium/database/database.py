"""A node's database: its tables over one store, with their writer, group commit and acknowledgements.

Wires the parts; decides nothing itself. Peers and sync are the node's business.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from blake3 import blake3

from mycelium.database import backup, rows
from mycelium.database.access import POLICIES, SYS, SYS_TABLES
from mycelium.database.acks import Acks
from mycelium.database.commit import Committer
from mycelium.database.engine import Engine
from mycelium.database.history import SignedBatch, history
from mycelium.database.originating import LocalChange
from mycelium.database.schema import TableSpec, space_prefix
from mycelium.database.store import Column, Store, after_prefix
from mycelium.database.table import ADD, DELETE, INSERT, PUT, Key, Table
from mycelium.database.validity import Authority
from mycelium.database.writer import Ack, Writer, Writes, check_ack
from mycelium.errors import StoreClosed, UnknownTable
from mycelium.identity.keys import Keypair

_DIGEST_ROWS_AT_ONCE = 2_000


def wall_ms() -> int:
    """The system clock, ms since the Unix epoch."""
    return time.time_ns() // 1_000_000


class BatchWriter:
    """What `async with database.batch() as b` gives: changes that are applied together, or not at all."""

    def __init__(self, database: Database) -> None:
        self.changes: list[LocalChange] = []
        self._table = database.table

    def put(self, table: str, key: Key, value: Any) -> None:
        self.changes.append(self._table(table).change(PUT, key, value))

    def delete(self, table: str, key: Key) -> None:
        self.changes.append(self._table(table).change(DELETE, key, None))

    def add(self, table: str, key: Key, amount: int = 1) -> None:
        self.changes.append(self._table(table).change(ADD, key, amount))

    def insert(self, table: str, key: Key, element: Any) -> None:
        self.changes.append(self._table(table).change(INSERT, key, element))

    def remove(self, table: str, key: Key, element: Any) -> None:
        """Removes what was inserted before this batch; an insertion of the batch itself stays."""
        self.changes.extend(self._table(table).removals(key, element))


class Database:
    """Open one with `mycelium.Node.open`; the constructor takes a store that is already open.

    held: the spaces that are kept here, beside `sys`; None for those of all tables.
    """

    def __init__(
        self,
        store: Store,
        tables: Mapping[str, TableSpec],
        keypair: Keypair,
        netuid: int,
        genesis: bytes,
        authority: Authority,
        now_ms: Callable[[], int] = wall_ms,
        held: Collection[str] | None = None,
    ) -> None:
        identity = backup.open_identity(store, keypair.account, netuid, genesis)
        if held is None:
            backup.check_alone(store, identity.generation)
        self.store = store
        self.tables = dict(tables)
        self._held = held
        self.account = keypair.account
        self.generation = identity.generation
        self.engine = Engine(
            store,
            identity,
            keypair,
            authority,
            spaces=frozenset(self.spaces),
            index_seed=secrets.token_bytes(16),
        )
        self.committer = Committer(store.sync, self.engine.feed_last)
        self.acks = Acks()
        self.writer: Writes = Writer(self.engine, self.committer, self.acks, now_ms)
        self.engine.on_applied.append(lambda applied: self.committer.applied(applied.feed_index))
        self.engine.on_rewound.append(self.committer.applied)
        self._tables = {name: Table(self, spec) for name, spec in self.tables.items()}
        self._system = {spec.name: Table(self, spec) for spec in SYS_TABLES}
        self._closed = False

    @property
    def spaces(self) -> list[str]:
        """The spaces of the declared tables that are held here, and `sys`, which every node has."""
        declared = {spec.space for spec in self.tables.values()}
        return sorted({SYS, *(declared if self._held is None else declared.intersection(self._held))})

    def route(self, writer: Writes, table: Callable[[TableSpec], Table]) -> None:
        """Let all writes, and the tables of programs, go another way. Before anything is written."""
        writer.refusal = self.writer.refusal
        self.writer = writer
        self._tables = {name: table(spec) for name, spec in self.tables.items()}

    def system(self, name: str) -> Table:
        """A table of the space `sys`: "policy" or "seals"."""
        return self._system[name]

    def policy_document(self, name: bytes) -> bytes | None:
        """The bytes of the policy whose digest this is; None while it is not here."""
        found = rows.read(self.store, POLICIES, name.hex().encode())
        return found.encode() if isinstance(found, str) else found

    def table(self, name: str) -> Table:
        """The declared table of that name. UnknownTable."""
        table = self._tables.get(name)
        if table is None:
            known = ", ".join(sorted(self._tables)) or "none"
            raise UnknownTable(f"no table {name!r} is declared; declared: {known}")
        return table

    @asynccontextmanager
    async def batch(self, ack: Ack = "durable") -> AsyncIterator[BatchWriter]:
        """Changes of one space, applied together at the end of the block. An exception in it writes nothing."""
        check_ack(ack)
        if self._closed:
            raise StoreClosed("the database is closed")
        writer = BatchWriter(self)
        yield writer
        await self.writer.write_atomic(writer.changes, ack)

    async def history(self, space: str, account: bytes | None = None) -> AsyncIterator[SignedBatch]:
        """The signed batches of a space, or of one account's in it, for a `Verifier` or for somebody else's.

        Log by log, each in order, up to what is durable when it begins; without a gap, unless the log is trimmed.
        NotDurable, StoreClosed.
        """
        heads = {
            origin: held.head
            for origin, held in self.engine.vector(space).items()
            if account is None or origin.account == account
        }
        # What a crash undoes is signed anew under the same number: nobody may have seen it before.
        await self.committer.wait(self.engine.feed_last)
        async for batch in history(self.store, space, heads):
            yield batch

    async def state_digest(self, space: str) -> tuple[str, int]:
        """BLAKE3 (hex) over every LIVE row of the space as of now, and how many rows there are.

        Two replicas that hold the same batches have equal digests (invariant 2).
        """
        hasher, count = blake3(), 0
        prefix = space_prefix(space)
        rows = self.store.scan(Column.LIVE, prefix, after_prefix(prefix))
        parts: list[bytes] = []
        for key, row in rows:
            parts += (len(key).to_bytes(4, "big"), key, len(row).to_bytes(4, "big"), row)
            count += 1
            if count % _DIGEST_ROWS_AT_ONCE == 0:
                hasher.update(b"".join(parts))
                parts.clear()
                await asyncio.sleep(0)
        hasher.update(b"".join(parts))
        return hasher.hexdigest(), count

    async def state_digests(self) -> dict[str, str]:
        return {space: (await self.state_digest(space))[0] for space in self.spaces}

    async def checkpoint(self, path: Path) -> None:
        """A backup at `path`, of everything applied so far. The directory must not exist."""
        self.writer.flush_all()
        await asyncio.get_running_loop().run_in_executor(None, self.store.sync)
        await asyncio.get_running_loop().run_in_executor(None, self.store.checkpoint, path)

    def status_of_spaces(self) -> dict[str, tuple[int, int]]:
        """Of each space, how many changes are held, and of how many origins."""
        found = {}
        for space in self.spaces:
            vector = self.engine.vector(space)
            spans = (span for held in vector.values() for span in held.spans())
            found[space] = sum(last - first + 1 for first, last in spans), len(vector)
        return found

    def status(self) -> dict[str, Any]:
        """Counts and sizes, cheap enough for every second."""
        held = self.status_of_spaces()
        return {
            "generation": self.generation,
            "feed": self.engine.feed_last,
            "durable": self.committer.durable,
            "held": self.engine.held,
            "applied_batches": self.engine.counts["applied"],
            "duplicate_batches": self.engine.counts["duplicate"],
            "changes": self.engine.counts["changes"],
            "origins": {space: origins for space, (_, origins) in held.items()},
            "vectors": {space: self.engine.vector_digest(space).hex() for space in self.spaces},
            "held_changes": {space: changes for space, (changes, _) in held.items()},
            "store": self.store.usage(),
        }

    async def close(self) -> None:
        """Flush, sync, close. What was acknowledged as durable before is untouched by a failure here."""
        if self._closed:
            return
        self._closed = True
        self.writer.close()
        self.acks.close()
        try:
            await self.committer.close()
        finally:
            self.store.close()
