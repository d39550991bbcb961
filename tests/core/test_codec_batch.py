"""Batches: the rules that span fields, and the spans that merge works from."""

from __future__ import annotations

import random
import struct

import pytest
from reference import codec as oracle
from reference import values

from mycelium import config
from mycelium._core import codec
from mycelium.errors import MalformedMessage, OversizedMessage

GENESIS, ACCOUNT, DIGEST = b"g" * 32, b"a" * 32, b"p" * 32
SPAN = struct.Struct("=HBBIIII")
TOP = 2**64 - 1


def encoded(changes=((0, 0, b"key", b"value"),), tables=(("scores", 0),), **changed):
    fields = {"netuid": 1, "genesis": GENESIS, "space": "main", "account": ACCOUNT, "generation": 2}
    fields |= {"seq_first": 3, "prev_digest": DIGEST, "epoch": 4, "ref_block": 5, "hlc_first": 6}
    return codec.encode_batch(**(fields | changed), tables=tables, changes=changes)


def wide(changes=((0, 0, b"key", b"value"),), tables=(("scores", 0),), count=None, seq_first=3, hlc_first=6):
    """By the oracle's writer, which judges nothing."""
    number = len(changes) if count is None else count
    head = (1, GENESIS, "main", ACCOUNT, 2, seq_first, number, DIGEST, 4, 5, hlc_first)
    return oracle.encode("Batch", (*head, list(tables), list(changes)))


def test_every_field():
    changes = [
        (0, 0, b"k", b"v"),
        (1, 2, b"counter", bytes(8)),
        (0, 1, b"gone", b""),
        (1, 4, b"x" * 1024, b"y"),
    ]
    batch = codec.decode_batch(raw := encoded(changes, [("scores", 0), ("hits", 1)]))
    assert (batch.netuid, batch.genesis, batch.space, batch.account) == (1, GENESIS, "main", ACCOUNT)
    assert (batch.generation, batch.seq_first, batch.count, batch.prev_digest) == (2, 3, 4, DIGEST)
    assert (batch.epoch, batch.ref_block, batch.hlc_first) == (4, 5, 6)
    assert batch.tables == (("scores", 0), ("hits", 1))
    assert batch.changes() == changes == [batch.change(i) for i in range(4)]
    assert batch.raw is raw


def test_spans_lie_where_the_bytes_are():
    generator = random.Random(7)
    changes = [
        (generator.randrange(3), generator.randrange(5), generator.randbytes(generator.randint(1, 40)), value)
        for value in (generator.randbytes(generator.randrange(50)) for _ in range(300))
    ]
    tables = [("a", 0), ("b", 1), ("c", 2)]
    for raw in (encoded(changes, tables), wide(changes, tables)):
        batch = codec.decode_batch(raw)
        assert len(batch.spans) == 20 * len(changes)
        for span, change in zip(SPAN.iter_unpack(batch.spans), changes, strict=True):
            table, op, reserved, key_at, key_bytes, value_at, value_bytes = span
            found = (table, op, raw[key_at : key_at + key_bytes], raw[value_at : value_at + value_bytes])
            assert (reserved, found) == (0, change)


@pytest.mark.parametrize("index", [-1, 1, 2**31, 2**62])
def test_no_such_change(index):
    with pytest.raises(IndexError):
        codec.decode_batch(encoded()).change(index)


@pytest.mark.parametrize(("count", "seq", "hlc"), [(1, TOP, TOP), (3, TOP - 2, TOP - 2), (1, 1, 0)])
def test_the_last_sequence_number_and_clock_may_be_the_largest(count, seq, hlc):
    changes = [(0, 0, b"k", b"v")] * count
    raw = encoded(changes, seq_first=seq, hlc_first=hlc)
    batch = codec.decode_batch(raw)
    assert (batch.seq_first, batch.hlc_first) == (seq, hlc)
    assert oracle.decode("Batch", raw)[5] == seq


@pytest.mark.parametrize(("count", "seq", "hlc"), [(1, 0, 0), (2, TOP, 0), (2, 1, TOP), (9, TOP - 7, 0)])
def test_numbers_that_run_over(count, seq, hlc):
    changes = [(0, 0, b"k", b"v")] * count
    with pytest.raises(MalformedMessage):
        encoded(changes, seq_first=seq, hlc_first=hlc)
    refused(wide(changes, seq_first=seq, hlc_first=hlc))


def refused(raw):
    with pytest.raises(MalformedMessage):
        codec.decode_batch(raw)
    with pytest.raises(oracle.RefusedError):
        oracle.decode("Batch", raw)


@pytest.mark.parametrize("count", [0, 2, 2**32 - 1])
def test_the_announced_count_is_the_number_of_changes(count):
    refused(wide(count=count))
    assert codec.decode_batch(wide(count=1)).count == 1


def test_a_batch_has_a_change():
    with pytest.raises(MalformedMessage):
        encoded([])
    refused(wide([]))


def test_more_changes_than_any_batch_may_have():
    changes = [(0, 1, b"k", b"")] * config.BATCH_CHANGES_HARD_MAX
    assert codec.decode_batch(encoded(changes)).count == len(changes)
    with pytest.raises(MalformedMessage):
        encoded([*changes, changes[0]])
    with pytest.raises((MalformedMessage, OversizedMessage)):
        codec.decode_batch(wide([*changes, changes[0]]))


def test_a_change_names_a_table_of_its_batch():
    with pytest.raises(MalformedMessage):
        encoded([(1, 0, b"k", b"v")])
    refused(wide([(1, 0, b"k", b"v")]))
    refused(wide([(0, 0, b"k", b"v")], tables=[]))
    with pytest.raises(MalformedMessage):
        encoded(tables=[])


def test_number_of_tables():
    tables = [(f"t{i}", 0) for i in range(config.TABLES_PER_BATCH_MAX)]
    assert len(codec.decode_batch(encoded(tables=tables)).tables) == len(tables)
    with pytest.raises(MalformedMessage):
        encoded(tables=[*tables, ("more", 0)])
    refused(wide(tables=[*tables, ("more", 0)]))


@pytest.mark.parametrize(
    "change",
    [
        (0, 5, b"k", b"v"),
        (0, 255, b"k", b"v"),
        (0, 0, b"", b"v"),
        (0, 0, b"k" * (config.KEY_BYTES_MAX + 1), b"v"),
        (0, 0, b"k", bytes(config.VALUE_BYTES_MAX + 1)),
    ],
)
def test_op_key_and_value(change):
    with pytest.raises(MalformedMessage):
        encoded([change])
    refused(wide([change]))


def test_largest_key_and_value():
    change = (0, 0, b"k" * config.KEY_BYTES_MAX, bytes(config.VALUE_BYTES_MAX))
    assert codec.decode_batch(encoded([change])).changes() == [change]
    assert codec.decode_batch(wide([change])).changes() == [change]


@pytest.mark.parametrize(
    "wrong",
    [{"genesis": bytes(31)}, {"account": bytes(33)}, {"prev_digest": b""}, {"space": ""}, {"space": "Main"}],
)
def test_widths_and_names(wrong):
    with pytest.raises(MalformedMessage):
        encoded(**wrong)


@pytest.mark.parametrize("tables", [[("Upper", 0)], [("t", 5)], [("", 0)]])
def test_table_names_and_merge_types(tables):
    with pytest.raises(MalformedMessage):
        encoded(tables=tables)


@pytest.mark.parametrize(
    "change",
    [
        [0, 0, b"k", b"v"],
        (0, 0, b"k"),
        (0, 0, b"k", b"v", 0),
        (0, 0, "k", b"v"),
        (0, 0, b"k", None),
        (0, 0, None, b"v"),
        ("0", 0, b"k", b"v"),
        None,
    ],
)
def test_changes_of_a_wrong_type_are_the_callers_error(change):
    with pytest.raises(TypeError):
        encoded([change])


def test_size_cap():
    value = bytes(config.VALUE_BYTES_MAX)
    rest = config.BATCH_BYTES_MAX - len(encoded([(0, 0, b"k", value), (0, 0, b"k", b"1234")])) + 4
    whole = encoded([(0, 0, b"k", value), (0, 0, b"k", bytes(rest))])
    assert len(whole) == config.BATCH_BYTES_MAX
    assert codec.decode_batch(whole).count == 2
    with pytest.raises(OversizedMessage):
        encoded([(0, 0, b"k", value), (0, 0, b"k", bytes(rest + 8))])
    with pytest.raises(OversizedMessage):
        codec.decode_batch(whole + bytes(8))
    with pytest.raises(OversizedMessage):
        codec.decode_batch(bytes(config.BATCH_BYTES_MAX + 1))


def test_any_iterable_of_changes_is_read_once():
    changes = [(0, 0, b"k%d" % i, b"v") for i in range(10)]
    assert encoded(iter(changes), iter([("scores", 0)])) == encoded(changes)


def test_the_generic_door_judges_batches_too():
    value = values.samples("Batch")[0]
    assert codec.decode(codec.BATCH, codec.encode(codec.BATCH, value)) == value
    with pytest.raises(MalformedMessage):
        codec.encode(codec.BATCH, (*value[:6], value[6] + 1, *value[7:]))
    with pytest.raises(MalformedMessage):
        codec.encode(codec.BATCH, value[:12])


class Whole:
    def __int__(self):
        return 0

    __index__ = __int__


@pytest.mark.parametrize("number", [0.0, 0.9, Whole()])
def test_only_ints_are_numbers(number):
    """A float must not be cut silently, and no code of the caller may run between sizing and writing."""
    for changes in ([(number, 0, b"k", b"v")], [(0, number, b"k", b"v")]):
        with pytest.raises(TypeError):
            encoded(changes)
    for field in ("netuid", "generation", "seq_first", "epoch", "ref_block", "hlc_first"):
        with pytest.raises(TypeError):
            encoded(**{field: number})
    for kind, value in (
        (codec.PING, (number, 0, [])),
        (codec.ORIGIN_VERSION, (ACCOUNT, 0, 0, [(number, 1)])),
    ):
        with pytest.raises(TypeError):
            codec.encode(kind, value)
    with pytest.raises(TypeError):
        codec.encode(codec.HELLO, ([number], b"", b"", b"", b"", b"", b"", ""))
    for field in ("version", "type", "timestamp", "nonce"):
        fields = {"version": 1, "type": 4, "timestamp": 1, "nonce": 1} | {field: number}
        with pytest.raises(TypeError):
            codec.encode_message(**fields, sender_id=ACCOUNT, payload=b"")
