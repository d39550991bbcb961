"""Who is let in: Fiber's answers in Fiber's order, and each of its holes closed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from cryptography.fernet import Fernet
from httpwire.httpkit import MINER, OTHER, VALIDATOR, Clock

from mycelium.errors import RequestRefused
from mycelium.http import gate
from mycelium.http.gate import Claim, check_signed, check_stake, message_of
from mycelium.http.nonces import NonceBook
from mycelium.http.signing import sign_text

ME = MINER.ss58_address


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def book(clock):
    book = NonceBook(clock_ns=clock)
    clock.now_ns += 10**9
    return book


def claim(nonce, *, validator=VALIDATOR, miner=ME, uuid=None, body=None, signature=None):
    unsigned = Claim(validator.ss58_address, miner, nonce, "", uuid)
    signed = signature or sign_text(validator, message_of(unsigned, body))
    return Claim(validator.ss58_address, miner, nonce, signed, uuid)


def refused(status, detail, what, *arguments):
    with pytest.raises(RequestRefused) as caught:
        what(*arguments)
    assert (caught.value.status, caught.value.detail) == (status, detail)


@pytest.mark.parametrize(("uuid", "body"), [(None, b'{"hi": "there"}'), (None, None), ("ab" * 32, None)])
def test_who_signed_is_let_in_once(book, clock, uuid, body):
    one = claim(clock.nonce(), uuid=uuid, body=body)
    message = message_of(one, body)
    check_signed(one, message, ME, book)
    refused(401, gate.NONCE_REFUSED, check_signed, one, message, ME, book)


def test_another_body_is_not_what_was_signed(book, clock):
    one = claim(clock.nonce(), body=b"a")
    refused(401, gate.SIGNATURE_REFUSED, check_signed, one, message_of(one, b"b"), ME, book)
    refused(401, gate.SIGNATURE_REFUSED, check_signed, one, message_of(one, None), ME, book)
    check_signed(one, message_of(one, b"a"), ME, book)


def test_the_nonce_comes_before_the_signature_and_the_miner_last(book, clock):
    old = claim(clock.nonce(-500), miner=OTHER.ss58_address, signature="0x00")
    refused(401, gate.NONCE_REFUSED, check_signed, old, "m", ME, book)
    forged = claim(clock.nonce(), miner=OTHER.ss58_address, signature="0x00")
    refused(401, gate.SIGNATURE_REFUSED, check_signed, forged, "m", ME, book)


@pytest.mark.parametrize("uuid", [None, "ab" * 32])
def test_what_was_signed_for_another_miner_is_refused(book, clock, uuid):
    """In Fiber's encrypted mode one miner can pass on to another what a validator signed for it."""
    relayed = claim(clock.nonce(), miner=OTHER.ss58_address, uuid=uuid)
    refused(401, gate.MINER_REFUSED, check_signed, relayed, message_of(relayed, None), ME, book)
    assert len(book) == 0


def test_what_is_forged_costs_no_memory(book, clock):
    """Fiber keeps each nonce before it looks at the signature."""
    for number in range(300):
        forged = claim(clock.nonce(tail=str(number)), signature="0x" + "ab" * 64)
        refused(401, gate.SIGNATURE_REFUSED, check_signed, forged, message_of(forged, None), ME, book)
    assert len(book) == 0


@pytest.mark.parametrize("signature", ["", "ab" * 64, "0x", "0x" + "zz" * 64, "\u2603" * 130])
def test_a_signature_that_is_none_is_no_error(book, clock, signature):
    """Without 0x Fiber answers 500."""
    one = Claim(VALIDATOR.ss58_address, ME, clock.nonce(), signature)
    refused(401, gate.SIGNATURE_REFUSED, check_signed, one, message_of(one, None), ME, book)


@pytest.mark.parametrize("hotkey", ["", "5x", "\u2603", "0x" + "11" * 32, "1" * 10_000])
def test_a_validator_that_is_none(book, clock, hotkey):
    one = Claim(hotkey, ME, clock.nonce(), "0x" + "ab" * 64)
    refused(401, gate.SIGNATURE_REFUSED, check_signed, one, message_of(one, None), ME, book)


def test_two_that_race_with_one_nonce(book, clock):
    """Another worker was faster, between the look and the use."""

    class Slow:
        def check(self, account, nonce):
            return True

        def commit(self, account, nonce):
            return False

    one = claim(clock.nonce())
    refused(401, gate.NONCE_REFUSED, check_signed, one, message_of(one, None), ME, Slow())


def test_stake():
    nodes = {"v": SimpleNamespace(stake=1.0)}
    check_stake(nodes, "v", 1.0)
    refused(403, "Hotkey not found in metagraph", check_stake, nodes, "w", 1.0)
    refused(403, "Insufficient stake of 1.0 ", check_stake, nodes, "v", 1000)


def test_bodies():
    fernet = Fernet(Fernet.generate_key())
    assert gate.decrypt(fernet, fernet.encrypt(b"{}")) == b"{}"
    refused(400, gate.KEY_UNKNOWN, gate.decrypt, None, b"")
    for body in (b"", b"garbage", b"\xff" * 100, Fernet(Fernet.generate_key()).encrypt(b"{}")):
        with pytest.raises(RequestRefused) as caught:
            gate.decrypt(fernet, body)
        assert caught.value.status == 401
