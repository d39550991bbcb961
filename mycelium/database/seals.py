"""Where the logs of departed writers end: what validators attest, and what follows from it. Sans-IO.

An account that could write in epoch D-1 and cannot in D has departed at D. While D lasts, late batches of its are
taken. From D+1 on every validator says in `sys/seals` up to which number it holds each of its logs, and the seal is the
largest number that validators with more than half of their stake in D+1 hold at least. Batches of epochs before D
beyond it are not taken, and who has some gives them up, so that all replicas end up with the same log: without it a key
that has lost its place could go on signing into the past for ever. A later attestation can only raise a seal.

Owns the index of attestations. Reads the store, decides, writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, NamedTuple, Protocol

import msgspec

from mycelium._core.codec import Batch
from mycelium.config import SEAL_EPOCHS
from mycelium.database import schema, value
from mycelium.database.access import SEALS, SYS
from mycelium.database.schema import ROW_HEADER_BYTES
from mycelium.database.store import Column, Store, after_prefix
from mycelium.database.vector import SEQUENCE_MAX, Origin, OriginLog
from mycelium.errors import AccountRefused
from mycelium.identity import account as accounts

_NOTHING: Final = 0


class Writers(Protocol):
    """What the chain says of who could write when."""

    def present(self) -> int:
        """The number of the present epoch."""
        ...

    def stakes(self, epoch: int, *, ask: bool = True) -> Mapping[bytes, int] | None:
        """Accounts that can write in an epoch, with their stake in rao; None while the epoch is not known.

        ask: whether it is asked for then.
        """
        ...


Heads = Mapping[str, Mapping[str, int]]
"""Space -> generation as text -> the number up to which everything of that log is held. What is not named is 0."""


class Attestation(NamedTuple):
    """One validator's word about an account that departed at `at`: what it holds of its logs."""

    attester: bytes
    account: bytes
    at: int
    heads: Heads

    @property
    def key(self) -> bytes:
        return f"{accounts.format(self.attester)}/{accounts.format(self.account)}/{self.at}".encode()


class Cut(NamedTuple):
    """Batches that are given up, as they are beyond a seal or a proof: their keys in the log."""

    space: str
    origin: Origin
    log_keys: tuple[bytes, ...]


class Seals:
    """Of one store."""

    def __init__(self, store: Store, chain: Writers) -> None:
        self._store = store
        self._chain = chain
        self._attested: dict[bytes, dict[int, dict[bytes, Heads]]] = {}
        """Account -> the epoch it departed at -> who says it -> what that one holds."""
        self._departed: dict[bytes, list[int]] = {}
        self._seen_to = -1
        self.refresh()

    def refresh(self) -> None:
        """Read the attestations anew."""
        self._attested.clear()
        prefix = SEALS.prefix
        for key, row in self._store.scan(Column.LIVE, prefix, after_prefix(prefix)):
            self._note(key[len(prefix) :], row)

    def written(self, batch: Batch) -> None:
        """A batch of `sys` was applied: look again at the attestations in it."""
        for table, _, key, _ in batch.changes():
            if batch.tables[table][0] == SEALS.name:
                row = self._store.get(Column.LIVE, SEALS.prefix + key)
                if row is not None:
                    self._note(key, row)

    def _note(self, key: bytes, row: bytes) -> None:
        found = parse(key, value.value_of(row[ROW_HEADER_BYTES:]))
        if found is not None:
            by_epoch = self._attested.setdefault(found.account, {})
            by_epoch.setdefault(found.at, {})[found.attester] = found.heads

    # --- what is taken ----------------------------------------------------------------------------------

    def limit(self, space: str, origin: Origin, epoch: int) -> int | None:
        """The last number that a batch of an epoch may have in a log; None: there is no seal that concerns it."""
        attested = self._attested.get(origin.account)
        departed = self._departed.get(origin.account)
        if attested is None and departed is None:
            return None
        present = self._chain.present()
        least: int | None = None
        for at in {*(attested or ()), *(departed or ())}:
            if at <= epoch or present <= at:
                continue
            left = self._left_at(origin.account, at)
            if left is False:
                continue
            # Not known yet: what is not here waits for the word of the others.
            sealed = self._sealed(space, origin, at) if left else None
            head = _NOTHING if sealed is None else sealed
            least = head if least is None else min(least, head)
        return least

    def is_past(self, space: str, origin: Origin, epoch: int, last: int) -> bool:
        """Whether a seal that is settled ends the log before that number, for batches of that epoch."""
        return any(epoch < at and last > head for at, head in self._settled(space, origin))

    def ends(self, space: str) -> Iterator[tuple[Origin, int]]:
        """The logs that end by a seal in force for an epoch, and where; a log may end more than once."""
        for account, by_epoch in self._attested.items():
            said = {
                name
                for words in by_epoch.values()
                for heads in words.values()
                for name in heads.get(space, ())
            }
            for name in sorted(said):
                # Whoever attests may write what it likes.
                if name.isascii() and name.isdigit() and int(name) <= SEQUENCE_MAX:
                    origin = Origin(account, int(name))
                    for _, head in self._settled(space, origin):
                        yield origin, head

    def _settled(self, space: str, origin: Origin) -> Iterator[tuple[int, int]]:
        """The epochs at which its account departed, and where the log ends by a seal in force for an epoch."""
        present = self._chain.present()
        for at in self._attested.get(origin.account, ()):
            if present >= at + 2 and self._left_at(origin.account, at):
                head = self._sealed(space, origin, at)
                if head is not None:
                    yield at, head

    def _left_at(self, account: bytes, at: int) -> bool | None:
        """Whether the account departed at that epoch; None while the chain has not told."""
        before, after = self._chain.stakes(at - 1), self._chain.stakes(at)
        if before is None or after is None:
            return None
        return account in before and account not in after

    def _sealed(self, space: str, origin: Origin, at: int) -> int | None:
        """The seal; None while there is no majority."""
        stakes = self._chain.stakes(at + 1)
        if stakes is None:
            return None
        # Where nobody has any stake, as in a members file, each counts the same.
        weights = {account: max(1, stake) for account, stake in stakes.items()}
        total, held = sum(weights.values()), 0
        words = self._attested.get(origin.account, {}).get(at, {})
        generation = str(origin.generation)
        heads = [(said.get(space, {}).get(generation, 0), attester) for attester, said in words.items()]
        for head, attester in sorted(heads, reverse=True):
            held += weights.get(attester, 0)
            if 2 * held > total:
                return head
        return None

    # --- what is said, and given up ---------------------------------------------------------------------

    def look(self) -> None:
        """Notice who has departed since the last look, of the last SEAL_EPOCHS epochs."""
        present = self._chain.present()
        first = max(1, present - SEAL_EPOCHS, self._seen_to + 1)
        for at in range(first, present + 1):
            before, after = self._chain.stakes(at - 1, ask=False), self._chain.stakes(at, ask=False)
            if before is None or after is None:
                continue  # an epoch in which this node was away: the others attest
            for account in before.keys() - after.keys():
                self._departed.setdefault(account, []).append(at)
        self._seen_to = max(self._seen_to, present)
        for account, epochs in list(self._departed.items()):
            kept = [at for at in epochs if at >= present - SEAL_EPOCHS]
            if kept:
                self._departed[account] = kept
            else:
                del self._departed[account]

    def due(self, own: bytes, logs: Mapping[str, Mapping[Origin, OriginLog]]) -> list[Attestation]:
        """What this node must attest now and has not yet. logs: what it holds, by space."""
        present = self._chain.present()
        writers = self._chain.stakes(present)
        if writers is None or own not in writers:
            return []
        return [
            Attestation(own, account, at, _heads(account, logs))
            for account, epochs in self._departed.items()
            for at in epochs
            if present > at and account != own and own not in self._attested.get(account, {}).get(at, {})
        ]

    def cuts(self, logs: Mapping[str, Mapping[Origin, OriginLog]]) -> list[Cut]:
        """What this node holds beyond seals that have been in force for an epoch."""
        found = []
        for space, by_origin in logs.items():
            if space == SYS:
                continue
            for origin, log in by_origin.items():
                keys: list[bytes] = []
                for at, head in self._settled(space, origin):
                    if log.spans and log.spans[-1].last > head:
                        keys += self._beyond(space, origin, head, at)
                if keys:
                    found.append(Cut(space, origin, tuple(dict.fromkeys(keys))))
        return found

    def _beyond(self, space: str, origin: Origin, head: int, at: int) -> list[bytes]:
        start = schema.log_key(space, origin, head + 1)
        stop = after_prefix(schema.vector_key(space, origin))
        records = self._store.scan(Column.LOG, start, stop)
        return [key for key, record in records if schema.batch_of(record).epoch < at]


def _heads(account: bytes, logs: Mapping[str, Mapping[Origin, OriginLog]]) -> Heads:
    found: dict[str, dict[str, int]] = {}
    for space, by_origin in logs.items():
        for origin, log in by_origin.items():
            if origin.account == account and space != SYS:
                found.setdefault(space, {})[str(origin.generation)] = log.head
    return found


def parse(key: bytes, said: Any) -> Attestation | None:
    """An attestation; None for what is none: its writer may write what it likes under its own name."""
    try:
        attester, account, at = key.decode().split("/")
        heads = msgspec.convert(said, type=_Said, strict=True)
        return Attestation(accounts.parse(attester), accounts.parse(account), int(at), heads)
    except (ValueError, AccountRefused):
        return None


_Said = dict[str, dict[str, Annotated[int, msgspec.Meta(ge=0)]]]
