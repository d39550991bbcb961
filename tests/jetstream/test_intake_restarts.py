"""Whatever is in a stream, and wherever a reader is killed: in the end it holds all that was honestly written."""

from __future__ import annotations

import random

import kit
from hypothesis import given, settings
from hypothesis import strategies as st
from snapshotkit import KINDS, history

from mycelium.database.memory import MemoryStore
from mycelium.errors import Overloaded
from mycelium.jetstream import layout, place
from mycelium.jetstream.intake import Intake

NOW_MS = kit.NOW_MS + 100 * 3_600_000
STEPS = st.lists(
    st.sampled_from(["read", "read", "read", "save", "sync", "retry", "learn", "crash"]), max_size=80
)


def stream_of(seed: int) -> tuple[list[bytes], list]:
    """Messages: the batches of a history in an order in which a node could have applied them, some twice, and rubbish
    between them. And the engines that wrote them."""
    rng = random.Random(seed)
    authors = history(seed, 14, tables=KINDS)
    logs = [
        [
            layout.body(raw, signature)
            for _, raw, signature in authors[0].log_records("main", one.origin, 0, 2**62)
        ]
        for one in authors
    ]
    bodies: list[bytes] = []
    while any(logs):
        log = rng.choice([log for log in logs if log])
        body = log.pop(0)
        bodies.append(body)
        if rng.random() < 0.2:
            bodies.append(rng.choice(bodies))
        if rng.random() < 0.2:
            bodies.append(
                body[:-1] + bytes((body[-1] ^ 1,)) if rng.random() < 0.7 else bytes(rng.randrange(99))
            )
    return bodies, authors


class Reader:
    """Reads a stream as a `Follower` does, without a server; what it wrote and did not sync may be lost."""

    def __init__(self, bodies: list[bytes]) -> None:
        self.bodies = bodies
        self.store = MemoryStore()
        self.chain = kit.FixedAuthority(blocks_known=0)
        self.start()
        self.store.sync()

    def start(self) -> None:
        self.engine = kit.engine("reader", self.store, self.chain)
        found = place.load(self.store, "main")
        self.intake = Intake(self.engine, "main", found.position if found is not None else 0)

    def read(self) -> bool:
        sequence = self.intake.read + 1
        if sequence > len(self.bodies):
            return False
        try:
            self.intake.message(sequence, "s", self.bodies[sequence - 1], NOW_MS)
        except Overloaded:
            return False
        return True

    def step(self, what: str, rng: random.Random) -> None:
        if what == "read":
            self.read()
        elif what == "save":
            place.save(self.store, "main", place.Place("", self.intake.position, self.intake.read))
        elif what == "sync":
            self.store.sync()
        elif what == "retry":
            self.engine.release(NOW_MS)
            self.intake.retry(NOW_MS, hurry=True)
        elif what == "learn":
            self.chain.blocks_known = 2**62
            self.engine.known(NOW_MS)
        else:
            self.store = self.store.crash(rng.randrange(6))
            self.start()


@settings(max_examples=60)
@given(st.integers(0, 1_000), STEPS)
def test_a_reader_that_is_killed_anywhere_misses_nothing(seed, steps):
    rng = random.Random(seed)
    bodies, authors = stream_of(seed)
    reader = Reader(bodies)
    for what in steps:
        reader.step(what, rng)
        assert reader.intake.position <= reader.intake.read
    reader.step("learn", rng)
    while reader.read():
        pass
    for _ in range(3):
        reader.step("retry", rng)
    assert reader.intake.position == len(bodies)
    assert reader.engine.vector("main") == authors[0].vector("main")
    assert kit.rows(reader.store) == kit.rows(authors[0]._store)
