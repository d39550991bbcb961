"""Changing keys under way: by either side, by both at once, under load, and against a peer that abuses it."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peer.dialogue import entropy, sessions

from mycelium import config
from mycelium.errors import BrokenSeal, HandshakeFailed, MalformedMessage, Silence
from mycelium.peer.cipher import derive_session
from mycelium.peer.session import Agreed, Limits, Session

SECOND = 10**9


def pair(suite: int = 1, **limits) -> tuple[Session, Session]:
    keys = derive_session(bytes(32), bytes(32), b"test")

    def side(is_initiator: bool) -> Session:
        agreed = Agreed(
            is_initiator, bytes([7]) * 32, 1, "test", "", 1, 2, suite, 0, config.FRAME_BYTES_MAX, bytes(32)
        )
        return Session(agreed, keys, entropy(is_initiator), Limits(**limits))

    return side(True), side(False)


def settle(a: Session, b: Session) -> list[bytes]:
    """Exchange control until neither has any. Returns the frames of both."""
    travelled = []
    while True:
        moved = False
        for one, other in ((a, b), (b, a)):
            for frame in one.take_control():
                moved = True
                travelled.append(frame)
                assert other.open(frame) is None
        if not moved:
            return travelled


def works(a: Session, b: Session) -> bool:
    return b.open(a.seal(b"x")) == b"x" and a.open(b.seal(b"y")) == b"y"


# --- when -----------------------------------------------------------------------------------------------------


def test_defaults_are_those_of_the_design():
    limits = Limits()
    assert limits.age_ns == 15 * 60 * SECOND
    assert limits.bytes_max == 2**30
    assert limits.frames_max < limits.frames_hard_max == 2**32


def test_after_a_while():
    a, b = sessions()
    start = 5 * SECOND  # a clock that has nothing to do with the handshake's
    for now in (start, start + 15 * 60 * SECOND - 1):
        a.tick(now)
        assert a.take_control() == []
    a.tick(start + 15 * 60 * SECOND)
    settle(a, b)
    assert a.epoch == b.epoch == 1
    assert works(a, b)
    a.tick(start + 15 * 60 * SECOND + 1)
    assert a.take_control() == []
    a.tick(start + 30 * 60 * SECOND)
    settle(a, b)
    assert a.epoch == b.epoch == 2


@pytest.mark.parametrize("limits", [{"bytes_max": 1000}, {"frames_max": 10}])
def test_after_so_many_bytes_or_frames(limits):
    a, b = pair(**limits)
    for turn in range(10):
        a.tick(turn)
        assert a.take_control() == []
        b.open(a.seal(bytes(100)))
    a.tick(10)
    settle(a, b)
    assert a.epoch == b.epoch == 1
    assert a._sent <= 1
    assert a._sent_bytes == 0
    a.tick(11)
    assert a.take_control() == []


@pytest.mark.parametrize("suite", [1, 2])
def test_both_sides_at_once(suite):
    a, b = pair(suite, age_ns=1)
    for now in (0, 1):
        a.tick(now)
        b.tick(now)
    crossed = [(b, a.take_control()), (a, b.take_control())]
    for receiver, frames in crossed:
        assert len(frames) == 1
        assert receiver.open(frames[0]) is None
    settle(a, b)
    assert a.epoch == b.epoch == 1
    assert works(a, b)


# --- under load -----------------------------------------------------------------------------------------------


class Wire:
    """Two sessions, an ordered queue each way, and what was sent and received."""

    def __init__(self, suite: int) -> None:
        self.sides = pair(suite, frames_max=5, answer_ns=10**18)
        self.queues: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self.sent: tuple[list[bytes], list[bytes]] = ([], [])
        self.received: tuple[list[bytes], list[bytes]] = ([], [])
        self.now = 0

    def control(self, side: int) -> None:
        self.queues[side].extend(self.sides[side].take_control())

    def send(self, side: int) -> None:
        body = len(self.sent[side]).to_bytes(4, "little")
        self.sent[side].append(body)
        self.queues[side].append(self.sides[side].seal(body))

    def tick(self, side: int) -> None:
        self.now += 1
        self.sides[side].tick(self.now)
        self.sides[1 - side]._offers_heard = 0  # as its own tick would
        self.control(side)

    def deliver(self, side: int) -> None:
        """The oldest frame that `side` sent."""
        if self.queues[side]:
            other = 1 - side
            body = self.sides[other].open(self.queues[side].popleft())
            if body is not None:
                self.received[other].append(body)

    def drain(self) -> None:
        while True:
            for side in (0, 1):
                self.control(side)
            if not any(self.queues):
                return
            for side in (0, 1):
                self.deliver(side)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["send", "send", "deliver", "deliver", "tick", "control"]), st.integers(0, 1)
        ),
        max_size=200,
    ),
    st.sampled_from([1, 2]),
)
def test_any_interleaving_loses_and_repeats_nothing(actions, suite):
    """Frames in flight under the old key, offers that cross, answers that wait: order makes it exact."""
    wire = Wire(suite)
    for action, side in actions:
        getattr(wire, action)(side)
    wire.drain()
    assert wire.received == (wire.sent[1], wire.sent[0])
    a, b = wire.sides
    assert a.epoch == b.epoch
    assert works(a, b)


def test_many_changes_in_a_full_stream_both_ways():
    wire = Wire(1)
    for turn in range(3000):
        for side in (0, 1):
            wire.send(side)
            if turn % 7 == side:
                wire.tick(side)
            for _ in range(turn % 4):
                wire.deliver(side)
            if turn % 5 == 0:
                wire.control(side)
    wire.drain()
    assert wire.received == (wire.sent[1], wire.sent[0])
    assert wire.sides[0].epoch == wire.sides[1].epoch > 20


# --- what changes ---------------------------------------------------------------------------------------------


def test_old_keys_open_nothing_new_and_new_keys_nothing_old():
    a, b = pair(age_ns=1)
    old = derive_session(bytes(32), bytes(32), b"test")
    for now in (0, 1):
        a.tick(now)
    settle(a, b)
    fresh = a.seal(b"x")
    _, unaware = pair()
    with pytest.raises(BrokenSeal):
        unaware.open(fresh)
    held = [getattr(a, name) for name in ("_chain", "_next", "_offer")]
    assert old.chain not in held
    assert a._next is None
    assert a._offer is None
    assert b.open(fresh) == b"x"


def test_every_change_makes_other_keys():
    a, b = pair(age_ns=1)
    chains = {a._chain}
    for now in range(20):
        a.tick(now)
        b._offers_heard = 0  # as its own tick would
        settle(a, b)
        a.tick(now)  # nothing is due
        assert a._chain == b._chain
        chains.add(a._chain)
    assert len(chains) == a.epoch + 1 > 10


def test_a_changed_offer_ends_the_session():
    """Control travels sealed like everything else."""
    a, b = pair(age_ns=1)
    a.tick(0)
    a.tick(1)
    (offer,) = a.take_control()
    with pytest.raises(BrokenSeal):
        b.open(offer[:-1] + bytes((offer[-1] ^ 1,)))


# --- a peer that abuses it ------------------------------------------------------------------------------------


def offer_from(session: Session, public: bytes) -> bytes:
    return session._seal_control(b"\xff\xff\xff\xff\x01" + public)


def test_an_unanswered_offer_ends_the_session():
    a, _ = pair(age_ns=1, answer_ns=60 * SECOND)
    a.tick(0)
    a.tick(1)
    assert len(a.take_control()) == 1
    a.tick(60 * SECOND)
    with pytest.raises(Silence, match="keys"):
        a.tick(60 * SECOND + 2)


def test_a_switch_that_never_comes_ends_the_session():
    a, b = pair(age_ns=1, answer_ns=60 * SECOND)
    a.tick(0)
    a.tick(1)
    for frame in a.take_control():
        b.open(frame)
    answer, _ = b.take_control()  # the offer; the switch is kept back
    assert a.open(answer) is None
    assert len(a.take_control()) == 1
    a.tick(60 * SECOND)
    with pytest.raises(Silence, match="keys"):
        a.tick(60 * SECOND + 2)


def test_an_offer_heard_before_the_first_tick_is_as_old_as_that_tick():
    a, b = pair(answer_ns=60 * SECOND)
    b.open(offer_from(a, bytes(31) + b"\x09"))
    b.tick(500 * SECOND)
    b.tick(560 * SECOND)
    with pytest.raises(Silence, match="keys"):
        b.tick(561 * SECOND)


def test_an_offer_while_one_is_agreed_is_out_of_turn():
    a, b = pair()
    b.open(offer_from(a, bytes(31) + b"\x09"))
    with pytest.raises(MalformedMessage, match="out of turn"):
        b.open(offer_from(a, bytes(31) + b"\x08"))


def test_a_switch_without_offers_or_twice_is_out_of_turn():
    switch = b"\xff\xff\xff\xff\x02"
    a, b = pair()
    with pytest.raises(MalformedMessage, match="out of turn"):
        b.open(a._seal_control(switch))
    a, b = pair(age_ns=1)
    for now in (0, 1):
        a.tick(now)
    for frame in a.take_control():
        b.open(frame)
    for frame in b.take_control():
        a.open(frame)
    (first,) = a.take_control()
    b.open(first)
    assert b.epoch == 1
    with pytest.raises(MalformedMessage, match="out of turn"):
        b.open(a._seal_control(switch))


def test_a_second_switch_before_the_change_is_over_is_out_of_turn():
    a, b = pair(age_ns=1)
    for now in (0, 1):
        a.tick(now)
        b.tick(now)
    crossed = (a.take_control(), b.take_control())
    b.open(crossed[0][0])
    a.open(crossed[1][0])
    (switch,) = a.take_control()
    b.open(switch)
    assert b.epoch == 0  # its own switch still waits
    with pytest.raises(MalformedMessage, match="out of turn"):
        b.open(a._seal_control(b"\xff\xff\xff\xff\x02"))


def test_an_offer_of_small_order_is_refused():
    a, b = pair()
    with pytest.raises(HandshakeFailed, match="small order"):
        b.open(offer_from(a, bytes(32)))


def test_our_own_offer_does_not_come_back():
    a, b = pair(age_ns=1)
    for now in (0, 1):
        b.tick(now)
    mine = b._offer.public
    with pytest.raises(MalformedMessage, match="came back"):
        b.open(offer_from(a, mine))


def test_changes_cannot_be_asked_for_without_end():
    """Each offer costs the other side public-key work, so there are few between two ticks."""
    a, b = pair(age_ns=1)
    for now in range(config.REKEYS_PER_TICK_MAX + 1):
        a.tick(now)
        settle(a, b)
    assert b.epoch == config.REKEYS_PER_TICK_MAX
    a.tick(now + 1)
    with pytest.raises(MalformedMessage, match="too often"):
        settle(a, b)
    a, b = pair(age_ns=1)
    for now in range(100):
        a.tick(now)
        b._offers_heard = 0  # as b's own tick would
        settle(a, b)
    assert a.epoch == b.epoch == 99
