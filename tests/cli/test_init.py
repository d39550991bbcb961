"""init: five questions on a terminal, none with --yes; writes a file that a node takes, or nothing at all."""

import os
import pty
import re
import select
import signal
import stat
import subprocess
import time

import clikit
import kit
import pytest

from mycelium.cli.init import Answers, hotkeys, render
from mycelium.identity import wallet as wallets
from mycelium.node import options
from mycelium.node.settings import Settings


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    for name in [*options.BY_VARIABLE, *options.BY_ALIAS, *options.PROGRAM_VARIABLES]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def wallet(tmp_path, name="main", hotkey="default"):
    folder = tmp_path / ".bittensor/wallets" / name / "hotkeys"
    folder.mkdir(parents=True, exist_ok=True)
    wallets.write_file(folder / hotkey, kit.keypair(f"{name}/{hotkey}"))
    (folder / f"{hotkey}pub.txt").write_text("{}")
    return folder / hotkey


def test_yes_asks_nothing_and_writes_what_a_node_takes(tmp_path):
    wallet(tmp_path)
    (said,) = clikit.invoke_json("init", "--yes", "--netuid", 64)
    path = tmp_path / "node.toml"
    assert said == {
        "path": str(path),
        "next": "mycelium doctor --config node.toml && mycelium node run --config node.toml",
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    settings = Settings.load(path)
    assert (settings.netuid, settings.chain.network, settings.host, settings.port) == (
        64,
        "finney",
        "0.0.0.0",
        9090,
    )
    assert settings.advertise is None
    assert settings.rotation is None
    assert list(settings.tables) == ["scores"]
    assert settings.keypair() == kit.keypair("main/default")
    out, _ = clikit.invoke("config", "check")
    assert "no mistakes" in out
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".node")] == []


def test_every_answer_as_an_option(tmp_path):
    wallet(tmp_path, "w", "h")
    wallet(tmp_path, "w", "other")
    arguments = ("--netuid", 3, "--network", "ws://127.0.0.1:9944", "--wallet", "w", "--hotkey", "h")
    where = ("--data-dir", "/var/lib/m", "--listen", "[::1]:7", "--advertise", "203.0.113.7, example.org")
    rest = ("--rotation", "--table", "a.b=append", "--table", "hits=counter")
    clikit.invoke("init", tmp_path / "new/folder/my.toml", *arguments, *where, *rest)
    settings = Settings.load(tmp_path / "new/folder/my.toml")
    assert settings.chain.endpoints == ("ws://127.0.0.1:9944",)
    assert (settings.host, settings.port) == ("::1", 7)
    assert settings.advertise == ("203.0.113.7", "example.org")
    assert settings.rotation is not None
    assert {name: table.merge for name, table in settings.tables.items()} == {
        "a.b": "append",
        "hits": "counter",
    }
    assert settings.keypair() == kit.keypair("w/h")


def test_the_environment_answers_too(tmp_path, monkeypatch):
    wallet(tmp_path, "w", "h")
    wallet(tmp_path, "v", "h")
    for name, text in (("NETUID", "5"), ("WALLET_NAME", "w"), ("HOTKEY_NAME", "h"), ("BT_NETWORK", "test")):
        monkeypatch.setenv(name, text)
    clikit.invoke("init", "--yes")
    settings = Settings.load("node.toml")
    assert (settings.netuid, settings.chain.network, settings.identity.wallet) == (5, "test", "w")


def test_a_file_that_is_there_stays_unless_forced(tmp_path):
    wallet(tmp_path)
    (tmp_path / "node.toml").write_text("mine")
    _, err = clikit.invoke("init", "--yes", "--netuid", 1, code=2)
    assert "node.toml exists -- name another file, or write over it with --force" in err
    assert (tmp_path / "node.toml").read_text() == "mine"
    clikit.invoke("init", "--yes", "--netuid", 1, "--force")
    assert Settings.load("node.toml").netuid == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--netuid", "1"], "--network is missing: give it, or --yes for the defaults; there is no terminal"),
        (["--yes"], "--netuid is missing: give it"),
        (["--yes", "--netuid", "70000"], "Invalid value for '--netuid'"),
        (["--yes", "--netuid", "1", "--network", "finny"], "did you mean 'finney'?"),
        (["--yes", "--netuid", "1", "--listen", "9090"], "--listen '9090': has no host or no port"),
        (["--yes", "--netuid", "1", "--advertise", "ws://x"], "--advertise 'ws://x'"),
        (["--yes", "--netuid", "1", "--table", "x"], "write NAME=MERGE"),
        (["--yes", "--netuid", "1", "--table", "x=lvw"], "did you mean 'lww'?"),
        (["--yes", "--netuid", "1", "--wallet", "nobody"], "no hotkey is found in"),
        (["--yes", "--netuid", "1", "--wallet", "main", "--hotkey", "x"], "there is no hotkey at"),
        (["--yes", "--netuid", "1", "--wallet-path", "/nowhere"], "no hotkey is found in /nowhere"),
        (["--yes", "--netuid", "1", "--data-dir", ""], "--data-dir '': is empty"),
    ],
)
def test_what_cannot_be_writes_nothing(tmp_path, arguments, said):
    wallet(tmp_path)
    out, err = clikit.invoke("init", *arguments, code=2)
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert " -- " in err
    assert not (tmp_path / "node.toml").exists()


def test_a_place_that_cannot_be_written(tmp_path):
    wallet(tmp_path)
    (tmp_path / "file").write_text("x")
    _, err = clikit.invoke("init", tmp_path / "file/node.toml", "--yes", "--netuid", 1, code=2)
    assert "cannot write" in err


def test_several_hotkeys_are_named_and_none_is_guessed(tmp_path):
    wallet(tmp_path, "a", "x")
    wallet(tmp_path, "b", "y")
    assert hotkeys(tmp_path / ".bittensor/wallets") == [("a", "x"), ("b", "y")]
    _, err = clikit.invoke("init", "--yes", "--netuid", 1, code=2)
    assert "there are several hotkeys: a/x, b/y -- name one with --wallet and --hotkey" in err
    wallet(tmp_path, "default", "default")
    clikit.invoke("init", "--yes", "--netuid", 1)
    assert Settings.load("node.toml").identity.wallet == "default"


def test_names_with_quotes_and_newlines_stay_what_they_are(tmp_path):
    answers = Answers(1, "finney", 'a"b', "h\n[x]", "", 'd"\\', "127.0.0.1:1", None, False, {"t": "lww"})
    path = tmp_path / "node.toml"
    path.write_text(render(answers))
    settings = Settings.load(path)
    assert (settings.identity.wallet, settings.identity.hotkey) == ('a"b', "h\n[x]")
    assert settings.data_dir.name == 'd"\\'


def conversation(tmp_path, answers, *arguments):
    """Answer on a terminal, each question when it comes; (exit code, what was shown)."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        clikit.command("init", *arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=clikit.environment(HOME=str(tmp_path)),
        cwd=tmp_path,
        start_new_session=True,
    )
    os.close(theirs)
    shown, waiting, began = "", list(answers), time.monotonic()
    try:
        while time.monotonic() - began < 30:
            if not select.select([ours], [], [], 0.2)[0]:
                continue
            try:
                shown += os.read(ours, 65_536).decode()
            except OSError:
                break
            if waiting and re.search(r"[^\n]: $", shown):
                answer = waiting.pop(0)
                if answer == "\x03":
                    process.send_signal(signal.SIGINT)
                else:
                    os.write(ours, answer.encode())
                shown += "\n"
        return process.wait(10), shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_five_questions_on_a_terminal(tmp_path):
    wallet(tmp_path, "a", "x")
    wallet(tmp_path, "b", "y")
    answers = ["tset\n", "test\n", "many\n", "7\n", "c/z\n", "b/y\n", "\n", "\n", "\n", "maybe\n", "yes\n"]
    code, shown = conversation(tmp_path, answers)
    assert code == 0, shown
    assert "did you mean 'test'?" in shown
    assert "a netuid is a number" in shown
    assert "there is no hotkey 'c/z'" in shown
    assert "answer yes or no" in shown
    assert "next: mycelium doctor" in shown
    settings = Settings.load(tmp_path / "node.toml")
    assert (settings.netuid, settings.chain.network, settings.identity.wallet) == (7, "test", "b")
    assert settings.rotation is not None


def test_ctrl_c_and_the_end_of_input_write_nothing(tmp_path):
    wallet(tmp_path)
    code, shown = conversation(tmp_path, ["test\n", "\x03"])
    assert code == 130, shown
    code, shown = conversation(tmp_path, ["test\n", "\x04"])
    assert code == 2, shown
    assert "the input ended" in shown
    assert not (tmp_path / "node.toml").exists()
