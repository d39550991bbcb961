"""What a member knows of its fleet's bucket: the newest entry of each key, and what follows from them. No time, no IO.

All members that have seen the same entries find the same owners desired.
"""

from __future__ import annotations

from collections import Counter

from mycelium.config.fleet import FLEET_MEMBERS_MAX, FLEET_SLOTS_MAX, FLEET_SPACES_MAX
from mycelium.errors import MalformedMessage
from mycelium.fleet import records
from mycelium.fleet.layout import preferred, weight
from mycelium.fleet.records import Key, Member, Plan, Record, Slot

_ENTRIES_MAX = FLEET_MEMBERS_MAX + 4 * FLEET_SPACES_MAX * (1 + FLEET_SLOTS_MAX)
"""Keys remembered; a bucket with more was not written by a fleet."""


class View:
    """Entries by what they are of. `revisions` has those that could not be read too: what comes is newer than they.

    bucket: which one it is. What was written for another says nothing about who has a slot.
    """

    def __init__(self, bucket: str = "") -> None:
        self.bucket = bucket
        self.members: dict[str, Member] = {}
        self.slots: dict[tuple[str, int], Slot] = {}
        self.plans: dict[tuple[str, int], str] = {}
        self.shapes: dict[str, int] = {}
        self.revisions: dict[str, int] = {}
        self.refused: Counter[str] = Counter()
        """Entries that could not be read, by key; "" for keys that are none of a fleet's, and for too many."""
        self.version = 0
        """Grows when somebody else may be desired than before."""
        self.changes = 0
        """Grows when somebody else may have a slot than before."""
        self._preferred: dict[str, dict[int, str | None]] = {}
        """By space and slot: who has most weight of those that offer. Kept up, as one who joins changes few."""

    def take(self, key: str, revision: int, value: bytes) -> Key | None:
        """An entry. None if it is not newer than what is here, or cannot be read: what was there before stays then."""
        if revision <= self.revisions.get(key, 0):
            return None
        try:
            parsed = records.parse_key(key)
        except MalformedMessage:
            self.refused[""] += 1
            return None
        if key not in self.revisions and self._full(parsed):
            self.refused[""] += 1
            return None
        self.revisions[key] = revision
        try:
            record = records.decode(parsed.kind, value)
        except MalformedMessage:
            self.refused[key] += 1
            return None
        self._put(parsed, record)
        return parsed

    def _full(self, key: Key) -> bool:
        if key.kind is Member:
            return len(self.members) >= FLEET_MEMBERS_MAX
        return len(self.revisions) >= _ENTRIES_MAX

    def _put(self, key: Key, record: Record) -> None:
        place = (key.name, key.slot)
        if isinstance(record, Slot):
            self.slots[place] = record
            self.changes += 1
            return
        if isinstance(record, Member):
            before = self.members.get(key.name)
            self.members[key.name] = record
            # A heartbeat that changes nothing else is what comes most.
            if before is not None and _offered(before) == _offered(record):
                return
            self._reoffered(key.name, before, record)
        elif isinstance(record, Plan):
            self.plans[place] = record.member
        else:
            self.shapes[key.name] = record.slots
        self.version += 1
        self.changes += 1

    def _reoffered(self, name: str, before: Member | None, now: Member) -> None:
        for space in (before.spaces.keys() if before is not None else set()) | now.spaces.keys():
            offers = now.offers(space)
            if offers is (before is not None and before.offers(space)):
                continue
            slots = self._preferred.get(space, {})
            for slot, best in slots.items():
                if not offers and best == name:
                    slots[slot] = preferred(space, slot, self.offering(space))
                elif offers and (best is None or weight(space, slot, name) > weight(space, slot, best)):
                    slots[slot] = name

    def desired(self, space: str, slot: int) -> str | None:
        """Who should have the slot, of those that offer to: the plan's, else by hashing. None if nobody offers."""
        plan = self.plans.get((space, slot))
        if plan:
            planned = self.members.get(plan)
            if planned is not None and planned.offers(space):
                return plan
        slots = self._preferred.setdefault(space, {})
        if slot not in slots:
            slots[slot] = preferred(space, slot, self.offering(space))
        return slots[slot]

    def offering(self, space: str) -> list[str]:
        """The members that have a whole copy of the space, and take slots of it."""
        return sorted(name for name, one in self.members.items() if one.offers(space))

    def offers(self, space: str) -> list[tuple[str, str]]:
        """The terms, each with its generation, in which members may write to the space."""
        offering = [one for one in self.members.values() if space in one.spaces]
        return [(one.generation, one.spaces[space].token) for one in offering]

    def holder(self, space: str, slot: int) -> str | None:
        """The member that has the slot in a term in which it may write. None: nobody has, whatever the entry says."""
        found = self.slots.get((space, slot))
        if found is None or not found.member or found.bucket != self.bucket:
            return None
        member = self.members.get(found.member)
        if member is None or member.gone or member.generation != found.generation:
            return None
        term = member.spaces.get(space)
        return found.member if term is not None and term.token == found.term else None


def _offered(member: Member) -> tuple[object, ...]:
    return member.spaces, member.leaving, member.gone
