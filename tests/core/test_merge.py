"""What resolve plans for one batch, merge type by merge type; what it reads; what it refuses."""

import struct

import pytest
from core.mergekit import ACCOUNT, DOT, OTHER, SEED, no_reads, run
from reference import merge as oracle
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
    dot_of,
    header_of,
    prefix_of,
)

from mycelium._core import codec, merge
from mycelium._core.merge import DEAD, LIVE
from mycelium.errors import StoreCorrupt, UsageError


def i64(amount):
    return struct.pack(">q", amount)


def test_put_writes_header_and_value():
    plan = run([(LWW, PUT, b"k", b"value")])
    assert plan.ops == [(LIVE, b"main\0scores\0\0k", header_of(100, ACCOUNT, 1, 1) + b"value")]
    assert plan.winners == b"\x01"
    assert len(plan) == 1


def test_the_last_change_to_a_key_within_a_batch_wins_alone():
    index = merge.Index(100, SEED)
    plan = run([(LWW, PUT, b"k", b"1"), (LWW, DELETE, b"k", b""), (LWW, PUT, b"k", b"2")], index)
    assert plan.ops == [(LIVE, b"main\0scores\0\0k", header_of(102, ACCOUNT, 1, 3) + b"2")]
    assert plan.winners == b"\x04"
    assert len(index) == 1


def test_delete_moves_the_row_to_the_tombstones_and_a_put_moves_it_back():
    index = merge.Index(100, SEED)
    key = b"main\0scores\0\0k"
    run([(LWW, PUT, b"k", b"1")], index, hlc=100)
    plan = run([(LWW, DELETE, b"k", b"")], index, hlc=200, seq=2)
    assert plan.ops == [(LIVE, key, None), (DEAD, key, header_of(200, ACCOUNT, 1, 2))]
    assert run([(LWW, PUT, b"k", b"1")], index, hlc=150, seq=3).ops == []
    plan = run([(LWW, PUT, b"k", b"2")], index, hlc=300, seq=4)
    assert plan.ops == [(LIVE, key, header_of(300, ACCOUNT, 1, 4) + b"2"), (DEAD, key, None)]


@pytest.mark.parametrize("kind", [LWW, OWN])
@pytest.mark.parametrize(
    ("stored", "wins"),
    [
        ((100, OTHER, 1, 1, PUT, b"z"), False),
        ((100, b"\x21" * 32, 9, 9, DELETE, b""), True),
        ((100, ACCOUNT, 9, 9, PUT, b"lower"), True),
        ((100, ACCOUNT, 0, 0, PUT, b"value "), False),
        ((100, ACCOUNT, 9, 9, PUT, b"valu"), True),
        ((100, ACCOUNT, 0, 0, DELETE, b""), False),
        ((100, ACCOUNT, 1, 9, PUT, b"value"), True),
        ((100, ACCOUNT, 2, 5, PUT, b"value"), True),
        ((100, ACCOUNT, 2, 6, PUT, b"value"), False),
        ((100, ACCOUNT, 3, 0, PUT, b"value"), False),
        ((99, OTHER, 9, 9, DELETE, b""), True),
        ((101, b"\0" * 32, 0, 0, PUT, b""), False),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_order_of_equal_clocks(kind, stored, wins, known):
    key = prefix_of(kind) + b"k"
    hlc, account, generation, seq, op, value = stored
    columns = ({}, {})
    columns[op][key] = header_of(hlc, account, generation, seq) + value
    index = merge.Index(100, SEED)
    if known:
        index.load(columns[op].items(), dead=op == DELETE)
    else:
        index.clear()
    reads = []

    def get(column, keys):
        reads.append(column)
        return [columns[column].get(key) for key in keys]

    plan = run([(kind, PUT, b"k", b"value")], index, get, generation=2, seq=6)
    assert plan.winners == bytes([wins])
    assert (LIVE, key, header_of(100, ACCOUNT, 2, 6) + b"value") in plan.ops or not wins
    assert bool(plan.ops) == wins
    assert reads == ([LIVE, DEAD] if not known else [op] if hlc == 100 else [])


def test_counters_add_up_within_a_batch_and_onto_the_stored_sum():
    key = merge.row_key(COUNTER, prefix_of(COUNTER), b"k", 0, ACCOUNT, 1, 0)
    assert key == b"main\0scores\0\x01k\0\x01" + ACCOUNT + struct.pack(">Q", 1)
    stored = header_of(500, ACCOUNT, 1, 3) + (-(2**64)).to_bytes(16, "big", signed=True)
    calls = []

    def get(column, keys):
        calls.append((column, keys))
        return [stored]

    plan = run([(COUNTER, ADD, b"k", i64(-5)), (COUNTER, ADD, b"k", i64(3))], get=get, seq=10)
    total = (-(2**64) - 2).to_bytes(16, "big", signed=True)
    assert plan.ops == [(LIVE, key, header_of(500, ACCOUNT, 1, 11) + total)]
    assert plan.winners == b"\x03"
    assert calls == [(LIVE, [key])]


@pytest.mark.parametrize(
    "amounts", [[2**63 - 1] * 3, [-(2**63)] * 3, [-1], [0], [2**63 - 1, -(2**63), 1, -1]]
)
def test_counter_sums_are_exact(amounts):
    plan = run(
        [(COUNTER, ADD, b"k", i64(amount)) for amount in amounts], get=lambda column, keys: [None] * len(keys)
    )
    assert int.from_bytes(plan.ops[0][2][56:], "big", signed=True) == sum(amounts)


def test_set_insertion_is_a_dot_and_a_removal_kills_the_dots_it_names():
    index = merge.Index(100, SEED)
    own = merge.row_key(SET, prefix_of(SET), b"k", 0, ACCOUNT, 1, 1)
    assert own == b"main\0scores\0\x02k\0\x01" + dot_of(ACCOUNT, 1, 1)
    assert run([(SET, INSERT, b"k", b"red")], index).ops == [
        (LIVE, own, header_of(100, ACCOUNT, 1, 1) + b"red")
    ]
    plan = run([(SET, REMOVE, b"k", dot_of(ACCOUNT, 1, 1) + DOT)], index, hlc=50, account=OTHER)
    grave = header_of(50, OTHER, 1, 1)
    unseen = merge.row_key(SET, prefix_of(SET), b"k", 0, OTHER, 7, 9)
    assert plan.ops == [(LIVE, own, None), (DEAD, own, grave), (DEAD, unseen, grave)]
    assert plan.winners == b"\x01"
    late = run([(SET, INSERT, b"k", b"blue")], index, account=OTHER, generation=7, seq=9, hlc=1000)
    assert (late.ops, late.winners) == ([], b"\x00")


def test_a_second_removal_raises_the_header_of_the_grave_and_shows_nothing():
    index = merge.Index(100, SEED)
    key = merge.row_key(SET, prefix_of(SET), b"k", 0, OTHER, 7, 9)
    run([(SET, REMOVE, b"k", DOT)], index, hlc=50)
    assert run([(SET, REMOVE, b"k", DOT)], index, hlc=40, seq=2).ops == []
    plan = run([(SET, REMOVE, b"k", DOT)], index, hlc=60, seq=3)
    assert (plan.ops, plan.winners) == ([(DEAD, key, header_of(60, ACCOUNT, 1, 3))], b"\x00")
    plan = run(
        [(SET, REMOVE, b"k", DOT)], index, lambda column, keys: [header_of(60, OTHER, 1, 0)], hlc=60, seq=4
    )
    assert plan.ops == []


def test_insertion_and_removal_in_one_batch():
    plan = run([(SET, INSERT, b"k", b"red"), (SET, REMOVE, b"k", dot_of(ACCOUNT, 1, 1))])
    assert [op[0] for op in plan.ops] == [DEAD]
    assert plan.winners == b"\x02"


def test_append_is_blind_and_keyed_by_clock_and_origin():
    plan = run([(APPEND, PUT, b"k", b"fact"), (APPEND, PUT, b"k", b"fact")])
    keys = [merge.row_key(APPEND, prefix_of(APPEND), b"k", 100 + i, ACCOUNT, 1, 1 + i) for i in range(2)]
    assert keys[0] == b"main\0scores\0\x03k\0\x01" + header_of(100, ACCOUNT, 1, 1)
    assert plan.ops == [(LIVE, key, key[-56:] + b"fact") for key in keys]
    assert plan.winners == b"\x03"


def test_one_key_text_in_tables_of_every_type_is_as_many_rows():
    changes = [
        (LWW, PUT, b"k", b""),
        (OWN, PUT, b"k", b""),
        (SET, INSERT, b"k", b""),
        (APPEND, PUT, b"k", b""),
    ]
    assert len({key for _, key, _ in run(changes).ops}) == 4


def test_an_empty_batch_plans_nothing():
    plan = run([])
    assert (plan.ops, plan.winners, len(plan)) == ([], b"", 0)


def test_emit_calls_with_the_columns_given():
    index = merge.Index(100, SEED)
    run([(LWW, PUT, b"gone", b"1")], index)
    plan = run([(LWW, PUT, b"k", b"2"), (LWW, DELETE, b"gone", b"")], index, hlc=200)
    calls = []
    count = plan.emit(
        lambda key, value, column: calls.append((column, key, value)), lambda key, column: calls.append((column, key)),
        ("live", "dead"),
    )  # fmt: skip
    assert count == len(plan) == 3
    assert [call[0] for call in calls] == ["live", "live", "dead"]
    assert calls[1] == ("live", b"main\0scores\0\0gone")


def test_an_error_of_the_store_stops_emit():
    plan = run([(LWW, PUT, b"k", b"2")])

    def put(key, value, column):
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        plan.emit(put, put, (None, None))
    with pytest.raises(ValueError, match="unpack"):
        plan.emit(put, put, (None,))


def test_a_decoded_batch_goes_straight_in():
    """Also: the writer shares no bytes between equal keys and values, which merge would refuse."""
    tables = [("scores", LWW), ("hits", COUNTER), ("tags", SET)]
    changes = (
        [(0, PUT, b"same", b"value" * 40)] * 3
        + [(1, ADD, b"same", i64(2))] * 2
        + [(2, REMOVE, b"same", DOT)] * 2
    )
    raw = codec.encode_batch(
        7,
        bytes(32),
        "main",
        ACCOUNT,
        3,
        10,
        bytes(32),
        1,
        2,
        500,
        tables,
        [*changes, (0, DELETE, b"gone", b"")],
    )
    batch = codec.decode_batch(raw)
    plan = merge.resolve(
        merge.Index(100, SEED), batch.raw, batch.spans,
        [b"%b\0%b\0%c" % (batch.space.encode(), name.encode(), kind) for name, kind in batch.tables],
        bytes(kind for _, kind in batch.tables), batch.account, batch.generation, batch.seq_first, batch.hlc_first,
        lambda column, keys: [None] * len(keys),
    )  # fmt: skip
    assert plan.ops == [
        (LIVE, b"main\0scores\0\0same", header_of(502, ACCOUNT, 3, 12) + b"value" * 40),
        (
            LIVE,
            merge.row_key(COUNTER, b"main\0hits\0\1", b"same", 0, ACCOUNT, 3),
            header_of(504, ACCOUNT, 3, 14) + bytes(15) + b"\4",
        ),
        (DEAD, b"main\0tags\0\2" + merge.escape(b"same") + DOT, header_of(506, ACCOUNT, 3, 16)),
        (DEAD, b"main\0scores\0\0gone", header_of(507, ACCOUNT, 3, 17)),
    ]
    assert plan.winners == b"\xdc"


# --- reads ------------------------------------------------------------------------------------------------


def test_misses_of_an_incomplete_index_are_read_together():
    index = merge.Index(100, SEED)
    index.clear()
    calls = []

    def get(column, keys):
        calls.append((column, len(keys)))
        return [None] * len(keys)

    changes = [(LWW, PUT, b"%d" % (i % 100), b"") for i in range(150)] + [(COUNTER, ADD, b"c", i64(1))] * 9
    run(changes, index, get)
    assert calls == [(LIVE, 101), (DEAD, 100)]
    calls.clear()
    run(changes, index, get, hlc=1000)
    assert calls == [(LIVE, 1)]


def test_no_more_than_128_rows_are_held_at_once():
    index = merge.Index(1000, SEED)
    index.clear()
    sizes = []
    run(
        [(LWW, PUT, b"%d" % i, b"") for i in range(300)], index,
        lambda column, keys: sizes.append((column, len(keys))) or [None] * len(keys),
    )  # fmt: skip
    assert sizes == [(LIVE, 128), (LIVE, 128), (LIVE, 44), (DEAD, 128), (DEAD, 128), (DEAD, 44)]


def test_what_was_read_is_remembered_even_where_it_wins():
    index = merge.Index(100, SEED)
    index.clear()
    rows = {LIVE: [header_of(900, OTHER, 1, 1)], DEAD: [None]}
    assert run([(LWW, PUT, b"k", b"")], index, lambda column, keys: rows[column]).ops == []
    assert run([(LWW, PUT, b"k", b"")], index, no_reads).ops == []


def test_a_collected_tombstone_counts_as_no_row():
    index = merge.Index(100, SEED)
    run([(LWW, DELETE, b"k", b"")], index)
    plan = run([(LWW, PUT, b"k", b"")], index, lambda column, keys: [None])
    assert [(column, value is None) for column, _, value in plan.ops] == [(LIVE, False)]


def test_a_failing_read_leaves_the_index_as_it_was():
    index = merge.Index(100, SEED)
    run([(LWW, PUT, b"old", b"")], index, hlc=100)

    def get(column, keys):
        raise OSError

    changes = [(LWW, PUT, b"new", b""), (LWW, DELETE, b"old", b""), (COUNTER, ADD, b"c", i64(1))]
    with pytest.raises(OSError, match=r"^$"):
        run(changes, index, get, hlc=200)
    assert len(index) == 1
    assert index.complete
    assert run([(LWW, PUT, b"old", b"")], index, hlc=150).winners == b"\x01"


@pytest.mark.parametrize(
    "answer",
    [[], [b"x" * 72] * 2, [b"x" * 71], [b"x" * 73], [b""], None],
)
def test_a_counter_row_that_is_not_one_is_damage(answer):
    index = merge.Index(100, SEED)
    with pytest.raises(StoreCorrupt, match="restore it from a backup"):
        run([(COUNTER, ADD, b"k", i64(1)), (LWW, PUT, b"k", b"")], index, lambda column, keys: answer)
    assert len(index) == 0


@pytest.mark.parametrize("answer", [("x",), ["x" * 72], [bytearray(72)]])
def test_an_answer_of_another_type_is_refused(answer):
    with pytest.raises(TypeError):
        run([(COUNTER, ADD, b"k", i64(1))], get=lambda column, keys: answer)


@pytest.mark.parametrize("rows", [(b"x" * 55, None), (None, b"x" * 57), (b"x" * 56, b"x" * 56)])
def test_damaged_rows_are_reported(rows):
    index = merge.Index(100, SEED)
    index.clear()
    with pytest.raises(StoreCorrupt):
        run([(LWW, PUT, b"k", b"")], index, lambda column, keys: [rows[column]])
    assert len(index) == 0


# --- row keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("key", [b"k", b"\0", b"a\0\x01b", b"\xff\0\xff"])
def test_row_keys_as_the_oracle_makes_them(kind, key):
    args = (kind, prefix_of(kind), key, 2**63, ACCOUNT, 2, 3)
    assert merge.row_key(*args) == oracle.row_key(*args)
    if kind not in (LWW, OWN):
        assert merge.unescape(merge.row_key(*args), len(prefix_of(kind)))[0] == key


def test_row_key_refuses_what_has_no_row():
    for args in [
        (5, b"p", b"k"),
        (-1, b"p", b"k"),
        (0, bytes(132), b"k"),
        (0, b"p", bytes(1025)),
        (2, b"p", b"k", 0, b""),
    ]:
        with pytest.raises(UsageError):
            merge.row_key(*args)


def test_escaped_keys_sort_as_the_keys_and_none_is_a_prefix_of_another():
    keys = sorted(
        [b"", b"\0", b"\0\0", b"\0\x01", b"\0\xff", b"a", b"a\0", b"a\0b", b"a\x01", b"ab", b"\xff"]
    )
    escaped = [merge.escape(key) for key in keys]
    assert escaped == sorted(escaped) == [oracle.escape(key) for key in keys]
    assert not any(b.startswith(a) for a in escaped for b in escaped if a != b)
    assert [merge.unescape(b"p" + text + b"\0\x01", 1) for text in escaped] == [
        (key, len(text) + 1) for key, text in zip(keys, escaped, strict=True)
    ]


@pytest.mark.parametrize("text", [b"", b"abc", b"a\0", b"a\0\xff", b"a\0b\0\x01", b"\0\0\x01"])
@pytest.mark.parametrize("at", [0, -1])
def test_unescape_of_what_has_no_end(text, at):
    with pytest.raises(StoreCorrupt):
        merge.unescape(text, at)
