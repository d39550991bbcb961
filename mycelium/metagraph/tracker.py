"""Follows finalised blocks into epochs: which epoch is the present one, what must be read for it, what is believed.

Epoch n is the blocks from n * epoch_blocks on; its members, roles and policy are the finalised state at the first of
them. Sans-IO: `handle(input, now_ms)` returns what to read, whom to tell and what to log; `EpochTracker` opens nothing
and reads no clock. What is kept lies in the `Archive` it is given.

What is believed of one endpoint alone: a set of writers that differs little from the one before. For a larger change
a second endpoint must say the same; a head that contradicts a finalised block is believed of nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from mycelium.config import (
    EPOCH_ANCHOR_BLOCKS,
    EPOCH_CLOCK_MS,
    EPOCH_RETRY_MAX_MS,
    EPOCH_RETRY_MS,
    EPOCH_TIMES_READ_MAX,
    EPOCH_WANTED_MAX,
)
from mycelium.metagraph.membership import Epoch, SourceStatus
from mycelium.metagraph.reading import Reading, change_percent

# --- what comes in ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeadSeen:
    """An endpoint says that a block is final."""

    number: int
    hash: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class EpochRead:
    """The answer to a ReadEpoch, of one endpoint."""

    reading: Reading
    endpoint: str


@dataclass(frozen=True, slots=True)
class ReadFailed:
    """A ReadEpoch came to nothing. `why` and `remedy` are for the operator."""

    number: int
    why: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class TimesRead:
    """The answer to a ReadTimes: block -> ms since 1970, without those that could not be had."""

    times_ms: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Input = HeadSeen | EpochRead | ReadFailed | TimesRead | Tick

# --- what goes out ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadEpoch:
    """Read an epoch, of another endpoint than `exclude`. known: the epoch whose first block's hash is asked with it."""

    number: int
    exclude: str | None = None
    known: int | None = None


@dataclass(frozen=True, slots=True)
class ReadTimes:
    """Read the timestamps of these blocks."""

    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entered:
    """Another epoch is the present one."""

    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something an operator should see, now."""

    text: str


Effect = ReadEpoch | ReadTimes | Entered | Alarm

# --- the machine ------------------------------------------------------------------------------------------


class Archive(Protocol):
    """What is kept of epochs and blocks; asking it is cheap."""

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
_HEAD: Final = "head"


@dataclass(slots=True)
class _Retry:
    at_ms: int = 0
    failures: int = 0


@dataclass(slots=True)
class EpochTracker:
    """One subnet's epochs. anchor: what new batches refer to: a final block whose epoch is known.

    endpoints: how many there are; with one, nobody can confirm a large change.
    """

    archive: Archive
    epoch_blocks: int
    change_percent_max: int
    outage_max_ms: int
    endpoints: int
    head: HeadSeen | None = None
    anchor: HeadSeen | None = None
    epoch: Epoch | None = None
    problems: dict[str, str] = field(default_factory=dict)
    _wanted: dict[int, None] = field(default_factory=dict)
    _wanted_times: dict[int, None] = field(default_factory=dict)
    _doubts: dict[int, EpochRead] = field(default_factory=dict)
    _retries: dict[int, _Retry] = field(default_factory=dict)
    _reading: int | None = None
    _reading_times: bool = False

    def begin(self) -> None:
        """Take up where it ended: the newest epoch that is kept is the present one until the chain says otherwise."""
        newest = self.archive.newest()
        if newest is None:
            return
        self.epoch, block_hash = newest
        first = self.epoch.number * self.epoch_blocks
        time_ms = self.archive.block_time_ms(first)
        if time_ms is not None:
            self.anchor = self.head = HeadSeen(first, block_hash, time_ms)

    def handle(self, what: Input, now_ms: int) -> list[Effect]:
        """Take in one thing; what to do about it."""
        effects: list[Effect] = []
        if isinstance(what, HeadSeen):
            effects += self._head_seen(what)
        elif isinstance(what, EpochRead):
            effects += self._epoch_read(what, now_ms)
        elif isinstance(what, ReadFailed):
            self._reading = None
            self._later(what.number, now_ms)
            said = f"epoch {what.number} could not be read: {what.why}"
            effects += self._problem(_READ, f"{said}: {what.remedy}" if what.remedy else said)
        elif isinstance(what, TimesRead):
            self._reading_times = False
            self.archive.keep_times(what.times_ms)
        return effects + self._next_reads(now_ms)

    # --- asked by the node ------------------------------------------------------------------------------

    def want(self, number: int) -> None:
        """An epoch that is not known here is needed. Future ones come by themselves."""
        if self.head is not None and number <= self.head.number // self.epoch_blocks:
            _remember(self._wanted, number)

    def want_time(self, block: int) -> None:
        """The time of a block that is not known here is needed."""
        if self.head is not None and block <= self.head.number:
            _remember(self._wanted_times, block)

    def status(self, now_ms: int) -> SourceStatus:
        """How well the present is known."""
        problems = list(self.problems.values())
        if self.head is None or self.anchor is None:
            return SourceStatus(-1, -1, None, False, tuple(problems))
        age_ms = now_ms - self.head.time_ms
        allowed = now_ms - self.anchor.time_ms <= self.outage_max_ms
        if not allowed:
            problems.append(
                f"the chain has not been heard for {age_ms // 1000} s: nothing can be written until it is; "
                "check the endpoints in [chain]"
            )
        elif age_ms < -EPOCH_CLOCK_MS:
            problems.append(f"this machine's clock is {-age_ms // 1000} s behind the chain's: set it right")
        number = -1 if self.epoch is None else self.epoch.number
        return SourceStatus(number, self.anchor.number, age_ms / 1000, allowed, tuple(problems))

    # --- heads ------------------------------------------------------------------------------------------

    def _head_seen(self, seen: HeadSeen) -> list[Effect]:
        before = self.head
        if before is not None and seen.number <= before.number:
            if seen.number == before.number and seen.hash != before.hash:
                return self._problem(
                    _HEAD,
                    f"an endpoint says that block {seen.number} is {seen.hash}, and it was final as {before.hash}: "
                    "it is not believed; remove that endpoint, or use a new data_dir if the chain was begun anew",
                )
            return []  # an endpoint that is behind the others
        self.problems.pop(_HEAD, None)
        self.head = seen
        self.archive.keep_times({seen.number: seen.time_ms})
        # One block behind the newest: our peers, whom this one may not have reached yet, would have to wait for it.
        return self._move_anchor(seen if before is None else before)

    def _move_anchor(self, block: HeadSeen) -> list[Effect]:
        """Anchor to a final block if that is worth it: each block that batches refer to is one more to look up."""
        number = block.number // self.epoch_blocks
        epoch = (
            self.epoch
            if self.epoch is not None and self.epoch.number == number
            else self.archive.epoch(number)
        )
        if epoch is None:
            return []
        entered: list[Effect] = []
        if self.epoch is None or number > self.epoch.number:
            self.epoch = epoch
            entered.append(Entered(epoch))
        anchor = self.anchor
        if (
            anchor is None
            or entered
            or block.number // EPOCH_ANCHOR_BLOCKS > anchor.number // EPOCH_ANCHOR_BLOCKS
        ):
            self.anchor = block
        return entered

    # --- epochs -----------------------------------------------------------------------------------------

    def _epoch_read(self, read: EpochRead, now_ms: int) -> list[Effect]:
        self._reading = None
        reading, number = read.reading, read.reading.epoch.number
        newest = self.archive.newest()
        if newest is not None and reading.known_hash not in {None, newest[1]}:
            self._later(number, now_ms)
            first = newest[0].number * self.epoch_blocks
            return self._problem(
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
                return self._problem(
                    _READ,
                    f"{doubt.endpoint} and {read.endpoint} disagree about the members of epoch {number}: "
                    "neither is believed; the last epoch stays in force",
                )
            return self._accept(reading)
        before = self.archive.nearest(number)
        changed = 0 if before is None else change_percent(before, reading.epoch)
        if changed <= self.change_percent_max:
            return self._accept(reading)
        said = f"epoch {number} changes {changed} % of the writers, more than change_percent_max"
        if self.endpoints > 1:
            self._doubts[number] = read
            return []
        self._later(number, now_ms)
        return self._problem(
            _READ,
            f"{said}, and no second endpoint confirms it: add one to [chain] endpoints, or raise the limit",
        )

    def _accept(self, reading: Reading) -> list[Effect]:
        number = reading.epoch.number
        self.archive.keep(reading, number * self.epoch_blocks)
        self._wanted.pop(number, None)
        self._retries.pop(number, None)
        self.problems.pop(_READ, None)
        if self.head is None:
            return []
        # The head is where it was; only now its epoch is known.
        return self._move_anchor(self.head) if number == self.head.number // self.epoch_blocks else []

    # --- what to read next ------------------------------------------------------------------------------

    def _next_reads(self, now_ms: int) -> list[Effect]:
        effects: list[Effect] = []
        number = self._next_epoch(now_ms) if self._reading is None else None
        if number is not None:
            self._reading = number
            doubt = self._doubts.get(number)
            newest = self.archive.newest()
            effects.append(
                ReadEpoch(
                    number,
                    exclude=None if doubt is None else doubt.endpoint,
                    known=None if newest is None else newest[0].number,
                )
            )
        if self._wanted_times and not self._reading_times:
            blocks = list(self._wanted_times)[:EPOCH_TIMES_READ_MAX]
            for block in blocks:
                # Whether it is read or not: who still needs it asks again.
                del self._wanted_times[block]
            self._reading_times = True
            effects.append(ReadTimes(tuple(blocks)))
        return effects

    def _next_epoch(self, now_ms: int) -> int | None:
        """The present one first: without it nothing can be written. Then the newest of those asked for."""
        if self.head is None:
            return None
        present = self.head.number // self.epoch_blocks
        for number in (present, *sorted(self._wanted, reverse=True)):
            if self.archive.epoch(number) is not None:
                self._wanted.pop(number, None)
                continue
            retry = self._retries.get(number)
            if retry is None or retry.at_ms <= now_ms:
                return number
        return None

    def _later(self, number: int, now_ms: int) -> None:
        retry = self._retries.setdefault(number, _Retry())
        retry.at_ms = now_ms + min(EPOCH_RETRY_MAX_MS, EPOCH_RETRY_MS << min(retry.failures, 16))
        retry.failures += 1
        while len(self._retries) > EPOCH_WANTED_MAX:
            del self._retries[next(iter(self._retries))]

    def _problem(self, kind: str, text: str) -> list[Effect]:
        """Keep it for the status; tell of it when it is new."""
        if self.problems.get(kind) == text:
            return []
        self.problems[kind] = text
        return [Alarm(text)]


def _remember(wanted: dict[int, None], number: int) -> None:
    """A member can name any number: the oldest of too many gives way."""
    wanted.setdefault(number)
    if len(wanted) > EPOCH_WANTED_MAX:
        del wanted[next(iter(wanted))]
