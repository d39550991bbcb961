"""The exchange of a key: Fiber's, and with signatures that tell who stands in between."""

from __future__ import annotations

import time
from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from httpwire.httpkit import MINER, OTHER, VALIDATOR, VERSIONS, vectors

from mycelium.errors import HandshakeFailed
from mycelium.http import exchange

KEY = bytes(range(32))
ME = MINER.ss58_address


@pytest.fixture(scope="module")
def private():
    return exchange.generate()


def answer_of(private, keypair=MINER, hotkey=ME):
    return exchange.public_key_answer(exchange.pem_of(private), keypair, hotkey)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_fiber_sent_is_what_we_decrypt(version):
    captured = vectors(version)
    private = serialization.load_pem_private_key(captured["miner_rsa_private_pem"].encode(), None)
    assert exchange.pem_of(private) == captured["miner_rsa_public_pem"]
    import json

    body = json.loads(captured["exchange"]["body"])
    nonce = captured["exchange"]["headers"]["nonce"]
    key = exchange.key_from(body, private, VALIDATOR.ss58_address, nonce, signed_only=False)
    assert b64encode(key).decode() == captured["symmetric_key_std_b64"]


def test_ours_with_ours(private):
    public = exchange.public_key_of(answer_of(private), ME, signed_only=True)
    assert exchange.pem_of(public) == exchange.pem_of(private)
    body = exchange.exchange_body(VALIDATOR, public, KEY, "1_a")
    assert exchange.key_from(body, private, VALIDATOR.ss58_address, "1_a", signed_only=True) == KEY


def test_an_unsigned_key_is_taken_unless_that_is_forbidden(private, monkeypatch):
    fibers = {"public_key": exchange.pem_of(private), "timestamp": time.time()}
    assert exchange.public_key_of(fibers, ME, signed_only=False)
    with pytest.raises(HandshakeFailed, match="MYCELIUM_REQUIRE_SIGNED_KEY"):
        exchange.public_key_of(fibers, ME, signed_only=True)
    for value, expected in (("1", True), ("TRUE", True), ("0", False), ("", False), ("false", False)):
        monkeypatch.setenv(exchange.REQUIRE_SIGNED_KEY, value)
        assert exchange.signed_keys_only() is expected


def test_a_key_that_was_swapped_on_the_way_is_refused(private):
    """The one in between has a key and a hotkey of his own."""
    mine = exchange.generate()
    swapped = {**answer_of(private), "public_key": exchange.pem_of(mine)}
    for answer in (swapped, answer_of(mine, OTHER, ME), answer_of(mine, OTHER, OTHER.ss58_address)):
        for signed_only in (True, False):
            with pytest.raises(HandshakeFailed, match="somebody may stand in between"):
                exchange.public_key_of(answer, ME, signed_only=signed_only)


def test_a_signature_of_long_ago_is_refused(private, monkeypatch):
    answer = answer_of(private)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 200)
    with pytest.raises(HandshakeFailed, match="long ago"):
        exchange.public_key_of(answer, ME, signed_only=False)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "text",
        {},
        {"public_key": 5, "timestamp": 1.0},
        {"public_key": "", "timestamp": 1.0},
        {"public_key": "x" * 10_000, "timestamp": 1.0},
        {"public_key": "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n", "timestamp": 1.0},
        {"public_key": exchange.pem_of(exchange.generate()), "timestamp": "yesterday"},
        {"public_key": exchange.pem_of(exchange.generate()), "timestamp": None},
    ],
)
def test_what_is_no_answer_with_a_key(answer):
    with pytest.raises(HandshakeFailed, match="no public key"):
        exchange.public_key_of(answer, ME, signed_only=False)


def test_a_key_that_is_too_weak_or_of_another_kind():
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    curve = ec.generate_private_key(ec.SECP256R1())
    encoding, kind = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    for key in (weak, curve):
        pem = key.public_key().public_bytes(encoding, kind).decode()
        with pytest.raises(HandshakeFailed, match="no RSA key of 2048 bits"):
            exchange.public_key_of({"public_key": pem, "timestamp": 1.0}, ME, signed_only=False)


# --- what the miner receives ------------------------------------------------------------------------------


def test_a_key_under_anothers_signature_is_refused(private):
    """Headers of a validator, and a key that somebody in between put under them."""
    theirs = exchange.exchange_body(VALIDATOR, private.public_key(), KEY, "1_a")
    mine = exchange.exchange_body(OTHER, private.public_key(), bytes(32), "1_a")
    for body, nonce in (
        (mine, "1_a"),
        ({**theirs, "encrypted_symmetric_key": mine["encrypted_symmetric_key"]}, "1_a"),
        (theirs, "2_b"),
    ):
        with pytest.raises(HandshakeFailed, match="not signed by who sent it"):
            exchange.key_from(body, private, VALIDATOR.ss58_address, nonce, signed_only=False)


def test_an_unsigned_key_is_refused_where_that_is_asked_for(private):
    body = {"encrypted_symmetric_key": b64encode(exchange.encrypt(private.public_key(), KEY)).decode()}
    assert exchange.key_from(body, private, "v", "1_a", signed_only=False) == KEY
    with pytest.raises(HandshakeFailed, match="is not signed"):
        exchange.key_from(body, private, "v", "1_a", signed_only=True)


@pytest.mark.parametrize(
    "encrypted",
    [None, 5, [], "", "not base64!", "AAAA", "é", "A" * 344, "A" * 100_000, b64encode(b"x" * 256).decode()],
)
def test_what_is_no_encrypted_key(private, encrypted):
    with pytest.raises(HandshakeFailed):
        exchange.key_from({"encrypted_symmetric_key": encrypted}, private, "v", "1_a", signed_only=False)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_of_another_size(private, size):
    encrypted = b64encode(exchange.encrypt(private.public_key(), bytes(size))).decode()
    assert len(b64decode(encrypted)) == 256
    with pytest.raises(HandshakeFailed, match="a key has 32 bytes"):
        exchange.key_from({"encrypted_symmetric_key": encrypted}, private, "v", "1_a", signed_only=False)


def _spki(algorithm, key):
    """A public key in PEM, of an algorithm identifier and the bytes of the key."""

    def tlv(tag, content):
        size = len(content)
        length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
        return bytes([tag]) + length + content

    def number(value):
        return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))

    content = tlv(0x30, number(key[0]) + number(key[1])) if isinstance(key, tuple) else key
    der = tlv(0x30, tlv(0x30, bytes.fromhex(algorithm)) + tlv(3, b"\0" + content))
    return f"-----BEGIN PUBLIC KEY-----\n{b64encode(der).decode()}\n-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize(
    ("pem", "made_s"),
    [
        (_spki("06032a03040500", bytes(33)), 1),
        (_spki("06072a8648ce3d020106032a0304", bytes(33)), 1),
        (None, 10**400),
    ],
    ids=["an unknown algorithm", "an unknown curve", "a time beyond all"],
)
def test_keys_of_other_kinds_are_failed_handshakes(private, pem, made_s):
    answer = {"public_key": pem or exchange.pem_of(private), "timestamp": made_s}
    with pytest.raises(HandshakeFailed, match="no public key"):
        exchange.public_key_of(answer, ME, signed_only=False)


def test_a_key_that_encrypts_nothing_is_a_failed_handshake():
    even = _spki("06092a864886f70d0101010500", (2**2047, 65_537))
    public = exchange.public_key_of({"public_key": even, "timestamp": 1}, ME, signed_only=False)
    with pytest.raises(HandshakeFailed, match="none that anything can be encrypted with"):
        exchange.exchange_body(VALIDATOR, public, KEY, "1_a")
