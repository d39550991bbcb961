"""How a message gets onto an origin's subject exactly once, or certainly not: `open`, batches, `seal`. Sans-IO.

Each message names the last sequence number of its subject that its sender knows, and the server refuses it where there
is another by now. So a term is a chain: `open`, then batches, each naming the one before; whatever else comes onto the
subject ends it. A publish whose answer was lost is published again, the same; that its place was taken is settled by
reading what took it. Nothing is ever assumed from silence.

Each procedure is a generator of `Ask`s; who runs it sends each one's answer in.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from mycelium.errors import Fenced
from mycelium.jetstream import layout

TERM: Final = "Myc-Term"
"""The term of whatever a fleet publishes: of a batch and of an `open` its own, of a `seal` the one that it closes."""
BY: Final = "Myc-By"
"""The incarnation of who published a control message."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is published, but for the sequence number that it expects."""

    subject: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def identity(self) -> tuple[str, ...]:
        return identity(self.headers)


class Found(NamedTuple):
    """A message that is in the stream."""

    seq: int
    headers: Mapping[str, str]

    @property
    def term(self) -> str:
        return self.headers.get(TERM, "")


class Send(NamedTuple):
    """Publish this. Answered by Accepted, Conflict or Unknown."""

    message: Message
    expected: int


class First(NamedTuple):
    """Read the first message of the subject with a greater sequence number: Found, Nothing or Unknown."""

    subject: str
    after: int


class Last(NamedTuple):
    """Read the last message of the subject: Found, Nothing or Unknown."""

    subject: str


class Accepted(NamedTuple):
    """duplicate: the server had a message of that id already, at `seq`."""

    seq: int
    duplicate: bool = False


class Conflict(NamedTuple):
    """The subject's last sequence number is another."""


class Nothing(NamedTuple):
    """There is no such message."""


class Unknown(NamedTuple):
    """No answer that says what became of it. It comes only after a pause, as the same is asked again then."""


MISSING_MAX: Final = 8
"""Times that a message is refused for one that cannot be read, before the term is given up."""

Ask = Send | First | Last
Answer = Accepted | Conflict | Unknown | Found | Nothing
Result = TypeVar("Result")
Procedure = Generator[Ask, Answer, Result]


def identity(headers: Mapping[str, str]) -> tuple[str, ...]:
    """What makes a message another than the next one on its subject: its batch, or what it does and who did."""
    kind = headers.get(layout.KIND, "")
    return (kind, headers.get(TERM, ""), headers.get(BY, "") if kind else headers.get(layout.MESSAGE_ID, ""))


def batch(
    subject: str, raw: bytes, signature: bytes, batch_id: bytes, term: str, cursor: str = ""
) -> Message:
    """A signed batch as a message of a term."""
    headers = {layout.MESSAGE_ID: batch_id.hex(), TERM: term}
    if cursor:
        headers[layout.CURSOR] = cursor
    return Message(subject, headers, layout.body(raw, signature))


def control(subject: str, kind: str, term: str, by: str) -> Message:
    """An `open` or `seal`. It has no message id: the server must not take one for the repeat of another."""
    return Message(subject, {layout.KIND: kind, TERM: term, BY: by})


def place(message: Message, expected: int) -> Procedure[int | None]:
    """Publish until it is known what became of it. Its sequence number; None: it is not in the stream, nor will be.

    _Missing: refused, and what it was refused for is not there to be read.
    """
    missing = 0
    while True:
        answer = yield Send(message, expected)
        if isinstance(answer, Accepted) and (not answer.duplicate or answer.seq <= expected):
            # A duplicate from before is one that a bridge published, before there was a fleet.
            return answer.seq
        if isinstance(answer, Unknown):
            continue
        taken = yield from _read(First(message.subject, expected))
        if taken is not None:
            return taken.seq if identity(taken.headers) == message.identity else None
        # One of the two servers was behind; or everything that this subject had is older than the stream keeps.
        missing += 1
        if missing > MISSING_MAX:
            raise _Missing


def _read(ask: First | Last) -> Procedure[Found | None]:
    while True:
        answer = yield ask
        if not isinstance(answer, Unknown):
            return answer if isinstance(answer, Found) else None


class _Missing(Exception):
    """What a message was refused for cannot be read."""


class Term:
    """One term of this member's own origin in a space. `last`: of its subject, as far as this member's own messages go.

    One procedure at a time; each must run to its end before the next begins.
    """

    def __init__(self, subject: str, token: str, by: str) -> None:
        self.subject = subject
        self.token = token
        self.last = 0
        self._by = by

    def open(self) -> Procedure[int]:
        """The sequence number of the `open`. From then on nothing of an earlier term is accepted, however late."""
        message = control(self.subject, layout.OPEN, self.token, self._by)
        while True:
            newest = yield from _read(Last(self.subject))
            if newest is not None and identity(newest.headers) == message.identity:
                self.last = newest.seq
                return newest.seq
            try:
                seq = yield from place(message, newest.seq if newest is not None else 0)
            except _Missing:
                continue
            if seq is not None:
                self.last = seq
                return seq

    def publish(self, raw: bytes, signature: bytes, batch_id: bytes, cursor: str = "") -> Procedure[int]:
        """The sequence number of the batch. Fenced: the term is over, and the batch is not in the stream."""
        message = batch(self.subject, raw, signature, batch_id, self.token, cursor)
        try:
            seq = yield from place(message, self.last)
        except _Missing:
            seq = yield from self._give_up(message)
        if seq is None:
            raise Fenced("another member took over the slots of this one; nothing was written: try again")
        self.last = max(self.last, seq)
        return seq

    def _give_up(self, message: Message) -> Procedure[int | None]:
        """End the own term, which settles whether the message is in the stream: behind a seal it cannot come."""
        sealed = yield from _seal(self.subject, self.token, self._by)
        while sealed > self.last:
            taken = yield from _read(First(self.subject, self.last))
            if taken is not None:
                return taken.seq if identity(taken.headers) == message.identity else None
        return None  # another stream, which counts anew


def close_unless(subject: str, but: Collection[tuple[str, str]], by: str) -> Procedure[int]:
    """End whatever term an origin has, but for some: (generation, term). 0: it is one of those, or there is none.

    That it is closed already may be what a server says that is behind, and nobody knows how far: so it is sealed anew.
    """
    while True:
        newest = yield from _read(Last(subject))
        # What a bridge published, before there was a fleet, is of no term.
        if newest is None or not newest.term or (subject.rpartition(".")[2], newest.term) in but:
            return 0
        try:
            seq = yield from place(control(subject, layout.SEAL, newest.term, by), newest.seq)
        except _Missing:
            continue
        if seq is not None:
            return seq


def close(subject: str, token: str, opened: int, by: str) -> Procedure[int]:
    """End a term, of whomever. The sequence number at or before which all of the term lies.

    opened: of the term's `open`; 0 where the stream is another by now.
    """
    newest = yield from _read(Last(subject))
    if newest is not None:
        over = newest.term != token or newest.headers.get(layout.KIND) == layout.SEAL
        # What is older than the `open` was read from a server that is behind, and says nothing.
        if over and newest.seq >= opened:
            return newest.seq
    return (yield from _seal(subject, token, by))


def _seal(subject: str, token: str, by: str) -> Procedure[int]:
    message = control(subject, layout.SEAL, token, by)
    while True:
        newest = yield from _read(Last(subject))
        try:
            seq = yield from place(message, newest.seq if newest is not None else 0)
        except _Missing:
            continue
        if seq is not None:
            return seq
