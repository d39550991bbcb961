"""Shared by tests: small worlds of engines and databases over memory stores. No assertions live here."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from mycelium._core import codec
from mycelium.database import backup
from mycelium.database.access import Rights
from mycelium.database.database import Database
from mycelium.database.engine import Applied, Engine
from mycelium.database.memory import MemoryStore
from mycelium.database.originating import LocalChange
from mycelium.database.policy import DEFAULT, MINER, VALIDATOR
from mycelium.database.schema import TableSpec
from mycelium.database.store import Column, Store
from mycelium.errors import StoreFull
from mycelium.identity import signing
from mycelium.identity.keys import Keypair
from mycelium.protocol.messages import MergeType, Op

NETUID = 7
GENESIS = bytes(range(32))
GENESIS_MS = 1_700_000_000_000
NOW_MS = GENESIS_MS + 1_000_000_000
BLOCK_MS = 12_000
TEMPO = 360

TABLES = {
    "scores": TableSpec("scores", "main", MergeType.LWW),
    "hits": TableSpec("hits", "main", MergeType.COUNTER),
    "tags": TableSpec("tags", "main", MergeType.SET),
    "events": TableSpec("events", "main", MergeType.APPEND),
    "profile": TableSpec("profile", "main", MergeType.OWN),
    "aside": TableSpec("aside", "other", MergeType.LWW),
}


def keypair(name: str) -> Keypair:
    """The same key for the same name."""
    return Keypair.from_seed(hashlib.blake2b(name.encode(), digest_size=32).digest())


_RIGHTS: dict[tuple[bool, bytes], Rights] = {}


@dataclass
class FixedAuthority:
    """Everyone in `writers` may write (None: everyone), in epochs up to `epochs_known`."""

    writers: set[bytes] | None = None
    blocks_known: int = 2**62
    refused_epochs: set[int] = field(default_factory=set)

    def rights(self, epoch: int, account: bytes, space: str = "main") -> Rights | None:
        del space
        if epoch * TEMPO > self.blocks_known:
            return None
        writes = epoch not in self.refused_epochs and (self.writers is None or account in self.writers)
        return _RIGHTS.setdefault((writes, account), Rights(DEFAULT, VALIDATOR if writes else MINER, account))

    def present(self) -> int:
        return 0

    def stakes(self, epoch: int, *, ask: bool = True) -> None:
        """Nobody ever departs."""

    def block_time_ms(self, block: int) -> int | None:
        return GENESIS_MS + block * BLOCK_MS if block <= self.blocks_known else None

    def epoch_of(self, block: int) -> int:
        return block // TEMPO

    def anchor(self, now_ms: int) -> tuple[int, int]:
        block = (now_ms - GENESIS_MS) // BLOCK_MS
        return block // TEMPO, block


def engine(
    name: str, store: Store | None = None, authority: FixedAuthority | None = None, entries_max: int = 10_000
) -> Engine:
    store = store if store is not None else MemoryStore()
    pair = keypair(name)
    identity = backup.open_identity(store, pair.account, NETUID, GENESIS)
    return Engine(
        store,
        identity,
        pair,
        authority or FixedAuthority(),
        spaces=frozenset({"main", "other"}),
        index_seed=bytes(16),
        index_entries_max=entries_max,
    )


def database(name: str, store: Store | None = None, now_ms: int = NOW_MS) -> Database:
    return Database(
        store if store is not None else MemoryStore(),
        TABLES,
        keypair(name),
        NETUID,
        GENESIS,
        FixedAuthority(),
        now_ms=lambda: now_ms,
    )


def put(key: str, value: str = "v", table: str = "scores") -> LocalChange:
    return TABLES[table], Op.PUT, key.encode(), b"\0" + value.encode()


def write(engine: Engine, *changes: LocalChange, now_ms: int = NOW_MS) -> Applied:
    return engine.originate(changes[0][0].space, changes, now_ms)


def forge(
    author: Engine, changes: Sequence[tuple[int, int, bytes, bytes]] = (), **fields: object
) -> tuple[bytes, bytes]:
    """A batch that `author` signs as its next, with any field replaced, and not applied anywhere."""
    epoch, block = FixedAuthority().anchor(NOW_MS)
    values: dict[str, object] = {
        "netuid": NETUID,
        "genesis": GENESIS,
        "space": "main",
        "account": author.origin.account,
        "generation": author.origin.generation,
        "seq_first": author.own_head("main") + 1,
        "prev_digest": author._log("main", author.origin).head_digest,
        "epoch": epoch,
        "ref_block": block,
        "hlc_first": NOW_MS << 16,
        "tables": [("scores", int(MergeType.LWW))],
        "changes": list(changes) or [(0, int(Op.PUT), b"k", b"\0v")],
    } | fields
    raw = codec.encode_batch(*values.values())
    return raw, author._keypair.sign(signing.BATCH, raw)


def exchange(engines: Sequence[Engine], now_ms: int = NOW_MS) -> None:
    """Give every engine every batch of every other."""
    for source in engines:
        for space in source.spaces():
            for origin, held in source.vector(space).items():
                for first, last in held.spans():
                    for _, raw, signature in list(source.log_records(space, origin, first, last)):
                        for target in engines:
                            if target is not source:
                                target.receive(raw, signature, now_ms)


class GatedStore(MemoryStore):
    """A sync waits while `gate` is clear."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def sync(self) -> None:
        if not self.gate.wait(30):
            raise StoreFull("the test never opened the gate")
        super().sync()


def rows(store: Store, column: Column = Column.LIVE) -> list[tuple[bytes, bytes]]:
    return list(store.scan(column, b"", None))
