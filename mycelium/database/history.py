"""The signed log as an auditor sees it: batches with their signatures, and the check that they are one unbroken chain.

Every batch names the digest of the one before it in its log, and its writer signed the whole: whoever holds the log
needs nobody's word for what it says, nor for nothing being left out in the middle. What a reader cannot see is an end
that is kept from it: compare heads with another node's. Of `lww` and `own` tables a node that trims its log has dropped
batches that others superseded (`horizon`), and a verifier takes such a log only when it is told to. Reads the store and
decides nothing; whether a writer was allowed to write is the node's to judge, by the chain (`validity`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from mycelium._core.codec import Batch, decode_batch
from mycelium.config import BATCH_BYTES_MAX
from mycelium.database import value
from mycelium.database.schema import log_key
from mycelium.database.store import Column, Store
from mycelium.database.vector import ZERO_DIGEST, Origin
from mycelium.database.watch import shown_value
from mycelium.errors import BadSignature, HistoryBroken, OversizedMessage, WrongNetwork
from mycelium.identity import account as accounts
from mycelium.identity.keys import SIGNATURE_BYTES, digest, verify
from mycelium.identity.signing import BATCH
from mycelium.protocol.messages import MergeType, Op

_BATCHES_AT_ONCE: Final = 16
ORIGINS_MAX: Final = 65_536
"""Logs that one verifier keeps a head of, 300 bytes each: a node that serves a history could make up any number."""


class SignedBatch(NamedTuple):
    """The exact bytes that its writer signed, and the signature, 64 bytes."""

    raw: bytes
    signature: bytes


class Fact(NamedTuple):
    """One change that its writer signed. seq: its number in the writer's log; value: None for a delete or a remove."""

    table: str
    key: str | bytes
    op: str
    value: Any
    account: bytes
    generation: int
    seq: int
    hlc: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Head:
    """How far a log was checked. seq: of its last change. digest: of its last batch, which names all before.

    missing: changes before that which the log does not hold any more.
    """

    seq: int
    digest: bytes
    batches: int
    missing: int = 0


async def history(store: Store, space: str, heads: Mapping[Origin, int]) -> AsyncIterator[SignedBatch]:
    """The batches of some logs of a space, each in order, from its first change to the one that is named for it."""
    for origin, last in sorted(heads.items()):
        low, high = log_key(space, origin, 0), log_key(space, origin, last + 1)
        while True:
            page = list(islice(store.scan(Column.LOG, low, high), _BATCHES_AT_ONCE))
            for _, record in page:
                yield SignedBatch(record[SIGNATURE_BYTES:], record[:SIGNATURE_BYTES])
            # A log of gigabytes must not keep the loop from answering pings.
            await asyncio.sleep(0)
            if len(page) < _BATCHES_AT_ONCE:
                break
            low = page[-1][0] + b"\0"


class Verifier:
    """Takes batches one after the other, and lets through only what their writers signed, in order, with none missing.

    netuid, genesis (32 bytes): of the network; batches of another are refused. What raised was not taken: the heads
    stay, and the right batch may follow. trimmed: take logs of which superseded batches were dropped; what is missing
    is counted in their heads.
    """

    def __init__(self, netuid: int, genesis: bytes, *, trimmed: bool = False) -> None:
        self.netuid = netuid
        self.genesis = genesis
        self.trimmed = trimmed
        self._heads: dict[Origin, Head] = {}

    @property
    def heads(self) -> Mapping[Origin, Head]:
        """(account, generation) -> how far its log was checked."""
        return MappingProxyType(self._heads)

    def take(self, signed: SignedBatch) -> list[Fact]:
        """Check the next batch of its log, 50 us and more; its changes.

        Raises BadSignature, HistoryBroken for a gap or another past than before, WrongNetwork, and MalformedMessage and
        OversizedMessage for what is no batch.
        """
        if len(signed.raw) > BATCH_BYTES_MAX:
            raise OversizedMessage(f"a batch has at most {BATCH_BYTES_MAX} bytes, not {len(signed.raw)}")
        batch = decode_batch(signed.raw)
        if batch.netuid != self.netuid or batch.genesis != self.genesis:
            raise WrongNetwork(f"a batch of netuid {batch.netuid}, genesis {batch.genesis.hex()[:16]}")
        origin = Origin(batch.account, batch.generation)
        before = self._heads.get(origin, Head(0, ZERO_DIGEST, 0))
        name = accounts.format(batch.account)
        missing = batch.seq_first - before.seq - 1
        if missing < 0 or (missing and not self.trimmed):
            raise HistoryBroken(
                f"change {before.seq + 1} of {name} should come next, and {batch.seq_first} does"
            )
        if not missing and batch.prev_digest != before.digest:
            raise HistoryBroken(f"change {batch.seq_first} of {name} names another past than the one shown")
        if not verify(batch.account, BATCH, signed.raw, signed.signature):
            raise BadSignature(f"{name} did not sign the batch with its change {batch.seq_first}")
        if origin not in self._heads and len(self._heads) >= ORIGINS_MAX:
            raise HistoryBroken(f"more than {ORIGINS_MAX} logs: verify them in parts")
        seq = batch.seq_first + batch.count - 1
        self._heads[origin] = Head(seq, digest(signed.raw), before.batches + 1, before.missing + missing)
        return _facts(batch)


def _facts(batch: Batch) -> list[Fact]:
    tables = batch.tables
    found = []
    for place, (table, op, key, payload) in enumerate(batch.changes()):
        name, merge = tables[table]
        found.append(
            Fact(
                name,
                value.key_of(key),
                Op(op).name.lower(),
                shown_value(MergeType(merge), op, payload),
                batch.account,
                batch.generation,
                batch.seq_first + place,
                batch.hlc_first + place,
                batch.epoch,
            )
        )
    return found
