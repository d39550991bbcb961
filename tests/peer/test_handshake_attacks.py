"""Each step an attacker on the wire, or at the other end, can try. The attackers here use the real parts."""

import random

import pytest
import sr25519
from hypothesis import given, settings
from hypothesis import strategies as st
from peer.dialogue import (
    ALICE,
    BOB,
    ENCODINGS,
    MALLORY,
    NOW,
    attempt,
    entropy,
    initiator,
    responder,
    run,
    sessions,
)

from mycelium._core import codec
from mycelium.errors import BadSignature, HandshakeFailed, MalformedMessage, ProtocolError, WrongPeer
from mycelium.identity import keys
from mycelium.peer import proof
from mycelium.peer.cipher import Ephemeral
from mycelium.peer.handshake import Initiator, Responder
from mycelium.protocol.messages import Hello

# Points of order 1, 2, 4 and 8, and their non-canonical spellings (RFC 7748 section 6.1, cr.yp.to/ecdh.html).
SMALL_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
]


def hello_of(data: bytes) -> Hello:
    return Hello.decode(codec.decode_message(data).payload)


def with_hello(data: bytes, **changes) -> bytes:
    message = codec.decode_message(data)
    payload = hello_of(data)._replace(**changes).encode()
    return codec.encode_message(message.version, message.type, bytes(32), 0, 0, payload, b"", data[0])


def at_step(step: int, change):
    return lambda now, data: change(data) if now == step else data


def joined(left: Initiator, right: Responder) -> bool:
    """Whether the two ended in one session."""
    if left.session is None or right.session is None:
        return False
    try:
        return right.session.open(left.session.seal(b"x")) == b"x"
    except ProtocolError:
        return False


# --- the wire -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encodings", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("step", [1, 2, 3])
def test_no_changed_byte_survives(encodings, step):
    """Every position of every message, one random bit each: the two never end in one session.

    A change of m3 outside its seal (padding, a timestamp) is noticed by the first frame: it changed the keys.
    """
    dice = random.Random(step)
    length = len(run(initiator(encodings=encodings), responder())[step - 1])
    for at in range(length):
        bit = 1 << dice.randrange(8)
        left, right = initiator(encodings=encodings), responder()
        error = attempt(
            left,
            right,
            at_step(step, lambda d: d[:at] + bytes((d[at] ^ bit,)) + d[at + 1 :]),  # noqa: B023
        )
        assert not joined(left, right), at
        if step < 3:
            assert error is not None, at
            assert right.session is None, at
        if step == 1:
            assert left.session is None, at


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 3), st.sampled_from(["cut", "add", "swap", "zero"]), st.integers(0, 2**32))
def test_no_mangled_message_survives(step, how, seed):
    dice = random.Random(seed)

    def mangle(data: bytes) -> bytes:
        a, b = sorted(dice.sample(range(len(data) + 1), 2))
        return {
            "cut": data[:a],
            "add": data[:a] + dice.randbytes(1 + b % 40) + data[a:],
            "swap": data[:a] + data[a:b][::-1] + data[b:],
            "zero": data[:a] + bytes(b - a) + data[b:],
        }[how]

    left, right = initiator(), responder()
    changed = []

    def change(now: int, data: bytes) -> bytes:
        out = mangle(data) if now == step else data
        changed.append(out != data)
        return out

    attempt(left, right, change)
    assert not any(changed) or not joined(left, right)


@pytest.mark.parametrize("reply", [1, 2, 3])
def test_messages_of_another_handshake_do_not_fit(reply):
    """A recording of one handshake, played into another of the same two accounts."""
    old = run(initiator(1), responder(2))
    left, right = initiator(3), responder(4)
    assert attempt(left, right, at_step(reply, lambda data: old[reply - 1])) is not None
    assert right.session is None


def test_a_replayed_first_message_leads_nowhere():
    m1, _, m3 = run(initiator(1), responder(2))
    right = responder(3)
    right.receive(m1, NOW)
    with pytest.raises(HandshakeFailed):
        right.receive(m3, NOW)
    assert right.session is None
    assert right.refusal == b""


def test_reflected_messages_are_refused():
    left = initiator()
    m1 = left.hello()
    with pytest.raises(HandshakeFailed):
        left.receive(m1, NOW)
    right = responder()
    m2 = right.receive(m1, NOW)
    with pytest.raises(HandshakeFailed):
        right.receive(m2, NOW)


def test_our_own_ephemeral_does_not_come_back():
    left = initiator()
    left.hello()
    mirror = responder(kind=Responder)
    m2 = with_hello(mirror.receive(left._m1, NOW), ephemeral=left._ephemeral.public)
    with pytest.raises(HandshakeFailed, match="came back"):
        left.receive(m2, NOW)


def test_a_node_that_dials_itself_through_a_mirror_gets_nothing():
    """Two handshakes of one account, the initiator's m3 of one played as that of the other."""
    first, second = initiator(1, BOB), initiator(2, BOB)
    right_a, right_b = responder(3), responder(4)
    m3 = first.receive(right_a.receive(first.hello(), NOW), NOW)
    second.receive(right_b.receive(second.hello(), NOW), NOW)
    with pytest.raises(HandshakeFailed):
        right_b.receive(m3, NOW)


@pytest.mark.parametrize(
    ("step", "changes"),
    [
        (1, {"versions": [1]}),
        (1, {"suites": b"\x02"}),
        (1, {"encodings": b"\x01"}),
        (2, {"versions": [1]}),
        (2, {"suites": b"\x02"}),
        (2, {"encodings": b"\x01"}),
    ],
)
def test_no_downgrade(step, changes):
    left = initiator(versions=(2, 1), suites=(1, 2), encodings=(2, 1))
    right = responder(versions=(2, 1), suites=(1, 2))
    error = attempt(left, right, at_step(step, lambda data: with_hello(data, **changes)))
    assert isinstance(error, ProtocolError)
    assert left.session is None
    assert right.session is None


@pytest.mark.parametrize(
    "changes",
    [
        {"versions": [3]},
        {"suites": b"\x02"},
        {"encodings": b"\x01"},
        {"versions": []},
        {"versions": [1, 1]},
        {"suites": b"\x01\x01"},
        {"encodings": b""},
        {"ephemeral": b""},
        {"random": b""},
    ],
)
def test_a_choice_that_was_not_offered(changes):
    left = initiator(suites=(1,), encodings=(2,))
    error = attempt(left, responder(), at_step(2, lambda data: with_hello(data, **changes)))
    assert isinstance(error, ProtocolError)
    assert left.session is None


@pytest.mark.parametrize("choice", [("_version", 3), ("_suite", 2), ("_encoding", 1)])
def test_a_responder_that_stands_by_a_choice_that_was_not_offered(choice, monkeypatch):
    """The transcript is right, the seal opens: only the dialler's own check is left."""
    left, right = initiator(suites=(1,), encodings=(2,)), responder()
    choose = right._choose

    def overreach(message, hello):
        choose(message, hello)
        setattr(right, *choice)

    monkeypatch.setattr(right, "_choose", overreach)
    m2 = right.receive(left.hello(), NOW)
    with pytest.raises(ProtocolError, match="offered"):
        left.receive(m2, NOW)
    assert left.session is None


@pytest.mark.parametrize("point", SMALL_ORDER, ids=range(len(SMALL_ORDER)))
@pytest.mark.parametrize("step", [1, 2])
def test_ephemerals_of_small_order_are_refused(step, point):
    left = initiator(expected=None)
    error = attempt(left, responder(), at_step(step, lambda data: with_hello(data, ephemeral=point)))
    assert isinstance(error, HandshakeFailed)
    assert "small order" in str(error)
    assert left.session is None


# --- the other end --------------------------------------------------------------------------------------------


class Unchecking(Responder):
    """Answers whatever account was dialled, with its own."""

    def _greet(self, data: bytes, now_ns: int) -> bytes:
        m1 = hello_of(data)
        self._choose(codec.decode_message(data), m1)
        self._expected = BOB.account  # as the honest dialler has it in its transcript
        return self._introduce(m1, data)


def test_an_impostor_proves_only_itself_and_learns_nothing():
    left = initiator()
    m2 = responder(keypair=MALLORY, kind=Unchecking).receive(left.hello(), NOW)
    with pytest.raises(WrongPeer):
        left.receive(m2, NOW)
    assert left.session is None


class Relay(Unchecking):
    """Stands in the middle: agrees with the dialler, and repeats to it the Identity of the real responder."""

    stolen: proof.Identity

    def _seal_identity(self, role: bytes, peer: bytes, label: bytes) -> bytes:
        key = proof.derive(self._secret, self._transcript, label, 32)
        return proof.aead(self._suite, key).encrypt(bytes(12), self.stolen.encode(), None)


def steal_identity(m1: bytes) -> proof.Identity:
    """Take the middle: replace the ephemeral by one's own towards the responder, and read its Identity."""
    mine = Ephemeral(entropy(9))
    hello = hello_of(m1)
    receiver = proof.receiver_of(BOB.account, mine.public, hello.random).ljust(384, b"\x00")
    forged = with_hello(m1, ephemeral=mine.public, sealed=receiver)
    m2 = responder().receive(forged, NOW)
    spy = initiator()
    spy._choose(codec.decode_message(m2), hello_of(m2))
    spy._mix(forged)
    spy._mix_choice(hello_of(m2).ephemeral, hello_of(m2).random, BOB.account, codec.decode_message(m2))
    spy._secret = mine.agree(hello_of(m2).ephemeral)
    return spy._open_identity(hello_of(m2).sealed, b"handshake/2")


def test_a_man_in_the_middle_with_his_own_ephemeral_fails():
    left = initiator()
    m1 = left.hello()
    relay = responder(keypair=MALLORY, kind=Relay)
    relay.stolen = steal_identity(m1)
    assert relay.stolen.account == BOB.account
    m2 = relay.receive(m1, NOW)
    with pytest.raises(BadSignature):
        left.receive(m2, NOW)
    assert left.session is None


@pytest.mark.parametrize(
    "lie",
    [
        {"account": ALICE.account},
        {"generation": 5},
        {"features": 1},
        {"frame_max": 2**31},
        {"software": "other/1"},
        {"signature": bytes(64)},
    ],
    ids=str,
)
@pytest.mark.parametrize("side", ["initiator", "responder"])
def test_an_identity_is_signed_whole(lie, side, monkeypatch):
    """Each field of an Identity changed after it was signed, by the peer itself."""
    liar = initiator(keypair=MALLORY) if side == "initiator" else responder()
    honest = responder() if side == "initiator" else initiator()
    encode = proof.Identity.encode

    def seal(role: bytes, peer: bytes, label: bytes) -> bytes:
        with monkeypatch.context() as patch:
            patch.setattr(proof.Identity, "encode", lambda self: encode(self._replace(**lie)))
            return type(liar)._seal_identity(liar, role, peer, label)

    monkeypatch.setattr(liar, "_seal_identity", seal)
    pair = (liar, honest) if side == "initiator" else (honest, liar)
    with pytest.raises(BadSignature if "account" not in lie or side == "initiator" else WrongPeer):
        run(*pair)
    assert honest.session is None


class Nobody:
    """The zero account, for which anyone can make signatures that the curve accepts."""

    account = bytes(32)

    def sign(self, domain: bytes, data: bytes) -> bytes:
        return sr25519.sign((bytes(32), bytes(64)), keys.preimage(domain, data))


def test_nobody_is_nobody():
    with pytest.raises(BadSignature):
        run(initiator(keypair=Nobody()), right := responder())
    assert right.session is None
    with pytest.raises(BadSignature):
        run(left := initiator(expected=None), responder(keypair=Nobody()))
    assert left.session is None


@pytest.mark.parametrize("swap", [b"R", b"I"])
def test_a_signature_of_one_side_is_none_of_the_other(swap, monkeypatch):
    """Reflection under the seal: the roles are in what is signed."""
    signed = proof.Side._signed
    liar = initiator() if swap == b"R" else responder()
    monkeypatch.setattr(liar, "_signed", lambda identity, role, peer: signed(liar, identity, swap, peer))
    pair = (liar, responder()) if swap == b"R" else (initiator(), liar)
    with pytest.raises(BadSignature):
        run(*pair)


def test_a_signature_towards_another_peer_is_none_towards_us(monkeypatch):
    """I signs whom it talks to, so its word cannot be handed on to somebody else."""
    left = initiator()
    signed = proof.Side._signed
    monkeypatch.setattr(
        left,
        "_signed",
        lambda identity, role, peer: signed(left, identity, role, MALLORY.account if role == b"I" else peer),
    )
    with pytest.raises(BadSignature):
        run(left, responder())


def test_m3_needs_no_more_than_its_seal(monkeypatch):
    """m3 carries nothing that m1 has to say; what else it brings is bound by the transcript and ignored."""
    left, right = initiator(), responder()
    m3 = left.receive(right.receive(left.hello(), NOW), NOW)
    with pytest.raises(HandshakeFailed):
        right.receive(with_hello(m3, sealed=b""), NOW)
    assert right.session is None


def test_another_protocol_version_in_m3():
    left, right = initiator(versions=(2, 1)), responder(versions=(2, 1))
    m3 = left.receive(right.receive(left.hello(), NOW), NOW)
    message = codec.decode_message(m3)
    with pytest.raises(HandshakeFailed, match="version"):
        right.receive(codec.encode_message(1, message.type, bytes(32), 0, 0, message.payload), NOW)


def test_nothing_is_kept_of_failed_handshakes():
    """The responder has no table that strangers fill: its jar is all that outlives a connection."""
    jar = responder()._cookies
    size = sum(len(getattr(jar, name)) for name in ("_current", "_previous"))
    for seed in range(50):
        right = responder(jar=jar, load=bool(seed % 2))
        attempt(initiator(seed), right, lambda step, data: data if step == 1 else b"garbage")
        assert right.session is None
    assert sum(len(getattr(jar, name)) for name in ("_current", "_previous")) == size


def test_joined_is_a_working_oracle():
    left, right = initiator(), responder()
    assert not joined(left, right)
    run(left, right)
    assert joined(left, right)
    other, _ = sessions(initiator(8), responder(9))
    left.session = other
    assert not joined(left, right)


def test_malformed_identities_are_refused():
    left = initiator()
    right = responder(keypair=MALLORY, kind=Relay)

    class Raw:
        def encode(self) -> bytes:
            return b"no identity"

    right.stolen = Raw()
    with pytest.raises(MalformedMessage):
        left.receive(right.receive(left.hello(), NOW), NOW)
    assert left.session is None
