"""Accounts as text: SS58 with prefix 42, at the edges of the program only.

Inside, an account is its 32-byte sr25519 public key, because one key has as many SS58 spellings as there are
prefixes, and comparing text lets them pass for different accounts.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Final

from mycelium.errors import AccountRefused

ACCOUNT_BYTES: Final = 32
NOBODY: Final = bytes(ACCOUNT_BYTES)
"""The neutral element of Ristretto: anyone can sign for it, so no signature of it is ever accepted."""

PREFIX: Final = 42
"""Substrate's generic prefix, the one Bittensor uses."""

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES: Final = {letter: value for value, letter in enumerate(_ALPHABET)}
_CHECKSUM_BYTES: Final = 2
_RAW_BYTES: Final = 1 + ACCOUNT_BYTES + _CHECKSUM_BYTES
_TEXT_MAX: Final = 64
"""Checked before the quadratic base conversion; the addresses of other networks still get their own answer."""


@lru_cache(maxsize=4096)
def parse(text: str) -> bytes:
    """The 32 bytes behind an SS58 address. Raises AccountRefused that says what is wrong with it."""
    if not text or len(text) > _TEXT_MAX:
        raise AccountRefused(f"{text[:_TEXT_MAX]!r} is not an SS58 address: it has 48 letters")
    number = 0
    for letter in text:
        value = _VALUES.get(letter)
        if value is None:
            raise AccountRefused(f"{text!r} is not an SS58 address: {letter!r} is not a base58 letter")
        number = number * 58 + value
    # Bytes that are zero lead as the letter 1; the prefix is never zero, so an exact length needs no padding.
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    if len(raw) != _RAW_BYTES or text[0] == "1":
        raise AccountRefused(f"{text!r} is not the SS58 address of a 32-byte account with prefix {PREFIX}")
    if raw[-_CHECKSUM_BYTES:] != _checksum(raw[:-_CHECKSUM_BYTES]):
        raise AccountRefused(f"{text!r} is mistyped: its SS58 checksum does not match")
    if raw[0] != PREFIX:
        raise AccountRefused(
            f"{text!r} has the SS58 prefix of another network (0x{raw[0]:02x}), not {PREFIX}"
        )
    return raw[1:-_CHECKSUM_BYTES]


@lru_cache(maxsize=4096)
def format(account: bytes) -> str:  # noqa: A001 - always called as account.format
    """The SS58 address of a 32-byte account; ValueError if it is of another length (a bug, not bad input)."""
    if len(account) != ACCOUNT_BYTES:
        raise ValueError(f"an account has {ACCOUNT_BYTES} bytes, not {len(account)}")
    payload = bytes((PREFIX,)) + account
    number = int.from_bytes(payload + _checksum(payload), "big")
    letters = []
    while number:
        number, value = divmod(number, 58)
        letters.append(_ALPHABET[value])
    return "".join(reversed(letters))


def _checksum(payload: bytes) -> bytes:
    return blake2b(b"SS58PRE" + payload).digest()[:_CHECKSUM_BYTES]
