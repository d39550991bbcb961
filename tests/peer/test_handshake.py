"""The handshake as it should go, what it negotiates, and how it refuses."""

import pytest
from peer.dialogue import ALICE, BOB, ENCODINGS, NETWORK, NOW, entropy, initiator, responder, run, sessions

from mycelium import config
from mycelium._core import codec
from mycelium.errors import (
    HandshakeFailed,
    MalformedMessage,
    OversizedMessage,
    ProtocolError,
    Unauthorised,
    VersionRefused,
    WrongNetwork,
    WrongPeer,
)
from mycelium.peer import cipher, refusal
from mycelium.peer.cipher import AES_256_GCM, CHACHA20_POLY1305
from mycelium.peer.network import Network
from mycelium.protocol.messages import Hello, Identity, MessageType


@pytest.mark.parametrize("encodings", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("load", [False, True])
@pytest.mark.parametrize("expected", [BOB.account, None])
def test_two_sides_agree(encodings, load, expected):
    left, right = initiator(encodings=encodings, expected=expected), responder(load=load)
    sent = run(left, right)
    assert len(sent) == (5 if load else 3)
    assert all(len(data) <= config.HANDSHAKE_BYTES_MAX for data in sent)
    a, b = left.session, right.session
    assert (a.peer, a.peer_generation, a.role) == (BOB.account, 22, "")
    assert (b.peer, b.peer_generation, b.role) == (ALICE.account, 11, "validator")
    for name in ("version", "encoding", "suite", "features", "frame_max", "binding"):
        assert getattr(a, name) == getattr(b, name)
    assert a.encoding == encodings[0]
    assert a.version == config.PROTOCOL_VERSION
    assert a.peer_software.startswith("mycelium/")
    assert b.open(a.seal(b"over")) == b"over"
    assert a.open(b.seal(b"back")) == b"back"


def test_identities_travel_sealed():
    for encodings in ENCODINGS.values():
        for data in run(initiator(encodings=encodings), responder()):
            for account in (ALICE.account, BOB.account):
                assert account not in data
                assert account.hex().encode() not in data
            message = codec.decode_message(data)
            assert message.sender_id == bytes(32)
            assert message.signature == b""


def test_every_session_has_its_own_keys():
    frames = set()
    bindings = set()
    for seed in range(8):
        a, b = sessions(initiator(seed), responder(seed + 100))
        frames |= {a.seal(b"same"), b.seal(b"same")}
        bindings.add(a.binding)
    for seed in range(8):  # fresh randomness on one side is enough
        a, b = sessions(initiator(1), responder(seed + 200))
        frames |= {a.seal(b"same"), b.seal(b"same")}
        bindings.add(a.binding)
    assert len(frames) == 32
    assert len(bindings) == 16


def test_a_program_with_the_nodes_own_key_may_connect():
    a, b = sessions(initiator(keypair=BOB), responder(keypair=BOB))
    assert a.peer == b.peer == BOB.account
    assert b.open(a.seal(b"x")) == b"x"


def test_the_dialler_asks_about_the_account_that_answered():
    asked = []
    left = initiator(authorise=lambda account: asked.append(account) or "owner")
    assert sessions(left)[0].role == "owner"
    assert asked == [BOB.account]
    with pytest.raises(Unauthorised):
        run(initiator(authorise=lambda account: None), right := responder())
    assert right.session is None


# --- negotiation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right", "suite"),
    [
        ((1, 2), (1, 2), AES_256_GCM),
        ((2, 1), (1, 2), CHACHA20_POLY1305),
        ((1, 2), (2, 1), CHACHA20_POLY1305),
        ((2, 1), (2, 1), CHACHA20_POLY1305),
        ((1,), (2, 1), AES_256_GCM),
        ((9, 1), (1, 2), AES_256_GCM),
    ],
)
def test_a_side_without_aes_gets_chacha(left, right, suite):
    a, b = sessions(initiator(suites=left), responder(suites=right))
    assert a.suite == b.suite == suite
    assert b.open(a.seal(b"x")) == b"x"


def test_suites_follow_the_processor():
    assert cipher.suites_for("processor : 0\nflags\t\t: fpu aes sse\n") == (1, 2)
    assert cipher.suites_for("processor : 0\nflags\t\t: fpu vaes sse\n") == (2, 1)
    assert cipher.suites_for("Features\t: fp asimd aes pmull\n") == (1, 2)
    assert cipher.suites_for("Features\t: fp asimd\n") == (2, 1)
    assert cipher.suites_for("") == (1, 2)
    assert set(cipher.local_suites()) == {1, 2}


def test_best_common_version_of_the_responder():
    a, b = sessions(initiator(versions=(3, 2, 1)), responder(versions=(2, 1)))
    assert a.version == b.version == 2


def test_encoding_is_the_diallers_first_that_the_other_side_knows():
    a, b = sessions(initiator(encodings=(2, 1)), responder(encodings=(1,)))
    assert a.encoding == b.encoding == 1


def test_features_and_frames_are_what_both_have():
    small = config.DATA_BYTES_MAX + 100
    a, b = sessions(initiator(features=0b1100, frame_max=small), responder(features=0b0110))
    assert a.features == b.features == 0b0100
    assert a.frame_max == b.frame_max == small


def test_no_suite_or_encoding_in_common():
    for options in ({"suites": (1,)}, {"encodings": (2,)}):
        other = {"suites": (2,)} if "suites" in options else {"encodings": (1,)}
        with pytest.raises(HandshakeFailed, match="in common"):
            run(initiator(**options), responder(**other))


# --- refusals -------------------------------------------------------------------------------------------------


def refused(left, right):
    """The error of the responder, and what the initiator makes of its refusal."""
    m1 = left.hello()
    with pytest.raises(ProtocolError) as here:
        right.receive(m1, NOW)
    assert 0 < len(right.refusal) <= len(m1)
    with pytest.raises(ProtocolError) as there:
        left.receive(right.refusal, NOW)
    assert left.session is None
    assert right.session is None
    return here.value, there.value


@pytest.mark.parametrize("encodings", ENCODINGS.values(), ids=ENCODINGS)
def test_an_old_version_is_refused_with_both_versions_named(encodings):
    here, there = refused(initiator(versions=(0,), encodings=encodings), responder(versions=(1,)))
    assert isinstance(here, VersionRefused)
    assert isinstance(there, VersionRefused)
    for text in (str(here), str(there)):
        assert "this side speaks 1, the other 0" in text
    assert "refused by the other side" in str(there)


def test_a_newer_version_is_refused_too():
    here, _ = refused(initiator(versions=(9, 8)), responder(versions=(2, 1)))
    assert "this side speaks 2, 1, the other 9, 8" in str(here)


def test_dialling_another_account_is_refused_before_any_public_key_work(monkeypatch):
    left, right = initiator(expected=ALICE.account), responder()
    monkeypatch.setattr("mycelium.peer.handshake.Ephemeral", None)
    here, there = refused(left, right)
    assert isinstance(here, WrongPeer)
    assert isinstance(there, WrongPeer)


@pytest.mark.parametrize(
    "network", [Network(8, NETWORK.genesis), Network(7, bytes(32))], ids=["netuid", "genesis"]
)
def test_another_network_is_refused_by_the_dialler_without_naming_itself(network):
    left, right = initiator(network=network), responder()
    m2 = right.receive(left.hello(), NOW)
    with pytest.raises(WrongNetwork, match="netuid"):
        left.receive(m2, NOW)
    assert left.session is None


@pytest.mark.parametrize(
    "network", [Network(8, NETWORK.genesis), Network(7, bytes(32))], ids=["netuid", "genesis"]
)
def test_another_network_is_refused_by_the_responder(network, monkeypatch):
    left, right = initiator(network=network), responder()
    monkeypatch.setattr(left, "_check_network", lambda identity: None)
    with pytest.raises(WrongNetwork):
        run(left, right)
    assert right.session is None
    assert right.refusal == b""


def test_a_stranger_is_told_under_the_seal():
    left, right = initiator(), responder(role=None)
    with pytest.raises(Unauthorised) as here:
        run(left, right)
    assert right.session is None
    with pytest.raises(Unauthorised, match="refused by the other side") as there:
        left.session.open(right.refusal)
    assert str(here.value) in str(there.value)


def test_refusals_inform_and_no_more():
    hostile = "version: \x1b[31mred\n" + "x" * 500
    error = refusal.read(hostile)
    assert isinstance(error, VersionRefused)
    assert "\x1b" not in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 250
    assert type(refusal.read("no such reason: text")) is HandshakeFailed
    assert type(refusal.read("words")) is HandshakeFailed
    assert "words" in str(refusal.read("words"))
    assert type(refusal.read(refusal.write(WrongPeer("é")))) is WrongPeer


# --- shape ----------------------------------------------------------------------------------------------------


def hello_of(data: bytes) -> Hello:
    return Hello.decode(codec.decode_message(data).payload)


def with_hello(data: bytes, type: MessageType = MessageType.HANDSHAKE, **changes) -> bytes:
    """The same message with some fields of its Hello replaced."""
    payload = hello_of(data)._replace(**changes).encode()
    return codec.encode_message(1, type, bytes(32), 0, 0, payload, b"", data[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"versions": []},
        {"versions": [1] * 17},
        {"versions": [2, 3]},
        {"suites": b""},
        {"suites": b"\x01" * 17},
        {"encodings": b""},
        {"encodings": b"\x02" * 17},
        {"ephemeral": b""},
        {"random": b""},
        {"sealed": b""},
        {"sealed": bytes(383)},
        {"versions": [], "suites": b"", "encodings": b"", "ephemeral": b"", "random": b"", "sealed": b""},
    ],
)
def test_a_first_message_without_its_parts_is_malformed(changes):
    right = responder(versions=(3, 1))
    data = with_hello(initiator().hello(), **changes)
    with pytest.raises(MalformedMessage):
        right.receive(data, NOW)
    assert len(right.refusal) <= len(data)


@pytest.mark.parametrize(
    "data", [b"", b"\x02", b"\x01{}", b"GET / HTTP/1.1", bytes(600), b"\x02" + b"\xff" * 600]
)
def test_garbage_is_malformed_on_both_sides(data):
    right = responder()
    with pytest.raises(MalformedMessage):
        right.receive(data, NOW)
    assert len(right.refusal) <= len(data)
    left = initiator()
    left.hello()
    with pytest.raises(MalformedMessage):
        left.receive(data, NOW)


def test_an_oversized_message_is_refused_unread(monkeypatch):
    monkeypatch.setattr("mycelium._core.codec.decode_message", None)
    data = bytes(config.HANDSHAKE_BYTES_MAX + 1)
    right, left = responder(), initiator()
    left.hello()
    for side in (left, right):
        with pytest.raises(OversizedMessage):
            side.receive(data, NOW)
    assert right.refusal == b""


def test_a_sender_or_signature_in_the_open_is_malformed():
    payload = hello_of(initiator().hello()).encode()
    for sender, signature in ((ALICE.account, b""), (bytes(32), bytes(64))):
        data = codec.encode_message(1, 0, sender, 0, 0, payload, signature)
        with pytest.raises(MalformedMessage, match="in the open"):
            responder().receive(data, NOW)


def test_messages_of_another_type_are_out_of_turn():
    for other in set(MessageType) - {MessageType.HANDSHAKE}:
        with pytest.raises(HandshakeFailed):
            responder().receive(with_hello(initiator().hello(), other), NOW)


def test_out_of_turn():
    left, right = initiator(), responder()
    with pytest.raises(HandshakeFailed, match="out of turn"):
        left.receive(b"", NOW)
    m1, m2, m3 = run(left, right)
    for side, data in ((left, m2), (right, m3), (right, m1)):
        with pytest.raises(HandshakeFailed, match="out of turn"):
            side.receive(data, NOW)
    assert right.session is not None  # what came after the end did not undo it


def test_a_failed_side_stays_failed():
    left, right = initiator(), responder()
    m1 = left.hello()
    for side in (left, right):
        with pytest.raises(MalformedMessage):
            side.receive(b"\x02garbage", NOW)
    with pytest.raises(HandshakeFailed, match="out of turn"):
        right.receive(m1, NOW)
    with pytest.raises(HandshakeFailed, match="out of turn"):
        left.receive(responder().receive(m1, NOW), NOW)


@pytest.mark.parametrize(
    "lie", [{"frame_max": 0}, {"frame_max": config.DATA_BYTES_MAX}, {"software": "x" * 49}], ids=str
)
def test_what_a_proven_peer_says_of_itself_is_bounded(lie, monkeypatch):
    encode = Identity.encode
    monkeypatch.setattr(Identity, "encode", lambda self: encode(self._replace(**lie)))
    left, right = initiator(), responder()
    with pytest.raises(MalformedMessage):
        run(left, right)


def test_receivers_are_padded_beyond_the_longest_identity(monkeypatch):
    """An answer must never outweigh its request, whatever the software is called."""
    monkeypatch.setattr("mycelium.peer.proof.Party.__init__.__defaults__", (2**64 - 1, 2**32 - 1, "w" * 99))
    for encodings in ENCODINGS.values():
        m1, m2, _ = run(initiator(encodings=encodings), responder())
        assert len(m2) < len(m1)
        assert len(hello_of(m2).sealed) <= len(hello_of(m1).sealed)


def test_randomness_is_the_callers():
    """Sans-IO: with the same randomness, everything but the (always randomised) signatures repeats."""
    first, second = initiator(5).hello(), initiator(5).hello()
    assert first == second
    answers = [hello_of(responder(6).receive(first, NOW)) for _ in range(2)]
    assert answers[0].ephemeral == answers[1].ephemeral
    assert answers[0].random == answers[1].random
    assert entropy(1)(8) == entropy(1)(8)
