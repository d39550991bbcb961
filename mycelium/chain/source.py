"""Membership from the chain: drives `metagraph.tracker` with what a connection reads. Implements `membership.Source`.

Owns the tasks that follow finalised blocks and read epochs, and the decision to leave an endpoint that has stalled.
Decides nothing about blocks and epochs; never blocks the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from types import MappingProxyType
from typing import Any, Final, TypeVar

from mycelium.chain import epochs
from mycelium.chain.aio import AsyncConnection
from mycelium.chain.connection import Connection
from mycelium.chain.epochs import Rules
from mycelium.chain.feeds import RETRY_S
from mycelium.chain.witnesses import Witnesses
from mycelium.config import (
    EPOCH_STALL_MAX_S,
    EPOCH_STALL_S,
    EPOCH_START_S,
    EPOCH_TICK_S,
    EPOCHS_CACHED_MAX,
)
from mycelium.errors import ChainError, ChainUnreachable
from mycelium.metagraph.epochfile import EpochFile
from mycelium.metagraph.events import (
    Alarm,
    Ask,
    Effect,
    Entered,
    HeadSeen,
    Input,
    Leave,
    ReadEpoch,
    ReadFailed,
    ReadTimes,
    Tick,
)
from mycelium.metagraph.membership import MINER, OBSERVER, Epoch, Member, SourceStatus
from mycelium.metagraph.tracker import EpochTracker

log = logging.getLogger(__name__)
T = TypeVar("T")

_CATCH_UP_S: Final = 5.0
"""A node that knows an older epoch waits this long for the present one, and then begins with what it has."""


class ChainSource:
    """The epochs of one subnet. All methods are called on one event loop; `start` before any other.

    observers: accounts that may read and hold no place on chain. On closing it closes the connection and the file.
    """

    def __init__(
        self,
        connection: Connection,
        rules: Rules,
        file: EpochFile,
        *,
        change_percent_max: int,
        outage_max_s: float,
        observers: Iterable[bytes] = (),
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        stall_s: float = EPOCH_STALL_S,
        start_s: float = EPOCH_START_S,
    ) -> None:
        self.on_epoch: list[Callable[[Epoch], None]] = []
        self.on_known: list[Callable[[bool], None]] = []
        self.rules = rules
        self._connection = connection
        self._aio = AsyncConnection(connection)
        self._file = file
        self._observers = frozenset(observers)
        self._clock_ms = clock_ms
        self._stall_s = stall_s
        self._start_s = start_s
        self._seen: OrderedDict[int, tuple[Epoch, Epoch]] = OrderedDict()
        """Number -> (the epoch as the chain has it, the same with observers)."""
        self._witnesses = Witnesses(connection)
        self._tasks: set[asyncio.Task[None]] = set()
        self._present = asyncio.Event()
        self._failed: asyncio.Future[ChainError] | None = None
        """While it starts: why no endpoint can be read."""
        self._grew_s = self._left_s = time.monotonic()
        """When the newest block was last another one, and when an endpoint was last left."""
        self._patience_s = stall_s
        self._tracker = EpochTracker(
            file,
            rules.epoch_blocks,
            change_percent_max=change_percent_max,
            outage_max_ms=int(outage_max_s * 1000),
            endpoints=len(self._witnesses),
        )

    # --- Source -----------------------------------------------------------------------------------------

    @property
    def tempo(self) -> int:
        """Blocks of an epoch."""
        return self.rules.epoch_blocks

    def epoch(self) -> Epoch:
        """The present epoch."""
        found = self._tracker.epoch
        assert found is not None, "start() returns when an epoch is known"
        return self._with_observers(found)

    def epoch_at(self, number: int) -> Epoch | None:
        """A known epoch as the chain has it, without observers; one that is not known is read, if it can be."""
        found = self._file.epoch(number)
        if found is None:
            self._tracker.want(number)
        return found

    def peek(self, number: int) -> Epoch | None:
        """A known epoch; one that is not stays so."""
        return self._file.epoch(number)

    def block_now(self, now_ms: int) -> int:
        """The block that new batches refer to."""
        del now_ms
        anchor = self._tracker.anchor
        return 0 if anchor is None else anchor.number

    def block_time_ms(self, block: int) -> int | None:
        """The time of a known block; one that is not known is read, if it can be."""
        found = self._file.block_time_ms(block)
        if found is None:
            self._tracker.want_time(block)
        return found

    def status(self, now_ms: int) -> SourceStatus:
        """What an operator should know of it."""
        return self._tracker.status(now_ms)

    def explain(self, account: bytes) -> str | None:
        """Why the account may not write now, in one line with its remedy; None where it may."""
        return epochs.place_of(self.epoch(), account, self.rules.netuid, self.rules.stake_min_rao)

    async def start(self) -> None:
        """Follow the chain; returns when an epoch is known, the present one if the chain answers soon.

        Raises ChainUnreachable when no epoch was ever known and the chain does not answer, WrongChain, and the
        ChainError of a subnet that does not exist or a state that is no longer kept.
        """
        self._tracker.begin()
        known = self._tracker.epoch is not None
        try:
            async with asyncio.timeout(_CATCH_UP_S if known else None):
                await self._aio.call(self._connection.connect)
        except (ChainUnreachable, TimeoutError) as error:
            if not known:
                raise
            why = error.what if isinstance(error, ChainUnreachable) else "the chain does not answer"
            log.warning("%s; going on under epoch %d", why, self.epoch().number)
        self._failed = asyncio.get_running_loop().create_future()
        self._grew_s = self._left_s = time.monotonic()
        log.info("waits for a final block from %s", self._witnesses.followed)
        self._spawn(self._follow(), "chain-heads")
        self._spawn(self._tick(), "chain-tick")
        present = asyncio.create_task(self._present.wait(), name="chain-present")
        waited: set[asyncio.Future[Any]] = {present, self._failed}
        try:
            await asyncio.wait(
                waited,
                timeout=_CATCH_UP_S if known else self._start_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            present.cancel()
        failed, self._failed = self._failed, None
        if self._tracker.epoch is None:
            if failed.done():
                raise failed.result()
            problems = self._tracker.status(self._clock_ms()).problems
            raise ChainUnreachable(
                f"no finalised block that can be believed was heard of in {self._start_s:.0f} s",
                "; ".join(problems) or "check the endpoints in [chain]",
            )

    async def close(self) -> None:
        """Stop following; idempotent."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._aio.close()
        await asyncio.to_thread(self._witnesses.close)
        self._file.close()

    # --- the chain --------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while not self._connection.access.rpc.closed:
            try:
                async for head in self._aio.heads(growing=False):
                    # Block 0 has no time, so nothing can refer to it.
                    if head.number:
                        anchor = self._tracker.anchor
                        known = None if anchor is None else anchor.number
                        self._handle(await self._aio.call(self._witnesses.head, head, known))
            except ChainError as error:
                log.info("following finalised blocks: %s", error.what)
            await asyncio.sleep(RETRY_S)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(EPOCH_TICK_S)
            self._handle(Tick())
            why = self._stalled()
            if why is not None:
                await self._leave(self._witnesses.followed, why)

    def _stalled(self) -> str | None:
        """Why the endpoint that is followed should be left for another: it can hang, and still answer."""
        now_s, head = time.monotonic(), self._tracker.heads.newest
        still_s = self._stall_s
        if self._failed is not None:
            # While it starts, each endpoint gets its turn.
            still_s = min(still_s, self._start_s / (len(self._witnesses) + 1))
        quiet_s = now_s - max(self._grew_s, self._left_s)
        if quiet_s > still_s:
            return f"no new final block for {quiet_s:.0f} s"
        age_s = 0.0 if head is None else (self._clock_ms() - head.time_ms) / 1000
        if age_s <= self._stall_s:
            self._patience_s = self._stall_s
        elif now_s - self._left_s > self._patience_s:
            # It goes on, far behind: or is it this machine's clock? So ever more rarely.
            self._patience_s = min(EPOCH_STALL_MAX_S, 2 * self._patience_s)
            return f"its newest final block is {age_s:.0f} s old"
        return None

    async def _leave(self, name: str, why: str) -> None:
        self._left_s = time.monotonic()
        await self._aio.call(self._connection.access.rpc.leave, why, self._witnesses.url(name))

    def _handle(self, what: Input) -> None:
        before = self._tracker.heads.newest
        effects = self._tracker.handle(what, self._clock_ms())
        for effect in effects:
            self._do(effect)
        tracker = self._tracker
        if tracker.heads.newest is not None and (
            before is None or tracker.heads.newest.number != before.number
        ):
            self._grew_s = time.monotonic()
        if tracker.epoch is not None and tracker.epoch.number == tracker.present:
            self._present.set()
        if not isinstance(what, Tick | ReadFailed):
            self._tell(self.on_known, not isinstance(what, HeadSeen))

    def _do(self, effect: Effect) -> None:
        if isinstance(effect, Ask):
            self._spawn(self._ask(effect), "chain-ask")
        elif isinstance(effect, ReadEpoch):
            self._spawn(self._read_epoch(effect), f"chain-epoch-{effect.number}")
        elif isinstance(effect, ReadTimes):
            self._spawn(self._read_times(effect.blocks), "chain-times")
        elif isinstance(effect, Leave):
            self._spawn(self._leave(effect.endpoint, effect.why), "chain-leave")
        elif isinstance(effect, Alarm):
            log.error("%s", effect.text)
        elif isinstance(effect, Entered):
            self._tell(self.on_epoch, self._with_observers(effect.epoch))

    def _tell(self, callbacks: list[Callable[[T], None]], what: T) -> None:
        for callback in callbacks:
            try:
                callback(what)
            except Exception:
                # A node that stopped following because one of its parts failed would stop writing an hour later.
                log.exception("what follows from news of the chain failed")

    async def _ask(self, effect: Ask) -> None:
        self._handle(await self._aio.call(self._witnesses.opinion, effect.number, effect.exclude))

    async def _read_epoch(self, effect: ReadEpoch) -> None:
        read = await self._aio.call(
            self._witnesses.read, self.rules, effect.number, effect.exclude, effect.known
        )
        self._handle(read)
        if isinstance(read, ReadFailed) and not self._tracker.reading:
            self._read_nowhere(read.error)

    def _read_nowhere(self, error: ChainError) -> None:
        """Each endpoint has failed: what waits for the start need not wait longer."""
        if self._failed is not None and not self._failed.done():
            self._failed.set_result(error)

    async def _read_times(self, blocks: tuple[int, ...]) -> None:
        self._handle(await self._aio.call(self._witnesses.times, blocks))

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("following the chain: %s failed", task.get_name(), exc_info=error)

    # --- observers --------------------------------------------------------------------------------------

    def _with_observers(self, epoch: Epoch) -> Epoch:
        """Observers are of this node's settings: they may read from it, and whether a batch is valid stays the same."""
        if not self._observers:
            return epoch
        seen = self._seen.get(epoch.number)
        if seen is None or seen[0] is not epoch:
            members = dict(epoch.members)
            for account in self._observers:
                member = members.get(account)
                if member is None or member.role == MINER:
                    members[account] = (
                        Member(account, OBSERVER)
                        if member is None
                        else Member(
                            account, OBSERVER, member.stake_rao, member.urls, member.uid, member.permit
                        )
                    )
            seen = (epoch, Epoch(epoch.number, MappingProxyType(members), epoch.policy))
            self._seen[epoch.number] = seen
            if len(self._seen) > EPOCHS_CACHED_MAX:
                self._seen.popitem(last=False)
        return seen[1]
