"""Large objects in JetStream's object store, written and read piece by piece, as every NATS client lays them out.

nats-py's own store waits for each piece before it sends the next, and gives an object whole. An object is there when
its description is, which is written last; what an upload that was broken off has left is removed by `tidy`. The layout
is ADR-20 of NATS: pieces on `$O.BUCKET.C.ID`, descriptions on `$O.BUCKET.M.NAME`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Final

import msgspec

from mycelium.config.jetstream import (
    OBJECT_LEFT_MS,
    OBJECT_PIECE_BYTES,
    OBJECT_PIECES_ASKED,
    OBJECT_PIECES_UNDERWAY,
    OBJECTS_MAX,
    REQUEST_S,
)
from mycelium.errors import BrokerError, BrokerUnreachable, MalformedMessage, StreamGone
from mycelium.jetstream.client import Session, broker_errors
from mycelium.jetstream.publisher import Ack, Publisher

_DIGEST: Final = "SHA-256="
_END_OF_BATCH: Final = "204"
_NOTHING: Final = "404"


class Object(msgspec.Struct, frozen=True):
    """What an object's description says. nuid: the id of its pieces; metadata: its maker's own."""

    name: str
    bucket: str = ""
    nuid: str = ""
    size: int = 0
    chunks: int = 0
    digest: str = ""
    mtime: str = ""
    deleted: bool = False
    description: str = ""
    metadata: dict[str, str] = {}


def _stream(bucket: str) -> str:
    return f"OBJ_{bucket}"


def _pieces(bucket: str, nuid: str) -> str:
    return f"$O.{bucket}.C.{nuid}"


def _meta(bucket: str, name: str) -> str:
    return f"$O.{bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


async def ensure(session: Session, bucket: str, replicas: int, description: str) -> None:
    """Make the bucket where there is none. BrokerError."""
    name = _stream(bucket)
    try:
        await session.api(f"STREAM.INFO.{name}")
    except StreamGone:
        config = {
            "name": name,
            "description": description,
            "subjects": [f"$O.{bucket}.C.>", f"$O.{bucket}.M.>"],
            "storage": "file",
            "num_replicas": replicas,
            "discard": "new",
            "allow_rollup_hdrs": True,
            "allow_direct": True,
        }
        await session.api(f"STREAM.CREATE.{name}", config)


async def listed(session: Session, bucket: str) -> list[Object]:
    """The objects that are there. StreamGone where there is no bucket."""
    found = []
    for subject in await _subjects(session, bucket, "M"):
        try:
            answer = await session.api(f"STREAM.MSG.GET.{_stream(bucket)}", {"last_by_subj": subject})
            raw = base64.b64decode((answer.get("message") or {}).get("data") or "")
            one = msgspec.json.decode(raw, type=Object)
        except StreamGone:
            continue  # it was removed meanwhile
        except (msgspec.DecodeError, ValueError):
            continue  # no description of an object: nobody can read it
        if not one.deleted:
            found.append(one)
    return found


async def _subjects(session: Session, bucket: str, kind: str) -> list[str]:
    answer = await session.api(f"STREAM.INFO.{_stream(bucket)}", {"subjects_filter": f"$O.{bucket}.{kind}.>"})
    return sorted((answer.get("state") or {}).get("subjects") or {})[:OBJECTS_MAX]


class Upload:
    """Writes one object: `write` as often as needed, then `finish`; `abandon` where it cannot be finished."""

    def __init__(self, session: Session, bucket: str, name: str) -> None:
        self.size = 0
        self._session = session
        self._bucket = bucket
        self._name = name
        # Its time stands in front, so that who finds the pieces without a description knows how old they are.
        self._nuid = f"{time.time_ns() // 1_000_000:013d}{secrets.token_hex(8)}"
        self._publisher = Publisher(session, self._acked)
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self._sent = 0
        self._stored = 0
        self._failed: BrokerError | None = None
        self._moved = asyncio.Event()

    async def open(self) -> None:
        """BrokerError."""
        await self._publisher.open()

    async def write(self, data: bytes) -> None:
        """Take more of it. BrokerError, BrokerFull."""
        self._buffer += data
        while len(self._buffer) >= OBJECT_PIECE_BYTES:
            piece = bytes(self._buffer[:OBJECT_PIECE_BYTES])
            del self._buffer[:OBJECT_PIECE_BYTES]
            await self._send(piece)

    async def finish(self, metadata: Mapping[str, str], description: str = "") -> Object:
        """Store the rest, and only then the description. BrokerError: then it is not there."""
        if self._buffer:
            await self._send(bytes(self._buffer))
            self._buffer.clear()
        await self._until(self._sent)
        await self._publisher.close()
        digest = base64.urlsafe_b64encode(self._hash.digest()).decode()
        made = Object(
            name=self._name,
            bucket=self._bucket,
            nuid=self._nuid,
            size=self.size,
            chunks=self._sent,
            digest=f"{_DIGEST}{digest}",
            mtime=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            description=description,
            metadata=dict(metadata),
        )
        subject = _meta(self._bucket, self._name)
        with broker_errors(subject):
            # One description for each name: the newest takes the place of those before.
            rollup = {"Nats-Rollup": "sub"}
            await self._session.held(
                self._session.js.publish(subject, msgspec.json.encode(made), headers=rollup)
            )
        return made

    async def abandon(self) -> None:
        """Remove what was stored, as far as the server is there to do it; `tidy` does the rest."""
        try:
            # A piece that is still under way would be stored after the rest was removed.
            await self._until(self._sent)
            await self._publisher.close()
            await _purge(self._session, self._bucket, _pieces(self._bucket, self._nuid))
        except BrokerError:
            return

    async def _send(self, piece: bytes) -> None:
        await self._until(self._sent - OBJECT_PIECES_UNDERWAY + 1)
        self._hash.update(piece)
        self.size += len(piece)
        self._sent += 1
        await self._publisher.send(self._sent, _pieces(self._bucket, self._nuid), piece, {})

    async def _until(self, stored: int) -> None:
        """Wait until so many pieces are stored."""
        while self._stored < stored or self._failed is not None:
            if self._failed is not None:
                raise self._failed
            self._moved.clear()
            try:
                async with asyncio.timeout(REQUEST_S):
                    await self._session.held(self._moved.wait())
            except TimeoutError:
                raise BrokerUnreachable(f"{_stream(self._bucket)}: no acknowledgement in time") from None

    def _acked(self, number: int, answer: Ack | BrokerError) -> None:
        del number
        if isinstance(answer, BrokerError):
            self._failed = answer
        else:
            self._stored += 1
        self._moved.set()


async def download(session: Session, one: Object) -> AsyncGenerator[bytes, None]:
    """The pieces of an object in their order, a few in memory at a time.

    MalformedMessage where they are not what its description says; StreamGone, BrokerUnreachable.
    """
    digest, size, pieces, after = hashlib.sha256(), 0, 0, 0
    while pieces < one.chunks:
        found = await _ask(session, one, after)
        if not found:
            raise StreamGone(
                f"{one.bucket}/{one.name}: {one.chunks - pieces} of {one.chunks} pieces are not there"
            )
        for after, piece in found:  # noqa: B007 - it is where the next question begins
            digest.update(piece)
            size += len(piece)
            pieces += 1
            yield piece
    wanted = one.digest.partition("=")[2]
    if size != one.size or base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=") != wanted.rstrip(
        "="
    ):
        raise MalformedMessage(f"{one.bucket}/{one.name}: its pieces are not those of its description")


async def _ask(session: Session, one: Object, after: int) -> list[tuple[int, bytes]]:
    """The next pieces behind a sequence of the stream, each with its own. [] where there are none."""
    inbox = session.nc.new_inbox()
    asked = {
        "seq": after + 1,
        "next_by_subj": _pieces(one.bucket, one.nuid),
        "batch": min(OBJECT_PIECES_ASKED, one.chunks),
    }
    found: list[tuple[int, bytes]] = []
    with broker_errors(f"{one.bucket}/{one.name}"):
        subscription = await session.nc.subscribe(inbox)
        try:
            await session.nc.publish(
                f"$JS.API.DIRECT.GET.{_stream(one.bucket)}", msgspec.json.encode(asked), reply=inbox
            )
            while True:
                message = await session.held(subscription.next_msg(REQUEST_S))
                headers = message.headers or {}
                number, status = headers.get("Nats-Sequence", ""), headers.get("Status")
                # Of a piece, other headers are its publisher's to choose.
                if number.isascii() and number.isdigit():
                    found.append((int(number), message.data))
                elif status in (_END_OF_BATCH, _NOTHING):
                    return found
                elif status is not None:
                    raise BrokerUnreachable(f"{one.bucket}: status {status}")
                else:
                    raise MalformedMessage(f"{one.bucket}/{one.name}: a piece without a number")
        finally:
            if session.alive:
                await subscription.unsubscribe()


async def remove(session: Session, one: Object) -> None:
    """Take an object away: first its description, so that nobody finds one that lacks pieces. BrokerError."""
    await _purge(session, one.bucket, _meta(one.bucket, one.name))
    await _purge(session, one.bucket, _pieces(one.bucket, one.nuid))


async def tidy(session: Session, bucket: str, now_ms: int) -> int:
    """Remove pieces that no description names, once they are so old that nobody is writing them. How many ids."""
    known = {one.nuid for one in await listed(session, bucket)}
    removed = 0
    for subject in await _subjects(session, bucket, "C"):
        nuid = subject.rpartition(".")[2]
        made_ms = int(nuid[:13]) if nuid[:13].isdigit() else 0
        if nuid not in known and made_ms + OBJECT_LEFT_MS < now_ms:
            await _purge(session, bucket, subject)
            removed += 1
    return removed


async def _purge(session: Session, bucket: str, subject: str) -> None:
    await session.api(f"STREAM.PURGE.{_stream(bucket)}", {"filter": subject})
