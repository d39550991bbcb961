"""What each log has added in an epoch, against what the policy lets its writer add.

Counted along the log itself, in its own order, so that every replica counts the same: a batch under a quota is taken
only behind its predecessor, and its epoch is never below that one's. Owns a cache of counts; the log is the truth.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from mycelium._core.codec import Batch, decode_batch
from mycelium.database import schema
from mycelium.database.access import Rights
from mycelium.database.store import Column, Store
from mycelium.database.vector import Origin, OriginLog
from mycelium.errors import QuotaExceeded
from mycelium.identity.account import format as format_account

_SIGNATURE_BYTES: Final = 64
_CACHED_MAX: Final = 1_024


class Spent(NamedTuple):
    """What the log up to `head` holds of the epoch of its last batch."""

    head: int
    epoch: int
    changes: int
    size_bytes: int


class Quotas:
    """Of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._spent: OrderedDict[tuple[str, Origin], Spent] = OrderedDict()

    def check(self, batch: Batch, rights: Rights, log: OriginLog) -> bool:
        """True: it is within the limits. False: what comes before it is not here yet. QuotaExceeded."""
        limits = rights.quotas(batch.space)
        if not limits:
            return True
        if batch.seq_first != log.head + 1:
            return False
        spent = self._of(batch.space, Origin(batch.account, batch.generation), log.head)
        if batch.epoch < spent.epoch:
            raise QuotaExceeded(
                f"a log under a quota that goes back from epoch {spent.epoch} to {batch.epoch}"
            )
        changes, size_bytes = batch.count, len(batch.raw)
        if batch.epoch == spent.epoch:
            changes += spent.changes
            size_bytes += spent.size_bytes
        for limit in limits:
            for used, most, unit in (
                (changes, limit.changes_per_epoch, "changes"),
                (size_bytes, limit.bytes_per_epoch, "bytes"),
            ):
                if most is not None and used > most:
                    raise QuotaExceeded(
                        f"{format_account(batch.account)} may add {most} {unit} to {batch.space!r} in an epoch, "
                        f"and this makes {used} in epoch {batch.epoch}"
                    )
        return True

    def _of(self, space: str, origin: Origin, head: int) -> Spent:
        """The count up to a head: carried on from the one before, or made anew from the end of the log."""
        known = self._spent.pop((space, origin), None)
        first = 1 if known is None or known.head > head else known.head + 1
        start = schema.log_key(space, origin, first)
        stop = schema.log_key(space, origin, head + 1)
        epoch, changes, size_bytes = -1, 0, 0
        for _, record in self._store.scan(Column.LOG, start, stop, reverse=True):
            batch = decode_batch(record[_SIGNATURE_BYTES:])
            if epoch not in {-1, batch.epoch}:
                break
            epoch = batch.epoch
            changes += batch.count
            size_bytes += len(batch.raw)
        else:
            if known is not None and first > 1 and epoch in {-1, known.epoch}:
                epoch, changes, size_bytes = (
                    known.epoch,
                    known.changes + changes,
                    known.size_bytes + size_bytes,
                )
        spent = self._spent[space, origin] = Spent(head, epoch, changes, size_bytes)
        if len(self._spent) > _CACHED_MAX:
            self._spent.popitem(last=False)
        return spent
