"""Transactions that wait for a block: which are ready, which wait for others, and what each goes through. Sans-IO.

Owns order, replacement, limits, bans, and the sequence of statuses that a watcher sees. Judges nothing: it is
given a `Validity` by the runtime. Rules as in Substrate's `sc-transaction-pool`: tags tie transactions together,
one that provides a tag already provided must have a higher priority, and what was refused is not looked at again.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mycelium.config import (
    DEVCHAIN_BAN_MS,
    DEVCHAIN_BANNED_MAX,
    DEVCHAIN_POOL_BYTES_MAX,
    DEVCHAIN_POOL_FUTURE_MAX,
    DEVCHAIN_POOL_READY_MAX,
)
from mycelium.devnet.chain.validity import FOREVER, Validity

READY: Final = "ready"
FUTURE: Final = "future"
IN_BLOCK: Final = "inBlock"
RETRACTED: Final = "retracted"
FINALIZED: Final = "finalized"
USURPED: Final = "usurped"
DROPPED: Final = "dropped"
INVALID: Final = "invalid"
FINALITY_TIMEOUT: Final = "finalityTimeout"

FINALITY_BLOCKS_MAX: Final = 512
"""Blocks with transactions that may wait to be final; a node stops watching then, too."""
_LAST: Final = frozenset((FINALITY_TIMEOUT, FINALIZED, USURPED, DROPPED, INVALID))


@dataclass(frozen=True, slots=True)
class Status:
    """What became of one transaction. `by`: the block of it, or the transaction that usurped it."""

    hash: bytes
    what: str
    by: bytes | None = None

    @property
    def last(self) -> bool:
        """Whether nothing follows."""
        return self.what in _LAST

    def json(self) -> Any:
        """As `author_submitAndWatchExtrinsic` notifies it."""
        return self.what if self.by is None else {self.what: f"0x{self.by.hex()}"}


class PoolRefusal(Exception):
    """The pool does not take a transaction. `code` is the JSON-RPC error's.

    others: what it meant for others, of which a full pool may have dropped some.
    """

    def __init__(
        self, code: int, message: str, data: str | None = None, others: tuple[Status, ...] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
        self.others = others


@dataclass(slots=True)
class Transaction:
    """One in the pool. valid_till: the number of the last block it may be in. order: of arrival."""

    hash: bytes
    raw: bytes
    account: bytes
    nonce: int
    priority: int
    valid_till: int
    requires: frozenset[bytes]
    provides: tuple[bytes, ...]
    order: int


class Pool:
    """The transactions of one node. Every method that changes it returns the statuses that follow from it."""

    def __init__(
        self,
        *,
        ready_max: int = DEVCHAIN_POOL_READY_MAX,
        future_max: int = DEVCHAIN_POOL_FUTURE_MAX,
        bytes_max: int = DEVCHAIN_POOL_BYTES_MAX,
    ) -> None:
        self._ready: dict[bytes, Transaction] = {}
        self._future: dict[bytes, Transaction] = {}
        self._provided: dict[bytes, bytes] = {}
        """Tag -> the ready transaction that provides it."""
        self._banned: OrderedDict[bytes, int] = OrderedDict()
        self._in_blocks: OrderedDict[bytes, list[bytes]] = OrderedDict()
        """Block -> the transactions of the pool that it included, until it is final."""
        self._order = 0
        self._bytes = 0
        self._ready_max = ready_max
        self._future_max = future_max
        self._bytes_max = bytes_max

    def __len__(self) -> int:
        return len(self._ready) + len(self._future)

    def __contains__(self, txid: bytes) -> bool:
        return txid in self._ready or txid in self._future

    def check(self, txid: bytes, now_ms: int) -> None:
        """Raise PoolRefusal for an extrinsic that need not be judged: it is here already, or was refused."""
        until = self._banned.get(txid)
        if until is not None and now_ms < until:
            raise PoolRefusal(1012, "Transaction is temporarily banned")
        if txid in self:
            raise PoolRefusal(1013, "Transaction Already Imported", f"0x{txid.hex()}")

    def ban(self, hashes: Iterable[bytes], now_ms: int) -> None:
        """Look at these no more for a while."""
        for txid in hashes:
            self._banned[txid] = now_ms + DEVCHAIN_BAN_MS
            self._banned.move_to_end(txid)
        while len(self._banned) > DEVCHAIN_BANNED_MAX:
            self._banned.popitem(last=False)

    def submit(self, raw: bytes, validity: Validity, number: int) -> list[Status]:
        """Take one that was judged against the state of block `number`. Raises PoolRefusal."""
        till = FOREVER if validity.longevity == FOREVER else number + validity.longevity
        self._order += 1
        transaction = Transaction(
            validity.hash,
            raw,
            validity.account,
            validity.nonce,
            validity.priority,
            till,
            frozenset(validity.requires),
            validity.provides,
            self._order,
        )
        if not transaction.requires <= self._provided.keys():
            statuses = self._wait(transaction)
        else:
            statuses = self._admit(transaction)
        dropped = self._enforce()
        if transaction.hash not in self:
            others = tuple(status for status in statuses + dropped if status.hash != transaction.hash)
            raise PoolRefusal(
                1016,
                "Immediately Dropped",
                "The transaction couldn't enter the pool because of the limit",
                others,
            )
        return statuses + dropped

    def ready(self) -> list[Transaction]:
        """Those that can be in the next block, in the order in which they should: priority, then arrival."""
        waiting: dict[bytes, list[Transaction]] = {}
        missing: dict[bytes, int] = {}
        heap: list[tuple[int, int, Transaction]] = []
        for transaction in self._ready.values():
            needs = [tag for tag in transaction.requires if tag in self._provided]
            missing[transaction.hash] = len(needs)
            for tag in needs:
                waiting.setdefault(tag, []).append(transaction)
            if not needs:
                heapq.heappush(heap, (-transaction.priority, transaction.order, transaction))
        ordered = []
        while heap:
            *_, transaction = heapq.heappop(heap)
            ordered.append(transaction)
            for tag in transaction.provides:
                for freed in waiting.get(tag, ()):
                    missing[freed.hash] -= 1
                    if not missing[freed.hash]:
                        heapq.heappush(heap, (-freed.priority, freed.order, freed))
        return ordered

    def pending(self) -> list[bytes]:
        """The bytes of all that are ready."""
        return [transaction.raw for transaction in self.ready()]

    def next_nonce(self, account: bytes, nonce: int) -> int:
        """The account's nonce after those of its transactions that are ready and follow on `nonce`."""
        taken = {tx.nonce for tx in self._ready.values() if tx.account == account}
        while nonce in taken:
            nonce += 1
        return nonce

    def included(self, block: bytes, hashes: Sequence[bytes], now_ms: int) -> list[Status]:
        """A block holds these; what waited for them moves up."""
        statuses = []
        tags: list[bytes] = []
        mine = []
        for txid in hashes:
            transaction = self._remove(txid)
            if transaction is None:
                continue
            tags += transaction.provides
            mine.append(txid)
            statuses.append(Status(txid, IN_BLOCK, block))
        if mine:
            self._in_blocks[block] = mine
        if len(self._in_blocks) > FINALITY_BLOCKS_MAX:
            late, waiting = self._in_blocks.popitem(last=False)
            statuses += [Status(txid, FINALITY_TIMEOUT, late) for txid in waiting]
        self.ban(hashes, now_ms)
        for transaction in (*self._ready.values(), *self._future.values()):
            if not transaction.requires.isdisjoint(tags):
                transaction.requires -= frozenset(tags)
        return statuses + self._promote()

    def refused(self, hashes: Iterable[bytes], now_ms: int) -> list[Status]:
        """These turned out invalid when a block was made; what needs them goes with them, as in a node."""
        hashes = list(hashes)
        self.ban(hashes, now_ms)
        return self._remove_subtree(hashes, INVALID)

    def expire(self, number: int) -> list[Status]:
        """Drop those whose era has ended: the next block, `number`, is too late for them."""
        late = [tx.hash for tx in (*self._ready.values(), *self._future.values()) if tx.valid_till < number]
        return self._remove_subtree(late, INVALID)

    def finalised(self, block: bytes) -> list[Status]:
        """A block is final, and so is what it holds."""
        return [Status(txid, FINALIZED, block) for txid in self._in_blocks.pop(block, ())]

    def retracted(self, block: bytes) -> list[Status]:
        """A block was reorganised away. Its transactions may come again: they are banned no more."""
        hashes = self._in_blocks.pop(block, [])
        for txid in hashes:
            self._banned.pop(txid, None)
        return [Status(txid, RETRACTED, block) for txid in hashes]

    def take_all(self) -> list[tuple[bytes, bytes, bool]]:
        """Empty the pool: (txid, bytes, whether it was ready) of each, to be judged against another state."""
        taken = [(tx.hash, tx.raw, True) for tx in self.ready()]
        taken += [(tx.hash, tx.raw, False) for tx in self._future.values()]
        self._ready.clear()
        self._future.clear()
        self._provided.clear()
        self._bytes = 0
        return taken

    # --- inside ---------------------------------------------------------------------------------------------

    def _wait(self, transaction: Transaction) -> list[Status]:
        statuses = []
        for other in list(self._future.values()):
            if not set(other.provides).isdisjoint(transaction.provides):
                if other.priority >= transaction.priority:
                    raise _too_low(other, transaction)
                self._remove(other.hash)
                statuses.append(Status(other.hash, USURPED, transaction.hash))
        self._future[transaction.hash] = transaction
        self._bytes += len(transaction.raw)
        return [Status(transaction.hash, FUTURE), *statuses]

    def _admit(self, transaction: Transaction) -> list[Status]:
        rivals = {self._provided[tag] for tag in transaction.provides if tag in self._provided}
        for txid in rivals:
            if self._ready[txid].priority >= transaction.priority:
                raise _too_low(self._ready[txid], transaction)
        usurped = []
        for txid in rivals:
            self._remove(txid)
            usurped.append(Status(txid, USURPED, transaction.hash))
        self._enter(transaction)
        return [Status(transaction.hash, READY), *usurped, *self._promote()]

    def _enter(self, transaction: Transaction) -> None:
        self._ready[transaction.hash] = transaction
        self._bytes += len(transaction.raw)
        for tag in transaction.provides:
            self._provided[tag] = transaction.hash

    def _remove(self, txid: bytes) -> Transaction | None:
        transaction = self._ready.pop(txid, None)
        if transaction is not None:
            for tag in transaction.provides:
                self._provided.pop(tag, None)
        else:
            transaction = self._future.pop(txid, None)
        if transaction is not None:
            self._bytes -= len(transaction.raw)
        return transaction

    def _promote(self) -> list[Status]:
        """Make ready what waited for no more than is provided now."""
        statuses: list[Status] = []
        moved = True
        while moved:
            moved = False
            for transaction in list(self._future.values()):
                if transaction.requires <= self._provided.keys():
                    moved = True
                    self._remove(transaction.hash)
                    rivals = {self._provided[tag] for tag in transaction.provides if tag in self._provided}
                    if any(self._ready[txid].priority >= transaction.priority for txid in rivals):
                        statuses.append(Status(transaction.hash, DROPPED))
                        continue
                    for txid in rivals:
                        self._remove(txid)
                        statuses.append(Status(txid, USURPED, transaction.hash))
                    self._enter(transaction)
                    statuses.append(Status(transaction.hash, READY))
        return statuses

    def _remove_subtree(self, txids: Iterable[bytes], what: str) -> list[Status]:
        """Take these out, and what is ready only because of them."""
        statuses = []
        doomed = list(txids)
        while doomed:
            transaction = self._remove(doomed.pop())
            if transaction is not None:
                statuses.append(Status(transaction.hash, what))
                tags = transaction.provides
                doomed += [tx.hash for tx in self._ready.values() if not tx.requires.isdisjoint(tags)]
        return statuses

    def _enforce(self) -> list[Status]:
        """Drop the worst, that is the lowest in priority and the newest, until the limits hold."""
        statuses: list[Status] = []
        while len(self._future) > self._future_max or (self._future and self._bytes > self._bytes_max):
            statuses += self._drop_worst(self._future)
        while len(self._ready) > self._ready_max or self._bytes > self._bytes_max:
            statuses += self._drop_worst(self._ready)
        return statuses

    def _drop_worst(self, among: dict[bytes, Transaction]) -> list[Status]:
        worst = min(among.values(), key=lambda transaction: (transaction.priority, -transaction.order))
        return self._remove_subtree([worst.hash], DROPPED)


def _too_low(old: Transaction, new: Transaction) -> PoolRefusal:
    return PoolRefusal(
        1014,
        f"Priority is too low: ({old.priority} vs {new.priority})",
        "The transaction has too low priority to replace another transaction already in the pool.",
    )
