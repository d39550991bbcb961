"""A table of Mycelium and its keys, as sinks write them. Pure.

A key is text where it can be. What is no UTF-8 or has a NUL, which PostgreSQL cannot hold as text, and what begins with
\\x itself, is \\x and the bytes in hex: no two keys have one text. PostgreSQL gives the bytes back by
`decode(substr(key, 3), 'hex')`. The order of such texts is that of the keys' bytes wherever both are text as they are.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mycelium.protocol.messages import MergeType

_HEX: Final = "\\x"


class Source(NamedTuple):
    """A table of Mycelium: its whole identity."""

    space: str
    table: str
    merge: MergeType

    def __str__(self) -> str:
        return f"{self.space}/{self.table}"


def key_text(key: bytes) -> str:
    """A key as it stands in the column `key`."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return _HEX + key.hex()
    return text if "\0" not in text and not text.startswith(_HEX) else _HEX + key.hex()


def key_bytes(text: str) -> bytes:
    """The key that `key_text` wrote."""
    return bytes.fromhex(text[len(_HEX) :]) if text.startswith(_HEX) else text.encode()
