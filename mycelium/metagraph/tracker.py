"""Follows finalised blocks into epochs: which epoch is the present one, what must be read for it, what is believed.

Epoch n is the blocks from n * epoch_blocks on; its members, roles and policy are the finalised state at the first of
them. Sans-IO: `handle(input, now_ms)` returns what to read, whom to tell and what to log; `EpochTracker` opens nothing
and reads no clock. What is kept lies in the `Archive` it is given.

A block that `heads` has confirmed becomes the anchor when its epoch is known; from there nothing goes back. What is
believed of one endpoint alone: a set of writers that differs little from the one before. For a larger change a second
one must say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from mycelium.config import (
    EPOCH_CLOCK_MS,
    EPOCH_DOUBTS_MAX,
    EPOCH_OLDER_RETRY_MAX_MS,
    EPOCH_RETRY_MAX_MS,
    EPOCH_TIMES_READ_MAX,
    EPOCH_WANTED_MAX,
)
from mycelium.errors import MyceliumError, StoreError
from mycelium.metagraph.events import (
    Effect,
    Entered,
    EpochRead,
    HeadSeen,
    Input,
    Opinion,
    ReadEpoch,
    ReadFailed,
    ReadTimes,
    TimesRead,
)
from mycelium.metagraph.failures import Problems, Retry
from mycelium.metagraph.heads import Heads
from mycelium.metagraph.membership import Epoch, SourceStatus
from mycelium.metagraph.reading import Reading, change_percent


class Archive(Protocol):
    """What is kept of epochs and blocks; asking it is cheap. Each method may raise StoreError."""

    def epoch(self, number: int) -> Epoch | None: ...

    def nearest(self, number: int) -> Epoch | None:
        """The known epoch before this one, or else the first one after it; never this one."""
        ...

    def newest(self) -> tuple[Epoch, str] | None:
        """The newest epoch, and the hash of its first block."""
        ...

    def keep(self, reading: Reading, first_block: int) -> None: ...

    def block_time_ms(self, block: int) -> int | None: ...

    def keep_times(self, times_ms: Mapping[int, int]) -> None: ...


_READ: Final = "read"
_STORE: Final = "store"


class EpochTracker:
    """One subnet's epochs. anchor: the block that new batches refer to; it lies in the present epoch.

    endpoints: how many there are; with one, nobody can confirm anything.
    """

    def __init__(
        self,
        archive: Archive,
        epoch_blocks: int,
        *,
        change_percent_max: int,
        outage_max_ms: int,
        endpoints: int,
    ) -> None:
        self.archive = archive
        self.epoch_blocks = epoch_blocks
        self.change_percent_max = change_percent_max
        self.outage_max_ms = outage_max_ms
        self.endpoints = endpoints
        self.problems = Problems()
        self.heads = Heads(epoch_blocks, endpoints, self.problems)
        self.anchor: HeadSeen | None = None
        self.epoch: Epoch | None = None
        self._wanted: dict[int, None] = {}
        self._wanted_times: dict[int, None] = {}
        self._doubts: dict[int, EpochRead] = {}
        self._retries: dict[int, Retry] = {}
        self._reading: int | None = None
        self._reading_times = False

    def begin(self) -> None:
        """Take up where it ended: the newest epoch that is kept is the present one until the chain says otherwise."""
        newest = self.archive.newest()
        if newest is None:
            return
        self.epoch, block_hash = newest
        first = self.epoch.number * self.epoch_blocks
        time_ms = self.archive.block_time_ms(first)
        if time_ms is not None:
            self.anchor = self.heads.confirmed = self.heads.newest = HeadSeen(first, block_hash, time_ms)

    def handle(self, what: Input, now_ms: int) -> list[Effect]:
        """Take in one thing; what to do about it.

        A store that fails is a problem like others: what was known stays in force, and each step is tried again.
        """
        effects: list[Effect] = []
        try:
            effects += self._take(what, now_ms)
        except StoreError as error:
            if isinstance(what, EpochRead):
                self._later(what.reading.epoch.number, now_ms)
            effects += self._store_failed(error)
        try:
            for step in (self.heads.next_question, self._advance, self._next_times, self._next_epoch):
                effects += step(now_ms)
        except StoreError as error:
            effects += self._store_failed(error)
        return effects

    def _take(self, what: Input, now_ms: int) -> list[Effect]:
        if isinstance(what, HeadSeen):
            effects = self.heads.seen(what, self.anchor, now_ms)
            if self.heads.newest is what:
                self._keep_times({what.number: what.time_ms})
            return effects
        if isinstance(what, Opinion):
            return self.heads.answered(what, now_ms)
        if isinstance(what, EpochRead):
            self._reading = None
            return self._epoch_read(what, now_ms)
        if isinstance(what, ReadFailed):
            self._reading = None
            return self._read_failed(what, now_ms)
        if isinstance(what, TimesRead):
            self._reading_times = False
            self._keep_times(what.times_ms)
        return []

    def _store_failed(self, error: StoreError) -> list[Effect]:
        return self.problems.say(_STORE, _line(error))

    # --- asked by the node ------------------------------------------------------------------------------

    @property
    def reading(self) -> bool:
        """Whether an epoch is being read; if not after a failure, each endpoint has failed."""
        return self._reading is not None

    def want(self, number: int) -> None:
        """An epoch that is not known here is needed. Future ones come by themselves."""
        if 0 <= number <= self.present:
            _remember(self._wanted, number)

    def want_time(self, block: int) -> None:
        """The time of a block that is not known here is needed."""
        head = self.heads.newest
        if head is not None and 0 < block <= head.number:
            _remember(self._wanted_times, block)

    def status(self, now_ms: int) -> SourceStatus:
        """How well the present is known."""
        problems, head = list(self.problems), self.heads.newest
        if head is None or self.anchor is None:
            return SourceStatus(-1, -1, None, False, tuple(problems))
        age_ms, anchor_ms = now_ms - head.time_ms, now_ms - self.anchor.time_ms
        allowed = anchor_ms <= self.outage_max_ms
        if not allowed:
            problems.append(
                f"the newest block that batches can refer to is {anchor_ms // 1000} s old: nothing can be written "
                "until there is a newer one; check the endpoints in [chain], and this machine's clock"
            )
        elif age_ms < -EPOCH_CLOCK_MS:
            problems.append(f"this machine's clock is {-age_ms // 1000} s behind the chain's: set it right")
        number = -1 if self.epoch is None else self.epoch.number
        return SourceStatus(number, self.anchor.number, age_ms / 1000, allowed, tuple(problems), head.number)

    def _advance(self, now_ms: int) -> list[Effect]:
        """Anchor to the confirmed block as soon as its epoch is known."""
        del now_ms
        block, anchor = self.heads.confirmed, self.anchor
        if block is None or (anchor is not None and block.number <= anchor.number):
            return []
        number, before = self.present, self.epoch
        epoch = before if before is not None and before.number == number else self.archive.epoch(number)
        if epoch is None:
            return []
        self._keep_times({block.number: block.time_ms})
        self.anchor, self.epoch = block, epoch
        return [] if epoch is before else [Entered(epoch)]

    @property
    def present(self) -> int:
        """The epoch of the newest block that is confirmed, known or not; -1 while there is none."""
        block = self.heads.confirmed
        return -1 if block is None else block.number // self.epoch_blocks

    def _number(self, block: HeadSeen) -> int:
        return block.number // self.epoch_blocks

    # --- epochs -----------------------------------------------------------------------------------------

    def _epoch_read(self, read: EpochRead, now_ms: int) -> list[Effect]:
        reading, number = read.reading, read.reading.epoch.number
        newest = self.archive.newest()
        if newest is not None and reading.known_hash not in {None, newest[1]}:
            self._later(number, now_ms)
            first = newest[0].number * self.epoch_blocks
            return self.problems.say(
                _READ,
                f"{read.endpoint} says that block {first} is {reading.known_hash}, and it was final as {newest[1]}: "
                "it is another chain, or one that was begun anew; remove that endpoint, or use a new data_dir",
            )
        doubt = self._doubts.get(number)
        if doubt is not None and doubt.endpoint == read.endpoint:
            self._later(number, now_ms)
            return []  # it cannot confirm itself
        if doubt is not None:
            del self._doubts[number]
            if not doubt.reading.agrees(reading):
                self._later(number, now_ms)
                return self.problems.say(
                    _READ,
                    f"{doubt.endpoint} and {read.endpoint} disagree about the members of epoch {number}: "
                    "neither is believed; the last epoch stays in force",
                )
            return self._accept(reading)
        before = self.archive.nearest(number)
        changed = 0 if before is None else change_percent(before, reading.epoch)
        if changed <= self.change_percent_max:
            return self._accept(reading)
        if self.endpoints > 1:
            self._doubts[number] = read
            while len(self._doubts) > EPOCH_DOUBTS_MAX:
                del self._doubts[next(iter(self._doubts))]
            return []
        self._later(number, now_ms)
        return self.problems.say(
            _READ,
            f"epoch {number} changes {changed} % of the writers, more than change_percent_max, "
            "and no second endpoint confirms it: add one to [chain] endpoints, or raise the limit",
        )

    def _accept(self, reading: Reading) -> list[Effect]:
        number = reading.epoch.number
        self.archive.keep(reading, number * self.epoch_blocks)
        self._wanted.pop(number, None)
        self._retries.pop(number, None)
        self.problems.over(_STORE)
        self.problems.over(_READ)
        return []

    def _read_failed(self, failed: ReadFailed, now_ms: int) -> list[Effect]:
        """Try another endpoint at once; when none is left, wait, and begin anew."""
        retry = self._retries.setdefault(failed.number, Retry())
        retry.failed |= {failed.endpoint}
        if len(self._not_from(failed.number)) >= self.endpoints:
            self._later(failed.number, now_ms)
        return self.problems.say(_READ, f"epoch {failed.number} could not be read: {_line(failed.error)}")

    # --- what is read next ------------------------------------------------------------------------------

    def _next_times(self, now_ms: int) -> list[Effect]:
        del now_ms
        if not self._wanted_times or self._reading_times:
            return []
        blocks = list(self._wanted_times)[:EPOCH_TIMES_READ_MAX]
        for block in blocks:
            # Whether it is read or not: who still needs it asks again.
            del self._wanted_times[block]
        self._reading_times = True
        return [ReadTimes(tuple(blocks))]

    def _next_epoch(self, now_ms: int) -> list[Effect]:
        number = self._due(now_ms) if self._reading is None else None
        if number is None:
            return []
        newest = self.archive.newest()
        known = None if newest is None else newest[0].number
        self._reading = number
        return [ReadEpoch(number, self._not_from(number), known)]

    def _due(self, now_ms: int) -> int | None:
        """The present one first: without it nothing can be written. Then the newest of those asked for."""
        if self.present < 0:
            return None
        # Not the older ones while another block may become the present: what is begun is not left for it.
        wanted = [] if self.heads.asking else sorted(self._wanted, reverse=True)
        for number in (self.present, *wanted):
            if self.archive.epoch(number) is not None:
                self._wanted.pop(number, None)
                continue
            retry = self._retries.get(number)
            if retry is None or retry.at_ms <= now_ms:
                return number
        return None

    def _not_from(self, number: int) -> frozenset[str]:
        """Endpoints that an epoch is not read of now: one that could not, and the one that is to be confirmed."""
        retry, doubt = self._retries.get(number), self._doubts.get(number)
        failed = frozenset() if retry is None else retry.failed
        return failed if doubt is None else failed | {doubt.endpoint}

    def _later(self, number: int, now_ms: int) -> None:
        retry = self._retries.setdefault(number, Retry())
        retry.later(now_ms, EPOCH_RETRY_MAX_MS if number == self.present else EPOCH_OLDER_RETRY_MAX_MS)
        while len(self._retries) > EPOCH_WANTED_MAX:
            del self._retries[next(iter(self._retries))]

    def _keep_times(self, times_ms: Mapping[int, int]) -> None:
        self.archive.keep_times({block: time for block, time in times_ms.items() if 0 < time < 2**63})
        self.problems.over(_STORE)


def _line(error: MyceliumError) -> str:
    """What it is and its remedy, in one line."""
    return ": ".join(part.strip() for part in str(error).splitlines())


def _remember(wanted: dict[int, None], number: int) -> None:
    """A member can name any number: the oldest of too many gives way."""
    wanted.setdefault(number)
    if len(wanted) > EPOCH_WANTED_MAX:
        del wanted[next(iter(wanted))]
