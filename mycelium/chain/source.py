"""Membership from the chain: drives `metagraph.tracker` with what a connection reads. Implements `membership.Source`.

Owns the tasks that follow finalised blocks and read epochs, and the decision to ask another endpoint when one has
stalled or a second opinion is needed. Decides nothing about epochs; never blocks the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

from mycelium.chain import epochs
from mycelium.chain.aio import AsyncConnection
from mycelium.chain.connection import Connection
from mycelium.chain.epochs import Rules
from mycelium.chain.feeds import RETRY_S
from mycelium.config import EPOCH_STALL_S, EPOCH_START_S, EPOCH_TICK_S, EPOCHS_CACHED_MAX
from mycelium.errors import ChainError, ChainUnreachable, MetagraphError, StoreError
from mycelium.metagraph.epochfile import EpochFile
from mycelium.metagraph.membership import MINER, OBSERVER, Epoch, Member, SourceStatus
from mycelium.metagraph.tracker import (
    Alarm,
    Effect,
    Entered,
    EpochRead,
    EpochTracker,
    HeadSeen,
    Input,
    ReadEpoch,
    ReadFailed,
    ReadTimes,
    Tick,
    TimesRead,
)

log = logging.getLogger(__name__)

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
        self._left_s = 0.0
        self._seen: OrderedDict[int, tuple[Epoch, Epoch]] = OrderedDict()
        """Number -> (the epoch as the chain has it, the same with observers)."""
        self._others: dict[str, Connection] = {}
        self._opinions = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._present = asyncio.Event()
        self._first_failure: asyncio.Future[ChainError] | None = None
        self._tracker = EpochTracker(
            file,
            rules.epoch_blocks,
            change_percent_max,
            int(outage_max_s * 1000),
            len(connection.access.rpc.endpoints),
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
        self._first_failure = asyncio.get_running_loop().create_future()
        self._spawn(self._follow(), "chain-heads")
        self._spawn(self._tick(), "chain-tick")
        present = asyncio.create_task(self._present.wait(), name="chain-present")
        waited: set[asyncio.Future[Any]] = {present, self._first_failure}
        try:
            await asyncio.wait(
                waited,
                timeout=_CATCH_UP_S if known else self._start_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            present.cancel()
        failed = self._first_failure
        self._first_failure = None
        if self._tracker.epoch is None:
            if failed.done():
                raise failed.result()
            raise ChainUnreachable(
                f"no finalised block was heard of in {self._start_s:.0f} s", "check the endpoints in [chain]"
            )

    async def close(self) -> None:
        """Stop following; idempotent."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._aio.close()
        for other in self._others.values():
            other.close()
        self._file.close()

    # --- the chain --------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while not self._connection.access.rpc.closed:
            try:
                async for head in self._aio.heads():
                    # Block 0 has no time, so nothing can refer to it.
                    if head.number:
                        time_ms = await self._aio.timestamp_ms(head.hash)
                        self._handle(HeadSeen(head.number, head.hash, time_ms))
            except ChainError as error:
                log.info("following finalised blocks: %s", error.what)
            except Exception:
                # Whatever an endpoint sent: a node that stopped following would stop writing an hour later.
                log.exception("following finalised blocks failed; it is begun again")
            await asyncio.sleep(RETRY_S)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(EPOCH_TICK_S)
            try:
                self._handle(Tick())
            except Exception:
                # Of what is called when an epoch begins: it must not end the following.
                log.exception("what follows from an epoch failed")
            head = self._tracker.head
            now_s = time.monotonic()
            if head is not None and now_s - self._left_s > self._stall_s:
                age_s = (self._clock_ms() - head.time_ms) / 1000
                if age_s > self._stall_s:
                    self._left_s = now_s
                    self._connection.access.rpc.leave(f"its last final block is {age_s:.0f} s old")

    def _handle(self, what: Input) -> None:
        try:
            effects = self._tracker.handle(what, self._clock_ms())
        except StoreError as error:
            # The disk is full or the file damaged: what was known stays in force, up to the limit of an outage.
            log.error("%s", error)
            return
        for effect in effects:
            self._do(effect)
        head, epoch = self._tracker.head, self._tracker.epoch
        if head is not None and epoch is not None and epoch.number == head.number // self.rules.epoch_blocks:
            self._present.set()
        if isinstance(what, EpochRead | TimesRead | HeadSeen):
            for callback in self.on_known:
                callback(not isinstance(what, HeadSeen))

    def _do(self, effect: Effect) -> None:
        if isinstance(effect, ReadEpoch):
            self._spawn(self._read_epoch(effect), f"chain-epoch-{effect.number}")
        elif isinstance(effect, ReadTimes):
            self._spawn(self._read_times(effect.blocks), "chain-times")
        elif isinstance(effect, Alarm):
            log.error("%s", effect.text)
        elif isinstance(effect, Entered):
            epoch = self._with_observers(effect.epoch)
            for callback in self.on_epoch:
                callback(epoch)

    async def _read_epoch(self, effect: ReadEpoch) -> None:
        try:
            connection = self._connection if effect.exclude is None else self._other(effect.exclude)
            endpoint = connection.endpoint
            reading = await self._aio.call(
                epochs.read, connection, self.rules, effect.number, known=effect.known
            )
            if connection.endpoint != endpoint:
                raise ChainUnreachable("the endpoint was lost while it was read")
        except Exception as error:  # noqa: BLE001 - an endpoint can answer anything
            failed = error if isinstance(error, ChainError) else _unreadable(error)
            self._handle(ReadFailed(effect.number, failed.what, failed.remedy))
            if self._first_failure is not None and not self._first_failure.done():
                self._first_failure.set_result(failed)
            return
        self._handle(EpochRead(reading, endpoint))

    async def _read_times(self, blocks: tuple[int, ...]) -> None:
        times_ms: dict[int, int] = {}
        for block in blocks:
            with suppress(ChainError, ValueError, TypeError, LookupError):  # who needs it asks again
                block_hash = await self._aio.hash_of(block)
                if block_hash is not None:
                    times_ms[block] = await self._aio.timestamp_ms(block_hash)
        self._handle(TimesRead(times_ms))

    def _other(self, exclude: str) -> Connection:
        """A connection to one endpoint that is not the excluded one."""
        urls = [url for url in self._connection.access.rpc.endpoints if url != exclude]
        if not urls:
            raise ChainUnreachable("there is no second endpoint", "add one to [chain] endpoints")
        # Another one each time, so that one that does not answer does not stand in the way.
        self._opinions += 1
        url = urls[self._opinions % len(urls)]
        if url not in self._others:
            self._others[url] = Connection((url,), genesis=self._connection.genesis)
        return self._others[url]

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


def _unreadable(error: Exception) -> MetagraphError:
    return MetagraphError(
        f"the endpoint answered what is no epoch ({type(error).__name__}: {error})", "try another endpoint"
    )
