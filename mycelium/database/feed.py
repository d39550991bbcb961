"""The feed: the order in which this node applied batches, and which of their changes became visible.

A cursor of a watch is an index in the feed and a change's place in its batch, as one integer. It names a change for as
long as the data directory lives, so a reader resumes without a miss or a repeat.

An entry names a batch of the log, or says that rows of a space were *made anew* (`rebuild`, `repair`), which no batch
tells. A batch that is in the log no more is noted in META: given up, or superseded and dropped by the horizon.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from mycelium._core.codec import Batch, decode_batch
from mycelium.database import schema
from mycelium.database.store import Column, Store, WriteBatch
from mycelium.errors import StoreCorrupt

GIVEN_UP: Final = b""
SUPERSEDED: Final = b"s"
"""Why a batch that the feed names is not in the log: the values of META_DROPPED."""

_PLACE_BITS = 16
_SIGNATURE_BYTES = 64
_REWOUND: Final = b"\xff\xff"
"""In place of the number of bytes of the winners, of which a batch has 8 KiB at most."""


class FeedEntry(NamedTuple):
    """One applied batch. `winners`: bit i (LSB first) is set when change i became visible."""

    feed_index: int
    batch: Batch
    winners: bytes


class Named(NamedTuple):
    """An entry as it is stored: the key in LOG of the batch, or the space of which rows were made anew."""

    feed_index: int
    log_key: bytes
    winners: bytes
    rewound: str = ""


def encode(log_key: bytes, winners: bytes) -> bytes:
    return len(winners).to_bytes(2, "big") + winners + log_key


def mark_rewound(store: Store, space: str, write: WriteBatch) -> int:
    """Let a write say that rows of a space were made anew; the index of that entry."""
    index = last_index(store) + 1
    write.put(schema.feed_key(index), _REWOUND + space.encode(), store.column(Column.FEED))
    return index


def named(key: bytes, record: bytes) -> Named:
    """A row of FEED."""
    index = int.from_bytes(key, "big")
    if record[:2] == _REWOUND:
        return Named(index, b"", b"", record[2:].decode())
    end = 2 + int.from_bytes(record[:2], "big")
    return Named(index, record[end:], record[2:end])


def last_index(store: Store) -> int:
    """The index of the newest entry; 0 when there is none."""
    newest = next(iter(store.scan(Column.FEED, b"", None, reverse=True)), None)
    return int.from_bytes(newest[0], "big") if newest else 0


def pruned_to(store: Store) -> int:
    """The greatest index up to which entries were deleted as too old; 0 for none."""
    found = store.get(Column.META, schema.META_FEED_PRUNED)
    return int.from_bytes(found, "big") if found else 0


def scan(store: Store, first: int, last: int) -> Iterator[Named]:
    """The entries first..last as they are stored."""
    for key, record in store.scan(Column.FEED, schema.feed_key(first), schema.feed_key(last + 1)):
        yield named(key, record)


def why_missing(store: Store, log_key: bytes) -> bytes:
    """GIVEN_UP or SUPERSEDED, of a batch that the log has not. StoreCorrupt where nothing says why."""
    why = store.get(Column.META, schema.META_DROPPED + log_key)
    if why is None:
        raise StoreCorrupt("the feed names a batch that the log has not", "restore a backup")
    return why


def entries(store: Store, first: int, last: int) -> Iterator[FeedEntry]:
    """The batches of first..last, read from the log, without those that are in it no more."""
    for entry in scan(store, first, last):
        if entry.rewound:
            continue
        logged = store.get(Column.LOG, entry.log_key)
        if logged is None:
            why_missing(store, entry.log_key)
            continue
        yield FeedEntry(entry.feed_index, decode_batch(logged[_SIGNATURE_BYTES:]), entry.winners)


def cursor_of(index: int, place: int) -> int:
    return index << _PLACE_BITS | place


def place_of(cursor: int) -> tuple[int, int]:
    """(index, place) of a cursor."""
    return cursor >> _PLACE_BITS, cursor & ((1 << _PLACE_BITS) - 1)


def visible(winners: bytes, place: int) -> bool:
    return bool(winners[place >> 3] >> (place & 7) & 1)
