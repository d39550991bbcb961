"""SS58 at the edges: one spelling, one network, and no text that passes for another account."""

from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.errors import AccountRefused
from mycelium.identity import account

PHRASE_ACCOUNT = bytes.fromhex("46ebddef8cd9bb167dc30878d7113b7e168e6f0646beffd77d69d39bad76b47a")
PHRASE_TEXT = "5DfhGyQdFobKM8NsWvEeAKk5EQQgYe9AydgJ7rMB6E1EqRzV"
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58(raw: bytes) -> str:
    number, text = int.from_bytes(raw, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = ALPHABET[digit] + text
    return text


def ss58(prefix: bytes, raw: bytes) -> str:
    return base58(prefix + raw + blake2b(b"SS58PRE" + prefix + raw).digest()[:2])


def test_known_address():
    assert account.parse(PHRASE_TEXT) == PHRASE_ACCOUNT
    assert account.format(PHRASE_ACCOUNT) == PHRASE_TEXT


@given(st.binary(min_size=32, max_size=32))
def test_every_account_survives_the_trip(raw):
    assert account.parse(account.format(raw)) == raw


@given(st.integers(0, 47), st.sampled_from(ALPHABET))
def test_one_wrong_letter_is_noticed(at, letter):
    text = PHRASE_TEXT[:at] + letter + PHRASE_TEXT[at + 1 :]
    if text == PHRASE_TEXT:
        return
    with pytest.raises(AccountRefused):
        account.parse(text)


@pytest.mark.parametrize("prefix", [b"\x00", b"\x02", b"\x2b", b"\x4c\x01"])
def test_other_networks_are_refused(prefix):
    with pytest.raises(AccountRefused, match="prefix"):
        account.parse(ss58(prefix, PHRASE_ACCOUNT))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "0x" + PHRASE_ACCOUNT.hex(),
        PHRASE_TEXT + "V",
        "1" + PHRASE_TEXT,
        PHRASE_TEXT[:-1],
        PHRASE_TEXT[:-1] + "0",
        PHRASE_TEXT[:-1] + "é",
        " " + PHRASE_TEXT,
        "z" * 100_000,
        ss58(b"\x2a", b"short"),
        ss58(b"\x2a", bytes(33)),
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(AccountRefused):
        account.parse(text)


def test_formatting_another_length_is_a_bug():
    with pytest.raises(ValueError, match="32"):
        account.format(b"short")
