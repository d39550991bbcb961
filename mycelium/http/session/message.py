"""An HTTP request and its answer as the bodies of a call. Owns the layout; must not judge what is in it.

A call's method is `POST /path?query`; behind `STREAM ` its answer comes in items as the app gives them. The request's
body is the call's body: JSON, as validators send it. An answer is

    u16 little-endian: bytes of the head | head: msgpack [status, [[name, value], ...]] | body

of which an empty head says what most answers say: 200, and JSON. Of a stream the first item is such an answer, whose
body is the first part of it, and every other item the next part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from mycelium.errors import MalformedMessage

Headers = Sequence[tuple[bytes, bytes]]

STREAM: Final = "STREAM "
PROBE: Final = "PROBE"
"""No method: whoever is there says so."""
TARGET_CHARS_MAX: Final = 2_048
"""A longer path and query go by HTTP."""
JSON_HEADERS: Final[Headers] = ((b"content-type", b"application/json"),)
JSON_HEAD: Final = b"\x00\x00"
"""Before a body that is JSON, of status 200."""
_LENGTH_BYTES: Final = 2
_HEAD_BYTES_MAX: Final = 2**16 - 1

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, list[tuple[bytes, bytes]]])


def head(status: int, headers: Headers) -> bytes:
    """What stands before the body. MalformedMessage for headers of more than 64 KiB."""
    if status == 200 and headers == JSON_HEADERS:
        return JSON_HEAD
    encoded = _encoder.encode((status, headers))
    if len(encoded) > _HEAD_BYTES_MAX:
        raise MalformedMessage(f"the headers of an answer have {len(encoded)} bytes")
    return len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded


def split(answer: bytes) -> tuple[int, Headers, bytes]:
    """Status, headers and body. MalformedMessage."""
    if answer.startswith(JSON_HEAD):
        return 200, JSON_HEADERS, answer[_LENGTH_BYTES:]
    end = _LENGTH_BYTES + int.from_bytes(answer[:_LENGTH_BYTES], "little")
    if len(answer) < end or end == _LENGTH_BYTES:
        raise MalformedMessage("an answer ends within its head")
    try:
        status, headers = _decoder.decode(memoryview(answer)[_LENGTH_BYTES:end])
    except (msgspec.DecodeError, ValueError) as error:
        raise MalformedMessage(f"the head of an answer: {error}") from None
    if not 200 <= status <= 599:
        raise MalformedMessage(f"an answer of status {status}")
    return status, headers, answer[end:]


def split_method(method: str) -> tuple[str, str]:
    """`POST` and `/path?query`. ("", "") for what is no such text."""
    verb, _, target = method.partition(" ")
    if verb not in {"GET", "POST"} or not target.startswith("/") or not target.isascii():
        return "", ""
    return verb, target
