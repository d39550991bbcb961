"""The feed: the order in which this node applied batches, and which of their changes became visible.

A cursor is an index in the feed and a change's place in its batch, as one integer. It names a change for as long as
the data directory lives, so a reader resumes without a miss or a repeat.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mycelium._core.codec import Batch, decode_batch
from mycelium.database import schema
from mycelium.database.store import Column, Store
from mycelium.errors import StoreCorrupt

_PLACE_BITS = 16
_SIGNATURE_BYTES = 64


class FeedEntry(NamedTuple):
    """One applied batch. `winners`: bit i (LSB first) is set when change i became visible."""

    feed_index: int
    batch: Batch
    winners: bytes


def encode(log_key: bytes, winners: bytes) -> bytes:
    return len(winners).to_bytes(2, "big") + winners + log_key


def log_key_of(record: bytes) -> bytes:
    """The key in LOG of the batch that an entry names."""
    return record[2 + int.from_bytes(record[:2], "big") :]


def last_index(store: Store) -> int:
    """The index of the newest entry; 0 when there is none."""
    newest = next(iter(store.scan(Column.FEED, b"", None, reverse=True)), None)
    return int.from_bytes(newest[0], "big") if newest else 0


def entries(store: Store, first: int, last: int) -> Iterator[FeedEntry]:
    """The entries first..last, read from the log."""
    for key, record in store.scan(Column.FEED, schema.feed_key(first), schema.feed_key(last + 1)):
        size = int.from_bytes(record[:2], "big")
        logged = store.get(Column.LOG, record[2 + size :])
        if logged is None:
            if store.get(Column.META, schema.META_DROPPED + record[2 + size :]) is not None:
                continue
            raise StoreCorrupt("the feed names a batch that the log has not", "restore a backup")
        yield FeedEntry(
            int.from_bytes(key, "big"), decode_batch(logged[_SIGNATURE_BYTES:]), record[2 : 2 + size]
        )


def cursor_of(index: int, place: int) -> int:
    return index << _PLACE_BITS | place


def place_of(cursor: int) -> tuple[int, int]:
    """(index, place) of a cursor."""
    return cursor >> _PLACE_BITS, cursor & ((1 << _PLACE_BITS) - 1)


def visible(winners: bytes, place: int) -> bool:
    return bool(winners[place >> 3] >> (place & 7) & 1)
