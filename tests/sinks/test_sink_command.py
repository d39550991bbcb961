"""`mycelium sink` as people run it: processes, a real node, a real PostgreSQL."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time

import clikit
import psycopg
import pytest
from pgsinkkit import query

from mycelium.devnet import layout


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A node that runs, by its configuration."""
    (place,) = layout.prepare(tmp_path_factory.mktemp("sink"), 1)
    with clikit.running(place.config):
        yield place.config


class Sink:
    """`mycelium sink ...` as a process."""

    def __init__(self, *arguments) -> None:
        self.process = subprocess.Popen(
            clikit.command("sink", *arguments, "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clikit.environment(),
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate(timeout=20)

    def until(self, event: str) -> dict:
        """Read events up to this one."""
        while line := self.process.stdout.readline():
            found = json.loads(line)
            if found["event"] == event:
                return found
        raise AssertionError(self.process.stderr.read().decode())


def until(condition, seconds=20):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def scores(dsn):
    if query(dsn, "SELECT to_regclass('mycelium_main.records')") == [(None,)]:
        return {}
    return dict(query(dsn, "SELECT key, score::int FROM mycelium_main.records"))


def test_a_killed_sink_goes_on_and_status_says_how_far(config, dsn, tmp_path):
    put = ["put", "records", "--config", config]
    clikit.invoke("delete", "records", "b", "--config", config)
    clikit.invoke(*put, "a", '{"score": 1}')
    with Sink("postgres", "--dsn", dsn, "--config", config) as sink:
        sink.until("live")
        assert scores(dsn) == {"a": 1}
        clikit.invoke(*put, "b", '{"score": 2}')
        until(lambda: scores(dsn) == {"a": 1, "b": 2})
        sink.process.kill()
    clikit.invoke(*put, "c", '{"score": 3}')
    clikit.invoke("delete", "records", "a", "--config", config)
    metrics = tmp_path / "sink.prom"
    with Sink("postgres", "--dsn", dsn, "--config", config, "--metrics", metrics) as sink:
        assert sink.until("live")["rows"] == 0, "it was not filled again"
        until(lambda: scores(dsn) == {"b": 2, "c": 3})
    assert 'mycelium_sink_live{sink="main"} 1.0' in metrics.read_text()
    (found,) = clikit.invoke_json("sink", "status", "--dsn", dsn)
    assert found["lag"] == 0
    assert re.fullmatch(r"[0-9a-f]{16}-\d+", found["cursor"])
    assert [table["table"] for table in found["tables"]] == ["main/records"]
    out, _ = clikit.invoke("sink", "status", "--dsn", dsn)
    assert "main/records (lww) -> mycelium_main.records: score" in out


def test_two_sinks_of_one_database_do_not_meet(config, dsn, tmp_path):
    schema = tmp_path / "tables.toml"
    schema.write_text('[tables.records]\ninto = "other.copy"\n[tables.records.columns]\nscore = "real"\n')
    clikit.invoke("put", "records", "b", '{"score": 2}', "--config", config)
    with (
        Sink("postgres", "--dsn", dsn, "--config", config) as one,
        Sink("postgres", "--dsn", dsn, "--config", config, "--name", "two", "--schema", schema) as two,
    ):
        one.until("live")
        two.until("live")
        assert clikit.invoke("sink", "status", "--dsn", dsn)[0].count("main/records (lww)") == 2
        assert query(dsn, "SELECT score FROM other.copy WHERE key = 'b'") == [(2.0,)]
        assert scores(dsn)["b"] == 2


def test_one_table_is_one_sinks(config, dsn):
    clikit.invoke("put", "records", "b", '{"score": 2}', "--config", config)
    with Sink("postgres", "--dsn", dsn, "--config", config) as sink:
        sink.until("live")
        _, err = clikit.run("sink", "postgres", "--dsn", dsn, "--config", config, "--name", "two", code=2)
    assert "which the sink 'main' writes to -- name another with `into`" in err


def test_a_conflict_ends_it_with_one_line_and_its_remedy(config, dsn):
    clikit.invoke("put", "records", "b", '{"score": 2}', "--config", config)
    query(dsn, "CREATE SCHEMA mycelium_main")
    query(dsn, "CREATE TABLE mycelium_main.records (id int)")
    _, err = clikit.run("sink", "postgres", "--dsn", dsn, "--config", config, code=2)
    assert err.count("\n") == 1
    assert (
        "main/records is to be written to mycelium_main.records, which has no column key -- drop that table"
        in err
    )
    query(dsn, "DROP TABLE mycelium_main.records")
    with Sink("postgres", "--dsn", dsn, "--config", config) as sink:
        sink.until("live")
        assert scores(dsn)["b"] == 2


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("postgresql://me:sesame123@127.0.0.1:1/x?nonsense=1", "the DSN is none that PostgreSQL understands"),
        ("host=127.0.0.1 port=none password=sesame123", "invalid integer value"),
    ],
    ids=["unknown option", "no port"],
)
def test_a_dsn_that_is_none_is_named_without_its_password(config, dsn, said):
    _, err = clikit.run("sink", "status", "--dsn", dsn, code=2 if "none that" in said else 1)
    assert said in err
    assert "sesame" not in err


def test_a_wrong_schema_file_is_named_with_its_line(config, dsn, tmp_path):
    schema = tmp_path / "tables.toml"
    schema.write_text('[tables.records.columns]\nscore = "double; DROP TABLE x"\nkey = "text"\n')
    _, err = clikit.run("sink", "postgres", "--dsn", dsn, "--config", config, "--schema", schema, code=2)
    assert f"{schema}:2: tables.records.columns.score has the type" in err
    assert f"{schema}:3: tables.records.columns.key cannot be a column's name" in err


def test_the_script_of_read_rights(config, dsn, tmp_path):
    clikit.invoke("put", "records", "b", '{"score": 2}', "--config", config)
    with Sink("postgres", "--dsn", dsn, "--config", config) as sink:
        sink.until("live")
    query(dsn, "CREATE ROLE reader_of_this_test")
    account = clikit.invoke_json("status", "--config", config)[0]["account"]
    asked = ("sink", "rls", "--dsn", dsn, "--config", config)
    script, _ = clikit.invoke(*asked, "--login", f"reader_of_this_test={account}")
    assert "-- reader_of_this_test: owner, 5" in script
    query(dsn, script)
    see = "SELECT count(*) FROM mycelium_main.records"
    assert _as("reader_of_this_test", dsn, see) == query(dsn, see)
    policy = tmp_path / "policy.json"
    policy.write_text('{"version": 1, "rules": [{"who": "miner", "tables": "*", "may": ["read"]}]}')
    query(dsn, clikit.invoke(*asked, "--policy", policy)[0])
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        _as("reader_of_this_test", dsn, see)
    _, err = clikit.invoke(*asked, "--login", "reader", code=2)
    assert "'reader' is no login: write NAME=SS58" in err
    query(dsn, "DROP OWNED BY reader_of_this_test; DROP ROLE reader_of_this_test")


def _as(role, dsn, statement):
    with psycopg.connect(dsn) as connection:
        connection.execute(f"SET ROLE {role}")
        return connection.execute(statement).fetchall()


def test_parquet_files(config, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    clikit.invoke("put", "records", "p", '{"score": 2}', "--config", config)
    out = tmp_path / "out"
    with Sink("parquet", "--dir", out, "--every", 0, "--table", "records", "--config", config) as sink:
        sink.until("live")
        clikit.invoke("delete", "records", "p", "--config", config)
        manifest = out / "manifest.json"
        until(lambda: [len(one["files"]) for one in json.loads(manifest.read_bytes())["tables"]] == [2])
    (table,) = json.loads(manifest.read_bytes())["tables"]
    rows = [row for file in table["files"] for row in parquet.read_table(out / file["name"]).to_pylist()]
    assert [row["op"] for row in rows if row["key"] == "p"] == ["put", "delete"]


def test_an_interrupt_ends_it_quietly(config, dsn):
    with Sink("postgres", "--dsn", dsn, "--config", config) as sink:
        sink.until("live")
        sink.process.send_signal(signal.SIGINT)
        assert sink.process.wait(20) == 130
        assert sink.process.stderr.read() == b""


def test_a_server_that_is_not_there(config):
    (port,) = layout.free_ports(1)
    _, err = clikit.run("sink", "status", "--dsn", f"postgresql://me:sesame123@127.0.0.1:{port}/x", code=1)
    assert err.count("\n") == 1
    assert err.startswith(f"error: PostgreSQL at 127.0.0.1:{port}/x: connection failed: ")
    assert err.endswith(
        "Is the server running on that host and accepting TCP/IP connections? -- is it running, and is "
        "that its address? mend --dsn, or try again\n"
    )
