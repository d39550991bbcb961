"""A node of the development chain without its network: chain, pool and clock put together. Sans-IO.

Owns the clock's offset, finality, and what is told to whom: every change is an `Event` given to the observers, in
order, before the method that caused it returns. The server is one observer. The clock is passed in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from mycelium.config import DEVCHAIN_FINALITY_LAG, DEVCHAIN_STATES_MAX
from mycelium.devnet.chain.blocks import Authored, Block, Chain, Kept, UnknownBlock, compact, digest
from mycelium.devnet.chain.pool import INVALID, READY, Pool, PoolRefusal, Status
from mycelium.devnet.chain.storage import Overlay
from mycelium.devnet.chain.validity import InvalidTransaction

if TYPE_CHECKING:
    from mycelium.devnet.chain.metadata import RuntimeSpec
    from mycelium.devnet.chain.runtime import Runtime
    from mycelium.devnet.chain.spec import ChainSpec

TIME: Final = "time"
INSTANT: Final = "instant"
MANUAL: Final = "manual"
BLOCKS: Final = (TIME, INSTANT, MANUAL)
"""When blocks are made: every `block_ms`, when an extrinsic is ready, or when `step` is called."""


@dataclass(frozen=True, slots=True)
class NewHead:
    """A block is the best one. changes: of its state. reorganised: it does not follow on the last best one."""

    block: Block
    changes: Mapping[bytes, bytes | None]
    reorganised: bool = False


@dataclass(frozen=True, slots=True)
class Finalised:
    block: Block


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The runtime of the best block is another one."""

    runtime: Runtime


@dataclass(frozen=True, slots=True)
class Restarted:
    """Everything is new, the genesis too: what clients knew is void."""


Event = NewHead | Finalised | Upgraded | Restarted | Status


class Core:
    """Chain, pool, runtime and clock of one node.

    blocks: TIME, INSTANT or MANUAL; here it only decides what time a block gets and how soon it is final.
    clock: the time now, in ms since 1970. make_runtime: from a RuntimeSpec; tests give a small one.
    """

    def __init__(
        self,
        spec: ChainSpec,
        *,
        clock: Callable[[], int],
        blocks: str = TIME,
        block_ms: int | None = None,
        finality_lag: int | None = None,
        states_max: int = DEVCHAIN_STATES_MAX,
        make_runtime: Callable[[Any], Runtime] | None = None,
    ) -> None:
        assert blocks in BLOCKS, blocks
        if make_runtime is None:
            from mycelium.devnet.chain.runtime import Runtime

            make_runtime = Runtime
        if block_ms is not None:
            spec = dataclasses.replace(spec, block_ms=block_ms)
        self.blocks = blocks
        self.block_ms = spec.block_ms
        if finality_lag is None:
            finality_lag = 0 if blocks == INSTANT else DEVCHAIN_FINALITY_LAG
        self.finality_lag = finality_lag
        self.head_stalled = False
        self.finality_stalled = False
        self.observers: list[Callable[[Event], None]] = []
        self._clock = clock
        self._shift_ms = 0
        self._make_runtime = make_runtime
        self._states_max = states_max
        self.spec: ChainSpec
        self.chain: Chain
        self.pool: Pool
        self._begin(spec)

    def _begin(self, spec: ChainSpec) -> None:
        runtime = self._make_runtime(spec.runtime)
        began_ms = self._clock() if spec.genesis_time_ms is None else spec.genesis_time_ms
        self.spec = spec
        self.runtime_spec = spec.runtime
        self.chain = Chain(
            runtime.genesis(spec),
            runtime,
            seed=spec.seed,
            timestamp_ms=began_ms,
            states_max=self._states_max,
        )
        self.pool = Pool()

    def take_over(
        self, state: Mapping[bytes, bytes], kept: Kept, upgrades: Sequence[tuple[int, RuntimeSpec]]
    ) -> None:
        """Go on where a chain of this spec was (see `Chain.take_over`). upgrades: as `upgrades` gave them."""
        made = []
        for since, runtime_spec in upgrades:
            runtime = self._make_runtime(runtime_spec)
            runtime.begin(self.spec)
            made.append((since, runtime))
            self.runtime_spec = runtime_spec
        self.chain.take_over(state, kept, made)
        # A chain that was ahead of the clock stays ahead: its time does not stand still until the clock is there.
        if self.blocks != MANUAL:
            self._shift_ms += max(0, self.chain.best.timestamp_ms - self.now_ms())

    def upgrades(self) -> list[tuple[int, RuntimeSpec]]:
        """Runtimes after the first one: since which block, and what it is made of."""
        return [(since, cast("Runtime", runtime).spec) for since, runtime in self.chain.upgrades]

    # --- time -----------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """The chain's time: the clock's, moved by what was skipped or shifted."""
        return self._clock() + self._shift_ms

    def shift_time(self, by_ms: int) -> None:
        """Let the chain's clock be that much further from now on; blocks still never go back in time."""
        self._shift_ms += by_ms

    def _next_ms(self) -> int:
        if self.blocks == MANUAL:
            return self.chain.best.timestamp_ms + self.block_ms + self._take_shift()
        return self.now_ms()

    def _take_shift(self) -> int:
        """In manual mode no clock is asked: a shift counts once, for the next block."""
        shift, self._shift_ms = self._shift_ms, 0
        return shift

    # --- what clients ask -----------------------------------------------------------------------------------

    @property
    def runtime(self) -> Runtime:
        """The runtime of the best block."""
        return self.runtime_of(None)

    def runtime_of(self, hash: bytes | None) -> Runtime:
        """The runtime of a block's state. Raises UnknownBlock."""
        return cast("Runtime", self.chain.runtime_of(hash))

    def submit(self, extrinsic: bytes) -> bytes:
        """Put an extrinsic into the pool, if it is valid now; its hash. Raises PoolRefusal; then nothing changed.

        The codes are those of `author_submitExtrinsic`.
        """
        txid = digest(extrinsic)
        now_ms = self._clock()
        if not _whole(extrinsic):
            raise PoolRefusal(1001, "Extrinsic has invalid format: Not enough data to fill buffer")
        self.pool.check(txid, now_ms)
        chain = self.chain
        try:
            validity = self.runtime.validate(Overlay(chain.storage), extrinsic, chain.context())
        except InvalidTransaction as why:
            raise self._refusal(txid, why, now_ms) from None
        try:
            self._tell(self.pool.submit(extrinsic, validity, chain.best.number))
        except PoolRefusal as refusal:
            self._tell(refusal.others)
            raise
        return txid

    def _refusal(self, txid: bytes, why: InvalidTransaction, now_ms: int) -> PoolRefusal:
        if why.kind == "Undecodable":
            # A real runtime traps on bytes that it cannot decode, and its node does not ban them.
            trap = "Execution failed: Execution aborted due to trap: wasm trap: wasm `unreachable` instruction executed"
            return PoolRefusal(1002, f"Verification Error: Runtime error: {trap}", f'RuntimeApi("{trap}")')
        self.pool.ban([txid], now_ms)
        return PoolRefusal(1010, "Invalid Transaction", str(why))

    # --- blocks ---------------------------------------------------------------------------------------------

    def author(self, *, timestamp_ms: int | None = None) -> Block | None:
        """Make the next block of what is ready; None while the head is stalled."""
        if self.head_stalled:
            return None
        authored = self._author(self._next_ms() if timestamp_ms is None else timestamp_ms)
        self._finalise()
        return authored.block

    def step(self, count: int = 1) -> Block:
        """Make `count` blocks at once, `block_ms` apart in the chain's time; the newest.

        A stalled head does not move. The chain's clock is ahead by that much from then on.
        """
        for _ in range(count):
            after_ms = self.chain.best.timestamp_ms + self.block_ms
            self.author(timestamp_ms=after_ms + (self._take_shift() if self.blocks == MANUAL else 0))
        if self.blocks != MANUAL:
            self._shift_ms += max(0, self.chain.best.timestamp_ms - self.now_ms())
        return self.chain.best

    def edit(self, change: Callable[[Overlay], None]) -> Block | None:
        """Change the state by hand, in a block made for it at once; at the next one while the head is stalled."""
        self.chain.edit(change)
        return self.author()

    def upgrade(self, runtime_spec: Any) -> Block | None:
        """Change the runtime, in a block made for it at once; at the next one while the head is stalled.

        Where blocks come only with extrinsics, the new runtime's first block follows: clients sign by the version
        of the head's parent, and would sign by the old one for ever.
        """
        self.runtime_spec = runtime_spec
        runtime = self._make_runtime(runtime_spec)
        runtime.begin(self.spec)
        self.chain.upgrade(runtime)
        upgraded = self.author()
        return self.author() if upgraded is not None and self.blocks == INSTANT else upgraded

    def reorganise(self, count: int, *, blocks: int | None = None, forced: bool = False) -> Block:
        """Take back the newest `count` blocks and make others in their place; the new best block.

        blocks: how many others, by default as many; they are empty. What was in the old ones is back in the
        pool. forced: finalised blocks may go too. Raises UnknownBlock when that many cannot be taken back.
        """
        chain = self.chain
        free = chain.best.number - chain.finalised.number
        if count > free and not forced:
            raise UnknownBlock(f"{count} blocks cannot be taken back: only {free} are not final")
        dropped = chain.drop(count)
        replaced = dropped[-1].timestamp_ms
        for block in dropped:
            self._tell(self.pool.retracted(block.hash))
        again = [raw for block in reversed(dropped) for raw in block.extrinsics]
        for index in range(count if blocks is None else blocks):
            self._author(replaced + index * self.block_ms, (), reorganised=index == 0)
        self._resubmit(again)
        self._finalise()
        return chain.best

    def restart(self, spec: ChainSpec | None = None) -> None:
        """Begin again at block 0, by default with another genesis: the spec with the next seed."""
        self._begin(dataclasses.replace(self.spec, seed=self.spec.seed + 1) if spec is None else spec)
        self._emit(Restarted())

    def catch_up_finality(self) -> None:
        """Finalise what is due."""
        self._finalise()

    # --- inside ---------------------------------------------------------------------------------------------

    def _author(
        self,
        timestamp_ms: int,
        transactions: Iterable[tuple[bytes, bytes]] | None = None,
        *,
        reorganised: bool = False,
    ) -> Authored:
        chain = self.chain
        now_ms = self._clock()
        self._tell(self.pool.expire(chain.best.number + 1))
        if transactions is None:
            transactions = [(tx.hash, tx.raw) for tx in self.pool.ready()]
        authored = chain.author(timestamp_ms, transactions)
        self._emit(NewHead(authored.block, authored.changes, reorganised))
        self._tell(self.pool.included(authored.block.hash, authored.included, now_ms))
        self._tell(self.pool.refused([txid for txid, _ in authored.refused], now_ms))
        if authored.runtime is not None:
            self._emit(Upgraded(cast("Runtime", authored.runtime)))
        return authored

    def _finalise(self) -> None:
        if self.finality_stalled:
            return
        for block in self.chain.finalise(self.finality_lag):
            self._emit(Finalised(block))
            self._tell(self.pool.finalised(block.hash))

    def _resubmit(self, retracted: list[bytes]) -> None:
        """Judge again what was in blocks that are gone, and what waits in the pool, against the new state."""
        chain = self.chain
        waiting = self.pool.take_all()
        ready = {txid for txid, _, was_ready in waiting if was_ready}
        for extrinsic in (*retracted, *(raw for _, raw, _ in waiting)):
            try:
                validity = self.runtime.validate(Overlay(chain.storage), extrinsic, chain.context())
                statuses = self.pool.submit(extrinsic, validity, chain.best.number)
            except (InvalidTransaction, PoolRefusal):
                # A watcher of one that waited is told. Of the retracted ones most are the blocks' own inherents.
                if digest(extrinsic) in {txid for txid, _, _ in waiting}:
                    self._emit(Status(digest(extrinsic), INVALID))
                continue
            # Those that were ready before are not told so again.
            self._tell(status for status in statuses if not (status.what == READY and status.hash in ready))

    def _tell(self, statuses: Iterable[Status]) -> None:
        for status in statuses:
            self._emit(status)

    def _emit(self, event: Event) -> None:
        for observer in self.observers:
            observer(event)


def _whole(extrinsic: bytes) -> bool:
    """Whether the bytes are what their length prefix says."""
    if not extrinsic:
        return False
    mode = extrinsic[0] & 3
    if mode == 3:
        return False
    width = (1, 2, 4)[mode]
    length = int.from_bytes(extrinsic[:width], "little") >> 2
    return (
        len(extrinsic) >= width and compact(length) == extrinsic[:width] and len(extrinsic) == width + length
    )
