"""A fleet in virtual time: real placements and terms over one linearizable bucket and one stream, and everything that
can go wrong between them. What is promised is checked as it happens; `Broken` names the promise.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, defaultdict

from mycelium.config.fleet import FLEET_TICK_MS
from mycelium.errors import Fenced
from mycelium.fleet import events, publishing, records
from mycelium.fleet.parts import Self
from mycelium.fleet.placement import Placement
from mycelium.fleet.publishing import Accepted, Conflict, Found, Nothing, Unknown
from mycelium.jetstream import layout

SPACE = "main"
LEASE_MS = 2_500
TIMEOUT_MS = 400


class Broken(AssertionError):
    """A promise of the fleet that was not kept."""


class Bucket:
    def __init__(self):
        self.entries = {}
        self.log = []
        self.writes = Counter()
        self.bytes = Counter()

    def put(self, key, expected, value):
        """The new revision; None where the entry has another than expected."""
        if self.entries.get(key, (0, b""))[0] != expected:
            return None
        revision = len(self.log) + 1
        self.entries[key] = (revision, value)
        self.log.append((key, revision, value))
        self.writes[key.partition(".")[0]] += 1
        self.bytes[key.partition(".")[0]] += len(value)
        return revision


class Stream:
    def __init__(self, world):
        self.world = world
        self.messages = []
        self.lasts = {}
        self.closed = {}

    def send(self, message, expected):
        known = message.headers.get(layout.MESSAGE_ID)
        if known is not None and self.world.deduplicates:
            for seq, found, _ in self.messages:
                if found.headers.get(layout.MESSAGE_ID) == known:
                    return Accepted(seq, duplicate=True)
        if self.lasts.get(message.subject, 0) != expected:
            return Conflict()
        seq = len(self.messages) + 1
        self.messages.append((seq, message, self.world.now))
        self.lasts[message.subject] = seq
        self.world.accepted(seq, message)
        return Accepted(seq)

    def read(self, ask, behind=0):
        """behind: messages that the server which answers has not got yet."""
        upto = max(0, len(self.messages) - behind)
        if isinstance(ask, publishing.Last):
            seq = self.lasts.get(ask.subject, 0)
            if seq > upto:
                seq = max(
                    (seq for seq, one, _ in self.messages[:upto] if one.subject == ask.subject), default=0
                )
            return self._found(seq) if seq else Nothing()
        after = (seq for seq, one, _ in self.messages[ask.after : upto] if one.subject == ask.subject)
        seq = next(after, 0)
        return self._found(seq) if seq else Nothing()

    def _found(self, seq):
        return Found(seq, self.messages[seq - 1][1].headers)


class Store:
    """What of a member survives its process."""

    def __init__(self):
        self.position = 0
        self.known = defaultdict(set)
        self.own = 0
        """How many batches of this member's own it has: the number of the last."""


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
        self.leaving = self.reset = False
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

        def procedure(subject):
            found = yield from publishing.newest(subject)
            if found is None or (subject.rpartition(".")[2], found.term) in effect.but:
                return 0
            return (yield from publishing.close(subject, found.term, found.seq, self.incarnation))

        rest = subjects[1:]
        if subjects[0] == self.subject:
            self.close_others(effect, rest, seq)
        else:
            self.run(procedure(subjects[0]), lambda done: self.close_others(effect, rest, max(seq, done)))

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


class World:
    """names: of the members. faults: 0 for none, 1 for many."""

    stream_id = "00000000000000aa"

    def __init__(
        self, names="abc", slots=4, seed=0, faults=0.0, *, drift=0.05, deduplicates=True, lease_ms=LEASE_MS
    ):
        self.rng = random.Random(seed)
        self.now = 0
        self.faults, self.drift, self.deduplicates, self.lease_ms = faults, drift, deduplicates, lease_ms
        self.bucket, self.stream = Bucket(), Stream(self)
        self.queue, self.order = [], itertools.count()
        self.slots = slots
        self.generations = {name: 0x1000 + number for number, name in enumerate(names)}
        self.stores = {name: Store() for name in names}
        self.members = {}
        self.batches, self.current = {}, {}
        self.acked, self.read = defaultdict(set), defaultdict(set)
        self.refused = set()
        self.numbers = Counter()
        self.writes = itertools.count(1)
        self.reign = {}
        self.began = defaultdict(list)
        self.log = []
        self.asks = Counter()
        for name in names:
            self.start(name)

    def token(self):
        return f"{self.rng.getrandbits(64):016x}"

    def subject(self, generation):
        return f"myc.1.00.{SPACE}.acc.{generation}"

    def new_write(self):
        return next(self.writes)

    # --- time -------------------------------------------------------------------------------------------

    def at(self, delay_ms, call, *arguments):
        heapq.heappush(self.queue, (self.now + delay_ms, next(self.order), call, arguments))

    def run(self, for_ms):
        until = self.now + for_ms
        while self.queue and self.queue[0][0] <= until:
            self.now, _, call, arguments = heapq.heappop(self.queue)
            call(*arguments)
        self.now = until

    def delay(self):
        """Of one way to the servers: mostly a millisecond, now and then longer than a lease."""
        if self.rng.random() < self.faults * 0.02:
            return self.rng.uniform(100, 4_000)
        return self.rng.uniform(0.2, 20 if self.rng.random() < self.faults else 2)

    def lost(self):
        return self.rng.random() < self.faults * 0.05

    # --- members ----------------------------------------------------------------------------------------

    def start(self, name):
        process = self.members[name] = Process(self, name, self.stores[name], {SPACE: self.slots})
        process.tell(events.Applied(SPACE, process.store.position, self.stream_id))
        self.rewatch(process)
        self.tick(process)
        self.follow(process)
        return process

    def tick(self, process):
        if process.alive:
            process.tell(events.Tick())
            self.at(FLEET_TICK_MS, self.tick, process)

    def follow(self, process):
        """Bring it the stream's next message, and look again."""
        if not process.alive:
            return
        position = process.store.position
        if not process.cut and position < len(self.stream.messages):
            process.later(process.apply, position + 1)
        slow = self.rng.random() < self.faults * 0.01
        self.at(self.rng.uniform(200, 1_500) if slow else self.rng.uniform(0.5, 5), self.follow, process)

    def crash(self, name):
        self.members[name].alive = False

    def cut(self, name):
        self.members[name].cut = True

    def heal(self, name):
        process = self.members[name]
        if process.cut:
            process.cut = False
            if process.reset:
                process.reset = False
                process.later(process.tell, events.Reset())
            self.rewatch(process)

    def rewatch(self, process):
        """Its watch begins anew: every entry there is, in the order of revisions, then what follows."""
        process.watch_epoch += 1
        process.later(process.tell, events.Watching(False))
        listed = sorted((revision, key, value) for key, (revision, value) in self.bucket.entries.items())
        for revision, key, value in listed:
            process.later(process.tell, events.Entry(key, revision, value))
        process.watch = len(self.bucket.log)
        process.later(process.tell, events.Watching(True))
        self.watching(process, process.watch_epoch)

    def renew_bucket(self):
        """Somebody deletes the bucket, and it is made anew. Everybody learns of it some time later."""
        self.bucket = Bucket()
        for process in self.members.values():
            process.watch_epoch += 1
            self.at(self.rng.uniform(0, 1_500), self.learn_of_bucket, process)

    def learn_of_bucket(self, process):
        if process.alive and not process.cut:
            process.later(process.tell, events.Reset())
            self.rewatch(process)
        elif process.alive:
            process.reset = True

    def watching(self, process, epoch):
        if not process.alive or process.cut or epoch != process.watch_epoch:
            return
        for key, revision, value in self.bucket.log[process.watch :]:
            process.later(process.tell, events.Entry(key, revision, value))
        process.watch = len(self.bucket.log)
        self.at(self.delay(), self.watching, process, epoch)

    # --- the way to the servers -------------------------------------------------------------------------

    def put(self, process, put):
        answered = []

        def answer(event):
            if not answered:
                answered.append(event)
                process.later(process.tell, event)

        def arrive():
            revision = self.bucket.put(put.key, put.revision, put.value)
            event = events.Refused(put.call) if revision is None else events.Stored(put.call, revision)
            if not self.lost() and not process.cut:
                self.at(self.delay(), answer, event)

        if not process.cut and not self.lost():
            self.at(self.delay(), arrive)
        self.at(TIMEOUT_MS, answer, events.Lost(put.call))

    def ask(self, process, ask, then):
        answered = []
        self.asks[type(ask).__name__] += 1

        def answer(found):
            if not answered:
                answered.append(found)
                process.later(then, found)

        def arrive():
            if isinstance(ask, publishing.Send):
                found = self.stream.send(*ask)
            else:
                stale = self.rng.random() < 0.2 * self.faults
                found = self.stream.read(ask, self.rng.randrange(40) if stale else 0)
            if not self.lost() and not process.cut:
                self.at(self.delay(), answer, found)

        if not process.cut and not self.lost():
            self.at(self.delay(), arrive)
        self.at(TIMEOUT_MS, answer, Unknown())

    # --- what is promised -------------------------------------------------------------------------------

    def accepted(self, seq, message):
        term = message.headers[publishing.TERM]
        kind = message.headers.get(layout.KIND)
        generation = message.subject.rpartition(".")[2]
        if kind == layout.OPEN:
            if term in self.stream.closed:
                raise Broken(f"term {term} was opened at {seq} after it had been closed")
            before = self.current.get(generation)
            if before not in (None, term):
                self.stream.closed.setdefault(before, (generation, seq))
            self.current[generation] = term
        elif kind == layout.SEAL:
            self.stream.closed.setdefault(term, (generation, seq))
        else:
            if term in self.stream.closed:
                raise Broken(f"I1: {seq} is of term {term}, which was closed at {self.stream.closed[term]}")
            process, number, ready = self.batches[message.headers[layout.MESSAGE_ID]]
            if number != self.numbers[generation] + 1:
                raise Broken(f"{process.name} numbers a batch {number} after {self.numbers[generation]}")
            self.numbers[generation] = number
            for slot, write in ready:
                if self.reign[slot] != (process.name, term):
                    raise Broken(
                        f"I2: slot {slot} is {self.reign[slot]}'s, and {process.name} {term} wrote {write}"
                    )

    def begins(self, process, slot):
        """A member begins to serve a slot: it must know every write of it, and be the only one."""
        there = {
            write
            for _, message, _ in self.stream.messages
            if layout.KIND not in message.headers
            for place, write in self.batches[message.headers[layout.MESSAGE_ID]][2]
            if place == slot
        }
        # What it has in flight itself, and nobody was told of, it applies before it answers.
        own = {write for _, write in process.inflight[1]} if process.inflight else set()
        missing = there - process.store.known[slot] - own
        if missing:
            raise Broken(f"{process.name} begins to serve slot {slot} without {sorted(missing)}")
        term = process.placement.term(SPACE)
        if term in self.stream.closed:
            # It will be told by its first write; but nobody can have another's slot meanwhile.
            self.log.append((self.now, process.name, "serves in a closed term", slot))
        self.reign[slot] = (process.name, term)
        self.began[slot].append((self.now, process.name))
        for other in self.members.values():
            if other is not process and other.serves(slot):
                raise Broken(f"I2: {other.name} serves slot {slot}, and so does {process.name}")

    # --- at rest ----------------------------------------------------------------------------------------

    def servers(self, slot):
        return [name for name, process in self.members.items() if process.serves(slot)]

    def settled(self):
        """Whether every slot is served by one live member, where it is desired."""
        for slot in range(self.slots):
            servers = self.servers(slot)
            if (
                len(servers) != 1
                or self.members[servers[0]].placement.view.desired(SPACE, slot) != servers[0]
            ):
                return False
        return True

    def run_until_settled(self, within_ms):
        """How long it took. Broken if it takes longer: I3."""
        began = self.now
        while not self.settled():
            if self.now - began > within_ms:
                raise Broken(f"I3: not settled {within_ms} ms later: {self.describe()}")
            self.run(10)
        return self.now - began

    def describe(self):
        found = []
        for name, one in self.members.items():
            state = "dead" if not one.alive else "paused" if one.paused else "cut" if one.cut else "live"
            found.append(f"{name} {state} term={one.placement.term(SPACE)} waits={one.placement.waiting()}")
        slots = {slot: self.servers(slot) for slot in range(self.slots)}
        return f"{found} {slots} {self.log[-8:]}"

    def plan(self, slot, name):
        key = records.plan_key(SPACE, slot)
        revision = self.bucket.entries.get(key, (0, b""))[0]
        self.bucket.put(key, revision, records.encode(records.Plan(name)))

    def check_end(self):
        """Nothing acknowledged is lost, and nothing that was refused happened. The oracle is the stream."""
        there = Counter(
            write
            for _, message, _ in self.stream.messages
            if layout.KIND not in message.headers
            for _, write in self.batches[message.headers[layout.MESSAGE_ID]][2]
        )
        twice = [write for write, times in there.items() if times > 1]
        if twice:
            raise Broken(f"applied twice: {twice}")
        lost = set().union(*self.acked.values()) - there.keys() if self.acked else set()
        if lost:
            raise Broken(f"acknowledged and lost: {lost}")
        if self.refused & there.keys():
            raise Broken(f"refused, and in the stream: {self.refused & there.keys()}")


def rampage(seed, steps=60, names="abc", **options):
    """One whole run with everything that can go wrong, ended by peace: the world, after its promises were checked."""
    rng = random.Random(seed)
    world = World(
        names, seed=seed, faults=rng.choice([0.0, 0.3, 1.0]), deduplicates=rng.random() < 0.5, **options
    )
    world.run(4_000)
    for _ in range(steps):
        name = rng.choice(names)
        process = world.members[name]
        match rng.randrange(12):
            case 0:
                process.paused = True
            case 1 | 2 if process.paused:
                process.paused = False
                use(world, [process])
                process.resume()
            case 3:
                if rng.random() < 0.5:
                    world.crash(name)
            case 4 if not process.alive:
                world.start(name)
            case 5:
                world.cut(name)
            case 6:
                world.heal(name)
            case 7 | 8:
                world.plan(rng.randrange(world.slots), name)
            case 9 if rng.random() < 0.3:
                world.renew_bucket()
            case 10 if rng.random() < 0.4:
                process.leave()
        for _ in range(rng.randrange(12)):
            use(world, world.members.values())
            world.run(rng.choice([1, 5, 40, 200, 700]))
    peace(world)
    return world


def use(world, processes):
    """Writes and reads of every slot, at everybody."""
    for process in processes:
        for slot in range(world.slots):
            process.write(slot)
            process.read(slot)


def peace(world, within_ms=12_000):
    """All faults end; soon everything is served, and everything that was promised holds."""
    world.faults = 0.0
    for name, process in world.members.items():
        world.heal(name)
        process.resume()
    if not any(process.alive and not process.leaving for process in world.members.values()):
        world.run(15_000)  # who was asked to leave has left
        world.start(next(name for name, process in world.members.items() if not process.alive))
    world.run_until_settled(within_ms)
    use(world, world.members.values())
    world.run(2_000)
    use(world, world.members.values())
    world.check_end()
