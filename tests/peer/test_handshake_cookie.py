"""Cookies: asked for under load before any public-key work, good for one address, message and while."""

import pytest
from peer.dialogue import ENCODINGS, NOW, REMOTE, entropy, initiator, responder, run

from mycelium import config
from mycelium._core import codec
from mycelium.errors import HandshakeFailed, MalformedMessage
from mycelium.peer.cookie import COOKIE_BYTES, CookieJar
from mycelium.protocol.messages import Hello, MessageType

LIFETIME_NS = config.COOKIE_LIFETIME_S * 10**9


def hello_of(data: bytes) -> Hello:
    return Hello.decode(codec.decode_message(data).payload)


@pytest.mark.parametrize("encodings", ENCODINGS.values(), ids=ENCODINGS)
def test_under_load_no_public_key_work_without_a_cookie(encodings, monkeypatch):
    left, right = initiator(encodings=encodings), responder(load=True)
    m1 = left.hello()
    with monkeypatch.context() as patch:
        patch.setattr("mycelium.peer.handshake.Ephemeral", None)
        patch.setattr("mycelium.identity.keys.sr25519", None)
        demand = right.receive(m1, NOW)
    assert len(demand) <= len(m1)
    assert len(hello_of(demand).cookie) == COOKIE_BYTES
    assert hello_of(demand).ephemeral == b""
    again = left.receive(demand, NOW)
    assert left.session is None
    right.receive(left.receive(right.receive(again, NOW), NOW), NOW)
    assert right.session.open(left.session.seal(b"x")) == b"x"


def test_a_cookie_works_on_a_new_connection_of_the_same_address():
    """Nothing about the stranger is kept: any responder with the jar takes it."""
    jar = CookieJar(entropy(3))
    left = initiator()
    again = left.receive(responder(load=True, jar=jar).receive(left.hello(), NOW), NOW)
    right = responder(load=True, jar=jar)
    assert hello_of(right.receive(again, NOW)).ephemeral


def demanded_again(right, data, now=NOW) -> bool:
    return bool(hello_of(right.receive(data, now)).cookie)


def test_a_stolen_cookie_is_none_from_another_address():
    jar = CookieJar(entropy(3))
    left = initiator()
    again = left.receive(responder(load=True, jar=jar).receive(left.hello(), NOW), NOW)
    assert demanded_again(responder(load=True, jar=jar, remote=b"192.0.2.2:4000"), again)
    assert not demanded_again(responder(load=True, jar=jar, remote=REMOTE), again)


def test_a_cookie_of_another_handshake_is_none():
    jar = CookieJar(entropy(3))
    cookie = hello_of(responder(load=True, jar=jar).receive(initiator(1).hello(), NOW)).cookie
    other = initiator(2)
    other.hello()
    assert demanded_again(responder(load=True, jar=jar), other._hello(cookie))


def test_a_cookie_expires():
    jar = CookieJar(entropy(3))
    left = initiator()
    again = left.receive(responder(load=True, jar=jar).receive(left.hello(), NOW), NOW)
    assert not demanded_again(responder(load=True, jar=jar), again, NOW + LIFETIME_NS // 2)
    assert demanded_again(responder(load=True, jar=jar), again, NOW + LIFETIME_NS)


@pytest.mark.parametrize("length", [0, 1, 31, 33, 300])
def test_a_cookie_of_another_length_is_none(length):
    left = initiator()
    left.hello()
    assert demanded_again(responder(load=True), left._hello(bytes(length)))


def test_a_cookie_is_ignored_without_load():
    left = initiator()
    left.hello()
    assert not demanded_again(responder(), left._hello(bytes(32)))


def test_the_jar_by_itself():
    jar = CookieJar(entropy(1), 100)
    cookie = jar.issue(b"a", b"hello", 1000)
    assert jar.accepts(cookie, b"a", b"hello", 1000)
    assert jar.accepts(cookie, b"a", b"hello", 1099)
    assert not jar.accepts(cookie, b"a", b"hello", 1100)
    assert not jar.accepts(cookie, b"a", b"hello", 1000)  # and not by setting the clock back
    assert not jar.accepts(bytes(32), b"a", b"hello", 1000)
    fresh = jar.issue(b"a", b"hello", 1200)
    assert fresh != cookie
    assert not jar.accepts(fresh, b"ah", b"ello", 1200)
    assert not jar.accepts(fresh, b"", b"ahello", 1200)
    assert not CookieJar(entropy(2), 100).accepts(fresh, b"a", b"hello", 1200)


def test_a_long_pause_outdates_both_secrets():
    jar = CookieJar(entropy(1), 100)
    cookie = jar.issue(b"a", b"h", 1000)
    assert not jar.accepts(cookie, b"a", b"h", 1000 + 10**6)


def test_an_initiator_does_not_collect_cookies():
    left = initiator()
    demand = responder(load=True).receive(left.hello(), NOW)
    left.receive(demand, NOW)
    left.receive(demand, NOW)
    with pytest.raises(HandshakeFailed, match="without end"):
        left.receive(demand, NOW)


def test_a_giant_cookie_is_not_sent_back():
    left = initiator()
    left.hello()
    hello = hello_of(responder(load=True).receive(left._m1, NOW))._replace(cookie=bytes(65))
    data = codec.encode_message(1, MessageType.HANDSHAKE_RESPONSE, bytes(32), 0, 0, hello.encode())
    with pytest.raises(HandshakeFailed):
        left.receive(data, NOW)


def test_a_responder_does_not_demand_for_ever():
    left, right = initiator(), responder(load=True)
    m1 = left.hello()
    assert demanded_again(right, m1)
    assert demanded_again(right, m1)
    with pytest.raises(HandshakeFailed, match="cookie"):
        right.receive(m1, NOW)


@pytest.mark.parametrize("encodings", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("load", [False, True])
def test_no_unauthenticated_answer_outweighs_its_request(encodings, load):
    """Design invariant 4, over all that a responder says before it knows who is there."""
    sent = run(initiator(encodings=encodings), responder(load=load))
    for request, answer in zip(sent[0:-1:2], sent[1::2], strict=True):
        assert len(answer) <= len(request)


def test_a_request_too_short_to_be_answered_is_malformed():
    """A first message with everything in it but less around it than the answer needs."""
    left, right = initiator(), responder()
    m1 = left.hello()
    right._introduce = lambda hello, data: bytes(len(m1) + 1)
    with pytest.raises(MalformedMessage, match="too short"):
        right.receive(m1, NOW)
