"""The sink of Parquet files, read back with pyarrow: their log, applied, is what the node shows, whatever dies."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import hypothesis.strategies as st
import nodekit
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as examples
from pgsinkkit import from_json, given, shown
from sinkkit import FakeNode, until
from sinksteps import STEPS, later, play, some

from mycelium.database.clock import time_ms_of
from mycelium.errors import ConfigError, FeedRewound, MissingExtra, SchemaConflict
from mycelium.identity import account as accounts
from mycelium.sinks.parquet import MANIFEST, ParquetSink
from mycelium.sinks.runner import Runner
from mycelium.sinks.source import key_bytes

parquet = pytest.importorskip("pyarrow.parquet")


def run(main):
    return nodekit.run(main, 50)


@asynccontextmanager
async def sinking(node: FakeNode, directory, *, spaces=None, tables=None, every_s=0.0, **more):
    said: list[str] = []
    sink = ParquetSink(directory, say=said.append, every_s=every_s, **more)

    async def nap(_seconds):
        await asyncio.sleep(0.01)

    runner = Runner(node.dial, sink, spaces, tables, say=said.append, sleep=nap)
    task = asyncio.create_task(runner.run())
    try:
        yield runner, task, said
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def sunk(node: FakeNode, directory, **more) -> list[str]:
    async with sinking(node, directory, **more) as (runner, task, said):
        await caught_up(node, runner, task)
        return said


async def caught_up(node, runner, task) -> None:
    def done():
        position = runner.progress.position
        return task.done() or (
            runner.progress.phase == "live" and position is not None and position.cursor == node.cursor
        )

    await until(done)
    if task.done():
        task.result()


def manifest(directory) -> dict:
    return json.loads((directory / MANIFEST).read_bytes())


def state(directory) -> dict:
    """As `FakeNode.state`: the files of each table in the manifest's order, applied row by row."""
    found = {}
    for table in manifest(directory)["tables"]:
        kept: dict = {}
        for file in table["files"]:
            data = parquet.read_table(directory / file["name"], partitioning=None)
            assert data.num_rows == file["rows"]
            for row in data.to_pylist():
                _apply(kept, table, row)
        if table["merge"] == "set":
            kept = {key: list(dict.fromkeys(map(_Held, dots.values()))) for key, dots in kept.items()}
            kept = {key: [held.value for held in elements] for key, elements in kept.items() if elements}
        if kept:
            found[table["space"], table["table"]] = kept
    return found


class _Held:
    """An element, equal to one of the same bytes of value."""

    def __init__(self, value) -> None:
        self.value = value
        self.text = repr(value)

    def __eq__(self, other) -> bool:
        return self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


def _apply(kept: dict, table: dict, row: dict) -> None:
    key = key_bytes(row["key"])
    assert row["_time"].timestamp() * 1000 == pytest.approx(time_ms_of(row["_hlc"]), abs=1)
    if row["op"] == "add":
        kept[key] = kept.get(key, 0) + int(row["value"])
    elif row["op"] == "delete":
        kept.pop(key, None)
    elif row["op"] == "remove":
        for dot in row["_dots"]:
            kept.get(key, {}).pop(dot, None)
    elif row["op"] == "insert":
        dot = (
            accounts.parse(row["_account"])
            + row["_generation"].to_bytes(8, "big")
            + row["_seq"].to_bytes(8, "big")
        )
        kept.setdefault(key, {})[dot] = value(row, table["columns"])
    elif table["merge"] == "append":
        kept.setdefault(key, []).append(value(row, table["columns"]))
    else:
        kept[key] = value(row, table["columns"])


def value(row: dict, columns: list):
    """The value of which a row was made; an object's members that are null are left out."""
    rest = None if row["_rest"] is None else from_json(json.loads(row["_rest"]))
    found = {}
    for name, kind, member, _ in columns:
        if row[name] is not None:
            item = from_json(json.loads(row[name])) if kind == "jsonb" else row[name]
            if member == "$":
                return item
            found[member] = item
    return {**found, **(rest or {})} if row["_rest"] is None or isinstance(rest, dict) else rest


def test_filled_then_followed(tmp_path):
    async def main():
        node = FakeNode()
        some(node)
        async with sinking(node, tmp_path) as (runner, task, _):
            await caught_up(node, runner, task)
            assert shown(state(tmp_path)) == shown(node.state())
            later(node)
            await caught_up(node, runner, task)
        assert shown(state(tmp_path)) == shown(node.state())
        await sunk(node, tmp_path)
        assert node.exports == [None], "it went on where it was"

    run(main())


@examples(STEPS, st.sampled_from([2, 5, 1000]))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anything_in_any_portions(tmp_path_factory, steps, rows_max):
    directory = tmp_path_factory.mktemp("sink")

    async def main():
        node = FakeNode()
        for step in [*steps, ("run",)]:
            if step[0] == "run":
                await sunk(node, directory, rows_max=rows_max)
            else:
                play(node, *step)
        assert shown(state(directory)) == shown(node.state())

    run(main())


def test_files_are_by_size_and_time(tmp_path):
    async def main():
        node = FakeNode()
        some(node)
        async with sinking(node, tmp_path, every_s=3600.0, rows_max=10) as (runner, _task, _):
            await until(lambda: runner.progress.phase == "live")
            for number in range(25):
                node.set("scores", f"k{number}", {"score": 1.5})
            await until(lambda: runner.progress.changes == 20)
            (scores,) = [one for one in manifest(tmp_path)["tables"] if one["table"] == "scores"]
            assert [file["rows"] for file in scores["files"]] == [2, 10, 10]
            assert manifest(tmp_path)["position"].startswith('["0000000000000007-30"')

    run(main())


def test_killed_anywhere(tmp_path):
    """What was written and is not in the manifest does not count, and is removed."""

    async def main():
        node = FakeNode()
        some(node)
        for number in range(12):
            async with sinking(node, tmp_path, rows_max=3):
                node.set("scores", f"k{number}", {"score": float(number)})
                node.add("hits", "x", number)
                await asyncio.sleep(0.004 * number)
        orphan = tmp_path / "main" / "scores-lww" / "9999999999.parquet"
        orphan.parent.mkdir(parents=True, exist_ok=True)
        orphan.write_bytes(b"half a fi")
        await sunk(node, tmp_path)
        assert not orphan.exists()
        assert shown(state(tmp_path)) == shown(node.state())
        named = {file["name"] for table in manifest(tmp_path)["tables"] for file in table["files"]}
        assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*/*")} == named

    run(main())


def test_a_full_disk_is_waited_for(tmp_path, monkeypatch):
    import os

    async def main():
        node = FakeNode()
        some(node)
        async with sinking(node, tmp_path) as (runner, task, said):
            await caught_up(node, runner, task)
            before = state(tmp_path)
            fsync = os.fsync
            full = True

            def refusing(descriptor):
                if full:
                    raise OSError(28, "No space left on device")
                fsync(descriptor)

            monkeypatch.setattr("os.fsync", refusing)
            later(node)
            await until(lambda: any("No space left on device" in line for line in said))
            assert shown(state(tmp_path)) == shown(before)
            full = False
            await caught_up(node, runner, task)
        assert [line.partition(":")[0] for line in said] == ["waiting", "it goes on"]
        assert shown(state(tmp_path)) == shown(node.state())

    run(main())


def test_begun_anew_where_the_feed_does_not_go_on(tmp_path):
    async def main():
        node = FakeNode()
        some(node)
        await sunk(node, tmp_path)
        later(node)
        node.oldest = 15
        await sunk(node, tmp_path)
        assert shown(state(tmp_path)) == shown(node.state())
        node.set("aside", "k", 1, space="other")
        node.rewind[len(node.batches) + 1] = FeedRewound("taken away", str(node.cursor), "main")
        node.add("hits", "x", 7)
        await sunk(node, tmp_path)
        assert shown(state(tmp_path)) == shown(node.state())
        assert node.exports == [None, None, ["main"]]

    run(main())


def test_given_columns(tmp_path):
    columns = given(tmp_path, '[tables.scores.columns]\nscore = "real"\nname = "text"\n')

    async def main():
        node = FakeNode()
        node.set("scores", "a", {"score": 0.5, "name": "x", "more": [1]})
        await sunk(node, tmp_path / "out", given=columns)
        (table,) = manifest(tmp_path / "out")["tables"]
        data = parquet.read_table(tmp_path / "out" / table["files"][0]["name"], partitioning=None)
        assert str(data.schema.field("score").type) == "float"
        assert data.column("_rest").to_pylist() == ['{"more":[1]}']
        node.set("scores", "a", {"score": "much"})
        with pytest.raises(SchemaConflict, match="'much' does not fit the column score of type real"):
            await sunk(node, tmp_path / "out", given=columns)
        wider = given(tmp_path, '[tables.scores.columns]\nscore = "jsonb"\nname = "text"\n')
        await sunk(node, tmp_path / "out", given=wider)
        assert shown(state(tmp_path / "out")) == shown(node.state())

    run(main())


def test_a_type_that_files_have_not(tmp_path):
    columns = given(tmp_path, '[tables.scores.columns]\nwhere = "inet"\n')
    with pytest.raises(ConfigError, match="the column where has the type inet"):
        ParquetSink(tmp_path, columns)


@pytest.mark.parametrize("content", ["", "{}", '{"format": 2}', "[]"])
def test_a_manifest_that_is_none(tmp_path, content):
    (tmp_path / MANIFEST).write_text(content)

    async def main():
        with pytest.raises(SchemaConflict, match="is no manifest of this release"):
            await sunk(FakeNode(), tmp_path)

    run(main())


def test_one_process_writes(tmp_path):
    async def main():
        node = FakeNode()
        some(node)
        async with sinking(node, tmp_path) as (runner, task, _):
            await caught_up(node, runner, task)
            async with sinking(node, tmp_path) as (second, other, said):
                await until(lambda: any("stands by" in line for line in said))
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                later(node)
                await caught_up(node, second, other)
        assert shown(state(tmp_path)) == shown(node.state())

    run(main())


def test_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("mycelium.extras.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"mycelium-node\[parquet\]"):
        ParquetSink(tmp_path)
