"""Fetching a snapshot of one space from several members at once: who is asked for which numbers, and what comes of it.
Sans-IO: times are passed in, what to ask is returned, what came is handed to the engine.

The numbers that are missing here are divided into ranges, some to an origin. A range is walked page by page, by one
member at a time; a member that fails, is slow or has less gives its ranges to others. Each batch is verified as any
other. A page says of what lies between its batches that it is superseded: a void, taken together with the batch that
follows it, so that the vector is the cursor: after a crash what is held is not asked for again. Where two ranges meet
`bridge` closes what is left between them.

How far an origin goes is believed where two members say so: one alone could make us wait for numbers that there never
were. What is beyond comes by ordinary sync.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Final, NamedTuple, Protocol

from mycelium._core.codec import decode_batch
from mycelium.config.database import (
    SNAPSHOT_ASKS_PER_PEER,
    SNAPSHOT_RANGE_MIN,
    SNAPSHOT_RANGES_PER_ORIGIN,
    SNAPSHOT_SLOW,
    SNAPSHOT_TRIES_MAX,
    SNAPSHOT_WAIT_MS,
)
from mycelium.database.engine import Outcome
from mycelium.database.snapshot import Page
from mycelium.database.vector import Held, Origin, Vector, lacking
from mycelium.errors import Equivocation, MalformedMessage, StaleMessage, Unauthorised

_FAILURES_MAX: Final = 3
_SLOW_MIN_MS: Final = 2_000
"""A page that takes no longer than this is never called slow."""
_RATE_MS: Final = 10_000
"""The rate is that of so long, about."""

Key = Callable[[Origin], int | None]
"""The first number of an origin that nobody takes, as a proof says; None: there is none."""


class Library(Protocol):
    """What the machine reads and writes; `Engine` is one."""

    def vector(self, space: str) -> Vector: ...
    def receive(self, raw: bytes, signature: bytes, now_ms: int, void_first: int = 0) -> Outcome: ...
    def bridge(self, space: str, origin: Origin, first: int, last: int) -> int: ...


class Ask(NamedTuple):
    """A page to be asked of a member. number: of this ask."""

    peer: bytes
    number: int
    origin: Origin
    first: int
    last: int


@dataclass(slots=True)
class Progress:
    """For people. changes: numbers of changes that were missing, and of these those that are here or void by now."""

    space: str
    total: int
    done: int
    fetched_bytes: int
    sources: int
    rate_s: float
    """Changes a second."""
    remaining_s: float | None


@dataclass(slots=True)
class _Range:
    """at: the next number to ask for. tail: the last one of its origin, which goes on to the head of who gives it."""

    origin: Origin
    first: int
    last: int
    at: int
    tail: bool = False
    ask: int | None = None
    after_ms: int = 0
    tries: int = 0
    through: bool = False
    given_up: bool = False

    @property
    def walked(self) -> int:
        """The last number that was given, or said to be void."""
        return min(self.at - 1, self.last)


@dataclass(slots=True)
class _Source:
    vector: Vector
    failures: int = 0
    asked: dict[int, int] = field(default_factory=dict)
    """Ask -> when."""
    took_ms: float = 0.0
    """A page, on average; 0: none came yet."""
    slow: bool = False

    def has(self, one: _Range) -> bool:
        held = self.vector.get(one.origin)
        return held is not None and held.head >= one.last


class Fetch:
    """Of one space. limit: see `Key`. again: also what is held is walked through, for who left rows out before."""

    def __init__(
        self,
        space: str,
        library: Library,
        sources: Mapping[bytes, Vector],
        now_ms: int,
        limit: Key = lambda origin: None,
        *,
        again: bool = False,
    ) -> None:
        self.space = space
        self.news = 0
        """Batches that were applied."""
        self.fetched_bytes = 0
        self.passed_over = 0
        self._library = library
        self._sources = {peer: _Source(vector) for peer, vector in sources.items()}
        self._next_ask = 1
        self._flying: dict[int, _Range] = {}
        self._began_ms = now_ms
        self._rated = (now_ms, 0)
        self._rate_s = 0.0
        self._by_origin: dict[Origin, list[_Range]] = {}
        for one in self._plan(limit, again):
            self._by_origin.setdefault(one.origin, []).append(one)
        self._open = [one for ranges in self._by_origin.values() for one in ranges]
        self._total = sum(one.last - one.first + 1 for one in self._open)
        self._given_up = 0

    def _plan(self, limit: Key, again: bool) -> Iterator[_Range]:
        wanted: Vector = {}
        limited: set[Origin] = set()
        needed = min(2, len(self._sources))
        for origin in sorted({origin for one in self._sources.values() for origin in one.vector}):
            heads = [one.vector[origin].head for one in self._sources.values() if origin in one.vector]
            if len(heads) < needed:
                continue
            head, end = sorted(heads)[-needed], limit(origin)
            if end is not None and end <= head:
                head = end - 1
                limited.add(origin)
            if head > 0:
                wanted[origin] = Held(head, ())
        mine = {} if again else self._library.vector(self.space)
        for origin, first, last in lacking(wanted, mine):
            count = last - first + 1
            if origin in mine and mine[origin].ranges:
                count = 1  # each range may become a gap, and there are some
            parts = max(1, min(SNAPSHOT_RANGES_PER_ORIGIN, count // SNAPSHOT_RANGE_MIN))
            count = last - first + 1
            for part in range(parts):
                low, high = first + count * part // parts, first + count * (part + 1) // parts - 1
                yield _Range(origin, low, high, low, high == wanted[origin].head and origin not in limited)

    # --- asking -----------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Nothing is left to ask for, or nobody is left to ask."""
        return not self._flying and not (self._sources and self._open)

    @property
    def complete(self) -> bool:
        """All ranges were walked to their ends."""
        return not self._open and not self._given_up

    @property
    def sources(self) -> list[bytes]:
        return sorted(self._sources)

    def asks(self, now_ms: int) -> list[Ask]:
        """What is to be asked now, of whom."""
        found: list[Ask] = []
        for peer, source in self._sources.items():
            for one in self._open:
                if len(source.asked) >= SNAPSHOT_ASKS_PER_PEER:
                    break
                if one.ask is not None or one.after_ms > now_ms or not source.has(one):
                    continue
                if source.slow and any(other.has(one) and not other.slow for other in self._sources.values()):
                    continue
                number, self._next_ask = self._next_ask, self._next_ask + 1
                one.ask = number
                self._flying[number] = one
                source.asked[number] = now_ms
                last = source.vector[one.origin].head if one.tail else one.last
                found.append(Ask(peer, number, one.origin, one.at, last))
        return found

    def _end(self, one: _Range, *, through: bool) -> None:
        """A range is asked for no more."""
        if through:
            one.through = True
        else:
            one.given_up = True
            self._given_up += 1
        self._open.remove(one)

    def _strand(self) -> None:
        """Give up ranges that nobody who is left can give."""
        for one in list(self._open):
            if one.ask is None and not any(source.has(one) for source in self._sources.values()):
                self._end(one, through=False)

    def overdue(self, now_ms: int) -> list[Ask]:
        """Asks that take too long beside those of others: they are void, and their ranges go to these."""
        found = []
        for peer, source in self._sources.items():
            others = [
                one.took_ms
                for key, one in self._sources.items()
                if key != peer and one.took_ms and not one.slow
            ]
            if not others:
                continue
            most_ms = max(_SLOW_MIN_MS, SNAPSHOT_SLOW * median(others))
            late = [number for number, asked_ms in source.asked.items() if now_ms - asked_ms > most_ms]
            for number in late:
                one = self._flying[number]
                found.append(Ask(peer, number, one.origin, one.at, one.last))
                self._land(peer, number)
                source.slow = True
        return found

    def _land(self, peer: bytes, number: int) -> _Range | None:
        """An ask came to its end; its range, None where it was ended before."""
        source = self._sources.get(peer)
        if source is not None:
            source.asked.pop(number, None)
        one = self._flying.pop(number, None)
        if one is not None:
            one.ask = None
        return one

    # --- what comes -------------------------------------------------------------------------------------

    def take(self, ask: Ask, page: Page, now_ms: int) -> Iterator[None]:
        """Apply a page; yields after each batch, so that others get their turn. Nothing else may be done with this ask.

        A ProtocolError is the member's fault: call `lied`. StoreError.
        """
        source = self._sources.get(ask.peer)
        if source is not None and ask.number in source.asked:
            # It is ours to apply from here on, and the next may be asked for meanwhile.
            took_ms = max(1, now_ms - source.asked.pop(ask.number))
            source.took_ms = took_ms if not source.took_ms else (3 * source.took_ms + took_ms) / 4
            source.failures = 0
        one = self._flying.get(ask.number)
        if one is None:
            return  # another has its range by now
        at = one.at
        for raw, signature in page.batches:
            batch = decode_batch(raw)
            if (batch.space, batch.account, batch.generation) != (self.space, *one.origin):
                raise MalformedMessage("a batch of another origin or space than was asked for")
            if not at <= batch.seq_first <= ask.last:
                raise MalformedMessage("batches that are not in order, or not those that were asked for")
            outcome = self._receive(ask.peer, raw, signature, now_ms, one.first)
            self.fetched_bytes += len(raw)
            if outcome in {Outcome.HELD, Outcome.LEFT}:
                # Its epoch or policy is not known yet, perhaps. What follows would lie beyond a gap.
                one.at = batch.seq_first
                self._wait(one, now_ms)
                self._land(ask.peer, ask.number)
                self._bridge(one.origin)
                return
            at = batch.seq_first + batch.count
            yield
        if page.following and (not page.batches or not at <= page.following <= ask.last):
            raise MalformedMessage("a page that does not go on")
        one.tries = 0
        one.at = page.following or max(at, one.last + 1)
        self._land(ask.peer, ask.number)
        if not page.following or at > one.last:
            if not one.given_up:
                self._end(one, through=True)
            self._bridge(one.origin)
        elif source is None or ask.peer not in self._sources:
            self._strand()

    def _receive(self, peer: bytes, raw: bytes, signature: bytes, now_ms: int, void_first: int) -> Outcome:
        try:
            outcome = self._library.receive(raw, signature, now_ms, void_first)
        except (Equivocation, Unauthorised, StaleMessage):
            # Its origin's fault, and not of who was right to take it.
            if decode_batch(raw).account == peer:
                raise
            self.passed_over += 1
            return Outcome.LEFT
        self.news += outcome is Outcome.APPLIED
        return outcome

    def _wait(self, one: _Range, now_ms: int) -> None:
        one.tries += 1
        one.after_ms = now_ms + (SNAPSHOT_WAIT_MS << min(one.tries, 10))
        if one.tries >= SNAPSHOT_TRIES_MAX and not one.given_up:
            self._end(one, through=False)

    def _bridge(self, origin: Origin) -> None:
        """Close the gaps of an origin that lie within what was walked through."""
        walked: list[tuple[int, int]] = []
        for one in self._by_origin[origin]:
            if one.at == one.first:
                continue
            if walked and walked[-1][1] + 1 == one.first:
                walked[-1] = walked[-1][0], one.walked
            else:
                walked.append((one.first, one.walked))
        for first, last in walked:
            self._library.bridge(self.space, origin, first, last)

    def failed(self, ask: Ask, now_ms: int) -> None:
        """A page did not come. Another member is asked, or the same a little later."""
        one = self._land(ask.peer, ask.number)
        if one is not None:
            one.after_ms = now_ms + SNAPSHOT_WAIT_MS
        source = self._sources.get(ask.peer)
        if source is None:
            self._strand()
            return
        source.failures += 1
        if source.failures >= _FAILURES_MAX:
            self.gone(ask.peer)

    def add(self, peer: bytes, vector: Vector) -> None:
        """Another member has a snapshot: it is asked for part of what is left. What only it has is not asked for."""
        self._sources.setdefault(peer, _Source(vector))

    def gone(self, peer: bytes) -> None:
        """A member is asked no more: its session ended, it lied, or it failed again and again."""
        source = self._sources.pop(peer, None)
        for number in [] if source is None else list(source.asked):
            self._land(peer, number)
        self._strand()

    # --- for people -------------------------------------------------------------------------------------

    def progress(self, now_ms: int) -> Progress:
        """How far it is."""
        done = sum(one.walked - one.first + 1 for ranges in self._by_origin.values() for one in ranges)
        since_ms, was = self._rated
        passed_ms = now_ms - since_ms
        if passed_ms >= _RATE_MS or (not self._rate_s and passed_ms > 0):
            self._rate_s = 1000 * (done - was) / passed_ms
            self._rated = (now_ms, done)
        left_s = (self._total - done) / self._rate_s if self._rate_s > 0 else None
        return Progress(
            self.space, self._total, done, self.fetched_bytes, len(self._sources), self._rate_s, left_s
        )
