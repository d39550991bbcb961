"""How far a stream was read, as it lies in the store beside what was applied from it.

It is written after what it speaks of, and a store loses writes only from its end (RocksDB's log is one sequence over
all columns), so that after a crash it never says more than what is there. `mark` tells whether the stream is still the
one that was read: a server that lost its disk, or the end of it, gives the same numbers to other messages.
"""

from __future__ import annotations

import msgspec
from blake3 import blake3

from mycelium.database.schema import META_STREAM
from mycelium.database.store import Column, Store

_MARK_BYTES = 16


class Place(msgspec.Struct, frozen=True, array_like=True):
    """created: of the stream, as the server says it. position: all up to it is settled. read: the newest that was read.

    mark: of the message `read`; b"" where it was not read here.
    """

    created: str
    position: int
    read: int
    mark: bytes = b""


def mark_of(body: bytes) -> bytes:
    """What a message is known by again."""
    return blake3(body).digest(length=_MARK_BYTES)


def load(store: Store, space: str) -> Place | None:
    """None where nothing was read yet, or what is written does not parse. StoreError."""
    stored = store.get(Column.META, META_STREAM + space.encode())
    if stored is None:
        return None
    try:
        return msgspec.msgpack.decode(stored, type=Place)
    except msgspec.DecodeError:
        return None  # reading it all again is slower, never wrong


def save(store: Store, space: str, place: Place) -> None:
    """Durable with the store's next sync, and never before what was committed before it. StoreError."""
    write = store.batch()
    write.put(META_STREAM + space.encode(), msgspec.msgpack.encode(place), store.column(Column.META))
    store.commit(write)
