"""The chain itself: headers, bodies, the state of each block, authoring and reorganisation. Sans-IO.

Owns which block follows which, and the storage. Knows no pool and no clients, reads no clock: time comes in as
an argument, so that the same spec, extrinsics and times give the same hashes. What extrinsics mean is the
runtime's. State and extrinsics roots commit to their content, but are not the roots of Substrate's tries.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple, Protocol

from mycelium.config import DEVCHAIN_BLOCK_EXTRINSICS_MAX, DEVCHAIN_BLOCKS_MAX, DEVCHAIN_STATES_MAX
from mycelium.devnet.chain.storage import Overlay, Storage, Undo, View
from mycelium.devnet.chain.validity import ChainContext, InvalidTransaction, Validity

log = logging.getLogger(__name__)

NO_HASH: Final = bytes(32)
_PRE_RUNTIME: Final = 6
_OTHER: Final = 0
_RUNTIME_UPDATED: Final = 8
_SLOT_MS: Final = 12_000
_ROOT_MODULUS: Final = 2**256
_VIEWS_MAX: Final = 8
"""Old states kept put together, so that a client that reads one block many times pays once."""


class RuntimeLike(Protocol):
    """What the chain needs of a runtime (`mycelium.devnet.chain.runtime.Runtime`)."""

    def initialise(
        self, state: Overlay, number: int, parent_hash: bytes, timestamp_ms: int
    ) -> list[bytes]: ...
    def validate(self, state: View, extrinsic: bytes, chain: ChainContext) -> Validity: ...
    def apply(self, state: Overlay, extrinsic: bytes, index: int) -> None: ...
    def finalise(self, state: Overlay) -> None: ...


class UnknownBlock(LookupError):
    """No such block, or its state is no longer kept; the text is the real node's."""


def digest(data: bytes) -> bytes:
    """blake2b-256, the hash of blocks and extrinsics."""
    return blake2b(data, digest_size=32).digest()


def compact(number: int) -> bytes:
    """SCALE's compact integer."""
    if number < 1 << 6:
        return bytes((number << 2,))
    if number < 1 << 14:
        return (number << 2 | 1).to_bytes(2, "little")
    if number < 1 << 30:
        return (number << 2 | 2).to_bytes(4, "little")
    length = (number.bit_length() + 7) // 8
    return bytes(((length - 4) << 2 | 3,)) + number.to_bytes(length, "little")


def sized(data: bytes) -> bytes:
    """SCALE's `Vec<u8>`."""
    return compact(len(data)) + data


@dataclass(frozen=True, slots=True)
class Header:
    """A block's header; hashes are 32 bytes, `logs` are SCALE-encoded digest items."""

    parent: bytes
    number: int
    state_root: bytes
    extrinsics_root: bytes
    logs: tuple[bytes, ...]

    def encode(self) -> bytes:
        roots = self.state_root + self.extrinsics_root
        return self.parent + compact(self.number) + roots + compact(len(self.logs)) + b"".join(self.logs)


@dataclass(frozen=True, slots=True)
class Block:
    """A header with its body. timestamp_ms: what its `timestamp.set` says."""

    hash: bytes
    header: Header
    extrinsics: tuple[bytes, ...]
    timestamp_ms: int

    @property
    def number(self) -> int:
        return self.header.number


@dataclass(frozen=True, slots=True)
class Authored:
    """A new block and what became of the transactions offered for it, by their hashes.

    changes: key -> value, None for a deleted one. runtime: the one from now on, where the block changed it.
    """

    block: Block
    included: tuple[bytes, ...]
    refused: tuple[tuple[bytes, InvalidTransaction], ...]
    changes: Mapping[bytes, bytes | None]
    runtime: RuntimeLike | None = None


class Kept(NamedTuple):
    """hashes: of all blocks. blocks: the newest ones. undo: what the last of them overwrote. All oldest first."""

    hashes: Sequence[bytes]
    blocks: Sequence[Block]
    undo: Sequence[Undo]


@dataclass(slots=True)
class _Made:
    included: list[bytes] = field(default_factory=list)
    refused: list[tuple[bytes, InvalidTransaction]] = field(default_factory=list)


class Chain:
    """One chain from its genesis on: the best block, the finalised one, and the states of the last ones.

    genesis: raw storage of block 0. seed: goes into block 0, so that chains of different seeds differ. states_max:
    blocks whose state can be read.
    """

    def __init__(
        self,
        genesis: Mapping[bytes, bytes],
        runtime: RuntimeLike,
        *,
        seed: int,
        timestamp_ms: int,
        states_max: int = DEVCHAIN_STATES_MAX,
    ) -> None:
        self._states_max = states_max
        self.storage = Storage(genesis)
        self._root = 0
        for key, value in genesis.items():
            self._root = (self._root + _leaf(key, value)) % _ROOT_MODULUS
        salt = b"mycelium/dev/" + seed.to_bytes(8, "little", signed=True)
        header = Header(NO_HASH, 0, self._state_root(), digest(b"\0"), (_other(salt),))
        first = Block(digest(header.encode()), header, (), timestamp_ms)
        self.genesis = first.hash
        self.best = first
        self.finalised = first
        self._hashes = [first.hash]
        self._blocks: OrderedDict[bytes, Block] = OrderedDict({first.hash: first})
        self._runtimes: list[tuple[int, RuntimeLike]] = [(0, runtime)]
        self._next_runtime: RuntimeLike | None = None
        self._views: OrderedDict[bytes, Overlay] = OrderedDict()
        self._edits: list[Callable[[Overlay], None]] = []
        self._forks = 0

    # --- reading --------------------------------------------------------------------------------------------

    @property
    def runtime(self) -> RuntimeLike:
        """The runtime that the best block's state belongs to, and that makes the next block."""
        return self._runtimes[-1][1]

    def hash_of(self, number: int) -> bytes | None:
        """The hash of that block on the best chain, None beyond its ends."""
        return self._hashes[number] if 0 <= number < len(self._hashes) else None

    def block(self, hash: bytes) -> Block | None:
        """A block by its hash, also one that was reorganised away; None if unknown or too old to be kept."""
        return self._blocks.get(hash)

    def number_of(self, hash: bytes) -> int:
        """The number of a block of the best chain. Raises UnknownBlock."""
        block = self._blocks.get(hash)
        if block is None:
            raise UnknownBlock(f"Header was not found in the database: 0x{hash.hex()}")
        if self._hashes[min(block.number, len(self._hashes) - 1)] != hash:
            raise UnknownBlock(_discarded(hash))
        return block.number

    def state(self, hash: bytes | None = None) -> View:
        """The state after a block, by default the best one's. Raises UnknownBlock, also for one too old.

        Valid until the next block: ask again after it.
        """
        if hash is None or hash == self.best.hash:
            return self.storage
        back = self.best.number - self.number_of(hash)
        if back > self.storage.depth:
            raise UnknownBlock(_discarded(hash))
        view = self._views.get(hash)
        if view is not None:
            self._views.move_to_end(hash)
            return view
        found = self.storage.at(back)
        assert isinstance(found, Overlay), "only the best block's state is the storage itself"
        self._views[hash] = found
        if len(self._views) > _VIEWS_MAX:
            self._views.popitem(last=False)
        return found

    def runtime_of(self, hash: bytes | None = None) -> RuntimeLike:
        """The runtime of a block's state. Raises UnknownBlock."""
        if hash is None or hash == self.best.hash:
            return self.runtime
        number = self.number_of(hash)
        if self.best.number - number > self.storage.depth:
            raise UnknownBlock(_discarded(hash))
        return next(runtime for since, runtime in reversed(self._runtimes) if since <= number)

    def context(self) -> ChainContext:
        """What the runtime must know to judge an extrinsic for the next block."""
        return ChainContext(self.genesis, self.best.number + 1, self.hash_of)

    def kept(self) -> Kept:
        """What a chain that goes on here needs of this one, beside its state and its runtimes."""
        return Kept(list(self._hashes), list(self._blocks.values()), self.storage.undo())

    @property
    def upgrades(self) -> Sequence[tuple[int, RuntimeLike]]:
        """Runtimes after the first one, each with the block since whose state it is in force."""
        return self._runtimes[1:]

    def take_over(
        self, state: Mapping[bytes, bytes], kept: Kept, runtimes: Sequence[tuple[int, RuntimeLike]]
    ) -> None:
        """Be where another chain of the same genesis was. state: of its best block."""
        assert kept.hashes[0] == self.genesis, "the kept blocks are of this chain"
        self.storage = Storage(state, kept.undo)
        self._hashes = list(kept.hashes)
        self._blocks = OrderedDict((block.hash, block) for block in kept.blocks)
        self.best = self.finalised = kept.blocks[-1]
        self._root = int.from_bytes(self.best.header.state_root, "big")
        self._runtimes += runtimes
        self._views.clear()

    # --- growing --------------------------------------------------------------------------------------------

    def author(self, timestamp_ms: int, transactions: Iterable[tuple[bytes, bytes]] = ()) -> Authored:
        """Make the next block of as many of the (hash, extrinsic) as fit, in their order.

        timestamp_ms: raised to the parent's plus one if it is not above it.
        """
        runtime = self.runtime
        parent = self.best
        timestamp_ms = max(timestamp_ms, parent.timestamp_ms + 1)
        state = Overlay(self.storage)
        body = runtime.initialise(state, parent.number + 1, parent.hash, timestamp_ms)
        for edit in self._edits:
            edit(state)
        made = _Made()
        context = self.context()
        for txid, extrinsic in transactions:
            if len(made.included) == DEVCHAIN_BLOCK_EXTRINSICS_MAX:
                break
            try:
                if self._apply(runtime, state, extrinsic, len(body), context):
                    body.append(extrinsic)
                    made.included.append(txid)
                else:
                    made.refused.append((txid, InvalidTransaction("BadMandatory")))
            except InvalidTransaction as why:
                made.refused.append((txid, why))
        runtime.finalise(state)
        logs = [_slot(timestamp_ms)]
        if self._forks:
            logs.append(_other(b"fork" + self._forks.to_bytes(4, "little")))
        self._edits.clear()
        upgraded, self._next_runtime = self._next_runtime, None
        if upgraded is not None:
            logs.append(bytes((_RUNTIME_UPDATED,)))
            self._runtimes.append((parent.number + 1, upgraded))
        block = self._append(state.changes, tuple(body), tuple(logs), timestamp_ms)
        return Authored(block, tuple(made.included), tuple(made.refused), state.changes, upgraded)

    def upgrade(self, runtime: RuntimeLike) -> None:
        """The next block changes the runtime: from its state on, `runtime` is in force."""
        self._next_runtime = runtime

    def edit(self, change: Callable[[Overlay], None]) -> None:
        """The next block begins with `change`: what an operator does to the state by hand."""
        self._edits.append(change)

    def finalise(self, lag: int) -> list[Block]:
        """Move finality to `lag` blocks behind the best one; the newly final blocks, oldest first."""
        target = max(self.best.number - lag, self.finalised.number)
        hashes = self._hashes[self.finalised.number + 1 : target + 1]
        # After a long stall of finality the oldest of them may not be kept any more.
        new = [block for name in hashes if (block := self._blocks.get(name)) is not None]
        if new:
            self.finalised = new[-1]
        return new

    def drop(self, count: int) -> list[Block]:
        """Take the newest `count` blocks off the best chain, finalised ones too; newest first.

        The next block made has another hash than the one in its place had. Raises UnknownBlock when that many
        are not kept.
        """
        if not 0 < count <= min(self.storage.depth, self.best.number):
            raise UnknownBlock(
                f"{count} blocks cannot be taken back: {min(self.storage.depth, self.best.number)} can"
            )
        dropped = []
        for _ in range(count):
            dropped.append(self.best)
            self.storage.revert()
            self._hashes.pop()
            self.best = self._blocks[self._hashes[-1]]
        self._root = int.from_bytes(self.best.header.state_root, "big")
        self._views.clear()
        self._forks += 1
        if self.finalised.number > self.best.number:
            self.finalised = self.best
        while self._runtimes[-1][0] > self.best.number:
            _, runtime = self._runtimes.pop()
            self._next_runtime = self._next_runtime or runtime
        return dropped

    def _append(
        self,
        changes: Mapping[bytes, bytes | None],
        body: tuple[bytes, ...],
        logs: tuple[bytes, ...],
        timestamp_ms: int,
    ) -> Block:
        undo = self.storage.commit(changes, keep_max=self._states_max)
        for key, before in undo.items():
            if before is not None:
                self._root -= _leaf(key, before)
            value = changes[key]
            if value is not None:
                self._root += _leaf(key, value)
        for view in self._views.values():
            # What the block overwrote is what still stands in the older states, unless it changed before.
            for key, before in undo.items():
                view.changes.setdefault(key, before)
        self._root %= _ROOT_MODULUS
        extrinsics_root = digest(compact(len(body)) + b"".join(digest(extrinsic) for extrinsic in body))
        header = Header(self.best.hash, self.best.number + 1, self._state_root(), extrinsics_root, logs)
        block = Block(digest(header.encode()), header, body, timestamp_ms)
        self._views[self.best.hash] = Overlay(self.storage, dict(undo))
        if len(self._views) > _VIEWS_MAX:
            self._views.popitem(last=False)
        self._hashes.append(block.hash)
        self._blocks[block.hash] = block
        if len(self._blocks) > DEVCHAIN_BLOCKS_MAX:
            self._blocks.popitem(last=False)
        self.best = block
        return block

    def _state_root(self) -> bytes:
        return self._root.to_bytes(32, "big")

    def _apply(
        self, runtime: RuntimeLike, state: Overlay, extrinsic: bytes, index: int, context: ChainContext
    ) -> bool:
        """Apply one extrinsic in full or not at all; False if the runtime failed on it, which is a bug there."""
        trial = Overlay(state)
        try:
            runtime.validate(trial, extrinsic, context)
            runtime.apply(trial, extrinsic, index)
        except InvalidTransaction:
            raise
        except Exception:
            log.exception("the runtime failed on extrinsic 0x%s; it is left out", extrinsic.hex())
            return False
        trial.fold()
        return True


def _leaf(key: bytes, value: bytes) -> int:
    """What one entry adds to the state root: a sum modulo 2^256, so that a block costs only what it changed."""
    return int.from_bytes(digest(sized(key) + value), "big")


def _slot(timestamp_ms: int) -> bytes:
    """The digest item by which Aura names its slot: clients look for it when they want a block's author."""
    return bytes((_PRE_RUNTIME,)) + b"aura" + sized((timestamp_ms // _SLOT_MS).to_bytes(8, "little"))


def _other(data: bytes) -> bytes:
    return bytes((_OTHER,)) + sized(data)


def _discarded(hash: bytes) -> str:
    return f"State already discarded for 0x{hash.hex()}"
