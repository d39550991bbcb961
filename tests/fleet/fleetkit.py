"""A fleet in virtual time: real placements and terms over one linearizable bucket and one stream, and everything that
can go wrong between them. What is promised is checked as it happens; `Broken` names the promise.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, defaultdict

from fleet.fleetprocess import Process
from fleet.fleetservers import SPACE, Broken, Bucket, Store, Stream

from mycelium.config.fleet import FLEET_TICK_MS
from mycelium.fleet import events, publishing, records
from mycelium.fleet.publishing import Unknown
from mycelium.jetstream import layout

LEASE_MS = 2_500
TIMEOUT_MS = 400


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
            self.rewatch(process)

    def rewatch(self, process):
        """Its watch begins anew: every entry there is, in the order of revisions, then what follows."""
        process.watch_epoch += 1
        process.later(process.tell, events.Watching(False, self.bucket.name))
        listed = sorted((revision, key, value) for key, (revision, value) in self.bucket.entries.items())
        for revision, key, value in listed:
            process.later(process.tell, events.Entry(key, revision, value))
        process.watch = len(self.bucket.log)
        process.later(process.tell, events.Watching(True, self.bucket.name))
        self.watching(process, process.watch_epoch)

    def renew_bucket(self):
        """Somebody deletes the bucket, and it is made anew. Everybody learns of it some time later."""
        self.bucket = Bucket(self.rng.randrange(2**40))
        for process in self.members.values():
            process.watch_epoch += 1
            self.at(self.rng.uniform(0, 1_500), self.learn_of_bucket, process)

    def learn_of_bucket(self, process):
        if process.alive and not process.cut:
            self.rewatch(process)

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
