"""Block headers: the hash is computed from the header itself, so that a new head costs no second question.

As Substrate defines it: BLAKE2b-256 of the header in SCALE. Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from mycelium.errors import ChainError

_NUMBER_MAX: Final = 2**32 - 1


class Head(NamedTuple):
    """A block: its number, and its hash as 0x and 64 hex digits."""

    number: int
    hash: str


def unhex(text: Any) -> bytes:
    """Bytes of hex text. ChainError for anything else: it is what a node answered."""
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except (AttributeError, ValueError, TypeError):
        raise ChainError(f"the node answered {str(text)[:80]!r} where bytes in hex belong") from None


def compact(number: int) -> bytes:
    """SCALE's compact encoding of a number below 2^30, or of up to 67 bytes."""
    if number < 1 << 6:
        return bytes((number << 2,))
    if number < 1 << 14:
        return (number << 2 | 1).to_bytes(2, "little")
    if number < 1 << 30:
        return (number << 2 | 2).to_bytes(4, "little")
    data = number.to_bytes((number.bit_length() + 7) // 8, "little")
    return bytes(((len(data) - 4) << 2 | 3,)) + data


def uncompact(data: bytes) -> tuple[int, int]:
    """A compact number at the beginning of data, and how many bytes it takes. ValueError when they are missing."""
    if not data:
        raise ValueError("no compact number")
    mode = data[0] & 3
    size = (data[0] >> 2) + 5 if mode == 3 else (1, 2, 4)[mode]
    if len(data) < size:
        raise ValueError("a compact number that is cut short")
    if mode == 3:
        return int.from_bytes(data[1:size], "little"), size
    return int.from_bytes(data[:size], "little") >> 2, size


def head_of(header: Any) -> Head:
    """Number and hash of a header as `chain_getHeader` answers it. ChainError when it is none."""
    if not isinstance(header, Mapping):
        raise ChainError("the node does not know that block", "an archive node keeps all of them")
    try:
        number = int(header["number"], 16)
        if not 0 <= number <= _NUMBER_MAX:
            raise ValueError(number)
        logs = [unhex(log) for log in header["digest"]["logs"]]
        parts = (unhex(header["parentHash"]), compact(number), unhex(header["stateRoot"]))
        rest = (unhex(header["extrinsicsRoot"]), compact(len(logs)), *logs)
    except (KeyError, TypeError, ValueError):
        raise ChainError(f"the node answered {str(header)[:80]!r} where a block header belongs") from None
    return Head(number, f"0x{blake2b(b''.join(parts + rest), digest_size=32).hexdigest()}")
