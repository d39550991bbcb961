"""Messages in a frame's body: each behind its length, a u32 in little-endian order, and nothing between them.

Owns the framing; must not look into a message. A frame holds at least one message, each at least its tag.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from mycelium.config import DATA_BYTES_MAX, FRAME_BYTES_MAX
from mycelium.errors import MalformedMessage, OversizedMessage

_LENGTH: Final = struct.Struct("<I")


def join(messages: Iterable[bytes]) -> bytes:
    """The body of a frame. MalformedMessage for an empty message or none, OversizedMessage above a cap."""
    parts: list[bytes] = []
    total = 0
    for message in messages:
        if not message:
            raise MalformedMessage("an empty message in a frame")
        if len(message) > DATA_BYTES_MAX:
            raise OversizedMessage(f"a message of {len(message)} bytes, at most {DATA_BYTES_MAX}")
        parts += (_LENGTH.pack(len(message)), message)
        total += _LENGTH.size + len(message)
    if not parts:
        raise MalformedMessage("an empty frame")
    if total > FRAME_BYTES_MAX:
        raise OversizedMessage(f"a frame of {total} bytes, at most {FRAME_BYTES_MAX}")
    return b"".join(parts)


def split(frame: bytes, max: int = FRAME_BYTES_MAX) -> list[bytes]:
    """The messages of a frame's body of at most `max` bytes. Lengths must meet the end exactly."""
    end = len(frame)
    if end > max:
        raise OversizedMessage(f"a frame of {end} bytes, at most {max}")
    if end == 0:
        raise MalformedMessage("an empty frame")
    messages: list[bytes] = []
    at = 0
    while at < end:
        if end - at < _LENGTH.size:
            raise MalformedMessage("a frame ends within a length")
        (length,) = _LENGTH.unpack_from(frame, at)
        at += _LENGTH.size
        if length > DATA_BYTES_MAX:
            raise OversizedMessage(f"a message of {length} bytes, at most {DATA_BYTES_MAX}")
        if length == 0 or length > end - at:
            raise MalformedMessage(f"a message of {length} bytes with {end - at} left in its frame")
        messages.append(frame[at : at + length])
        at += length
    return messages
