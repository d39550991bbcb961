"""config check, show and options: every value with its origin, every mistake with its remedy, and no secret."""

import json
import os
from pathlib import Path

import clikit
import pytest

from mycelium.devnet.layout import prepare
from mycelium.node import options


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch, tmp_path):
    for name in [*options.BY_VARIABLE, *options.BY_ALIAS, *options.PROGRAM_VARIABLES]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


@pytest.fixture
def place(tmp_path):
    return prepare(tmp_path / "net", 1)[0]


def flat(out):
    return " ".join(out.split())


def test_check_prints_values_with_origin_and_meaning(place, monkeypatch):
    monkeypatch.setenv("NETUID", "9")
    out, err = clikit.invoke("config", "check", "--config", place.config, "--set", "log.level=info")
    assert err == ""
    said = flat(out)
    assert f"{place.config} (named by --config)" in said
    assert "network.netuid = 9 (environment variable NETUID) The subnet's number." in said
    assert "log.level = info (--set log.level)" in said
    assert "node.data_dir = data (line " in said
    assert "auth.mode = session (default)" in said
    assert "[rotation] is not used" in said
    assert "[chain] is not used" in said
    assert said.endswith(f"{place.config}: no mistakes")


def test_check_finds_every_mistake_and_exits_2(place, monkeypatch):
    place.config.write_text(
        place.config.read_text().replace("listen", "listne", 1).replace("netuid = ", "netuid = -")
    )
    monkeypatch.setenv("MYCELIUM_AUTH_MODE", "loud")
    before = {path: path.read_bytes() for path in place.directory.rglob("*") if path.is_file()}
    out, err = clikit.invoke("config", "check", "--config", place.config, code=2)
    assert "network.netuid" in out
    lines = err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("error: ") and " -- " in line for line in lines)
    assert lines[0].startswith("error: environment variable MYCELIUM_AUTH_MODE: auth.mode is 'loud'")
    assert f"{place.config}:4: node.listne is not known -- did you mean 'listen'?" in lines[1]
    out, err = clikit.invoke("config", "check", "--config", place.config, "--json", code=2)
    assert out == ""
    assert len(json.loads(err)["error"].splitlines()) == 3
    assert before == {path: path.read_bytes() for path in place.directory.rglob("*") if path.is_file()}


def test_check_looks_at_the_files_that_are_named(place):
    members = place.directory.parent / "members.toml"
    members.write_text(members.read_text().replace('"owner"', '"boss"'))
    (place.directory / "hotkey.json").unlink()
    _, err = clikit.invoke("config", "check", "--config", place.config, code=2)
    first, second = err.splitlines()
    assert "there is no key file at" in first
    assert "member.role is 'boss'" in second
    assert " -- " in first
    assert " -- " in second


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[node]\ndata_dir = "da', ":2: "),
        ("[node", ":1: "),
        ("", "node is missing"),
        ("\x00", ":1: "),
    ],
    ids=["cut in a value", "cut in a name", "empty", "zero"],
)
def test_a_half_written_file_is_named_with_its_line(tmp_path, text, said):
    file = tmp_path / "half.toml"
    file.write_text(text)
    for command in (["config", "check"], ["config", "show"], ["node", "run"]):
        _, err = clikit.invoke(*command, "--config", file, code=2)
        assert said in err
        assert " -- " in err
    assert file.read_text() == text


def test_a_file_that_may_not_be_read(place):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    place.config.chmod(0)
    _, err = clikit.invoke("config", "check", "--config", place.config, code=2)
    assert "cannot read the configuration file: Permission denied -- make it readable" in err


def test_show_as_json_and_as_text(place):
    (found,) = clikit.invoke_json("config", "show", "--config", place.config)
    assert found["path"] == str(place.config)
    assert found["found"] == "--config"
    assert found["values"]["node.listen"]["origin"].startswith(f"{place.config}:")
    assert found["values"]["chain.network"]["used"] is False
    out, _ = clikit.invoke("config", "show", "--config", place.config)
    assert f"node.listen = 127.0.0.1:{place.port}\n" in out
    assert "rotation" not in out


def test_the_file_is_found_and_which_is_said(place, monkeypatch):
    monkeypatch.chdir(place.directory)
    out, _ = clikit.invoke("config", "check")
    assert "(found, as none was named)" in flat(out)
    assert clikit.invoke_json("config", "show")[0]["found"] == "found"


def test_no_file_is_found():
    for command in (["config", "check"], ["get", "t", "k"], ["backup", "b"]):
        _, err = clikit.invoke(*command, code=2)
        assert "no configuration file is named, and none is at node.toml, " in err
        assert "mycelium init" in err


def test_an_env_file(place, tmp_path):
    env = tmp_path / "my.env"
    env.write_text("NETUID=3\n")
    (found,) = clikit.invoke_json("config", "show", "--config", place.config, "--env-file", env)
    assert found["values"]["network.netuid"]["value"] == 3
    assert found["values"]["network.netuid"]["origin"] == f"{env}:1 NETUID"
    _, err = clikit.invoke("config", "show", "--config", place.config, "--env-file", tmp_path / "no", code=2)
    assert "cannot read the environment file" in err


def test_a_set_that_is_none(place):
    _, err = clikit.invoke("config", "check", "--config", place.config, "--set", "node.listen", code=2)
    assert "--set 'node.listen' has no value" in err
    _, err = clikit.invoke("config", "check", "--config", place.config, "--set", "node.listne=1", code=2)
    assert "--set node.listne: is not known -- did you mean 'node.listen'?" in err


def test_secrets_are_never_printed(place, monkeypatch):
    seed = "5e" * 32
    place.config.write_text(
        place.config.read_text().replace("key_file", "seed_env").replace("hotkey.json", "SEED")
    )
    monkeypatch.setenv("SEED", seed)
    monkeypatch.setenv("MYCELIUM_CHAIN_ENDPOINTS", "wss://u:hunter22@h.example/KEYKEYKEY")
    for command in (["check"], ["show"], ["show", "--json"], ["check", "--json"]):
        for code in (0, 2):
            place.config.write_text(
                place.config.read_text().replace("[node]", "[node]" if code == 0 else "[nod]")
            )
            result = clikit.CliRunner().invoke(
                clikit.app, ["config", *command, "--config", str(place.config)]
            )
            said = result.stdout + result.stderr
            assert said
            for secret in (seed, "hunter22", "KEYKEYKEY"):
                assert secret not in said, command


def test_options_lists_the_whole_table():
    rows = clikit.invoke_json("config", "options")
    assert [row["name"] for row in rows] == [option.path for option in options.OPTIONS]
    out, _ = clikit.invoke("config", "options")
    for name in [*options.BY_VARIABLE, *options.BY_ALIAS, *options.PROGRAM_VARIABLES]:
        assert name in out


def test_the_environment_of_the_caller_does_not_reach_a_local_network(tmp_path, monkeypatch):
    from mycelium.devnet.process import _environment

    monkeypatch.setenv("NETUID", "9")
    monkeypatch.setenv("MYCELIUM_NODE_LISTEN", "x")
    monkeypatch.setenv("MYCELIUM_CONFIG", "x")
    found = _environment()
    assert not {"NETUID", "MYCELIUM_NODE_LISTEN", "MYCELIUM_CONFIG"} & found.keys()
    assert Path(found["HOME"]).name == "home"


def test_the_page_in_docs_is_the_table():
    """`mycelium config options --markdown > docs/configuration.md` writes it anew."""
    out, _ = clikit.invoke("config", "options", "--markdown")
    assert (clikit.TREE / "docs/configuration.md").read_text() == out
    for option in options.OPTIONS:
        assert f"| `{option.path}` |" in out
