"""Keys and values as people give them, to and from the bytes that are stored and signed.

Owns the limits on both and the one-byte tag of a value. Knows no table and no store.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mycelium.config import KEY_BYTES_MAX, VALUE_BYTES_MAX
from mycelium.errors import KeyRefused, StoreCorrupt, ValueRefused

_BYTES = b"\x00"
_OBJECT = b"\x01"

_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode = msgspec.msgpack.Decoder().decode


def key_bytes(key: str | bytes) -> bytes:
    """UTF-8 of a text key, a bytes key as it is. KeyRefused when empty or above KEY_BYTES_MAX."""
    if isinstance(key, str):
        try:
            key = key.encode()
        except UnicodeEncodeError as error:
            raise KeyRefused(f"the key is not valid text: {error.reason}") from None
    elif not isinstance(key, bytes):
        raise KeyRefused(f"a key is str or bytes, not {type(key).__name__}")
    if 0 < len(key) <= KEY_BYTES_MAX:
        return key
    if not key:
        raise KeyRefused("the key is empty")
    raise KeyRefused(f"the key has {len(key)} bytes; at most {KEY_BYTES_MAX} are allowed")


def key_of(stored: bytes) -> str | bytes:
    """The key as people see it: text where it is valid UTF-8, else the bytes."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


def value_bytes(value: Any) -> bytes:
    """Tag and encoding: 0x00 and the bytes themselves, or 0x01 and msgpack of a JSON-like object.

    Equal objects have equal bytes (maps are ordered by key). ValueRefused above VALUE_BYTES_MAX or for a type
    that has no encoding.
    """
    if isinstance(value, bytes):
        encoded = _BYTES + value
    elif isinstance(value, bytearray | memoryview):
        encoded = _BYTES + bytes(value)
    else:
        try:
            encoded = _OBJECT + _encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueRefused(f"a value is bytes or a JSON-like object: {error}") from None
    if len(encoded) > VALUE_BYTES_MAX:
        raise ValueRefused(f"the value has {len(encoded)} bytes; at most {VALUE_BYTES_MAX} are allowed")
    return encoded


def value_of(stored: bytes) -> Any:
    """The value that `value_bytes` encoded.

    A peer signs whatever it likes, so a payload with an unknown tag or broken msgpack is not an error here: it is
    returned as the bytes it is.
    """
    if stored[:1] == _OBJECT:
        try:
            return _decode(stored[1:])
        except (ValueError, TypeError, OverflowError, RecursionError):
            return stored
    return stored[1:] if stored[:1] == _BYTES else stored


def amount_bytes(amount: int) -> bytes:
    """A counter's addend as 8 bytes, big-endian, two's complement."""
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise ValueRefused(f"a counter adds whole numbers, not {type(amount).__name__}")
    try:
        return amount.to_bytes(8, "big", signed=True)
    except OverflowError:
        raise ValueRefused("a counter adds at most 2^63 - 1 at a time") from None


def amount_of(payload: bytes) -> int:
    """A counter row's sum: 16 bytes, big-endian, two's complement."""
    if len(payload) != 16:
        raise StoreCorrupt(f"a counter row holds {len(payload)} bytes instead of 16", "restore a backup")
    return int.from_bytes(payload, "big", signed=True)
