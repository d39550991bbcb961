"""One incarnation of a member in virtual time: a real placement and real terms, with a store that is a few sets."""

from __future__ import annotations

from fleet.fleetservers import SPACE, Broken

from mycelium.errors import Fenced
from mycelium.fleet import events, publishing
from mycelium.fleet.parts import Self
from mycelium.fleet.placement import Placement
from mycelium.jetstream import layout


class Process:
    """One incarnation of a member."""

    def __init__(self, world, name, store, spaces):
        self.world, self.name, self.store = world, name, store
        self.incarnation = world.token()
        self.generation = world.generations[name]
        me = Self(name, self.generation, self.incarnation, f"ws://{name}", spaces, lease_ms=world.lease_ms)
        self.placement = Placement(me, world.token)
        self.subject = world.subject(f"{self.generation:016x}")
        self.alive, self.paused, self.cut = True, False, False
        self.leaving = False
        self.inbox = []
        self.watch = 0
        self.watch_epoch = 0
        self.term = None
        self.opening = None
        self.inflight = None
        self.waiting = []
        self.drains = {}
        self.last_own = 0
        self.offset = world.rng.randrange(10**6)
        self.rate = 1 + world.rng.uniform(-world.drift, world.drift)

    def clock(self):
        return int(self.offset + self.world.now * self.rate)

    def tell(self, event):
        """An event reaches the process, unless it is stopped: then it lies in its sockets."""
        if not self.alive:
            return
        if self.paused:
            self.inbox.append(event)
        else:
            for effect in self.placement.handle(event, self.clock()):
                self.carry_out(effect)

    def later(self, call, *arguments):
        """Call the process when it runs."""
        if self.alive:
            if self.paused:
                self.inbox.append((call, arguments))
            else:
                call(*arguments)

    def leave(self):
        self.leaving = True
        self.tell(events.Leave())

    def resume(self):
        self.paused = False
        # Sockets and timers are served in any order, each in its own.
        inbox, self.inbox = self.inbox, []
        while inbox:
            one = inbox.pop(0)
            if isinstance(one, events.Event):
                self.tell(one)
            else:
                self.later(one[0], *one[1])

    # --- effects ----------------------------------------------------------------------------------------

    def carry_out(self, effect):
        match effect:
            case events.Put():
                self.world.put(self, effect)
            case events.Open():
                term = publishing.Term(self.subject, effect.term, self.incarnation)
                self.opening = term
                self.run(term.open(), lambda seq: self.opened(term, seq))
            case events.Close():
                subject = self.world.subject(effect.generation)
                procedure = publishing.close(subject, effect.term, effect.opened, self.incarnation)
                self.run(procedure, lambda seq: self.closed(effect, seq))
            case events.CloseOthers():
                self.close_others(effect, sorted(self.world.stream.lasts), 0)
            case events.Look():
                self.tell(events.Looked(*effect, self.world.stream_id))
            case events.Serve():
                self.world.begins(self, effect.slot)
            case events.Drain():
                self.waiting = [one for one in self.waiting if one[0] != effect.slot]
                self.drains[effect.slot] = effect.ticket
                self.check_drained()
            case events.Stop():
                self.waiting = [one for one in self.waiting if one[0] != effect.slot]
                self.drains.pop(effect.slot, None)
                self.world.log.append((self.world.now, self.name, "stop", effect.slot, effect.why))
            case events.Left():
                # Its process ends.
                self.alive = False

    def close_others(self, effect, subjects, seq):
        """One after another, as the runtime does."""
        if not subjects:
            self.tell(events.OthersClosed(SPACE, seq, self.world.stream_id))
            return

        rest = subjects[1:]
        if subjects[0] == self.subject:
            self.close_others(effect, rest, seq)
        else:
            closing = publishing.close_unless(subjects[0], effect.but, self.incarnation)
            self.run(closing, lambda done: self.close_others(effect, rest, max(seq, done)))

    def closed(self, effect, seq):
        self.tell(events.Closed(*effect[:3], seq, self.world.stream_id))

    def opened(self, term, seq):
        if term is self.opening:
            self.term = term
            self.tell(events.Opened(SPACE, term.token, seq, self.world.stream_id))

    def run(self, procedure, done, failed=None, answer=None):
        """A step of a procedure; the next one when the world answers."""
        try:
            ask = procedure.send(answer)
        except StopIteration as end:
            done(end.value)
        except Fenced as error:
            failed(error)
        else:
            self.world.ask(self, ask, lambda found: self.run(procedure, done, failed, found))

    # --- writing and reading ----------------------------------------------------------------------------

    def serves(self, slot):
        return self.alive and not self.paused and self.placement.serves(SPACE, slot, self.clock())

    def write(self, slot):
        """Take a write, if the slot is served here. Its id, or None."""
        if not self.serves(slot):
            return None
        write = self.world.new_write()
        self.waiting.append((slot, write))
        self.flush()
        return write

    def flush(self):
        term = self.term
        if self.inflight or not self.waiting or term is None or term.token != self.placement.term(SPACE):
            return
        ready = [one for one in self.waiting if self.serves(one[0])]
        self.waiting = []
        if not ready:
            return
        self.inflight = (term, ready, self.store.own + 1)
        raw = repr((self.name, ready)).encode()
        identity = b"%032d" % self.world.new_write()
        self.world.batches[identity.hex()] = (self, self.store.own + 1, ready)
        self.run(term.publish(raw, bytes(64), identity), self.done, self.fenced)

    def done(self, seq):
        _, ready, number = self.inflight
        self.inflight = None
        self.last_own = max(self.last_own, seq)
        # The follower may have brought it before the answer came.
        self.store.own = max(self.store.own, number)
        for slot, write in ready:
            self.store.known[slot].add(write)
            self.world.acked[slot].add(write)
        self.check_drained()
        self.flush()

    def fenced(self, _):
        term, ready, _ = self.inflight
        self.inflight = None
        self.world.refused.update(write for _, write in ready)
        self.tell(events.Fenced(SPACE, term.token))
        self.check_drained()
        self.flush()

    def check_drained(self):
        busy = {slot for slot, _ in self.inflight[1]} if self.inflight else set()
        for slot, ticket in list(self.drains.items()):
            if slot not in busy:
                del self.drains[slot]
                self.tell(events.Drained(SPACE, slot, ticket, self.last_own))

    def read(self, slot):
        """What a reader is answered, if the slot is served here: checked against all that was answered before."""
        if not self.serves(slot):
            return None
        known = frozenset(self.store.known[slot])
        missing = (self.world.acked[slot] | self.world.read[slot]) - known
        if missing:
            raise Broken(f"{self.name} answers a read of slot {slot} without {sorted(missing)}")
        self.world.read[slot] |= known
        return known

    def apply(self, seq):
        """The stream's next message reaches this member's follower."""
        if seq != self.store.position + 1:
            return
        message = self.world.stream.messages[seq - 1][1]
        found = self.world.batches.get(message.headers.get(layout.MESSAGE_ID, ""))
        if found is not None:
            for slot, write in found[2]:
                self.store.known[slot].add(write)
            if found[0].generation == self.generation:
                self.store.own = max(self.store.own, found[1])
        self.store.position = seq
        self.tell(events.Applied(SPACE, seq, self.world.stream_id))
