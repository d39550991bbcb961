"""The form of a snapshot: what is written is read, in pieces of any size; anything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.errors import MalformedMessage
from mycelium.feed.batch import SignedRecord
from mycelium.jetstream.snapshotfile import Header, Reader, Writer

HEADER = Header(1, 7, bytes(32), "main", 42, "2026-01-01T00:00:00Z", "00000000000000aa-9", 5, 2, 3)
RECORDS = st.lists(
    st.builds(
        SignedRecord,
        st.integers(0, 2**64 - 1),
        st.binary(min_size=1, max_size=300),
        st.binary(min_size=64, max_size=64),
    ),
    max_size=8,
)
PROOFS = st.lists(st.binary(max_size=300), max_size=3)


def written(records, proofs, header=HEADER) -> bytes:
    writer = Writer()
    parts = [writer.begin(header), *map(writer.proof, proofs), *map(writer.batch, records), writer.end()]
    return b"".join(parts)


def read(raw: bytes, sizes):
    reader, found, at = Reader(), [], 0
    for size in [*sizes, len(raw)]:
        found += reader.feed(raw[at : at + size])
        at += size
    reader.finish()
    return reader, found


@given(RECORDS, PROOFS, st.lists(st.integers(1, 200), max_size=30))
def test_what_is_written_is_read(records, proofs, sizes):
    reader, found = read(written(records, proofs), sizes)
    assert reader.header == HEADER
    assert [one for one in found if isinstance(one, SignedRecord)] == records
    assert [one for one in found if isinstance(one, bytes)] == proofs
    assert reader.whole
    assert (reader.batches, reader.proofs) == (len(records), len(proofs))


@given(RECORDS, PROOFS, st.data())
def test_one_that_lacks_its_end_or_anything_is_refused(records, proofs, data):
    raw = written(records, proofs)
    end = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(MalformedMessage):
        read(raw[:end], [])


@given(RECORDS, PROOFS, st.data())
def test_one_that_was_altered_is_refused(records, proofs, data):
    raw = bytearray(written(records, proofs))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        reader, _ = read(bytes(raw), [])
    except MalformedMessage:
        return
    raise AssertionError(f"byte {at} was altered, and {reader.header} was read")


@given(RECORDS, st.binary(min_size=1, max_size=20))
def test_one_that_goes_on_is_refused(records, more):
    with pytest.raises(MalformedMessage):
        read(written(records, []) + more, [])


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"\0\0\0\x05abcde",
        written([], [], Header(2, 7, bytes(32), "main", 1, "", "", 1, 0, 0)),
    ],
    ids=["endless", "none", "text", "format"],
)
def test_what_is_no_snapshot(raw):
    with pytest.raises(MalformedMessage):
        read(raw, [])


def test_a_record_that_claims_too_much_is_refused_before_it_is_read():
    reader, writer = Reader(), Writer()
    list(reader.feed(writer.begin(HEADER)))
    with pytest.raises(MalformedMessage):
        list(reader.feed(b"\x7f\xff\xff\xff\x01"))


@pytest.mark.parametrize("kind", [1, 3], ids=["short", "unknown"])
def test_a_record_that_is_none(kind):
    reader, writer = Reader(), Writer()
    list(reader.feed(writer.begin(HEADER)))
    with pytest.raises(MalformedMessage):
        list(reader.feed(b"\0\0\0\x09" + bytes([kind]) + bytes(8)))
