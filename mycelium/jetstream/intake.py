"""Takes the batches of one stream into an engine, and knows how far everything is settled. Sans-IO.

A batch of a stream is believed no more than one of a peer: the engine checks it by its own bytes and its epoch. What
becomes of it is one of `Taken`. What cannot be taken yet, as its epoch, its policy or its predecessor is not here or it
is ahead of the clock, waits here and is tried again; `position` stays below it, so that a restart reads it again. What
breaks a rule is named once, counted and passed over: it must not stop who reads.

Owns what waits and what was refused. Reads no stream, writes no position (`place`), and reads no clock.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import NamedTuple, Protocol

from mycelium._core.codec import Batch, decode_batch
from mycelium.config.replica import (
    INTAKE_REFUSALS_KEPT,
    INTAKE_RETRY_MAX_MS,
    INTAKE_RETRY_MIN_MS,
    INTAKE_TEXT_CHARS_MAX,
    INTAKE_WAITING_BYTES_MAX,
    INTAKE_WAITING_MAX,
)
from mycelium.database.engine import Engine
from mycelium.database.never import never as never_taken
from mycelium.database.outcome import Outcome
from mycelium.errors import MalformedMessage, Overloaded, ProtocolError, StoreError
from mycelium.identity.account import format as format_account
from mycelium.jetstream import layout
from mycelium.node.ratelimit import Quiet

log = logging.getLogger(__name__)

UNREAD = -1
"""A position: what waits is of no stream, so that a restart has to begin anew."""


class Taken(Enum):
    """What became of a message."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    WAITS = "waits"
    PASSED = "passed over"
    """Signed and well formed, and never taken: its origin is frozen or sealed, or it is of another space, or one too
    many of its account's generations."""
    REFUSED = "refused"
    """It breaks a rule."""
    SKIPPED = "skipped"
    """It was read before, or is no batch."""


class Library(Protocol):
    """What it writes to; `Engine` is one."""

    def receive(self, raw: bytes, signature: bytes, now_ms: int, void_first: int = 0) -> Outcome: ...


class Refusal(NamedTuple):
    """A message that was not taken and never will be. account: b"" where its bytes name none."""

    sequence: int
    subject: str
    account: bytes
    reason: str
    text: str
    at_ms: int


class _Waiting(NamedTuple):
    """sequence: 0 for what is of no stream, or of one that is gone."""

    sequence: int
    subject: str
    raw: bytes
    signature: bytes
    void_first: int
    since_ms: int


class Intake:
    """Of one stream. Messages are offered in the order of the stream.

    engine: usually an `Engine`. never: of a batch that was left, why it is not going to be taken (`database.never`).
    position: the greatest sequence below and at which all is settled. read: of the newest message that was offered.
    """

    def __init__(
        self,
        engine: Library,
        space: str,
        position: int = 0,
        *,
        never: Callable[[Batch], str | None] | None = None,
    ) -> None:
        self.space = space
        self.read = max(0, position)
        self.counts: Counter[Taken] = Counter()
        self.passed: Counter[str] = Counter()
        """Passed over, by reason."""
        self.refused: Counter[str] = Counter()
        """Refused, by reason."""
        self.refusals: deque[Refusal] = deque(maxlen=INTAKE_REFUSALS_KEPT)
        self.on_refused: Callable[[Refusal], None] = _Named(space)
        self._engine = engine
        if never is None:
            assert isinstance(engine, Engine), "of another library it must be said"
            never = partial(never_taken, engine)
        self._never = never
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._pause_ms = INTAKE_RETRY_MIN_MS
        self._retry_ms = 0

    # --- where it stands --------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """UNREAD while something waits that no stream would bring again."""
        return min((one.sequence - 1 for one in self._waiting), default=self.read)

    def settled(self, account: bytes) -> int:
        """`position`, as far as the batches of one account are concerned."""
        if not self._waiting:
            return self.read
        theirs = [one for one in self._waiting if decode_batch(one.raw).account == account]
        return min((one.sequence - 1 for one in theirs), default=self.read)

    @property
    def waiting(self) -> int:
        """Batches that cannot be taken yet."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether no more may be read until something of what waits is taken."""
        return len(self._waiting) >= INTAKE_WAITING_MAX or self._waiting_bytes >= INTAKE_WAITING_BYTES_MAX

    def oldest(self) -> tuple[int, str, int] | None:
        """Of what waits the longest: its sequence, whose it is (SS58), and since when (ms)."""
        if not self._waiting:
            return None
        one = self._waiting[0]
        return one.sequence, format_account(decode_batch(one.raw).account), one.since_ms

    def restart(self, position: int) -> None:
        """Read on from another place: of a stream that is not what it was. What waits is kept."""
        self._waiting = [one._replace(sequence=0) for one in self._waiting]
        self.read = position

    # --- what is offered --------------------------------------------------------------------------------

    def message(self, sequence: int, subject: str, body: bytes, now_ms: int) -> Taken:
        """A message of the stream, as it is. See `take`."""
        try:
            raw, signature = layout.parse(body)
        except MalformedMessage as error:
            if sequence <= self.read:
                return Taken.SKIPPED
            self.read = sequence
            return self._refuse(sequence, subject, b"", error, now_ms)
        return self.take(sequence, raw, signature, now_ms, subject=subject)

    def skip(self, sequence: int) -> None:
        """A message that is no batch was read."""
        self.read = max(self.read, sequence)

    def take(
        self,
        sequence: int,
        raw: bytes,
        signature: bytes,
        now_ms: int,
        *,
        void_first: int = 0,
        subject: str = "",
    ) -> Taken:
        """Offer a batch. sequence: of its message; 0 for one that is of no stream, as of a snapshot.

        StoreError and Overloaded (too much waits already): nothing happened, offer the same one again later.
        """
        if 0 < sequence <= self.read:
            return Taken.SKIPPED
        offered = _Waiting(sequence, subject, raw, signature, void_first, now_ms)
        found = self._try(offered, now_ms)
        if found is Taken.WAITS:
            if self.full:
                raise Overloaded(f"{len(self._waiting)} batches of {self.space!r} wait already")
            self._waiting.append(offered)
            self._waiting_bytes += len(raw)
        self.read = max(self.read, sequence)
        self.counts[found] += 1
        return found

    def retry(self, now_ms: int, *, hurry: bool = False) -> int:
        """Try again what waits, where it is time to; how much of it is settled by that. StoreError.

        hurry: something became known that it may have waited for.
        """
        if not self._waiting or not (hurry or self._is_due(now_ms)):
            return 0
        waiting, done = self._waiting, 0
        still: list[_Waiting] = []
        for one in waiting:
            try:
                found = self._try(one, now_ms)
            except StoreError:
                self._keep([*still, *waiting[len(still) + done :]])
                raise
            if found is Taken.WAITS:
                still.append(one)
            else:
                self.counts[found] += 1
                done += 1
        self._keep(still)
        self._pause_ms = INTAKE_RETRY_MIN_MS if done else min(2 * self._pause_ms, INTAKE_RETRY_MAX_MS)
        self._retry_ms = now_ms + self._pause_ms
        return done

    def _is_due(self, now_ms: int) -> bool:
        # A clock that was set back must not put it off for long.
        return not 0 < self._retry_ms - now_ms <= INTAKE_RETRY_MAX_MS

    def _keep(self, waiting: list[_Waiting]) -> None:
        self._waiting = waiting
        self._waiting_bytes = sum(len(one.raw) for one in waiting)

    def _try(self, one: _Waiting, now_ms: int) -> Taken:
        try:
            outcome = self._engine.receive(one.raw, one.signature, now_ms, one.void_first)
        except ProtocolError as error:
            return self._refuse(one.sequence, one.subject, one.raw, error, now_ms)
        if outcome is Outcome.APPLIED:
            return Taken.APPLIED
        if outcome is Outcome.DUPLICATE:
            return Taken.DUPLICATE
        if outcome is Outcome.LEFT:
            batch = decode_batch(one.raw)
            why = self._never(batch) if batch.space == self.space else "space"
            if why is not None:
                self.passed[why] += 1
                return Taken.PASSED
        return Taken.WAITS

    def _refuse(self, sequence: int, subject: str, raw: bytes, error: ProtocolError, now_ms: int) -> Taken:
        self.refused[error.reason] += 1
        found = Refusal(sequence, _shown(subject), _account(raw), error.reason, _shown(str(error)), now_ms)
        self.refusals.append(found)
        self.on_refused(found)
        return Taken.REFUSED


class _Named:
    """Says in the log what was refused; one that writes much into a stream cannot fill the log."""

    def __init__(self, space: str) -> None:
        self._space = space
        self._quiet = Quiet(log, interval_s=10)

    def __call__(self, refusal: Refusal) -> None:
        self._quiet.warning(
            "message %d of the stream of %r is refused: %s (%s), of %s, subject %s",
            refusal.sequence,
            self._space,
            refusal.text,
            refusal.reason,
            format_account(refusal.account) if refusal.account else "nobody that it names",
            refusal.subject,
        )


def _shown(text: str) -> str:
    """Of a text that whoever published may have chosen, what can be shown on a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:INTAKE_TEXT_CHARS_MAX])


def _account(raw: bytes) -> bytes:
    """Whose batch it says it is; b"" where it says nothing."""
    try:
        return decode_batch(raw).account
    except ProtocolError:
        return b""
