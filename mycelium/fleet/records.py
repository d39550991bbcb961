"""What lies in a fleet's bucket: the entries, their keys, and how they are read. Reads nothing itself.

Every entry is JSON, so that `nats kv get` shows it to an operator. What does not parse, or is out of its bounds, is
MalformedMessage: a member goes on as if the entry were as before.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct

from mycelium.config.fleet import (
    FLEET_ENTRY_BYTES_MAX,
    FLEET_ID_CHARS_MAX,
    FLEET_LEASE_MAX_MS,
    FLEET_LEASE_MIN_MS,
    FLEET_SLOTS_MAX,
    FLEET_SPACES_MAX,
    FLEET_URL_CHARS_MAX,
    FLEET_WHY_CHARS_MAX,
)
from mycelium.database.schema import valid_name
from mycelium.errors import MalformedMessage

_ID: Final = rf"[a-z0-9][a-z0-9_-]{{0,{FLEET_ID_CHARS_MAX - 1}}}"
Id = Annotated[str, Meta(pattern=f"^{_ID}$")]
"""A member's name, chosen by the operator."""
Token = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
"""64 bits in hex: a generation, an incarnation, a term."""
Sequence = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A sequence number of a stream."""


class Term(NamedTuple):
    """In which term a member may write to a space, and the sequence number of its `open` in the space's stream."""

    token: Token
    opened: Sequence


class Member(Struct, frozen=True, omit_defaults=True):
    """`member.<id>`: the heartbeat of a member, and what others must know of it.

    incarnation: of its process, random. beat: counts its renewals. spaces: those it could serve slots of, each with the
    term in which it may write. holds: all it keeps a copy of. gone: why it is one no more; by whom it was said.
    lease_ms: how long the others wait for the next beat.
    """

    incarnation: Token
    generation: Token
    beat: Annotated[int, Meta(ge=0)]
    lease_ms: int
    url: Annotated[str, Meta(max_length=FLEET_URL_CHARS_MAX)] = ""
    spaces: Annotated[dict[str, Term], Meta(max_length=FLEET_SPACES_MAX)] = {}
    holds: Annotated[tuple[str, ...], Meta(max_length=FLEET_SPACES_MAX)] = ()
    version: Annotated[str, Meta(max_length=FLEET_WHY_CHARS_MAX)] = ""
    leaving: bool = False
    gone: Annotated[str, Meta(max_length=FLEET_WHY_CHARS_MAX)] = ""

    @property
    def patience_ms(self) -> int:
        """How long to wait for its next beat, whatever it says."""
        return max(FLEET_LEASE_MIN_MS, min(self.lease_ms, FLEET_LEASE_MAX_MS))

    def offers(self, space: str) -> bool:
        """Whether slots of the space may be given to it."""
        return not self.gone and not self.leaving and space in self.spaces


class Slot(Struct, frozen=True, omit_defaults=True):
    """`slot.<space>.<n>`: who has a slot. member "": nobody; term "" then.

    It is that member's only while the term, opened at `opened`, is the one in which it may write. after: what comes up
    to this sequence number of the space's stream must be applied before the slot is served. Both are numbers of this
    `stream`, and mean nothing in another. bucket: in which it was written; a member that had not heard of a new bucket
    may have written into it. fresh: nobody had the slot yet since the bucket was made, which says nothing of before.
    """

    member: Annotated[str, Meta(pattern=f"^({_ID})?$")] = ""
    generation: Annotated[str, Meta(pattern="^([0-9a-f]{16})?$")] = ""
    term: Annotated[str, Meta(pattern="^([0-9a-f]{16})?$")] = ""
    opened: Sequence = 0
    after: Sequence = 0
    stream: Annotated[str, Meta(pattern="^([0-9a-f]{16})?$")] = ""
    bucket: Annotated[str, Meta(pattern="^([0-9a-f]{16})?$")] = ""
    fresh: bool = False


class Plan(Struct, frozen=True, omit_defaults=True):
    """`plan.<space>.<n>`: which member an operator wants the slot at; "" for whom hashing prefers."""

    member: Annotated[str, Meta(pattern=f"^({_ID})?$")] = ""


class Shape(Struct, frozen=True):
    """`layout.<space>`: how many slots a space has."""

    slots: Annotated[int, Meta(ge=1, le=FLEET_SLOTS_MAX)]


Record = Member | Slot | Plan | Shape


class Key(NamedTuple):
    """An entry's key, taken apart. kind: the class of its record. name: of the member or space. slot: -1 for none."""

    kind: type[Record]
    name: str
    slot: int = -1


_KINDS: Final[dict[str, type[Record]]] = {"member": Member, "slot": Slot, "plan": Plan, "layout": Shape}
_SLOT: Final = re.compile(r"0|[1-9][0-9]{0,5}")
_encoder: Final = msgspec.json.Encoder()


def member_key(member: str) -> str:
    return f"member.{member}"


def slot_key(space: str, slot: int) -> str:
    return f"slot.{space}.{slot}"


def plan_key(space: str, slot: int) -> str:
    return f"plan.{space}.{slot}"


def layout_key(space: str) -> str:
    return f"layout.{space}"


def valid_id(name: str) -> bool:
    """Whether a member may have this name."""
    return re.fullmatch(_ID, name) is not None


def parse_key(key: str) -> Key:
    """MalformedMessage for what is no key of a fleet's bucket."""
    head, _, rest = key.partition(".")
    kind = _KINDS.get(head)
    if kind is Member and valid_id(rest):
        return Key(Member, rest)
    if kind is Shape and valid_name(rest):
        return Key(Shape, rest)
    space, _, number = rest.rpartition(".")
    if kind in (Slot, Plan) and valid_name(space) and _SLOT.fullmatch(number):
        slot = int(number)
        if slot < FLEET_SLOTS_MAX:
            return Key(kind, space, slot)
    raise MalformedMessage(f"{key[:80]!r} is no entry of a fleet's bucket")


def encode(record: Record) -> bytes:
    return _encoder.encode(record)


def decode(kind: type[Record], value: bytes) -> Record:
    """An entry's record. MalformedMessage."""
    if len(value) > FLEET_ENTRY_BYTES_MAX:
        raise MalformedMessage(f"an entry of {len(value)} bytes, of at most {FLEET_ENTRY_BYTES_MAX}")
    try:
        found: Record = msgspec.json.decode(value, type=kind)
    except msgspec.DecodeError as error:
        raise MalformedMessage(f"an entry that is no {kind.__name__.lower()}: {error}") from None
    if isinstance(found, Member) and not all(map(valid_name, [*found.spaces, *found.holds])):
        raise MalformedMessage("a member with a space that is none")
    return found
