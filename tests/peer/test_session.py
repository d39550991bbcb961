"""Sealed frames: what a wire or a peer can do to them, and what a session refuses to do itself."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peer.dialogue import entropy, initiator, responder, sessions

from mycelium import config
from mycelium.errors import (
    BrokenSeal,
    HandshakeFailed,
    MalformedMessage,
    OversizedMessage,
    ProtocolError,
    Unauthorised,
)
from mycelium.peer import session as module
from mycelium.peer.cipher import TAG_BYTES, derive_session
from mycelium.peer.session import Agreed, Limits, Session

SUITES = [1, 2]
CONTROL = b"\xff\xff\xff\xff"


def pair(suite: int = 1, **limits) -> tuple[Session, Session]:
    """Two sessions with the same keys, as after a handshake."""
    keys = derive_session(bytes(32), bytes(32), b"test")

    def side(is_initiator: bool) -> Session:
        agreed = Agreed(
            is_initiator, bytes([7]) * 32, 1, "test", "", 1, 2, suite, 0, config.FRAME_BYTES_MAX, bytes(32)
        )
        return Session(agreed, keys, entropy(is_initiator), Limits(**limits))

    return side(True), side(False)


@pytest.mark.parametrize("suite", SUITES)
def test_frames_open_in_order(suite):
    a, b = pair(suite)
    bodies = [bytes([n]) * n for n in range(100)]
    frames = [a.seal(body) for body in bodies]
    assert [b.open(frame) for frame in frames] == bodies
    assert [a.open(b.seal(body)) for body in bodies] == bodies
    assert all(len(frame) == len(body) + TAG_BYTES for frame, body in zip(frames, bodies, strict=True))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=20), st.sampled_from(SUITES))
def test_both_ways_are_independent(bodies, suite):
    a, b = pair(suite)
    for body in bodies:
        if body.startswith(CONTROL):
            continue
        x, y = a.seal(body), b.seal(body)
        assert x != y
        assert a.open(y) == b.open(x) == body


def test_equal_bodies_make_different_frames():
    a, _ = pair()
    assert len({a.seal(b"same") for _ in range(100)}) == 100


def broken(receiver: Session, frame: bytes) -> None:
    """The frame does not open, and neither does anything after it."""
    with pytest.raises(BrokenSeal):
        receiver.open(frame)


@pytest.mark.parametrize("suite", SUITES)
def test_a_changed_frame_is_refused_at_every_position(suite):
    a, _ = pair(suite)
    frame = a.seal(b"some body")
    for at in range(len(frame)):
        for bit in range(8):
            _, b = pair(suite)
            broken(b, frame[:at] + bytes((frame[at] ^ 1 << bit,)) + frame[at + 1 :])


@pytest.mark.parametrize("suite", SUITES)
def test_a_truncated_or_extended_frame_is_refused(suite):
    a, _ = pair(suite)
    frame = a.seal(b"some body")
    for cut in range(len(frame)):
        broken(pair(suite)[1], frame[:cut])
        broken(pair(suite)[1], frame[cut + 1 :])
    broken(pair(suite)[1], frame + b"\x00")
    broken(pair(suite)[1], b"\x00" + frame)


def test_a_replayed_frame_is_refused():
    a, b = pair()
    first, second = a.seal(b"1"), a.seal(b"2")
    assert b.open(first) == b"1"
    broken(b, first)
    broken(b, second)


def test_a_dropped_frame_is_noticed_by_the_next():
    a, b = pair()
    lost, kept = a.seal(b"1"), a.seal(b"2")
    broken(b, kept)
    broken(b, lost)  # a session is not mended by delivering late


def test_reordered_frames_are_refused():
    a, b = pair()
    first, second = a.seal(b"1"), a.seal(b"2")
    broken(b, second)
    broken(b, first)


def test_a_reflected_frame_is_refused():
    a, b = pair()
    broken(a, a.seal(b"x"))
    broken(b, b.seal(b"x"))


def test_a_frame_of_another_session_is_refused():
    a, _ = sessions(initiator(1), responder(2))
    _, b = sessions(initiator(3), responder(4))
    broken(b, a.seal(b"x"))


def test_injected_garbage_is_refused():
    for size in (0, 1, 15, 16, 17, 1000):
        broken(pair()[1], random.Random(size).randbytes(size))


def test_an_oversized_frame_is_refused_unopened():
    a, b = pair()
    whole = a.seal(bytes(a.frame_max - TAG_BYTES))
    assert b.open(whole) == bytes(b.frame_max - TAG_BYTES)
    b._decrypt = None
    with pytest.raises(OversizedMessage, match=str(b.frame_max)):
        b.open(bytes(b.frame_max + 1))


def test_a_body_that_does_not_fit_or_looks_like_control_is_a_bug():
    a, b = pair()
    for body, said in (
        (bytes(a.frame_max - TAG_BYTES + 1), "fit"),
        (CONTROL, "control"),
        (CONTROL + b"x", "control"),
    ):
        with pytest.raises(ValueError, match=said):
            a.seal(body)
    assert b.open(a.seal(b"after")) == b"after"  # nothing was counted


def test_no_key_seals_or_opens_more_than_it_may():
    a, b = pair(frames_hard_max=3)
    frames = [a.seal(b"x") for _ in range(3)]
    with pytest.raises(ValueError, match="as many frames"):
        a.seal(b"x")
    for frame in frames:
        b.open(frame)
    fourth = pair()[0]
    for _ in range(3):
        fourth.seal(b"x")
    with pytest.raises(BrokenSeal, match="never changed its key"):
        b.open(fourth.seal(b"x"))


# --- the last word --------------------------------------------------------------------------------------------


def test_a_farewell_says_why():
    a, b = pair()
    a.seal(b"lost")
    b.open(pair()[0].seal(b"lost"))
    with pytest.raises(Unauthorised, match="refused by the other side: no longer a member"):
        b.open(a.farewell(Unauthorised("no longer a member")))


def test_a_farewell_is_clamped():
    a, b = pair()
    with pytest.raises(ProtocolError) as caught:
        b.open(a.farewell(MalformedMessage("\x1b[2J" + "é" * 1000)))
    assert len(str(caught.value)) < 250
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "body",
    [
        CONTROL,
        CONTROL + b"\x00",
        CONTROL + b"\x09abc",
        CONTROL + b"\x01short",
        CONTROL + b"\x02",
        CONTROL + b"\x02x",
    ],
)
def test_control_that_makes_no_sense_is_malformed(body):
    a, b = pair()
    with pytest.raises(MalformedMessage):
        b.open(a._seal_control(body))


def test_control_from_a_peer_that_is_no_utf8():
    a, b = pair()
    with pytest.raises(HandshakeFailed):
        b.open(a._seal_control(CONTROL + b"\x03\xff\xfe"))


# --- what a session shows -------------------------------------------------------------------------------------


def test_no_key_in_repr():
    a, _ = pair()
    keys = derive_session(bytes(32), bytes(32), b"test")
    for secret in (keys.chain, keys.initiator.key, keys.responder.key):
        assert secret.hex() not in repr(a)
        assert repr(secret)[2:-1] not in repr(a)
    with pytest.raises(TypeError):
        vars(a)


def test_every_nonce_serves_once(monkeypatch):
    """Counter and key together never repeat, over both directions and several changes of keys."""
    seen = set()
    real = module.aead

    class Recording:
        def __init__(self, suite, key):
            self._key, self._cipher = key, real(suite, key)
            self.decrypt = self._cipher.decrypt

        def encrypt(self, nonce, body, associated):
            assert (self._key, nonce) not in seen
            seen.add((self._key, nonce))
            return self._cipher.encrypt(nonce, body, associated)

    monkeypatch.setattr(module, "aead", Recording)
    a, b = pair(frames_max=10)
    sealed = 0
    for turn in range(200):
        for one, other in ((a, b), (b, a)):
            frames = [one.seal(b"x"), *one.take_control()]
            sealed += len(frames)
            for frame in frames:
                other.open(frame)
            one.tick(turn)
    assert a.epoch > 10
    assert len(seen) == sealed


def test_keys_do_not_show_in_text():
    keys = derive_session(bytes(32), bytes(32), b"test")
    text = f"{keys!r} {keys} {keys.initiator!r} {[keys]}"
    for secret in (keys.chain, keys.initiator.key, keys.responder.key):
        assert repr(secret) not in text
    assert str(keys.initiator.iv) not in text
