"""The columns of a table: inferred from samples, given in a file, and what becomes of values that do not fit."""

from __future__ import annotations

from datetime import UTC, datetime

import nodekit
import pytest
from pgsinkkit import given, query, sinking
from sinkkit import FakeNode

from mycelium.config.sinks import SINK_COLUMNS_MAX
from mycelium.errors import ConfigError
from mycelium.protocol.messages import MergeType
from mycelium.sinks.postgres.names import relation_of
from mycelium.sinks.schema import Sample
from mycelium.sinks.schemafile import Given
from mycelium.sinks.source import Source, key_bytes, key_text


def inferred(*values, times=1):
    sample = Sample()
    for _ in range(times):
        for value in values:
            sample.see(value)
    return {column.name: column.type for column in sample.layout().columns}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([True, False], "boolean"),
        ([1, 2], "bigint"),
        ([1, 2**63], "numeric"),
        ([1, 0.5], "double precision"),
        ([2**60, 0.5], "numeric"),
        (["a"], "text"),
        (["a\0b"], "jsonb"),
        ([b"a"], "bytea"),
        ([[1]], "jsonb"),
        ([{"a": 1}], "jsonb"),
        ([1, "a"], "jsonb"),
        ([True, 1], "jsonb"),
        ([None], "jsonb"),
        ([None, "a"], "text"),
        ([datetime(2026, 1, 2, tzinfo=UTC)], "timestamptz"),
        ([datetime(2026, 1, 2)], "jsonb"),  # noqa: DTZ001 - a time without a zone is what it is about
    ],
)
def test_types(values, kind):
    members = [{"a": value} for value in values]
    assert inferred(*members, times=100) == {"a": kind}
    if not isinstance(values[0], dict):
        assert inferred(*values, times=100) == {"value": kind}


def test_few_whole_numbers_may_yet_be_fractions():
    assert inferred({"a": 1}, times=99) == {"a": "numeric"}
    assert inferred({"a": 1}, times=100) == {"a": "bigint"}


def test_only_members_that_many_have_become_columns():
    rare = [{"a": 1.5, "b": "x"}] + [{"a": 0.5}] * 10
    assert inferred(*rare) == {"a": "double precision"}
    assert inferred(*rare[:10]) == {"a": "double precision", "b": "text"}


def test_names_that_no_column_can_have():
    names = ["key", "KEY", "_rest", "_x", "", "ctid", "xmin", "a\0", "x" * 64, "é" * 32, 5]
    assert inferred({**dict.fromkeys(names, "x"), "ok": "y", "OK": "z", "é" * 31: "w"}) == {
        "ok": "text",
        "é" * 31: "text",
    }


def test_the_width_of_a_table_is_bounded():
    assert len(inferred({f"c{number}": 1 for number in range(5_000)})) == SINK_COLUMNS_MAX
    wide = [{f"c{row}-{number}": 1 for number in range(500)} for row in range(100)]
    assert inferred(*wide) == {}


def test_what_most_values_are_decides():
    assert inferred({"a": "x"}, {"a": "x"}, "text") == {"a": "text"}
    assert inferred({"a": "x"}, "text", "text") == {"value": "jsonb"} or inferred("text", {"a": 1}) == {
        "value": "text"
    }


@pytest.mark.parametrize("key", [b"a", b"\\x", b"\\x61", b"\\", b"\xff", b"a\0", "é".encode(), b"\\\\x"])
def test_keys_come_back(key):
    assert key_bytes(key_text(key)) == key
    others = {key_text(other) for other in (b"a", b"\\x", b"\\x61", b"\\", b"\xff", b"a\0") if other != key}
    assert key_text(key) not in others


def test_names_of_relations():
    source = Source("main", "scores", MergeType.LWW)
    plain = relation_of(source, Given())
    assert str(plain) == "mycelium_main.scores"
    assert str(relation_of(source._replace(merge=MergeType.SET), Given(), frozenset({plain}))) == (
        "mycelium_main.scores__set"
    )
    long = relation_of(source._replace(space="s" * 64), Given())
    assert len(long.schema) == 61
    assert long != relation_of(source._replace(space="s" * 63 + "t"), Given())


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[tables.a.columns]\nx = 5\n", ":2: tables.a.columns.x is 5"),
        ('[tables.a.columns]\nx = "text; --"\n', ":2: tables.a.columns.x has the type 'text; --'"),
        ('[tables.a.columns]\n_x = "text"\n', ":2: tables.a.columns._x cannot be a column's name"),
        ('[tables.a.columns]\nx = {type = "text", form = "y"}\n', "tables.a.columns.x.form is not known"),
        ('[tables.a]\ninto = "scores"\n', ":2: tables.a.into is 'scores'"),
        ("[tables.a]\nstrikt = true\n", ":2: tables.a.strikt is not known -- did you mean 'strict'?"),
        ("[table.a]\n", "table is not known"),
    ],
)
def test_mistakes_in_the_file(tmp_path, text, line):
    with pytest.raises(ConfigError) as caught:
        given(tmp_path, text)
    assert line in str(caught.value).replace("\n  ", " -- ")


def test_types_that_postgresql_reads_from_text(dsn, tmp_path):
    columns = given(
        tmp_path,
        """
        [tables.scores]
        into = "public.scores"
        [tables.scores.columns]
        whole = { type = "jsonb", from = "$" }
        at = "timestamptz"
        day = "date"
        id = "uuid"
        where = "inet"
        price = "numeric(20, 9)"
        short = "varchar(5)"
        small = "int2"
        ratio = "float4"
        name_key = { type = "text", from = "key" }
        """,
    )
    value = {
        "at": "2026-01-02T03:04:05Z",
        "day": "2026-01-02",
        "id": "6f2d1f0e-6f0f-4a6c-9c57-1d1f6b1f0a11",
        "where": "10.0.0.0/8",
        "price": 0.125,
        "short": "12345",
        "small": -5,
        "ratio": 0.5,
        "key": "k",
        "other": 1,
    }

    async def main():
        node = FakeNode()
        node.set("scores", "a", value)
        async with sinking(node, dsn, given=columns) as sink:
            await sink.caught_up(node)

    nodekit.run(main())
    (row,) = query(
        dsn,
        'SELECT whole, at::text, day::text, id::text, "where"::text, price, short, small, ratio, name_key, _rest '
        "FROM public.scores",
    )
    assert row[0] == value
    assert list(map(str, row[1:10])) == [
        "2026-01-02 03:04:05+00",
        "2026-01-02",
        value["id"],
        "10.0.0.0/8",
        "0.125000000",
        "12345",
        "-5",
        "0.5",
        "k",
    ]
    assert row[10] is None, "the column of the whole value has what is in no other"
