"""The bodies of the calls that read a node's feed and take exports of it, for both ends, beside those of `calls`.

A stream of a feed is records of one of several kinds, told apart by their first element. It begins with Started and
ends, where it does, with Ended. Knows no socket and no store.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

FEED: Final = "feed"
EXPORT: Final = "export"
SIGNED_EXPORT: Final = "signed_export"
PROOFS: Final = "proofs"

BEHIND: Final = "behind"
REWOUND: Final = "rewound"
FOREIGN: Final = "foreign"


class Feed(msgspec.Struct, array_like=True, frozen=True):
    """after: "" for now, "start", or a cursor. spaces None: all that the caller may read. tables None: all of them."""

    after: str
    spaces: list[str] | None
    tables: list[str] | None


class Export(msgspec.Struct, array_like=True, frozen=True):
    spaces: list[str] | None
    tables: list[str] | None


class SignedExport(msgspec.Struct, array_like=True, frozen=True):
    space: str


class Proofs(msgspec.Struct, array_like=True, frozen=True):
    space: str


class Started(msgspec.Struct, array_like=True, frozen=True, tag=0):
    """Where it begins. batches, changes: of a signed export, how many follow; rows of an export are not counted."""

    generation: int
    index: int
    newest: int
    spaces: list[str]
    batches: int = 0
    changes: int = 0


class Whole(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """A batch as it was signed, and which of its changes became visible."""

    index: int
    newest: int
    raw: bytes
    signature: bytes
    winners: bytes


class Part(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """What of a batch its reader may see. changes: (place, table, merge, op, key, value, wins)."""

    index: int
    newest: int
    id: bytes
    space: str
    account: bytes
    generation: int
    seq_first: int
    count: int
    epoch: int
    hlc_first: int
    changes: list[tuple[int, str, int, int, bytes, bytes, bool]]


class Progress(msgspec.Struct, array_like=True, frozen=True, tag=3):
    """Up to this index there is nothing for this reader."""

    index: int
    newest: int


class Ended(msgspec.Struct, array_like=True, frozen=True, tag=4):
    """The last record. kind: "" where everything was given (count: how many), or why the feed cannot go on."""

    count: int = 0
    kind: str = ""
    text: str = ""
    cursor: str = ""
    space: str = ""


class Rows(msgspec.Struct, array_like=True, frozen=True, tag=5):
    """Rows of an export: (space, table, merge, key, part, value, hlc, account, generation, seq)."""

    rows: list[tuple[str, str, int, bytes, bytes, bytes, int, bytes, int, int]]


class Signed(msgspec.Struct, array_like=True, frozen=True, tag=6):
    """Batches of a signed export: (void_first, raw, signature)."""

    batches: list[tuple[int, bytes, bytes]]


Record = Started | Whole | Part | Progress | Ended | Rows | Signed
RECORD: Final[Any] = Record
"""For `calls.decode`, whose second argument mypy takes for a class."""
