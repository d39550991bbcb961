"""Snapshots of a space in JetStream's object store: made from a node, found by who begins, read without holding them.

One is there when all of it is. The newest of the stream that there is now counts; the one before stays until the next,
for who is reading it. What is in the snapshot and in the stream as well is a duplicate, which an engine ignores.

Reads and writes; when one is due is said by `due`, and by who calls it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mycelium.config.jetstream import SNAPSHOTS_KEPT
from mycelium.errors import MalformedMessage, StreamGone
from mycelium.feed.batch import SignedRecord
from mycelium.feed.cursor import Cursor
from mycelium.jetstream import objects, snapshotfile
from mycelium.jetstream.client import Session
from mycelium.jetstream.layout import Network
from mycelium.jetstream.objects import Object, Upload
from mycelium.jetstream.snapshotfile import Header
from mycelium.jetstream.streams import StreamState

logger = logging.getLogger(__name__)

_HOUR_MS: Final = 3_600_000
BEHIND: Final = "the stream does not reach back to the last one"
SOON: Final = "the stream will not reach back to the last one much longer"
URGENT: Final = (BEHIND, SOON)
"""Of what `due` says: a new replica lacks something, or soon will."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One that can be read. stream_seq: it covers the stream up to there; read the stream after it."""

    space: str
    stream_seq: int
    stream_created: str
    cursor: str
    made_ms: int
    batches: int
    changes: int
    size_bytes: int
    object: Object

    @classmethod
    def of(cls, one: Object) -> Snapshot | None:
        """From an object's description; None for one that is no snapshot."""
        said = one.metadata
        try:
            return cls(
                space=said["space"],
                stream_seq=int(said["stream_seq"]),
                stream_created=said["stream_created"],
                cursor=said["cursor"],
                made_ms=int(said["made_ms"]),
                batches=int(said["batches"]),
                changes=int(said["changes"]),
                size_bytes=one.size,
                object=one,
            )
        except (KeyError, ValueError):
            return None


class SignedExport(Protocol):
    """What is asked of a node's signed export."""

    batches: int
    changes: int

    @property
    def cursor(self) -> Cursor: ...
    async def prepare(self) -> None: ...
    def pages(self) -> AsyncIterator[list[SignedRecord]]: ...
    async def aclose(self) -> None: ...


async def listed(session: Session, network: Network, space: str) -> list[Snapshot]:
    """All of a space, the newest first. BrokerError."""
    try:
        found = await objects.listed(session, network.snapshots(space))
    except StreamGone:
        return []
    known = [one for one in map(Snapshot.of, found) if one is not None and one.space == space]
    return sorted(known, key=lambda one: (one.made_ms, one.stream_seq), reverse=True)


async def newest(session: Session, network: Network, space: str, stream: StreamState) -> Snapshot | None:
    """The newest that belongs to this stream: one of another stream of its name says nothing about this one."""
    for one in await listed(session, network, space):
        if one.stream_created == stream.created and one.stream_seq <= stream.last_seq:
            return one
    return None


def due(stream: StreamState, latest: Snapshot | None, now_ms: int, every_hours: int | None) -> str:
    """Why a snapshot must be made now; "" where none must."""
    if latest is None:
        return "there is none of this stream"
    if latest.stream_seq + 1 < stream.first_seq:
        return BEHIND
    added = stream.last_seq - latest.stream_seq
    if stream.first_seq > 1 and stream.messages and added * 2 > stream.messages:
        return SOON
    old = every_hours is not None and now_ms - latest.made_ms >= every_hours * _HOUR_MS
    return "the last one is old" if old and added else ""


async def make(
    session: Session,
    network: Network,
    export: SignedExport,
    proofs: Sequence[bytes],
    stream: StreamState,
    stream_seq: int,
    space: str,
    now_ms: int,
    replicas: int,
) -> Snapshot:
    """Write one, and let the older ones go. stream_seq: the node had all messages up to it when the export began.

    BrokerError, and what the export raises; then there is nothing of it.
    """
    bucket = network.snapshots(space)
    await objects.ensure(session, bucket, replicas, f"Mycelium: snapshots of the space {space}")
    await export.prepare()
    header = Header(
        format=snapshotfile.FORMAT,
        netuid=network.netuid,
        genesis=network.genesis,
        space=space,
        stream_seq=stream_seq,
        stream_created=stream.created,
        cursor=str(export.cursor),
        made_ms=now_ms,
        batches=export.batches,
        changes=export.changes,
    )
    upload = Upload(session, bucket, f"{stream_seq:020d}")
    await upload.open()
    done = False
    try:
        writer = snapshotfile.Writer()
        await upload.write(writer.begin(header))
        for proof in proofs:
            await upload.write(writer.proof(proof))
        async for page in export.pages():
            for record in page:
                await upload.write(writer.batch(record))
        await upload.write(writer.end())
        made = Snapshot.of(await upload.finish(snapshotfile.described(header)))
        done = True
    finally:
        if not done:
            await upload.abandon()
    assert made is not None, "its description is that of a snapshot"
    await _let_go(session, await listed(session, network, space))
    await objects.tidy(session, bucket, now_ms)
    return made


async def _let_go(session: Session, known: Iterable[Snapshot]) -> None:
    for old in list(known)[SNAPSHOTS_KEPT:]:
        await objects.remove(session, old.object)


class Reading:
    """One snapshot being read: `async for records in reading.pages()`, then it was whole.

    proofs: come before the batches, and are all there with the first page. Raises MalformedMessage for one that is not
    of this network and space, or is not what it says; StreamGone where it was removed meanwhile: the newest is another.
    """

    def __init__(self, session: Session, network: Network, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.proofs: list[bytes] = []
        self._session = session
        self._network = network
        self._reader = snapshotfile.Reader()

    @property
    def header(self) -> Header | None:
        """Once something of it was read."""
        return self._reader.header

    async def pages(self) -> AsyncGenerator[list[SignedRecord], None]:
        """Its batches, log by log, each log in order. Nothing may be concluded from them before the last page came."""
        async with aclosing(objects.download(self._session, self.snapshot.object)) as pieces:
            async for piece in pieces:
                page: list[SignedRecord] = []
                for found in self._reader.feed(piece):
                    if isinstance(found, SignedRecord):
                        page.append(found)
                    else:
                        self.proofs.append(found)
                self._check()
                if page:
                    yield page
        self._reader.finish()

    def _check(self) -> None:
        header, meant = self._reader.header, self.snapshot
        if header is None:
            return
        if (header.netuid, header.genesis, header.space) != (*self._network, meant.space):
            raise MalformedMessage("a snapshot of another network or space than its name says")
        if (header.stream_seq, header.stream_created) != (meant.stream_seq, meant.stream_created):
            raise MalformedMessage("a snapshot of another time than its description says")


def shown(one: Snapshot, now_ms: int) -> dict[str, Any]:
    """For status."""
    return {
        "stream_seq": one.stream_seq,
        "cursor": one.cursor,
        "age_s": round(max(0, now_ms - one.made_ms) / 1000, 1),
        "batches": one.batches,
        "changes": one.changes,
        "bytes": one.size_bytes,
    }
