"""The data commands against a running node: what they print, for people and as JSON, and how they exit."""

import json
import os
import signal
import subprocess

import clikit
import pytest

from mycelium.devnet.layout import prepare
from mycelium.identity import account as accounts
from mycelium.identity import wallet as wallets
from mycelium.identity.keys import Keypair


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    (place,) = prepare(tmp_path_factory.mktemp("commands") / "net", 1)
    with clikit.running(place.config):
        yield place


@pytest.fixture
def key(request):
    """A key of this test alone: tests share the node."""
    return request.node.name


def test_put_get_delete(place, key):
    target = ("--config", place.config)
    assert clikit.invoke("put", "records", key, '{"score": 0.93}', *target) == ("", "")
    assert clikit.invoke("get", "records", key, *target)[0] == '{"score":0.93}\n'
    (found,) = clikit.invoke_json("get", "records", key, *target)
    assert found == {"table": "records", "key": key, "found": True, "value": {"score": 0.93}}
    assert clikit.invoke_json("delete", "records", key, *target) == [
        {"op": "delete", "table": "records", "key": key, "ack": "durable"}
    ]
    out, err = clikit.invoke("get", "records", key, *target, code=1)
    assert (out, err) == ("", f"error: table 'records' has no key '{key}'\n")
    assert clikit.invoke_json("get", "records", key, *target, code=1)[0]["found"] is False


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["plain words"], "plain words"),
        (["42"], 42),
        (["42", "--text"], "42"),
        (['"42"'], "42"),
        (["null"], None),
        (["[1,"], "[1,"),
        ([""], ""),
    ],
)
def test_a_value_is_json_or_text(place, key, arguments, value):
    clikit.invoke("insert", "groups", key, *arguments, "--config", place.config)
    assert clikit.invoke_json("get", "groups", key, "--config", place.config)[0]["value"] == [value]


def test_bytes_from_stdin_and_file_come_back_as_they_were(place, key, tmp_path):
    data = bytes(range(256)) * 10
    (tmp_path / "blob").write_bytes(data)
    clikit.invoke("put", "records", key, "--bytes", tmp_path / "blob", "--config", place.config)
    read = subprocess.run(
        clikit.command("get", "records", key, "--config", place.config),
        capture_output=True,
        env=clikit.environment(),
        check=True,
        timeout=60,
    )
    assert read.stdout == data
    clikit.invoke("put", "records", key, "--bytes", "-", "--config", place.config, stdin=b"\x00\xfe")
    value = clikit.invoke_json("get", "records", key, "--config", place.config)[0]["value"]
    assert value == {"$bytes": "AP4="}


def test_hex_keys(place):
    clikit.invoke("put", "records", "0xff00ee", "1", "--hex-key", "--config", place.config)
    (found,) = clikit.invoke_json("get", "records", "ff00ee", "--hex-key", "--config", place.config)
    assert found["key"] == {"$bytes": "/wDu"}
    _, err = clikit.invoke("get", "records", "xyz", "--hex-key", "--config", place.config, code=2)
    assert err == "error: KEY is not hex: 'xyz' -- see --help\n"


def test_counter_set_append_and_own(place, key):
    target = ("--config", place.config)
    clikit.invoke("add", "hits", key, *target)
    clikit.invoke("add", "hits", key, "5", *target)
    clikit.invoke("add", "hits", key, *target, "--", "-2")
    assert clikit.invoke("get", "hits", key, *target)[0] == "4\n"
    clikit.invoke("insert", "groups", key, "a", *target)
    clikit.invoke("insert", "groups", key, "b", *target)
    clikit.invoke("remove", "groups", key, "a", *target)
    assert clikit.invoke("get", "groups", key, *target)[0] == '["b"]\n'
    clikit.invoke("put", "facts", key, "1", *target)
    clikit.invoke("put", "facts", key, "2", *target)
    assert clikit.invoke("get", "facts", key, *target)[0] == "[1,2]\n"
    clikit.invoke("put", "notes", f"{place.address}/{key}", "mine", *target)
    _, err = clikit.invoke("put", "notes", key, "not mine", *target, code=2)
    assert "begin with their writer's account" in err
    _, err = clikit.invoke("add", "records", key, *target, code=2)
    assert "has no add" in err


def test_scan(place, key):
    target = ("--prefix", f"{key}/", "--config", place.config)
    for number in range(5):
        clikit.invoke("put", "records", f"{key}/{number}", str(number), "--config", place.config)
    assert clikit.invoke("scan", "records", *target, "--limit", 2)[0] == f"{key}/0\t0\n{key}/1\t1\n"
    rows = clikit.invoke_json("scan", "records", *target, "--reverse", "--start", f"{key}/3")
    assert [row["key"] for row in rows] == [f"{key}/4", f"{key}/3"]
    assert {row["account"] for row in rows} == {place.address}
    assert all(row["hlc"] > 0 for row in rows)
    (count,) = clikit.invoke_json("count", "records", "--config", place.config)
    assert count["count"] >= 5


def test_watch_prints_changes_and_resumes_after_a_cursor(place, key):
    target = ("--prefix", key, "--config", place.config)
    watcher = subprocess.Popen(
        clikit.command("watch", "records", *target, "--json", "--limit", "2"),
        stdout=subprocess.PIPE,
        env=clikit.environment(),
    )
    try:
        started = json.loads(watcher.stdout.readline())
        assert started["event"] == "watching"
        clikit.invoke("put", "records", key, "1", "--config", place.config)
        clikit.invoke("delete", "records", key, "--config", place.config)
        changes = [json.loads(watcher.stdout.readline()) for _ in range(2)]
        assert watcher.wait(20) == 0
    finally:
        watcher.kill()
        watcher.wait()
        watcher.stdout.close()
    assert [(change["op"], change["value"]) for change in changes] == [("put", 1), ("delete", None)]
    out, _ = clikit.invoke("watch", "records", *target, "--after", changes[0]["cursor"], "--limit", "1")
    assert out == f"delete\t{key}\t\t{place.address}\n"


def test_ctrl_c_ends_a_watch_with_130(place):
    watcher = subprocess.Popen(
        clikit.command("watch", "records", "--config", place.config, "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clikit.environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    watcher.stdout.readline()
    watcher.send_signal(signal.SIGINT)
    _, err = watcher.communicate(timeout=20)
    assert watcher.returncode == 130
    assert b"Traceback" not in err


def test_a_reader_that_has_enough_is_no_error(place, key):
    for number in range(20):
        clikit.invoke("put", "records", f"{key}/{number}", json.dumps("x" * 20_000), "--config", place.config)
    read_end, write_end = os.pipe()
    scan = subprocess.Popen(
        clikit.command("scan", "records", "--prefix", key, "--config", place.config),
        stdout=write_end,
        stderr=subprocess.PIPE,
        env=clikit.environment(),
    )
    os.close(write_end)
    os.read(read_end, 100)
    os.close(read_end)
    _, err = scan.communicate(timeout=30)
    assert (scan.returncode, err) == (0, b"")


def test_status(place):
    (status,) = clikit.invoke_json("node", "status", "--config", place.config)
    assert status["account"] == place.address
    assert status["url"] == place.url
    out, _ = clikit.invoke("node", "status", "--config", place.config)
    assert place.address in out.replace("\n", "")
    assert "\x1b" not in out


def test_status_in_short_and_again_and_again(place):
    (status,) = clikit.invoke_json("status", "--config", place.config)
    assert status["account"] == place.address
    assert len(status["node"]) == 13
    found = clikit.invoke_json(
        "status", "--config", place.config, "--watch", "--every", "0.1", "--times", "3"
    )
    assert len(found) == 3
    assert found[2]["uptime_s"] >= found[0]["uptime_s"] + 0.1
    out, _ = clikit.invoke("status", "--config", place.config, "--watch", "--every", "0.1", "--times", "2")
    assert out.replace("\n", "").count(place.address) >= 2
    assert "\x1b" not in out


def test_digest(place):
    (found,) = clikit.invoke_json("digest", "--config", place.config)
    assert len(found["spaces"]["main"]["digest"]) == 64
    out, _ = clikit.invoke("digest", "--config", place.config)
    assert out.startswith("main\t")


def test_by_url_with_a_key_file(place, key):
    target = ("--url", place.url, "--key-file", place.directory / "hotkey.json")
    clikit.invoke("put", "records", key, "1", *target)
    assert clikit.invoke("get", "records", key, *target, "--account", place.address)[0] == "1\n"


def test_by_url_with_a_wallet(place, key, tmp_path):
    (tmp_path / "mine/hotkeys").mkdir(parents=True)
    wallets.write_file(tmp_path / "mine/hotkeys/hot", place.keypair)
    target = ("--url", place.url, "--wallet", "mine", "--hotkey", "hot", "--wallet-path", tmp_path)
    clikit.invoke("put", "records", key, "1", *target)
    _, err = clikit.invoke("get", "records", key, *target[:-3], "cold", *target[-2:], code=2)
    assert "there is no hotkey" in err


def test_a_stranger_is_refused(place, tmp_path):
    wallets.write_file(tmp_path / "stranger.json", Keypair.generate())
    _, err = clikit.invoke(
        "get", "records", "k", "--url", place.url, "--key-file", tmp_path / "stranger.json", code=1
    )
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_another_account_than_expected_is_refused(place):
    other = accounts.format(Keypair.generate().account)
    target = ("--url", place.url, "--key-file", place.directory / "hotkey.json", "--account", other)
    _, err = clikit.invoke("get", "records", "k", *target, code=1)
    assert "not the account that was dialled" in err


def test_an_unknown_table_names_those_that_are(place):
    out, err = clikit.invoke("get", "recrods", "k", "--config", place.config, "--json", code=2)
    assert out == ""
    assert json.loads(err) == {
        "error": "no table 'recrods' is declared; declared: facts, groups, hits, notes, records",
        "help": "declare it in [tables], or name one that is",
        "kind": "UnknownTable",
    }


def test_an_ack_that_cannot_be(place):
    _, err = clikit.invoke("put", "records", "k", "1", "--ack", "soon", "--config", place.config, code=2)
    assert "not 'soon'" in err
    _, err = clikit.invoke(
        "put", "records", "k", "1", "--ack", "3", "--timeout", "0.3", "--config", place.config, code=1
    )
    assert "no answer in 0.3 s" in err


def test_a_second_node_on_the_same_data_or_port_is_refused(place, tmp_path):
    _, err = clikit.run("node", "run", "--config", place.config, code=2)
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    text = place.config.read_text().replace('data_dir = "data"', f'data_dir = "{tmp_path}/other"')
    twin = place.directory / "twin.toml"
    twin.write_text(text)
    _, err = clikit.run("node", "run", "--config", twin, code=2)
    assert str(place.port) in err
    assert err.count("\n") == 1


def test_backup_of_a_running_node_and_restore(place, key, tmp_path):
    clikit.invoke("put", "records", key, '"kept"', "--config", place.config)
    (made,) = clikit.invoke_json("backup", tmp_path / "backup", "--config", place.config)
    assert made["node_running"] is True
    _, err = clikit.invoke("backup", tmp_path / "backup", "--config", place.config, code=2)
    assert "exists" in err
    (restored,) = clikit.invoke_json("restore", tmp_path / "backup", "--to", tmp_path / "data")
    assert restored["account"] == place.address
    (status,) = clikit.invoke_json("node", "status", "--config", place.config)
    assert restored["generation"] != status["database"]["generation"]
