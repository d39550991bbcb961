"""Makes this node's own batches: what may be written, its numbers and clock, its place in the chain, its signature.

Owns the checks before a signature. Applies nothing and keeps nothing: the engine does, with what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mycelium._core.codec import Batch, decode_batch
from mycelium.config import WRITE_AHEAD_MAX_MS
from mycelium.database import grants, schema, value
from mycelium.database.access import SYS
from mycelium.database.clock import Clock, time_ms_of
from mycelium.database.policy import WRITE, Action
from mycelium.database.quota import Quotas
from mycelium.database.schema import StoreIdentity, TableSpec
from mycelium.database.validity import Authority, check
from mycelium.database.vector import OriginLog
from mycelium.errors import StaleMessage, StoreError, Unauthorised
from mycelium.identity import signing
from mycelium.identity.keys import Keypair, preimage
from mycelium.protocol.messages import MergeType, Op

LocalChange = tuple[TableSpec, int, bytes, bytes]
"""One operation of this node's own, not yet in a batch: table, op, key, value. A plain tuple, as there are many."""


class Own(NamedTuple):
    """A batch of this node's own, signed and not yet applied. digest: of its bytes, as the next one will name it."""

    batch: Batch
    signature: bytes
    digest: bytes


class Originator:
    """Of one store."""

    def __init__(self, identity: StoreIdentity, keypair: Keypair, authority: Authority, clock: Clock) -> None:
        self._identity = identity
        self._keypair = keypair
        self._authority = authority
        self._clock = clock

    def make(
        self,
        space: str,
        changes: Sequence[LocalChange],
        now_ms: int,
        log: OriginLog,
        tokens: Sequence[bytes],
        quotas: Quotas,
    ) -> Own:
        """The batch that continues `log`. Unauthorised, ValueRefused, StoreError.

        tokens: grants that the changes may need.
        """
        identity = self._identity
        # A clock that was ahead and has been set right: the writes go on where they were, and are due when they are.
        ahead_ms = time_ms_of(self._clock.last + 1) - now_ms
        if ahead_ms > WRITE_AHEAD_MAX_MS:
            raise StoreError(
                f"this node's clock was {ahead_ms // 3_600_000} hours ahead of now when it last wrote: "
                "set the clock right, or start again with a new data_dir"
            )
        epoch, block = self._authority.anchor(now_ms + max(0, ahead_ms))
        rights = self._authority.rights(epoch, identity.account, space)
        if rights is None:
            raise StoreError(f"the policy of epoch {epoch} is not here yet, it is being fetched; try again")
        if not (tokens or space == SYS or rights.any(Action.PUT) or rights.any(Action.DELETE)):
            raise Unauthorised(f"this node's account may not write to {space!r} in epoch {epoch}")
        if tokens and not rights.whole(WRITE, space):
            changes = [*self._grant_changes(space, tokens), *changes]
        if log.gaps:
            # Peers hold batches of ours that this store lost. Writing now would sign their numbers a second time.
            raise StoreError(
                "batches of this node's own are missing here and being fetched from its peers; try again"
            )
        batch = decode_batch(self._encode(space, changes, now_ms, log, epoch, block))
        try:
            if not check(batch, identity.netuid, identity.genesis, self._authority):
                raise StoreError(f"what epoch {epoch} allows is not all here yet; try again")
            quotas.check(batch, rights, log)
        except StaleMessage as error:
            raise StoreError(
                f"this node's clock and the chain's are more than an hour apart: {error}"
            ) from None
        signed = preimage(signing.BATCH, batch.raw)
        return Own(batch, self._keypair.sign_preimage(signed), signed[-32:])

    def _encode(
        self,
        space: str,
        changes: Sequence[LocalChange],
        now_ms: int,
        log: OriginLog,
        epoch: int,
        block: int,
    ) -> bytes:
        tables: dict[TableSpec, int] = {}
        rows = []
        for spec, op, key, payload in changes:
            number = tables.get(spec)
            if number is None:
                number = tables[spec] = len(tables)
            rows.append((number, op, key, payload))
        return schema.encode_own(
            self._identity.netuid,
            self._identity.genesis,
            space,
            self._identity.account,
            self._identity.generation,
            log.head + 1,
            log.head_digest,
            epoch,
            block,
            self._clock.take(len(rows), now_ms),
            [(spec.name, int(spec.merge)) for spec in tables],
            rows,
        )

    def _grant_changes(self, space: str, tokens: Sequence[bytes]) -> list[LocalChange]:
        """The grants for a space as changes, to go before what they allow."""
        network = grants.network_id(self._identity.netuid, self._identity.genesis)
        found: list[LocalChange] = []
        for token in tokens:
            grant = grants.read(token, network)
            if grant.blocks[-1].space == space:
                table = TableSpec(grants.TABLE, space, MergeType.LWW)
                found.append((table, int(Op.PUT), grant.id.hex().encode(), value.value_bytes(token)))
        return found
