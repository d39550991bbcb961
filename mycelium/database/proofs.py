"""Proofs that an account broke its word, which everybody verifies by itself, and the origins that are frozen by them.

Two kinds. **Equivocation**: two signed batches of one origin that hold one number and differ, or of which one says that
it follows on the other and does not. **A broken rule**: one signed batch that its own bytes and the times of blocks
refuse (`validity.objective`). What needs members or policy to judge proves nothing here: a members file speaks for all
epochs, and after an edit of it the batches of who was taken out would break a rule that they kept.

A proof freezes one origin in one space at a number: the first that the two batches dispute. No batch that reaches it is
taken any more, and who has some gives them up. Of several proofs the one with the lowest number counts, so that all who
know the same proofs hold the same log, whatever came first. A restored backup is another origin and stands outside.

Owns the proofs in the store (column EVIDENCE). Applies nothing, sends nothing, reads no clock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from typing import Final, NamedTuple

from mycelium._core.codec import Batch, decode_batch
from mycelium.config import GENERATIONS_MAX
from mycelium.database import schema
from mycelium.database.schema import StoreIdentity
from mycelium.database.seals import Cut
from mycelium.database.store import Column, Store, after_prefix
from mycelium.database.validity import Authority, objective
from mycelium.database.vector import ZERO_DIGEST, Origin
from mycelium.errors import (
    BadSignature,
    MalformedMessage,
    ProtocolError,
    StaleMessage,
    Unauthorised,
    Unproven,
    WrongNetwork,
)
from mycelium.identity import signing
from mycelium.identity.keys import digest, verify
from mycelium.protocol.messages import Proof

log = logging.getLogger(__name__)

EQUIVOCATION: Final = "equivocation"
_SIGNATURE_BYTES: Final = 64

SignedBatch = tuple[bytes, bytes]
"""Bytes and signature."""


class Proven(NamedTuple):
    """A verified proof. at: the first number of the origin that nobody takes. what: reason of a ProtocolError.

    exact: whether the two histories part at `at`; they may have parted before, where it is not known.
    """

    space: str
    origin: Origin
    at: int
    what: str
    exact: bool
    raw: bytes


def contradict(first: Batch, second: Batch) -> bool:
    """Whether one origin cannot have signed both in honesty. They are of one origin and space."""
    if first.raw == second.raw:
        return False
    before, after = (first, second) if first.seq_first <= second.seq_first else (second, first)
    last = before.seq_first + before.count - 1
    if after.seq_first <= last:
        return True
    return after.seq_first == last + 1 and after.prev_digest != digest(before.raw)


def judge(raw: bytes, netuid: int, genesis: bytes, authority: Authority) -> Proven | None:
    """What an encoded proof proves here; None: the block that decides is not known yet.

    Raises MalformedMessage or Unproven for what proves nothing, BadSignature, WrongNetwork, OversizedMessage.
    """
    proof = Proof.decode(raw)
    first = _signed(proof.first, netuid, genesis)
    if proof.second is None:
        return _judge_one(raw, first, authority)
    second = _signed(proof.second, netuid, genesis)
    if (first.account, first.generation, first.space) != (second.account, second.generation, second.space):
        raise MalformedMessage("a proof of two batches that are not of one origin")
    if not contradict(first, second):
        raise MalformedMessage("a proof of two batches that do not contradict each other")
    return Proven(
        first.space,
        Origin(first.account, first.generation),
        max(first.seq_first, second.seq_first),
        EQUIVOCATION,
        (first.seq_first, first.prev_digest) == (second.seq_first, second.prev_digest),
        raw,
    )


def _signed(signed: SignedBatch, netuid: int, genesis: bytes) -> Batch:
    raw, signature = signed
    batch = decode_batch(raw)
    if batch.netuid != netuid or batch.genesis != genesis:
        # An account may well write in two networks; what it does in another is nothing here.
        raise WrongNetwork(f"a proof of netuid {batch.netuid}, genesis {batch.genesis.hex()[:16]}")
    if not verify(batch.account, signing.BATCH, raw, signature):
        raise BadSignature("a proof whose batch its account did not sign")
    return batch


def _judge_one(raw: bytes, batch: Batch, authority: Authority) -> Proven | None:
    origin = Origin(batch.account, batch.generation)
    if batch.seq_first == 1 and batch.prev_digest != ZERO_DIGEST:
        return Proven(batch.space, origin, 1, EQUIVOCATION, True, raw)
    try:
        if not objective(batch, authority):
            return None
    except (StaleMessage, Unauthorised) as error:
        return Proven(batch.space, origin, batch.seq_first, error.reason, True, raw)
    raise Unproven("a proof of a batch that breaks no rule")


class Frozen:
    """The proofs that one store holds, the lowest for each space and origin.

    give_up: what makes the log end where the proof says; it is asked again at every opening, for a node that was killed
    in the midst of it. on_proof: called with each proof that is news.
    """

    def __init__(
        self,
        store: Store,
        identity: StoreIdentity,
        authority: Authority,
        spaces: Collection[str],
        give_up: Callable[[Proven], None],
    ) -> None:
        self.on_proof: list[Callable[[Proven], None]] = []
        self._store = store
        self._network = identity.netuid, identity.genesis
        self._authority = authority
        self._spaces = spaces
        self._give_up = give_up
        self._proven: dict[tuple[str, Origin], Proven] = {}
        for key, raw in list(store.scan(Column.EVIDENCE, b"", None)):
            self._load(key, raw)

    def _load(self, key: bytes, raw: bytes) -> None:
        try:
            found = self.judge(raw)
            first = decode_batch(Proof.decode(raw).first[0])
        except ProtocolError as error:
            # It held by a members file that was another then, or the disk lies.
            log.warning("a stored proof about %s holds no more: %s", key.hex()[:80], error)
            self._write(key, None)
            return
        if found is None:
            # Its block is not known again yet. That the proof holds was found out before it was stored.
            origin = Origin(first.account, first.generation)
            found = Proven(first.space, origin, first.seq_first, StaleMessage.reason, True, raw)
        self._proven[found.space, found.origin] = found

    def settle(self) -> None:
        """Give up what a node that was killed has not given up."""
        for proven in list(self.all()):
            self._give_up(proven)

    # --- what is known ----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._proven)

    def all(self) -> Iterator[Proven]:
        """By space and origin."""
        for key in sorted(self._proven):
            yield self._proven[key]

    def get(self, space: str, origin: Origin) -> Proven | None:
        """The proof about an origin."""
        return self._proven.get((space, origin))

    def reaches(self, space: str, origin: Origin, last: int) -> bool:
        """Whether a batch that ends with that number is not to be taken."""
        found = self._proven.get((space, origin))
        return found is not None and last >= found.at

    def doubted(self, space: str) -> list[Origin]:
        """Origins whose histories may part before the number that is proved: what is held of them may differ."""
        found = ((where, origin) for (where, origin), one in self._proven.items() if not one.exact)
        return sorted(origin for where, origin in found if where == space)

    def generations(self, space: str, account: bytes) -> set[Origin]:
        """The frozen origins of an account."""
        return {origin for where, origin in self._proven if where == space and origin.account == account}

    def is_news(self, space: str, origin: Origin, at: int) -> bool:
        """Whether a proof at that number would freeze more than what is known."""
        known = self.get(space, origin)
        if known is not None:
            return at < known.at
        return space in self._spaces and len(self.generations(space, origin.account)) < GENERATIONS_MAX

    # --- what is learnt ---------------------------------------------------------------------------------

    def judge(self, raw: bytes) -> Proven | None:
        """See `judge`, for this network."""
        return judge(raw, *self._network, self._authority)

    def accuse(self, first: SignedBatch, second: SignedBatch | None = None) -> None:
        """Act on batches that this node was sent, if they prove something. StoreError."""
        try:
            found = self.judge(Proof(first, second).encode())
        except ProtocolError:
            return  # wrong by what members or policy say
        if found is not None:
            self.convict(found)

    def fork(self, batch: Batch, signature: bytes, seq: int) -> None:
        """A batch contradicts the one held that has the number `seq`, or, as the first of its origin, itself."""
        origin = Origin(batch.account, batch.generation)
        start = schema.log_key(batch.space, origin, 0)
        stop = schema.log_key(batch.space, origin, seq + 1)
        held = next(iter(self._store.scan(Column.LOG, start, stop, reverse=True)), None)
        if held is None:
            self.accuse((batch.raw, signature))
        else:
            self.accuse((held[1][_SIGNATURE_BYTES:], held[1][:_SIGNATURE_BYTES]), (batch.raw, signature))

    def convict(self, proven: Proven) -> bool:
        """Freeze an origin where a proof says, for good; False if that says nothing new. StoreError."""
        known = self.get(proven.space, proven.origin)
        better = known is not None and known.at == proven.at and proven.exact and not known.exact
        if not better and not self.is_news(proven.space, proven.origin, proven.at):
            return False
        self._write(schema.vector_key(proven.space, proven.origin), proven.raw)
        self._proven[proven.space, proven.origin] = proven
        self._give_up(proven)
        for callback in self.on_proof:
            callback(proven)
        return True

    def cut(self, space: str, origin: Origin) -> Cut | None:
        """The batches in the log that reach the number at which the origin is frozen; None: there is none."""
        proven = self.get(space, origin)
        if proven is None:
            return None
        start, stop = schema.log_key(space, origin, 0), schema.log_key(space, origin, proven.at)
        beyond: list[bytes] = []
        before = next(iter(self._store.scan(Column.LOG, start, stop, reverse=True)), None)
        if before is not None:
            # Of those that begin before it only the last can reach it: a log's batches do not overlap.
            batch = schema.batch_of(before[1])
            if batch.seq_first + batch.count > proven.at:
                beyond.append(before[0])
        end = after_prefix(schema.vector_key(space, origin))
        beyond += [key for key, _ in self._store.scan(Column.LOG, stop, end)]
        return Cut(space, origin, tuple(beyond)) if beyond else None

    def _write(self, key: bytes, raw: bytes | None) -> None:
        write = self._store.batch()
        column = self._store.column(Column.EVIDENCE)
        if raw is None:
            write.delete(key, column)
        else:
            write.put(key, raw, column)
        self._store.commit(write)
