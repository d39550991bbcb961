"""Messages: what goes in comes out, in either encoding, within the caps; and what may not go in does not."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import sys

import pytest
from reference import values

from mycelium import config
from mycelium._core import codec, schema
from mycelium.errors import MalformedMessage, OversizedMessage

SENDER, SIGNATURE = bytes(range(32)), bytes(range(64))


def encoded(**changed):
    fields = {"version": 1, "type": 4, "sender_id": SENDER, "timestamp": 5, "nonce": 6, "payload": b"payload"}
    return codec.encode_message(**(fields | changed))


@pytest.mark.parametrize("encoding", [1, 2])
@pytest.mark.parametrize("signature", [b"", SIGNATURE])
@pytest.mark.parametrize("payload", [b"", b"p", bytes(1024), b"q" * 1027])
def test_all_seven_fields(encoding, signature, payload):
    data = codec.encode_message(65535, 4, SENDER, 2**64 - 1, 2**63, payload, signature, encoding)
    assert data[0] == encoding
    m = codec.decode_message(data)
    assert (m.version, m.type, m.sender_id) == (65535, 4, SENDER)
    assert (m.timestamp, m.nonce, m.payload, m.signature) == (2**64 - 1, 2**63, payload, signature)
    assert m.fields() == (65535, 4, SENDER, 2**64 - 1, 2**63, payload, signature)


def test_fields_outlive_the_message():
    data = encoded(payload=b"x" * 100)
    payload = codec.decode_message(data).payload
    del data
    gc.collect()
    assert payload == b"x" * 100


def test_a_message_holds_one_reference_to_its_bytes():
    data = encoded(payload=bytes(10_000))
    before = sys.getrefcount(data)
    messages = [codec.decode_message(data) for _ in range(10)]
    assert sys.getrefcount(data) == before + 10
    del messages
    assert sys.getrefcount(data) == before


def test_the_envelope_costs_105_bytes():
    assert len(encoded(payload=bytes(1024))) == 1 + 104 + 1024
    assert len(encoded(payload=b"")) == 1 + 104


@pytest.mark.parametrize("type", range(12))
def test_size_cap_by_type(type):
    cap = codec.size_max(type)
    handshake, control = type in (0, 1), type in (2, 3, 8)
    expected = config.HANDSHAKE_BYTES_MAX if handshake else config.CONTROL_BYTES_MAX if control else None
    assert cap == (expected or config.DATA_BYTES_MAX)
    # The envelope and its padding take up to 112 bytes.
    largest = encoded(type=type, payload=bytes(cap - 112))
    assert codec.decode_message(largest).type == type
    with pytest.raises(OversizedMessage):
        encoded(type=type, payload=bytes(cap - 104))


@pytest.mark.parametrize("type", [0, 2])
def test_a_type_with_a_small_cap_is_refused_above_it(type):
    large = bytearray(encoded(type=4, payload=bytes(codec.size_max(type))))
    large[1 + 62] = type
    with pytest.raises(OversizedMessage):
        codec.decode_message(bytes(large))


def test_nothing_above_the_largest_cap_is_looked_at():
    for tag in (b"\x01", b"\x02", b"\xff"):
        with pytest.raises(OversizedMessage):
            codec.decode_message(tag * (config.DATA_BYTES_MAX + 1))
        with pytest.raises(MalformedMessage):
            codec.decode_message(tag * config.DATA_BYTES_MAX)


def test_no_such_type():
    with pytest.raises(MalformedMessage):
        encoded(type=13)
    for missing in (-1, 13):
        with pytest.raises(MalformedMessage):
            codec.size_max(missing)


@pytest.mark.parametrize("data", [b"", b"\x02", b"\x01", b"\x00abc", b"\x03" + bytes(200), b"{}"])
def test_neither_encoding(data):
    with pytest.raises(MalformedMessage):
        codec.decode_message(data)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sender_id": b""},
        {"sender_id": bytes(31)},
        {"sender_id": bytes(33)},
        {"signature": bytes(63)},
        {"signature": bytes(1)},
        {"encoding": 0},
        {"encoding": 3},
    ],
)
def test_what_a_peer_would_refuse_is_not_written(wrong):
    with pytest.raises(MalformedMessage):
        encoded(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 65536},
        {"version": -1},
        {"timestamp": 2**64},
        {"nonce": -1},
        {"payload": "text"},
        {"payload": None},
        {"payload": bytearray(b"x")},
        {"sender_id": None},
        {"timestamp": "now"},
    ],
)
def test_wrong_types_are_the_callers_error(wrong):
    with pytest.raises((TypeError, OverflowError)):
        encoded(**wrong)


def test_only_bytes_are_decoded():
    for data in (bytearray(encoded()), memoryview(encoded()), "text", None):
        with pytest.raises(TypeError):
            codec.decode_message(data)


def test_decoded_objects_come_from_decoding_only():
    for kind in (codec.Message, codec.Batch):
        with pytest.raises(TypeError):
            kind()
        with pytest.raises(TypeError):
            type("Sub", (kind,), {})


def test_a_message_without_bytes_reads_nothing():
    """__new__ alone gives an object whose slices have nothing to refer to."""
    bare = codec.Message.__new__(codec.Message)
    for field in ("sender_id", "payload", "signature"):
        with pytest.raises(MalformedMessage):
            getattr(bare, field)
    assert codec.Batch.__new__(codec.Batch).changes() == []


def test_messages_are_immutable_and_not_pickled():
    m = codec.decode_message(encoded())
    with pytest.raises(AttributeError):
        m.nonce = 1
    with pytest.raises(TypeError):
        pickle.dumps(m)
    with pytest.raises(TypeError):
        copy.copy(m)


def test_repr_shows_no_payload():
    text = repr(codec.decode_message(encoded(payload=b"secret")))
    assert "Gossip" in text
    assert "secret" not in text


@pytest.mark.parametrize("kind", [-1, 0, 16, 255])
def test_no_such_kind(kind):
    for use in (codec.encode, codec.to_json):
        with pytest.raises(MalformedMessage):
            use(kind, ())
    for use in (codec.decode, codec.from_json):
        with pytest.raises(MalformedMessage):
            use(kind, b"")


@pytest.mark.parametrize(
    ("kind", "values", "error"),
    [
        (codec.PING, (1, 2), MalformedMessage),
        (codec.PING, (1, 2, [], 3), MalformedMessage),
        (codec.PING, (2**64, 2, []), OverflowError),
        (codec.PING, ("1", 2, []), TypeError),
        (codec.PING, (1, 2, None), TypeError),
        (codec.PING, (1, 2, [("main", b"short")]), MalformedMessage),
        (codec.CALL, (1, None, 0, 0, True, b""), TypeError),
        (codec.CALL, (1, b"get", 0, 0, True, b""), TypeError),
        (codec.CALL, (1, "\ud800", 0, 0, True, b""), MalformedMessage),
        (codec.CALL, (1, "", 0, 0, 2, b""), MalformedMessage),
        (codec.CALL, (1, "", 65536, 0, True, b""), OverflowError),
        (codec.SIGNED_BATCH, (None, SIGNATURE), MalformedMessage),
        (codec.SIGNED_BATCH, (b"", SIGNATURE), MalformedMessage),
        (codec.SYNC_REQUEST, (1, "s", None, 0, 0), TypeError),
        (codec.HELLO, ([65536], b"", b"", b"", b"", b"", b"", ""), OverflowError),
        (codec.HELLO, ([], b"", b"", bytes(31), b"", b"", b"", ""), MalformedMessage),
        (codec.HELLO, ([], b"", b"", b"", b"", bytes(2048), b"", ""), OversizedMessage),
        (codec.PING, (1, 2, [("main", bytes(16))] * 2000), OversizedMessage),
        (codec.HELLO, ([1] * 65537, b"", b"", b"", b"", b"", b"", ""), MalformedMessage),
        (codec.CALL, (1, "", 0, 0, True, bytes(config.DATA_BYTES_MAX)), OversizedMessage),
    ],
)
def test_tables_that_cannot_be_written(kind, values, error):
    with pytest.raises(error):
        codec.encode(kind, values)


def test_values_within_themselves():
    """A list that holds itself is the caller's mistake, and no reason to crash."""
    knot = []
    knot.append(knot)
    with pytest.raises((MalformedMessage, TypeError)):
        codec.encode(codec.GOSSIP, (knot, 0))


def test_gossip_is_pairs_of_batch_and_signature():
    pairs = [(b"batch one", SIGNATURE), (b"batch two", SIGNATURE[::-1])]
    assert codec.decode_gossip(codec.encode_gossip(pairs)) == (pairs, 0)
    assert codec.decode_gossip(codec.encode_gossip(pairs, 65_535)) == (pairs, 65_535)
    with pytest.raises((MalformedMessage, OverflowError)):
        codec.encode_gossip(pairs, 65_536)
    with pytest.raises(MalformedMessage):
        codec.decode_gossip(codec.encode(codec.SIGNED_BATCH, pairs[0]))


def test_no_memory_of_the_heap_travels():
    """Padding is written, not left as found: equal calls give equal bytes whatever was freed before."""
    made = set()
    for filler in range(256):
        trash = [bytes([filler]) * size for size in (129, 137, 145, 200, 300, 1000)]
        del trash
        made.add(
            encoded(payload=b"odd")
            + codec.encode(codec.PING, (1, 2, [("a", bytes(16)), ("bcd", bytes(16))]))
            + codec.encode_batch(
                1,
                SENDER,
                "s",
                SENDER,
                1,
                1,
                SENDER,
                0,
                0,
                0,
                [("t", 0)],
                [(0, 1, b"k", b""), (0, 0, b"key", b"v")],
            )
        )
    assert len(made) == 1


def test_kinds_are_those_of_the_schema():
    for name, kind in schema.KINDS.items():
        constant = "".join("_" + c if c.isupper() else c for c in name).lstrip("_").upper()
        if name != "Message":
            assert getattr(codec, constant) == kind
    assert codec.PONG == codec.PING


@pytest.mark.parametrize("kind", values.KINDS)
def test_nothing_is_leaked(kind):
    """Neither by success nor by a refusal in the middle of a table."""
    whole = [values.encode(kind, value) for value in values.samples(kind)]
    spoilt = [data[:end] for data in whole for end in range(0, len(data), 7)]
    wrong = (object(),) * 13

    def use():
        for data in whole:
            values.encode(kind, values.decode(kind, data))
        for data in spoilt:
            with contextlib.suppress(MalformedMessage):
                values.decode(kind, data)
        with contextlib.suppress(MalformedMessage, TypeError):
            values.encode(kind, wrong)

    for _ in range(5):
        use()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(20):
        use()
    gc.collect()
    assert sys.getallocatedblocks() - before < 20
