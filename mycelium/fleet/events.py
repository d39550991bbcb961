"""What the placement of a fleet is told, and what it asks for. Types only.

A sequence number is of the space's stream; a revision is of the bucket; a term is the token of an `open` message.
"""

from __future__ import annotations

from typing import NamedTuple

# --- what happened ----------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """The bucket has this entry. Entries come in the bucket's order; one that comes again changes nothing."""

    key: str
    revision: int
    value: bytes


class Watching(NamedTuple):
    """whole: everything that was in the bucket has been shown, and what follows comes as it happens. Not whole: the
    watch broke, and all entries will come again in any order: nothing is decided until it is whole.

    bucket: which one it is, 16 hex digits. Another than before stands in its place: what was known means nothing.
    """

    whole: bool
    bucket: str


class Tick(NamedTuple):
    """Time has passed."""


class Stored(NamedTuple):
    """A `Put` of this member was accepted. Each call has one answer."""

    call: int
    revision: int


class Refused(NamedTuple):
    """A `Put` was not accepted: the entry has another revision. The watch will show it, if it has not yet."""

    call: int


class Lost(NamedTuple):
    """Whether a `Put` was accepted is not known; it may yet be."""

    call: int


class Opened(NamedTuple):
    """The `open` of this term is in the stream at `seq`, and what an earlier term had on its way is refused.

    stream: which stream it is, 16 hex digits: one made anew counts from 1 again.
    """

    space: str
    term: str
    seq: int
    stream: str = ""


class Closed(NamedTuple):
    """Of that origin nothing of that term will be accepted any more, and all that was lies at or before `seq`."""

    space: str
    generation: str
    term: str
    seq: int
    stream: str = ""


class OthersClosed(NamedTuple):
    """Answer to `CloseOthers`: all that was published in those terms lies at or before `seq`."""

    space: str
    seq: int
    stream: str = ""


class Looked(NamedTuple):
    """Answer to `Look`: which stream the space has. past: the one of which was asked."""

    space: str
    past: str
    stream: str


class Fenced(NamedTuple):
    """A publish in this term of this member's own was refused: another closed it."""

    space: str
    term: str


class Applied(NamedTuple):
    """Every batch of this account up to `seq` of that stream is in this member's store, and visible to its readers."""

    space: str
    seq: int
    stream: str = ""


class Drained(NamedTuple):
    """Answer to `Drain`: nothing of the slot is in flight. after: of the space's stream, the sequence number of the
    last batch of this member (of any slot), or 0."""

    space: str
    slot: int
    ticket: int
    after: int


class Leave(NamedTuple):
    """This member is asked to end: its slots go to others first."""


Event = (
    Entry
    | Watching
    | Tick
    | Stored
    | Refused
    | Lost
    | Opened
    | Closed
    | OthersClosed
    | Looked
    | Fenced
    | Applied
    | Drained
    | Leave
)

# --- what is to be done -----------------------------------------------------------------------------------


class Put(NamedTuple):
    """Write an entry if its revision is still this one, 0: if there is none. Answered by Stored, Refused or Lost."""

    call: int
    key: str
    revision: int
    value: bytes


class Open(NamedTuple):
    """Publish `open` of a new term on this member's own subject. Tried until it is Opened, or another is asked for."""

    space: str
    term: str


class Close(NamedTuple):
    """See to it that the term of an origin is closed, by a `seal` unless it is already. Tried until it is Closed.

    opened: where the stream has the term's `open`; a subject that ends before it was read from a server that is behind.
    """

    space: str
    generation: str
    term: str
    opened: int


class CloseOthers(NamedTuple):
    """Close whatever term each other origin of this account has in the space, but for these: (generation, term).

    The bucket does not know of them, as it is new. Tried until it is done; answered by OthersClosed.
    """

    space: str
    but: tuple[tuple[str, str], ...]


class Look(NamedTuple):
    """An entry is of this stream, which is not the one that this member knows: see which one there is now.

    Fenced comes first if it is another than was known. Answered by Looked.
    """

    space: str
    stream: str


class Serve(NamedTuple):
    """Requests to the slot are this member's from now on, as long as `Placement.serves` says so at each one."""

    space: str
    slot: int


class Drain(NamedTuple):
    """Take no new request to the slot (hold it: it will be forwarded), finish what is in flight, answer Drained."""

    space: str
    slot: int
    ticket: int
    to: str


class Stop(NamedTuple):
    """Requests to the slot are not this member's any more; a drain of it needs no answer."""

    space: str
    slot: int
    why: str


class Left(NamedTuple):
    """This member has no slot and is no member any more: its process may end."""


Effect = Put | Open | Close | CloseOthers | Look | Serve | Drain | Stop | Left
