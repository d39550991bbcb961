"""Which slots this member has: claims, renews, gives away, gives up. Sans-IO.

Three rules make it safe, whatever is late, lost or stopped:

1. A lease is judged by the one who waits: a member is declared gone by a compare-and-set on the very heartbeat that did
   not change for a lease of the judge's own clock. The member itself relies on 0.8 of a lease from when it *sent* that
   heartbeat, and cannot renew what was declared gone. So nobody is declared gone who may still answer reads.
2. Who was declared gone or fenced never offers the same term again. A term that its member does not offer is therefore
   over for good, and may be closed in the stream by anybody; who takes a slot over closes the term of its entry first.
3. A slot is served only after everything up to its entry's `after`, and up to where that term was closed, is applied.

What it is told comes in the bucket's order (`Entry`), so that a slot's entry is never seen before its holder's offer.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mycelium.config.fleet import FLEET_CLOSED_MAX, FLEET_PUTS_MAX, FLEET_RETRY_MS
from mycelium.fleet import events, records
from mycelium.fleet.events import Effect, Event
from mycelium.fleet.lease import Lease
from mycelium.fleet.parts import Draining, Held, Place, Self
from mycelium.fleet.records import Member, Record, Shape, Slot, Term, layout_key, member_key, slot_key
from mycelium.fleet.view import View


class Placement:
    """Of one member. `handle` is told what happens and returns what to do; the rest are questions, and change nothing.

    token: makes 16 random hex digits, for terms.
    """

    def __init__(self, me: Self, token: Callable[[], str]) -> None:
        self.me = me
        self.view = View()
        self.whole = False
        """Whether the view is the bucket's, as of some moment."""
        self.left = False
        self._token = token
        self._key = member_key(me.member)
        self._spaces = {space: Held() for space in me.spaces}
        self._serving: set[Place] = set()
        self._draining: dict[Place, Draining] = {}
        self._absent: dict[Place, int] = {}
        """Slots without an entry, and since when."""
        self._calls: dict[int, tuple[str, int, bytes]] = {}
        """Puts on their way: key, the revision each expects, value."""
        self._busy: set[str] = set()
        """Keys with a put on its way, or in `_refused`."""
        self._refused: dict[str, int] = {}
        """Keys of which the watch has yet to show what became of a put, and the revision that it expected."""
        self._later: dict[str, int] = {}
        """Keys that are not written again before this time."""
        self._last_call = 0
        self._seen: dict[str, int] = {}
        """When each other member's newest heartbeat was seen."""
        self._lease = Lease(me.lease_ms)
        self._member = False
        """Whether the bucket's entry of this name is this incarnation's, and stands."""
        self._displaced_at: int | None = None
        self._was_displaced = False
        self._leaving = False
        self._tickets = 0
        self._all = True
        self._todo: set[Place] = set()

    # --- questions --------------------------------------------------------------------------------------

    def serves(self, space: str, slot: int, now_ms: int) -> bool:
        """Whether a request to the slot may be answered here and now: asked at each one, just before it is."""
        return self._lease.holds(now_ms) and (space, slot) in self._serving

    def leased(self, now_ms: int) -> bool:
        """Whether this member may rely on its lease."""
        return self._lease.holds(now_ms)

    def owner(self, space: str, slot: int) -> tuple[str, Member] | None:
        """Who has the slot, as far as this member knows. None: nobody at the moment."""
        name = self.view.holder(space, slot)
        return None if name is None else (name, self.view.members[name])

    def slots(self, space: str) -> int:
        """How many slots a space has; 0 while that is not known."""
        return self.view.shapes.get(space, 0)

    def term(self, space: str) -> str:
        """The term in which this member may publish; "" while there is none."""
        found = self._spaces.get(space)
        return found.term if found is not None else ""

    def serving(self) -> list[Place]:
        """The slots that are served here, while the lease lasts."""
        return sorted(self._serving)

    @property
    def displaced(self) -> bool:
        """Whether another process lives under this member's name: two must not share one."""
        return self._displaced_at is not None

    def waiting(self) -> dict[str, int]:
        """Spaces of which something cannot be served until so much of their stream is applied."""
        found = {}
        for space, one in self._spaces.items():
            needed = max([one.opened if one.term else 0, *one.blocked.values()])
            if needed > one.applied:
                found[space] = needed
        return found

    # --- what happens -----------------------------------------------------------------------------------

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        """now_ms: of a clock that never goes back and also counts while the machine sleeps."""
        if self.left:
            return []
        effects: list[Effect] = []
        match event:
            case events.Entry():
                effects += self._take(event.key, event.revision, event.value, now_ms)
            case events.Watching():
                if event.bucket != self.view.bucket:
                    effects += self._reset(event.bucket)
                self.whole, self._all = event.whole, True
            case events.Stored() | events.Refused() | events.Lost():
                effects += self._answered(event, now_ms)
            case events.Opened() | events.Closed() | events.OthersClosed() | events.Applied():
                effects += self._streamed(event)
            case events.Looked():
                if event.space in self._spaces:
                    self._spaces[event.space].looked(event)
                self._all = True
            case events.Fenced():
                if self.term(event.space) == event.term:
                    effects += self._drop(event.space, "another member took over")
            case events.Drained():
                draining = self._draining.get((event.space, event.slot))
                if draining is not None and draining.ticket == event.ticket:
                    draining.after = max(0, event.after)
                    self._todo.add((event.space, event.slot))
            case events.Leave():
                self._leaving = self._all = True
            case events.Tick():
                pass
        return effects + ([] if self.left else self._due(now_ms))

    def _due(self, now_ms: int) -> list[Effect]:
        effects: list[Effect] = []
        if not self._lease.holds(now_ms) and (self._serving or self._draining):
            effects += self._stop_all("the lease could not be renewed")
        if self._is_displaced(now_ms):
            return effects
        if not self.whole:
            return effects + (self._renew(now_ms) if self._member else [])
        for space, one in self._spaces.items():
            if not one.term and not one.asked:
                one.asked = self._token()
                effects.append(events.Open(space, one.asked))
        effects += self._renew(now_ms)
        if self._lease.holds(now_ms):
            effects += self._judge(now_ms)
            effects += self._settle_all(now_ms)
        return effects

    def _is_displaced(self, now_ms: int) -> bool:
        if self._displaced_at is None:
            return False
        if now_ms - self._displaced_at < self.view.members[self.me.member].patience_ms:
            return True
        self._displaced_at = None
        return False

    # --- the bucket -------------------------------------------------------------------------------------

    def _take(self, key: str, revision: int, value: bytes, now_ms: int) -> list[Effect]:
        shapes = dict(self.view.shapes)
        version = self.view.version
        parsed = self.view.take(key, revision, value)
        if key in self._refused and self.view.revisions.get(key, 0) > self._refused[key]:
            # What refused the put has been shown.
            del self._refused[key]
            self._busy.discard(key)
            self._all = True
        if self.view.version != version:
            self._all = True
        if parsed is None:
            return []
        if parsed.kind is Member:
            return self._take_member(parsed.name, now_ms)
        if parsed.kind is Shape:
            if shapes.get(parsed.name) in (None, self.view.shapes[parsed.name]):
                return []
            # Whoever changed it did what nobody may do; at least nobody goes on counting as before.
            return self._drop(parsed.name, "the space is divided anew")
        place = (parsed.name, parsed.slot)
        self._todo.add(place)
        if parsed.kind is Slot and self._known(place):
            self._absent.pop(place, None)
        if not self._mine(place) and (place in self._serving or place in self._draining):
            slot = self.view.slots[place]
            return [self._stop(place, f"moved to {slot.member}" if slot.member else "given up")]
        return []

    def _take_member(self, name: str, now_ms: int) -> list[Effect]:
        if name != self.me.member:
            self._seen[name] = now_ms
            return []
        record = self.view.members[name]
        if record.incarnation != self.me.incarnation:
            if self._member:
                self._was_displaced = True
            ours = record.generation == self.me.token and not self._was_displaced
            self._displaced_at = None if record.gone or ours else now_ms
            return self._expelled("another process has this member's name")
        self._displaced_at = None
        if record.gone:
            if self._leaving:
                self.left = True
            stopped = self._expelled(f"declared gone: {record.gone}")
            return [*stopped, events.Left()] if self.left else stopped
        self._member = True
        self._lease.stored(record.beat, now_ms)
        return []

    def _expelled(self, why: str) -> list[Effect]:
        """This member is none any more: what it offered it never offers again."""
        self._member = False
        self._lease.end()
        return [effect for space in self._spaces for effect in self._drop(space, why)]

    def _answered(self, event: events.Stored | events.Refused | events.Lost, now_ms: int) -> list[Effect]:
        call = self._calls.pop(event.call, None)
        if call is None:
            return []
        key, expected, value = call
        # What makes an entry is believed when the watch shows it: another bucket may have taken it, one that is new and
        # of which this member has not heard. What changes one is refused there, as no revision is given twice.
        made = isinstance(event, events.Stored) and not expected
        if (made or isinstance(event, events.Refused)) and self.view.revisions.get(key, 0) <= expected:
            self._refused[key] = expected
            return []
        self._busy.discard(key)
        self._touch(key)
        if isinstance(event, events.Lost):
            self._later[key] = now_ms + FLEET_RETRY_MS
        if isinstance(event, events.Stored):
            return self._take(key, event.revision, value, now_ms)
        return []

    def _touch(self, key: str) -> None:
        """Look again at what an entry is of."""
        parsed = records.parse_key(key)
        if parsed.kind is Slot:
            self._todo.add((parsed.name, parsed.slot))
        else:
            self._all = True

    def _reset(self, bucket: str) -> list[Effect]:
        self.view = View(bucket)
        self._calls.clear()
        self._busy.clear()
        self._refused.clear()
        self._later.clear()
        self._absent.clear()
        self._seen.clear()
        self._displaced_at = None
        for one in self._spaces.values():
            one.others = -1
        return self._expelled("the fleet's bucket was made anew")

    def _put(self, key: str, record: Record, now_ms: int) -> list[Effect]:
        """At most one on its way for each key."""
        if key in self._busy:
            return []
        if now_ms < self._later.get(key, 0) or len(self._calls) >= FLEET_PUTS_MAX:
            self._touch(key)
            return []
        self._later.pop(key, None)
        self._last_call += 1
        revision, value = self.view.revisions.get(key, 0), records.encode(record)
        self._calls[self._last_call] = (key, revision, value)
        self._busy.add(key)
        return [events.Put(self._last_call, key, revision, value)]

    # --- the lease --------------------------------------------------------------------------------------

    def _renew(self, now_ms: int) -> list[Effect]:
        standing = self.view.members.get(self.me.member) if self._member else None
        offer = {space: Term(one.term, one.opened) for space, one in self._spaces.items() if one.ready}
        # It says first that it leaves, so that nobody gives it a slot meanwhile.
        told = standing is None or standing.leaving
        done = self._leaving and told and not any(map(self._mine, self.view.slots))
        changed = standing is None or done or standing.spaces != offer or standing.leaving != self._leaving
        if not self._lease.due(now_ms, changed=changed):
            return []
        record = Member(
            self.me.incarnation,
            self.me.token,
            self._lease.beat + 1,
            self.me.lease_ms,
            self.me.url,
            {} if done else offer,
            tuple(self._spaces),
            self.me.version,
            self._leaving,
            "left" if done else "",
        )
        effects = self._put(self._key, record, now_ms)
        if effects:
            self._lease.sent(now_ms)
        return effects

    def _judge(self, now_ms: int) -> list[Effect]:
        """Declare gone whoever has not renewed for a lease, counted from when this member could hear it."""
        effects: list[Effect] = []
        for name, member in self.view.members.items():
            silent_ms = now_ms - max(self._seen.get(name, 0), self._lease.regained_ms)
            if name != self.me.member and not member.gone and silent_ms >= member.patience_ms:
                why = f"no heartbeat for {silent_ms / 1000:.1f} s, says {self.me.member}"
                gone = msgspec.structs.replace(member, gone=why, spaces={}, leaving=False)
                effects += self._put(member_key(name), gone, now_ms)
        return effects

    # --- the stream -------------------------------------------------------------------------------------

    def _streamed(
        self, event: events.Opened | events.Closed | events.OthersClosed | events.Applied
    ) -> list[Effect]:
        one = self._spaces.get(event.space)
        if one is None:
            return []
        match event:
            case events.Opened() if event.term == one.asked:
                if event.stream != one.stream:
                    one.applied, one.stream, one.others = 0, event.stream, -1
                    one.closed.clear()
                one.term, one.asked, one.opened = event.term, "", event.seq
                self._all = True
            case events.Closed():
                one.closing.discard((event.generation, event.term))
                self._all = True
                if event.stream != one.stream:
                    return []
                one.closed[event.generation, event.term] = event.seq
                if len(one.closed) > FLEET_CLOSED_MAX:
                    del one.closed[next(iter(one.closed))]
            case events.OthersClosed():
                one.others = event.seq if event.stream == one.stream else -1
                self._all = True
            case events.Applied() if event.stream == one.stream or not one.stream:
                one.stream = event.stream
                one.applied = max(one.applied, event.seq)
                reached = [place for place, needed in one.blocked.items() if needed <= one.applied]
                for place in reached:
                    del one.blocked[place]
                self._todo.update(reached)
        return []

    def _drop(self, space: str, why: str) -> list[Effect]:
        """The space's term is over: none of its slots is this member's, and a new term is opened."""
        one = self._spaces.get(space)
        if one is None:
            return []
        one.term = ""
        one.blocked.clear()
        self._all = True
        places = [place for place in [*self._serving, *self._draining] if place[0] == space]
        return [self._stop(place, why) for place in sorted(places)]

    # --- the slots --------------------------------------------------------------------------------------

    def _mine(self, place: Place) -> bool:
        """Whether the slot's entry is of this member's term."""
        slot, one = self.view.slots.get(place), self._spaces.get(place[0])
        if slot is None or one is None or not one.term:
            return False
        holder = (slot.member, slot.generation, slot.term, slot.bucket)
        return holder == (self.me.member, self.me.token, one.term, self.view.bucket)

    def _known(self, place: Place) -> bool:
        """Whether the slot's entry says who had it last."""
        slot = self.view.slots[place]
        return slot.bucket == self.view.bucket and not slot.fresh

    def _stop(self, place: Place, why: str) -> Effect:
        self._serving.discard(place)
        self._draining.pop(place, None)
        return events.Stop(*place, why)

    def _stop_all(self, why: str) -> list[Effect]:
        self._all = True
        return [self._stop(place, why) for place in sorted({*self._serving, *self._draining})]

    def _settle_all(self, now_ms: int) -> list[Effect]:
        places: list[Place] = []
        effects: list[Effect] = []
        if self._all:
            self._all = False
            for space, slots in self.me.spaces.items():
                if layout_key(space) not in self.view.revisions:
                    effects += self._put(layout_key(space), Shape(slots), now_ms)
                places += [(space, slot) for slot in range(self.slots(space))]
        else:
            places = [place for place in {*self._todo, *self._absent} if place[0] in self._spaces]
        self._todo.clear()
        for place in places:
            effects += self._settle(place, now_ms)
        return effects

    def _settle(self, place: Place, now_ms: int) -> list[Effect]:
        """Take a step with one slot, if there is one to take. Needs the lease."""
        space, one = place[0], self._spaces[place[0]]
        one.blocked.pop(place, None)
        if self._mine(place):
            return self._keep(place, now_ms)
        if not self._offered(space) or self.view.desired(*place) != self.me.member:
            return []
        slot = self.view.slots.get(place)
        if slot is None:
            fresh = Slot(bucket=self.view.bucket, fresh=True)
            self._absent.setdefault(place, now_ms)
            return self._put(slot_key(*place), fresh, now_ms)
        if not self._known(place):
            # A bucket that was deleted and made anew says nothing of who served before: they stop in this time.
            since = self._absent.setdefault(place, now_ms)
            if now_ms - since < self.me.lease_ms:
                return []
            # And what they have on its way must not come after.
            if one.others < 0:
                return self._close_others(space)
            needed = one.others
        elif self.view.holder(*place) is not None:
            return []
        elif one.unknown(slot):
            return one.look(space, slot)
        else:
            needed = one.after(slot)
            key = (slot.generation, slot.term)
            if slot.member and key not in one.closed:
                return one.close(space, slot)
            needed = max(needed, one.closed.get(key, 0))
        if one.applied < needed:
            one.blocked[place] = needed
            return []
        return self._put(slot_key(*place), self._own(one, needed), now_ms)

    def _offered(self, space: str) -> bool:
        """Whether the bucket says that this member may be given slots of the space."""
        one, standing = self._spaces[space], self.view.members.get(self.me.member)
        if not self._member or standing is None or not one.term:
            return False
        return standing.spaces.get(space) == (one.term, one.opened)

    def _close_others(self, space: str) -> list[Effect]:
        one = self._spaces[space]
        if one.others == -2:
            return []
        one.others = -2
        return [events.CloseOthers(space, (*self.view.offers(space), (self.me.token, one.term)))]

    def _own(self, one: Held, after: int) -> Slot:
        return Slot(self.me.member, self.me.token, one.term, one.opened, after, one.stream, self.view.bucket)

    def _keep(self, place: Place, now_ms: int) -> list[Effect]:
        """A slot of this member's own: serve it, or give it to whom it belongs."""
        slot, one = self.view.slots[place], self._spaces[place[0]]
        draining, desired = self._draining.get(place), self.view.desired(*place)
        stays = desired == self.me.member or (desired is None and not self._leaving)
        if not stays:
            if draining is None:
                self._serving.discard(place)
                self._tickets += 1
                self._draining[place] = Draining(self._tickets)
                return [events.Drain(*place, self._tickets, desired or "")]
            if draining.after < 0:
                return []
            after = max(draining.after, one.after(slot))
            given = Slot(after=after, stream=one.stream, bucket=self.view.bucket)
            if desired is not None:
                heir = self.view.members[desired]
                term = heir.spaces[place[0]]
                given = msgspec.structs.replace(
                    given, member=desired, generation=heir.generation, term=term.token, opened=term.opened
                )
            return self._put(slot_key(*place), given, now_ms)
        if draining is not None and draining.after < 0:
            return []
        if place in self._serving:
            return []
        if one.unknown(slot):
            return one.look(place[0], slot)
        needed = one.after(slot)
        if one.applied < needed:
            one.blocked[place] = needed
            return []
        self._draining.pop(place, None)
        self._serving.add(place)
        return [events.Serve(*place)]
