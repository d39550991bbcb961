"""Every wrong value, missing file, unreadable key, taken port and half-written file: exit 2, one line, a remedy, and
nothing is another than it was."""

import contextlib
import json
import os
import socket

import clikit
import pytest

from mycelium.devnet.layout import prepare
from mycelium.node import options


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in [*options.BY_VARIABLE, *options.BY_ALIAS, *options.PROGRAM_VARIABLES]:
        monkeypatch.delenv(name, raising=False)
    return prepare(tmp_path / "net", 1)[0]


def tree(folder):
    return {
        path.relative_to(folder): (path.read_bytes() if path.is_file() else None, path.lstat().st_mode)
        for path in folder.rglob("*")
    }


def replaced(old, new, count=-1):
    def change(place):
        text = place.config.read_text()
        assert old in text
        place.config.write_text(text.replace(old, new, count))

    return change


def key(content):
    def change(place):
        (place.directory / "hotkey.json").write_bytes(content)

    return change


def key_is_a_directory(place):
    (place.directory / "hotkey.json").unlink()
    (place.directory / "hotkey.json").mkdir()


def data_below_a_file(place):
    (place.directory / "file").write_text("x")
    replaced('data_dir = "data"', 'data_dir = "file/data"')(place)


def data_is_a_file(place):
    (place.directory / "data").write_text("x")


def data_is_somebody_elses(place):
    (place.directory / "data").mkdir()
    (place.directory / "data/thesis.txt").write_text("x")


def cut_in_half(place):
    text = place.config.read_text()
    place.config.write_text(text[: text.index("netuid") + 6])


CASES = {
    "a wrong value": (replaced("netuid = ", "netuid = -"), "network.netuid is -"),
    "an unknown setting": (replaced("listen", "listne"), "did you mean 'listen'?"),
    "a half-written file": (cut_in_half, "the file ends here"),
    "no file": (lambda place: place.config.unlink(), "no such configuration file"),
    "no TOML": (lambda place: place.config.write_bytes(b"\x7fELF\x00"), "TOML"),
    "no text": (lambda place: place.config.write_bytes(b"\xff\xfe"), "is not UTF-8 text"),
    "a file of nothing": (lambda place: place.config.write_text(""), "[node] section"),
    "no key": (lambda place: (place.directory / "hotkey.json").unlink(), "there is no key file at"),
    "an empty key": (key(b""), "holds no hotkey"),
    "a cut key": (key(b'{"secretSeed": "0x12'), "is not a key file"),
    "a public key": (key(b'{"ss58Address": "5F"}'), "only the public key"),
    "an encrypted key": (key(b"$NACLxxxx"), "is encrypted"),
    "another kind of key": (key(b'{"cryptoType": 0}'), "only sr25519"),
    "a key that is a directory": (key_is_a_directory, "is not a file"),
    "no members": (lambda place: (place.directory.parent / "members.toml").unlink(), "no such members file"),
    "data below a file": (data_below_a_file, "data"),
    "data that is a file": (data_is_a_file, "is not a directory"),
    "data of somebody else": (data_is_somebody_elses, "holds no Mycelium store"),
    "an address of nobody": (replaced("127.0.0.1:", "192.0.2.1:", 1), "cannot listen on 192.0.2.1"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_node_does_not_start_and_changes_nothing(place, name):
    change, said = CASES[name]
    change(place)
    before = tree(place.directory.parent)
    out, err = clikit.invoke("node", "run", "--config", place.config, code=2)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert out == ""
    assert lines
    assert all(" -- " in line for line in lines), err
    assert said in err
    out, err = clikit.invoke("node", "run", "--config", place.config, "--json", code=2)
    assert out == ""
    problem = json.loads(err.splitlines()[-1])
    assert problem["help"] or " -- " in problem["error"]
    assert tree(place.directory.parent) == before


def test_a_taken_port(place):
    before = tree(place.directory.parent)
    with socket.create_server(("127.0.0.1", place.port)):
        _, err = clikit.invoke("node", "run", "--config", place.config, code=2)
    assert "another process listens there -- stop that process, or set another port" in err
    assert tree(place.directory.parent) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--listen", "9090"], "--listen: node.listen is '9090'"),
        (["--netuid", "x"], "--netuid: network.netuid is 'x'"),
        (["--log-format", "xml"], "--log-format: log.format is 'xml'"),
        (["--set", "node.listen=9090"], "--set node.listen: node.listen is '9090'"),
        (["--listen", "[::1]:1", "--set", "node.listen=9090"], "--set node.listen: node.listen is '9090'"),
        (["--set", "x"], "--set 'x' has no value"),
        (["--set", "nod.listen=1"], "--set nod.listen: is not known -- did you mean 'node.listen'?"),
        (["--env-file", "/nowhere/.env"], "cannot read the environment file"),
        (["--lisen", "x"], "No such option: --lisen"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_a_wrong_flag(place, arguments, said):
    before = tree(place.directory.parent)
    _, err = clikit.invoke("node", "run", "--config", place.config, *arguments, code=2)
    assert said in err
    assert err.count("\n") == 1
    assert " -- " in err
    assert tree(place.directory.parent) == before


def test_flags_are_before_the_file_and_said_in_the_log(place):
    free = prepare(place.directory.parent.parent / "other", 1)[0].port
    with clikit.running(place.config, "--listen", f"127.0.0.1:{free}", "--log-level", "info") as (
        process,
        ready,
    ):
        assert ready["url"] == f"ws://127.0.0.1:{free}"
        process.terminate()
        said = process.stderr.read().decode()
    assert f"node.listen is 127.0.0.1:{free}, by --listen" in said


def test_a_key_that_may_not_be_read(place):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    with contextlib.ExitStack():
        (place.directory / "hotkey.json").chmod(0)
        _, err = clikit.invoke("node", "run", "--config", place.config, code=2)
        assert "cannot read" in err
        assert "Run as the user who owns it." in err
