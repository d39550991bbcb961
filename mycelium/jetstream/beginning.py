"""Where a replica, or a new member of a fleet, begins with a space: a snapshot, and the stream behind it.

A snapshot is written to disk first and believed only when it is whole, as it says of what is missing in it that it is
superseded. Its batches prove themselves like all others. One that is damaged is named, and the one before it is taken,
or the stream from its first message.

Later snapshots are looked at too: for the proofs in them, by which the nodes froze an origin, and for what the stream
never brought here. Owns the file; which batch is taken is the engine's to say.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from mycelium.config import DISK_RESERVE_BYTES
from mycelium.config.replica import SPOOL_READ_BYTES
from mycelium.database.engine import Engine
from mycelium.errors import MalformedMessage, ProtocolError, StoreError, StoreFull, StreamGone
from mycelium.feed.batch import SignedRecord
from mycelium.jetstream import objects, snapshotfile, snapshots, streams
from mycelium.jetstream.client import Session
from mycelium.jetstream.following import Connections, Follower, Stream
from mycelium.jetstream.layout import Network
from mycelium.jetstream.snapshots import Snapshot

log = logging.getLogger(__name__)

_SUFFIX: Final = ".snapshot"


class Used(NamedTuple):
    """A snapshot that a space was begun with. whole: whether the stream that there is now goes on behind it."""

    stream_seq: int
    made_ms: int
    batches: int
    whole: bool


class Begun(Protocol):
    """A space that is begun. began: with which snapshot, set here; damaged: how many could not be read."""

    space: str
    began: Used | None
    damaged: int

    async def offer(self, raw: bytes, signature: bytes, void_first: int) -> object:
        """Take a batch of a snapshot, however long it waits for room. StoreError."""
        ...

    def prove(self, proof: bytes) -> object:
        """Act on a proof of a snapshot. StoreError."""
        ...


class Looking(Begun, Protocol):
    """One that is told of later snapshots too."""

    follower: Follower

    def offered(self, made_ms: int) -> None:
        """There is a snapshot of its stream, made then."""
        ...


def prove(engine: Engine, space: str, proof: bytes) -> bool:
    """Freeze an origin by a proof, as on any node; whether that is news. StoreError."""
    try:
        found = engine.frozen.judge(proof)
    except ProtocolError as error:
        log.warning("a proof in a snapshot of %r proves nothing: %s", space, error)
        return False
    return found is not None and engine.frozen.convict(found)


class Beginning:
    """For all spaces of one replica or member. directory: for the file, its own data directory."""

    def __init__(self, connections: Connections, network: Network, directory: Path) -> None:
        self._connections = connections
        self._network = network
        self._directory = directory
        self._proofs_ms: dict[str, int] = {}
        """By space, when the newest snapshot was made whose proofs are known."""

    async def begin(self, tail: Begun, stream: Stream, why: str) -> int:
        """Give the newest snapshot that can be read to a tail; the sequence after which its stream is to be read.

        BrokerError, StoreError; then nothing is lost, and it may be called again.
        """
        session = await self._connections.ready()
        log.info("%r begins anew: %s", tail.space, why)
        for one in _in_order(await snapshots.listed(session, self._network, tail.space), stream):
            try:
                await self._give(session, tail, one)
            except (MalformedMessage, StreamGone) as error:
                log.warning("snapshot %s of %r is left out: %s", one.object.name, tail.space, error)
                tail.damaged += 1
                continue
            follows = _follows(one, stream)
            tail.began = Used(one.stream_seq, one.made_ms, one.batches, follows)
            log.info("%r: all of a snapshot up to message %d is taken", tail.space, one.stream_seq)
            if follows and one.stream_seq + 1 >= stream.first:
                return one.stream_seq
            break
        if stream.first > 1:
            log.warning(
                "what the stream of %r had before message %d may be missing here, until there is a snapshot with it",
                tail.space,
                stream.first,
            )
        return max(0, stream.first - 1)

    async def look(self, tail: Looking) -> None:
        """Take the proofs of the newest snapshot, and let the tail begin again where that has what is lacking here.

        BrokerError, StoreError.
        """
        session = await self._connections.ready()
        state = await streams.look(session, tail.follower.name)
        stream = Stream(state.created, state.first_seq, state.last_seq)
        found = await snapshots.listed(session, self._network, tail.space)
        newest = next((one for one in found if _follows(one, stream)), None)
        if newest is None:
            return
        if newest.made_ms > self._proofs_ms.get(tail.space, 0):
            try:
                await _prove(session, tail, newest)
            except (MalformedMessage, StreamGone) as error:
                log.warning("snapshot %s of %r cannot be read: %s", newest.object.name, tail.space, error)
            self._proofs_ms[tail.space] = newest.made_ms
        tail.offered(newest.made_ms)

    async def _give(self, session: Session, tail: Begun, one: Snapshot) -> None:
        """Give one snapshot to a tail, batch by batch. MalformedMessage before anything of it was given."""
        path = self._directory / f"{tail.space}{_SUFFIX}"
        try:
            await self._fetch(session, one, path)
            log.info(
                "%r: a snapshot of %d batches is whole: %d MiB", tail.space, one.batches, one.size_bytes >> 20
            )
            self._proofs_ms[tail.space] = one.made_ms
            for record in _read(path):
                if isinstance(record, bytes):
                    tail.prove(record)
                else:
                    await tail.offer(record.raw, record.signature, record.void_first)
                # Whoever else has something to do on this loop gets a turn after every batch.
                await asyncio.sleep(0)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from None
        finally:
            path.unlink(missing_ok=True)

    async def _fetch(self, session: Session, one: Snapshot, path: Path) -> None:
        """Write a snapshot to a file, and see that it is whole and what it says."""
        free_bytes = shutil.disk_usage(self._directory).free
        if one.size_bytes > free_bytes - DISK_RESERVE_BYTES:
            raise StoreFull(
                f"{self._directory}: a snapshot of {one.size_bytes >> 20} MiB does not fit into the {free_bytes >> 20} "
                "MiB that are free"
            )
        reader = snapshotfile.Reader()
        with path.open("wb") as file:
            async with aclosing(objects.download(session, one.object)) as pieces:
                async for piece in pieces:
                    if file.tell() + len(piece) > one.size_bytes:
                        raise MalformedMessage("it is larger than its description says")
                    file.write(piece)
                    for _ in reader.feed(piece):
                        pass
        reader.finish()
        header = reader.header
        assert header is not None, "what has an end has a beginning"
        if (header.netuid, header.genesis, header.space) != (*self._network, one.space):
            raise MalformedMessage("it is of another network or space")
        if (header.stream_seq, header.stream_created) != (one.stream_seq, one.stream_created):
            raise MalformedMessage("it is not what its description says")


def _follows(one: Snapshot, stream: Stream) -> bool:
    """Whether the stream goes on behind it: of another stream of that name the numbers mean nothing."""
    return one.stream_created == stream.created and one.stream_seq <= stream.last


def _in_order(known: list[Snapshot], stream: Stream) -> list[Snapshot]:
    """The newest first, but those of this stream before any other's."""
    return sorted(known, key=lambda one: (_follows(one, stream), one.made_ms), reverse=True)


async def _prove(session: Session, tail: Begun, one: Snapshot) -> None:
    """Act on the proofs in a snapshot, which come before its batches: no more of it is read."""
    reader = snapshotfile.Reader()
    async with aclosing(objects.download(session, one.object)) as pieces:
        async for piece in pieces:
            for found in reader.feed(piece):
                if isinstance(found, SignedRecord):
                    return
                tail.prove(found)


def _read(path: Path) -> Iterator[SignedRecord | bytes]:
    reader = snapshotfile.Reader()
    with path.open("rb") as file:
        while piece := file.read(SPOOL_READ_BYTES):
            yield from reader.feed(piece)
    reader.finish()
