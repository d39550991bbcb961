"""The form of a snapshot: a header, the signed batches of a space, the proofs about it, and an end that counts them.

    u32 length, header (msgpack)
    u32 length of what follows it, u8 kind, body        once for each record
        kind 1, a batch: u64 void_first, 64 bytes signature, the batch as signed
        kind 2, a proof, by which an origin is frozen
        kind 0, the end: u64 batches, u64 proofs, 32 bytes BLAKE3 of everything before this record

Numbers are big-endian. Batches come log by log, each log in order. Whoever reads it checks each batch as one from
anywhere; the end only says that nothing is missing. Bytes in, bytes out; holds one record.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from blake3 import blake3

from mycelium.config import BATCH_BYTES_MAX, PROOF_BYTES_MAX
from mycelium.config.jetstream import SNAPSHOT_HEADER_BYTES_MAX
from mycelium.errors import MalformedMessage
from mycelium.feed.batch import SignedRecord
from mycelium.jetstream.layout import SIGNATURE_BYTES

FORMAT: Final = 1
_END, _BATCH, _PROOF = 0, 1, 2
_U32: Final = struct.Struct(">I")
_RECORD: Final = struct.Struct(">IB")
_VOID: Final = struct.Struct(">Q")
_TAIL: Final = struct.Struct(">QQ32s")
_RECORD_BYTES_MAX: Final = 1 + max(_VOID.size + SIGNATURE_BYTES + BATCH_BYTES_MAX, PROOF_BYTES_MAX)


class Header(msgspec.Struct, frozen=True):
    """What a snapshot says of itself. genesis: 32 bytes. stream_seq: messages of the stream up to this one are in it;
    stream_created: the birth of that stream, as the server writes it. cursor: of the feed of the node that made it.
    """

    format: int
    netuid: int
    genesis: bytes
    space: str
    stream_seq: int
    stream_created: str
    cursor: str
    made_ms: int
    batches: int
    changes: int


class Writer:
    """Gives the bytes of one snapshot, piece by piece: `begin`, then batches and proofs, then `end`."""

    def __init__(self) -> None:
        self._hash = blake3()
        self.batches = 0
        self.proofs = 0

    def begin(self, header: Header) -> bytes:
        raw = msgspec.msgpack.encode(header)
        return self._hashed(_U32.pack(len(raw)) + raw)

    def batch(self, record: SignedRecord) -> bytes:
        self.batches += 1
        return self._hashed(
            _RECORD.pack(1 + _VOID.size + SIGNATURE_BYTES + len(record.raw), _BATCH)
            + _VOID.pack(record.void_first)
            + record.signature
            + record.raw
        )

    def proof(self, raw: bytes) -> bytes:
        self.proofs += 1
        return self._hashed(_RECORD.pack(1 + len(raw), _PROOF) + raw)

    def end(self) -> bytes:
        body = _TAIL.pack(self.batches, self.proofs, self._hash.digest())
        return _RECORD.pack(1 + len(body), _END) + body

    def _hashed(self, raw: bytes) -> bytes:
        self._hash.update(raw)
        return raw


class Reader:
    """Takes the bytes of one snapshot in pieces of any size. `header` is there before the first record.

    whole: whether the end has come. Raises MalformedMessage for what is no snapshot, or one that lacks something.
    """

    def __init__(self) -> None:
        self.header: Header | None = None
        self.whole = False
        self.batches = 0
        self.proofs = 0
        self._hash = blake3()
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> Iterator[SignedRecord | bytes]:
        """The batches, and proofs as bytes, that are complete with this piece."""
        self._buffer += piece
        view, at = bytes(self._buffer), 0
        if self.header is None:
            at = self._header(view)
        while self.header is not None and (end := self._frame(view, at)):
            found = self._record(view, at, end)
            at = end
            if found is not None:
                yield found
        del self._buffer[:at]

    def finish(self) -> None:
        """There are no more pieces. MalformedMessage where there should be."""
        if not self.whole:
            raise MalformedMessage("a snapshot without an end")

    def _header(self, view: bytes) -> int:
        """Where the records begin; 0 while that is not there yet."""
        if len(view) < _U32.size:
            return 0
        (length,) = _U32.unpack_from(view)
        if not 0 < length <= SNAPSHOT_HEADER_BYTES_MAX:
            raise MalformedMessage(f"a snapshot with a header of {length} bytes")
        end = _U32.size + int(length)
        if len(view) < end:
            return 0
        try:
            header = msgspec.msgpack.decode(view[_U32.size : end], type=Header)
        except (msgspec.DecodeError, ValueError) as error:  # text that is no UTF-8 is a ValueError
            raise MalformedMessage(f"a snapshot whose header does not parse: {error}") from None
        if header.format != FORMAT:
            raise MalformedMessage(f"a snapshot of format {header.format}: this version reads {FORMAT}")
        self.header = header
        self._hash.update(view[:end])
        return end

    def _frame(self, view: bytes, at: int) -> int:
        """Where the record at `at` ends; 0 while it is not all there."""
        if len(view) - at < _RECORD.size:
            if self.whole and len(view) > at:
                raise MalformedMessage("a snapshot that goes on after its end")
            return 0
        length = _U32.unpack_from(view, at)[0]
        if self.whole or not 1 <= length <= _RECORD_BYTES_MAX:
            raise MalformedMessage("a snapshot with a record that is none")
        end = at + _U32.size + int(length)
        return end if end <= len(view) else 0

    def _record(self, view: bytes, at: int, end: int) -> SignedRecord | bytes | None:
        kind, body = view[at + _U32.size], at + _RECORD.size
        if kind == _END:
            self._check_end(view[body:end])
            return None
        self._hash.update(memoryview(view)[at:end])
        if kind == _PROOF:
            self.proofs += 1
            return view[body:end]
        signed = body + _VOID.size
        if kind != _BATCH or end - signed <= SIGNATURE_BYTES:
            raise MalformedMessage(f"a snapshot with a record of kind {kind} and {end - body} bytes")
        self.batches += 1
        (void_first,) = _VOID.unpack_from(view, body)
        raw = signed + SIGNATURE_BYTES
        return SignedRecord(void_first, view[raw:end], view[signed:raw])

    def _check_end(self, body: bytes) -> None:
        if len(body) != _TAIL.size or _TAIL.unpack(body) != (self.batches, self.proofs, self._hash.digest()):
            raise MalformedMessage("a snapshot that lacks something, or was altered")
        self.whole = True


def described(header: Header) -> dict[str, Any]:
    """A header as the object store shows it: text for people and for who looks without reading it all."""
    return {
        "space": header.space,
        "stream_seq": str(header.stream_seq),
        "stream_created": header.stream_created,
        "cursor": header.cursor,
        "made_ms": str(header.made_ms),
        "batches": str(header.batches),
        "changes": str(header.changes),
    }
