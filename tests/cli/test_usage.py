"""The command without a node: help, version, and one clear line and exit code 2 for what cannot be."""

import json
import shlex
import subprocess
import sys

import clikit

import mycelium
from mycelium.devnet.layout import prepare


def test_version():
    assert clikit.run("version")[0].startswith(f"mycelium {mycelium.__version__}, protocol 1, ")
    assert json.loads(clikit.run("version", "--json")[0])["version"] == mycelium.__version__


def test_the_module_is_the_command():
    found = subprocess.run(
        [sys.executable, "-m", "mycelium", "version"], capture_output=True, text=True, check=True
    )
    assert found.stdout == clikit.run("version")[0]


def test_a_terminal_width_that_is_no_number_and_a_closed_stdout(tmp_path):
    (place,) = prepare(tmp_path / "net", 1)
    arguments = ("node", "status", "--config", place.config)
    with clikit.running(place.config):
        assert str(place.url) in clikit.run(*arguments, COLUMNS="wide")[0]
        line = shlex.join(clikit.command(*arguments))
        for closed in (">&-", "<&-", ">&- <&-", "| :"):
            done = subprocess.run(
                ["bash", "-c", f"set -o pipefail; {line} {closed}"],
                env=clikit.environment(),
                capture_output=True,
                timeout=60,
            )
            assert (done.returncode, done.stderr) == (0, b""), closed


def test_a_node_of_no_member_says_so(tmp_path):
    places = prepare(tmp_path / "net", 2)
    members = tmp_path / "net/members.toml"
    kept = members.read_text().split("[[member]]")
    members.write_text("[[member]]".join(kept[:2]))
    for place, warned in zip(places, (False, True), strict=True):
        with clikit.running(place.config) as (process, ready):
            process.terminate()
            said = process.stderr.read().decode()
            assert (f"{ready['account']} is no member" in said) is warned, said


def test_a_cursor_that_is_none(tmp_path):
    (place,) = prepare(tmp_path / "net", 1)
    with clikit.running(place.config):
        for cursor in (-1, 2**63, 10**30):
            error = error_of("watch", "records", "--after", cursor, "--config", place.config)
            assert error == f"error: --after is a cursor that a watch gave, not {cursor} -- see --help\n"


def test_unknown_option_and_missing_argument_exit_2():
    clikit.invoke("get", "--no-such-option", code=2)
    clikit.invoke("get", "records", code=2)
    clikit.invoke("devnet", "up", "--nodes", "0", code=2)


def error_of(*arguments, code=2):
    """The one line that the command fails with."""
    out, err = clikit.invoke(*arguments, code=code)
    assert out == ""
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1, err
    return err


def test_no_node_named():
    assert "give --config FILE" in error_of("get", "records", "k")
    assert "give --wallet and --hotkey" in error_of("get", "records", "k", "--url", "ws://127.0.0.1:1")
    error = error_of("get", "records", "k", "--url", "ws://127.0.0.1:1", "--wallet", "w")
    assert "give --wallet and --hotkey" in error


def test_a_configuration_file_that_is_not_there(tmp_path):
    path = tmp_path / "absent.toml"
    for arguments in (["node", "run"], ["get", "records", "k"], ["backup", tmp_path / "b"]):
        assert str(path) in error_of(*arguments, "--config", path)


def test_a_mistake_in_the_configuration_names_file_line_and_remedy(tmp_path):
    (place,) = prepare(tmp_path / "net", 1)
    place.config.write_text(place.config.read_text().replace("listen", "listne", 1))
    error = error_of("node", "run", "--config", place.config)
    assert error == f"error: {place.config}:4: node.listne is not known -- did you mean 'listen'?\n"
    assert not place.data_dir.exists()
    out, err = clikit.run("node", "run", "--config", place.config, "--json", code=2)
    assert out == ""
    assert json.loads(err) == {
        "error": f"{place.config}:4: node.listne is not known",
        "help": "did you mean 'listen'?",
        "kind": "ConfigError",
    }


def test_a_missing_key_file_and_a_bad_members_file_write_nothing(tmp_path):
    (place,) = prepare(tmp_path / "net", 1)
    members = tmp_path / "net/members.toml"
    text = members.read_text()
    members.write_text(text.replace('"owner"', '"boss"'))
    assert f"{members}:7: member.role is 'boss'" in error_of("node", "run", "--config", place.config)
    members.write_text(text)
    (place.directory / "hotkey.json").unlink()
    assert str(place.directory / "hotkey.json") in error_of("node", "run", "--config", place.config)
    assert not place.data_dir.exists()


def test_a_foreign_data_directory_is_left_alone(tmp_path):
    (place,) = prepare(tmp_path / "net", 1)
    place.data_dir.mkdir()
    (place.data_dir / "thesis.txt").write_text("mine")
    assert str(place.data_dir) in error_of("node", "run", "--config", place.config)
    assert [path.name for path in place.data_dir.iterdir()] == ["thesis.txt"]


def test_a_bad_log_level(tmp_path):
    (place,) = prepare(tmp_path / "net", 1)
    said = error_of("node", "run", "--config", place.config, "--log-level", "loud")
    assert said.startswith("error: --log-level: log.level is 'loud' -- write one of")
    assert not place.data_dir.exists()


def test_nothing_listens(tmp_path):
    (place,) = prepare(tmp_path / "net", 1)
    error = error_of("get", "records", "k", "--config", place.config, code=1)
    assert place.url in error


def test_an_address_that_is_none(tmp_path):
    (place,) = prepare(tmp_path / "net", 1)
    error_of("get", "records", "k", "--config", place.config, "--url", "http//x", code=2)


def test_put_without_or_with_two_values(tmp_path):
    (place,) = prepare(tmp_path / "net", 1)
    with clikit.running(place.config):
        assert "give VALUE" in error_of("put", "records", "k", "--config", place.config)
        both = error_of("put", "records", "k", "1", "--bytes", "x", "--config", place.config)
        assert "not both" in both
        missing = error_of("put", "records", "k", "--bytes", tmp_path / "x", "--config", place.config, code=1)
        assert str(tmp_path / "x") in missing


def test_backup_of_a_node_that_does_not_run(tmp_path):
    (place,) = prepare(tmp_path / "net", 1)
    assert "holds no node's data" in error_of("backup", tmp_path / "b", "--config", place.config)
    with clikit.running(place.config):
        clikit.invoke("put", "records", "k", '"v"', "--config", place.config)
    (made,) = clikit.invoke_json("backup", tmp_path / "b", "--config", place.config)
    assert made["node_running"] is False
    (restored,) = clikit.invoke_json("restore", tmp_path / "b", "--to", place.directory / "data2")
    place.config.write_text(place.config.read_text().replace('"data"', '"data2"'))
    with clikit.running(place.config) as (_, ready):
        assert ready["generation"] == restored["generation"]
        assert clikit.invoke("get", "records", "k", "--config", place.config)[0] == "v\n"


def test_restore_refuses(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("x")
    assert "no such directory" in error_of("restore", tmp_path / "none", "--to", tmp_path / "new")
    assert "not empty" in error_of("restore", tmp_path / "empty", "--to", tmp_path / "full")
    assert "backup" in error_of("restore", tmp_path / "empty", "--to", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "full/file").read_text() == "x"


def test_devnet_refuses_a_directory_that_is_not_its_own(tmp_path):
    (tmp_path / "file").write_text("x")
    assert "holds no local network" in error_of("devnet", "up", "--dir", tmp_path, "--for", "1")
    prepare(tmp_path / "net", 2)
    assert "a network of 2 nodes" in error_of("devnet", "up", "--dir", tmp_path / "net", "--nodes", "3")
