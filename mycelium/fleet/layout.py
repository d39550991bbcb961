"""Where a key belongs in a fleet: its slot, and the member that should have the slot. Pure functions.

A slot is a share of a space by the hash of table and key. How many a space has is written into the fleet's bucket when
the bucket is made, and does not change: two members that count differently would both be right.
"""

from __future__ import annotations

from collections.abc import Iterable

from blake3 import blake3

from mycelium.config.fleet import FLEET_SLOTS
from mycelium.database.access import SYS


def slots_for(space: str, slots: int = FLEET_SLOTS) -> int:
    """How many slots a space is given when nobody has said so before. `sys` has one: who holds it speaks for all."""
    return 1 if space == SYS else slots


def slot_of(table: str, key: bytes, slots: int) -> int:
    """The slot of a key in a space that has so many. On the path of every change: under 1 us."""
    if slots == 1:
        return 0
    # Eight bytes, so that no count up to FLEET_SLOTS_MAX prefers a slot by more than one in 2**54.
    return int.from_bytes(blake3(table.encode() + b"\0" + key).digest(8), "big") % slots


def weight(space: str, slot: int, member: str) -> tuple[bytes, str]:
    """How much a slot prefers a member."""
    return blake3(f"{space}\0{slot}\0{member}".encode()).digest(8), member


def preferred(space: str, slot: int, members: Iterable[str]) -> str | None:
    """Who should have a slot, of the members that could: rendezvous hashing.

    Whoever comes or goes moves its own share only. None of nobody.
    """
    return max(members, key=lambda one: weight(space, slot, one), default=None)
