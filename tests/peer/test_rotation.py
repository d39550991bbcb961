"""The rotation machine: its steps and failures, and in every interleaving a port that accepts and is announced."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelium.config import ROTATION_JITTER, ROTATION_RETRY_MS
from mycelium.errors import UsageError
from mycelium.peer.rotation import (
    Announce,
    Announced,
    AnnounceFailed,
    Asked,
    Bind,
    BindFailed,
    Bound,
    Close,
    Drain,
    NotReached,
    Plan,
    Reached,
    Rotation,
    SelfTest,
    State,
    Tick,
)

PLAN = Plan(ports=range(9090, 9101), period_ms=14_400_000, overlap_ms=600_000, drain_ms=5_000)


def machine(plan=PLAN, port=9090, seed=1):
    return Rotation(plan, port, random.Random(seed), 0)


def test_the_steps_of_a_rotation():
    one = machine()
    due = one.due_ms
    assert PLAN.period_ms * (1 - ROTATION_JITTER) <= due <= PLAN.period_ms * (1 + ROTATION_JITTER)
    assert one.handle(Tick(), due - 1) == []
    (bind,) = one.handle(Tick(), due)
    assert isinstance(bind, Bind)
    port = bind.port
    assert port in PLAN.ports
    assert port != 9090
    assert one.handle(Bound(port), due) == [SelfTest(port)]
    assert one.handle(Reached(port), due) == [Announce(port)]
    assert (one.port, one.old, one.fresh) == (9090, None, port)
    assert one.handle(Announced(port), due) == []
    assert (one.port, one.old, one.fresh, one.state) == (port, 9090, None, State.OVERLAP)
    assert one.due_ms == due + PLAN.overlap_ms
    assert one.handle(Tick(), one.due_ms - 1) == []
    assert one.handle(Tick(), one.due_ms) == [Drain(9090)]
    end = one.due_ms
    assert one.handle(Tick(), end) == [Close(9090)]
    assert (one.state, one.old, one.rotations) == (State.IDLE, None, 1)
    assert one.due_ms >= end + PLAN.period_ms * (1 - ROTATION_JITTER)


def test_taken_ports_are_skipped_and_when_all_are_it_waits():
    one = machine()
    tried = []
    effects = one.handle(Asked(), 0)
    while effects:
        (bind,) = effects
        tried.append(bind.port)
        effects = one.handle(BindFailed(bind.port, "taken"), 0)
    assert sorted(tried) == list(range(9091, 9101))
    assert (one.state, one.failures, one.port) == (State.IDLE, 1, 9090)
    assert "taken" in one.last_error
    assert ROTATION_RETRY_MS * (1 - ROTATION_JITTER) <= one.due_ms <= ROTATION_RETRY_MS


@pytest.mark.parametrize("failed", [NotReached, AnnounceFailed], ids=["self-test", "announcement"])
def test_a_failure_before_the_announcement_closes_the_new_port_and_keeps_the_old(failed):
    one = machine()
    (bind,) = one.handle(Asked(), 0)
    one.handle(Bound(bind.port), 0)
    if failed is AnnounceFailed:
        one.handle(Reached(bind.port), 0)
    assert one.handle(failed(bind.port, "no"), 0) == [Close(bind.port)]
    assert (one.state, one.port, one.old, one.failures) == (State.IDLE, 9090, None, 1)


def test_retries_back_off_up_to_the_period():
    one = machine()
    now = 0
    waits = []
    for _ in range(40):
        (bind,) = one.handle(Asked(), now)
        one.handle(Bound(bind.port), now)
        one.handle(NotReached(bind.port, "no"), now)
        waits.append(one.due_ms - now)
        now = one.due_ms
    for failures, wait in enumerate(waits):
        bound = min(ROTATION_RETRY_MS * 2**failures, PLAN.period_ms)
        assert bound * (1 - ROTATION_JITTER) <= wait <= bound


def test_one_at_a_time():
    one = machine()
    one.handle(Asked(), 0)
    with pytest.raises(UsageError, match="under way: binding"):
        one.handle(Asked(), 0)


def test_a_range_with_nothing_else_in_it():
    one = machine(Plan(ports=[9090], period_ms=1000, overlap_ms=10))
    assert one.handle(Asked(), 0) == []
    assert one.state is State.IDLE
    assert "no other port" in one.last_error


def test_without_a_period_it_rotates_when_asked_only():
    one = machine(Plan(ports=[9090, 9091], period_ms=1000, overlap_ms=10, enabled=False))
    assert one.due_ms is None
    assert one.handle(Tick(), 1e12) == []
    assert one.handle(Asked(), 0) == [Bind(9091)]
    one.handle(BindFailed(9091, "taken"), 0)
    assert one.due_ms is None


# --- every interleaving -----------------------------------------------------------------------------------


class World:
    """What effects do, in the simplest way: sets of ports. Answers wait until the test lets them come."""

    def __init__(self, port):
        self.listening = {port}
        self.accepting = {port}
        self.announced = port
        self.open = []

    def do(self, effect):
        if isinstance(effect, Close):
            self.listening.discard(effect.port)
            self.accepting.discard(effect.port)
        elif isinstance(effect, Drain):
            self.accepting.discard(effect.port)
        else:
            self.open.append(effect)

    def answer(self, effect, ok):
        port = effect.port
        if isinstance(effect, Bind):
            if not ok or port in self.listening:
                return BindFailed(port, "taken")
            self.listening.add(port)
            self.accepting.add(port)
            return Bound(port)
        if isinstance(effect, SelfTest):
            return Reached(port) if ok else NotReached(port, "no")
        if not ok:
            return AnnounceFailed(port, "no")
        self.announced = port
        return Announced(port)

    def check(self):
        assert self.announced in self.accepting, "what is announced accepts"
        assert self.accepting <= self.listening


STRANGE = [
    Bound,
    Reached,
    Announced,
    lambda port: BindFailed(port, "x"),
    lambda port: NotReached(port, "x"),
]
STRANGE.append(lambda port: AnnounceFailed(port, "x"))

MOVES = st.one_of(
    st.tuples(st.just("answer"), st.booleans()),
    st.tuples(st.just("tick"), st.integers(0, 20_000)),
    st.tuples(st.just("back"), st.integers(0, 10_000)),
    st.tuples(st.just("ask"), st.none()),
    st.tuples(st.just("strange"), st.tuples(st.integers(0, 5), st.integers(9088, 9096))),
)


@settings(deadline=None, max_examples=400)
@given(
    st.lists(MOVES, max_size=80),
    st.integers(0, 2**32),
    st.lists(st.integers(9090, 9095), min_size=1, max_size=6, unique=True),
)
def test_in_every_interleaving_an_announced_port_accepts_and_the_last_one_stays(moves, seed, ports):
    plan = Plan(ports=ports, period_ms=10_000, overlap_ms=3_000, drain_ms=500)
    start = 9090
    one = Rotation(plan, start, random.Random(seed), 0)
    world = World(start)
    now = 0

    def feed(event):
        for effect in one.handle(event, now):
            world.do(effect)
            world.check()

    for move, argument in moves:
        if move == "answer" and world.open:
            feed(world.answer(world.open.pop(0), argument))
        elif move == "tick":
            now += argument
            feed(Tick())
        elif move == "back":
            now -= argument
            feed(Tick())
        elif move == "ask" and one.state is State.IDLE:
            feed(Asked())
        elif move == "strange":
            make, port = argument
            if port != one.fresh:  # a late answer, of a port that is not at stake
                feed(STRANGE[make](port))
        world.check()
        assert one.port == world.announced or one.state is State.ANNOUNCING
        assert len(world.listening) <= 2
        assert len(world.open) <= 1
        answer_awaited = one.state in {State.BINDING, State.TESTING, State.ANNOUNCING}
        assert answer_awaited == bool(world.open) == (one.due_ms is None), "it never waits for nothing"

    # With all going well from now on, it comes to rest, with one port.
    for _ in range(20):
        if world.open:
            feed(world.answer(world.open.pop(0), True))
        elif one.state is not State.IDLE:
            now = max(now, one.due_ms)
            feed(Tick())
    assert one.state is State.IDLE
    assert world.listening == world.accepting == {one.port}
