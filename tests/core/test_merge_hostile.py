"""What merge refuses of a batch: spans, operations, lengths. Before any effect, with MalformedMessage."""

import pytest
from core.mergekit import ACCOUNT, DOT, OTHER, SEED, no_reads, run
from reference.merge import (
    ADD,
    APPEND,
    COUNTER,
    DELETE,
    INSERT,
    LWW,
    OWN,
    PUT,
    REMOVE,
    SET,
    SPAN,
    dot_of,
    prefix_of,
)

from mycelium import config
from mycelium._core import merge
from mycelium.errors import MalformedMessage

ALLOWED = {
    (LWW, PUT),
    (LWW, DELETE),
    (OWN, PUT),
    (OWN, DELETE),
    (COUNTER, ADD),
    (SET, INSERT),
    (SET, REMOVE),
    (APPEND, PUT),
}


def refused(changes=(), **kwargs):
    index = merge.Index(100, SEED)
    with pytest.raises(MalformedMessage) as caught:
        run([(LWW, PUT, b"first", b""), *changes], index, **kwargs)
    assert len(index) == 0
    return str(caught.value)


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("op", [0, 1, 2, 3, 4, 5, 8, 32, 64, 255])
def test_operations_belong_to_merge_types(kind, op):
    value = {ADD: bytes(8), REMOVE: DOT}.get(op, b"")
    if (kind, op) in ALLOWED:
        run([(kind, op, b"k", value)], get=lambda column, keys: [None] * len(keys))
    else:
        assert "operation" in refused([(kind, op, b"k", value)])


@pytest.mark.parametrize(
    ("kind", "op", "size"),
    [(LWW, DELETE, 1), (OWN, DELETE, 48), (COUNTER, ADD, 0), (COUNTER, ADD, 7), (COUNTER, ADD, 9), (COUNTER, ADD, 16),
     (SET, REMOVE, 47), (SET, REMOVE, 49), (SET, REMOVE, 48 * config.DOTS_PER_REMOVE_MAX + 48),
     (LWW, PUT, config.VALUE_BYTES_MAX + 1), (SET, INSERT, config.VALUE_BYTES_MAX + 1)],
)  # fmt: skip
def test_wrong_value_lengths(kind, op, size):
    assert "value" in refused([(kind, op, b"k", bytes(size))])


def test_greatest_lengths_are_accepted():
    key = b"\0" * config.KEY_BYTES_MAX
    plan = run([(kind, PUT, key, bytes(config.VALUE_BYTES_MAX)) for kind in (LWW, APPEND)])
    assert [len(row) for _, _, row in plan.ops] == [56 + config.VALUE_BYTES_MAX] * 2
    dots = b"".join(dot_of(OTHER, 1, seq) for seq in range(config.DOTS_PER_REMOVE_MAX))
    plan = run([(SET, REMOVE, key, dots), (SET, REMOVE, b"k", b"")])
    assert len(plan) == config.DOTS_PER_REMOVE_MAX
    assert merge.unescape(plan.ops[0][1], len(prefix_of(SET))) == (key, len(plan.ops[0][1]) - 48)


@pytest.mark.parametrize("key", [b"", b"k" * (config.KEY_BYTES_MAX + 1)])
def test_wrong_key_lengths(key):
    assert "key" in refused([(LWW, PUT, key, b"")])


@pytest.mark.parametrize(
    "span",
    [(5, PUT, 0, 0, 1, 0, 0), (65535, PUT, 0, 0, 1, 0, 0), (0, PUT, 0, 100, 1, 0, 0), (0, PUT, 0, 99, 2, 0, 0),
     (0, PUT, 0, 0, 1, 101, 0), (0, PUT, 0, 0, 1, 100, 1), (0, PUT, 0, 2**32 - 1, 2, 0, 0),
     (0, PUT, 0, 0, 1, 2**32 - 1, 0), (0, PUT, 0, 0, 1, 2**32 - 1, 2**32 - 1), (0, PUT, 0, 0, 2**32 - 1, 0, 0),
     (2, REMOVE, 0, 0, 1, 60, 48), (0, PUT, 0, 0, 1, 99, 2**32 - 99)],
)  # fmt: skip
def test_spans_that_reach_beyond(span):
    refused(raw=bytes(100), spans=SPAN.pack(0, PUT, 0, 0, 5, 0, 0) + SPAN.pack(*span))


def test_spans_may_touch_the_end():
    spans = SPAN.pack(0, PUT, 0, 99, 1, 100, 0) + SPAN.pack(0, PUT, 0, 0, 1, 1, 98)
    assert len(run([], raw=bytes(98) + b"ab", spans=spans)) == 2


def test_shared_bytes_cannot_multiply_the_work():
    remove = SPAN.pack(2, REMOVE, 0, 0, 1, 4, 48 * 1000)
    assert len(run([], raw=bytes(4) + bytes(48_000), spans=remove)) == 1
    assert "shares" in refused(raw=bytes(4) + bytes(48_000), spans=remove * 10_000)


@pytest.mark.parametrize("cut", [1, 19])
def test_half_a_span(cut):
    refused(raw=bytes(100), spans=SPAN.pack(0, PUT, 0, 0, 5, 0, 0)[:-cut])


def test_too_many_changes():
    most = config.BATCH_CHANGES_HARD_MAX
    span = SPAN.pack(0, PUT, 0, 0, 1, 0, 0)
    assert len(run([], raw=bytes(most), spans=span * most)) == 1
    refused(raw=bytes(most + 1), spans=span * (most + 1))


@pytest.mark.parametrize("field", ["seq", "hlc"])
def test_numbers_beyond_64_bits(field):
    refused(**{field: 2**64 - 1})
    assert len(run([(LWW, PUT, b"k", b"")], **{field: 2**64 - 2})) == 1


def test_account_tables_and_merge_types():
    refused(account=bytes(31))
    refused(account=bytes(33))
    index = merge.Index(100, SEED)
    for prefixes, merges in [
        ([prefix_of(LWW)], b""), ([], b"\0"), ([prefix_of(5)], b"\5"), ([bytes(132)], b"\0"),
        ([b"p"] * 257, bytes(257)),
    ]:  # fmt: skip
        with pytest.raises(MalformedMessage):
            merge.resolve(
                index, b"k", SPAN.pack(0, 0, 0, 0, 1, 0, 0), prefixes, merges, ACCOUNT, 1, 1, 1, no_reads
            )
    with pytest.raises(TypeError):
        merge.resolve(index, b"k", b"", ["text"], b"\0", ACCOUNT, 1, 1, 1, no_reads)
