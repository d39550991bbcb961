"""`mycelium devnet chain` and `mycelium devnet fault`: what they print, and how they end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
import typer
from clikit import ROOT, environment
from typer.testing import CliRunner
from websockets.sync.client import connect

from mycelium.cli import devchain
from mycelium.devnet.chain import specfile
from mycelium.devnet.chain.population import development

app = typer.Typer()
devchain.register(app)
RUN = "import typer; from mycelium.cli import devchain; a = typer.Typer(); devchain.register(a); a()"


@pytest.fixture(scope="module")
def running():
    """One chain in a process of its own, ended by closing its stdin; (process, started line)."""
    with start("--blocks", "manual", "--fast-forward", "20") as process:
        yield process, json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(timeout=10) == 0


def start(*arguments):
    command = [sys.executable, "-c", RUN, "chain", "--port", "0", "--json", "--until-eof", *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), cwd=ROOT
    )


def invoke(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, f"exit {result.exit_code}\n{result.stdout}\n{result.stderr}"
    return result.stdout, result.stderr


def fault(running, *arguments, code=0):
    return invoke("fault", *arguments, "--url", running[1]["url"], code=code)


def ask(running, method, *params):
    with connect(running[1]["url"], max_size=None) as wire:
        wire.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
        return json.loads(wire.recv(timeout=10))["result"]


def test_it_says_where_it_is(running):
    process, started = running
    assert started["event"] == "started"
    assert started["pid"] == process.pid
    assert (started["block"], started["netuid"]) == (20, 1)
    assert ask(running, "chain_getBlockHash", 0) == started["genesis"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
def test_signals_end_it(number, code):
    with start("--blocks", "time") as process:
        assert json.loads(process.stdout.readline())["event"] == "started"
        process.send_signal(number)
        assert process.wait(timeout=10) == code
        process.stdin.close()


def test_a_port_in_use_is_one_line(running):
    port = running[1]["url"].rpartition(":")[2]
    out, err = invoke("chain", "--port", port, code=2)
    assert out == ""
    assert err.count("\n") <= 2
    assert port in err


def test_faults_from_a_shell(running):
    head = ask(running, "chain_getHead")
    out, _ = fault(running, "step", 3, "--json")
    assert json.loads(out)["result"] != head
    assert "head stalled: no" in fault(running, "status")[0]
    assert fault(running, "stall-head") == ("done\n", "")
    assert "head stalled: yes" in fault(running, "status")[0]
    fault(running, "stall-head", "off")
    fault(running, "delay", 1, "state_call,state_getStorage")
    assert "methods: state_call, state_getStorage" in fault(running, "status")[0]
    fault(running, "too-many-requests", "http")
    fault(running, "clear")
    assert fault(running, "reorg", 2)[0].startswith("0x")
    assert fault(running, "reorg", 9, "force")[0].startswith("0x")
    assert fault(running, "set-storage", "0xaa", "0xbb")[0] == "done\n"
    assert ask(running, "state_getStorage", "0xaa") == "0xbb"
    fault(running, "set-storage", "0xaa", "none")
    assert ask(running, "state_getStorage", "0xaa") is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["explode"], "not a fault: there are clear, delay"),
        (["delay", "soon"], "ms is a whole number, not 'soon'"),
        (["stall-head", "perhaps"], "on is on or off"),
        (["clear", "all"], "at most 0 arguments"),
    ],
)
def test_wrong_use_says_what_is_right(running, arguments, says):
    out, err = fault(running, *arguments, code=2)
    assert (out, says in err) == ("", True)


def test_what_the_chain_refuses_is_one_line(running):
    _, err = fault(running, "reorg", 1000, code=1)
    assert "only 2 are not final" in err


def test_nobody_there(running):
    _, err = invoke("fault", "status", "--url", "ws://127.0.0.1:1", code=1)
    assert "refused" in err
    assert "mycelium devnet chain" in err
    _, err = invoke("fault", "status", "--url", "nonsense", code=2)
    assert "ws://127.0.0.1:9944" in err


def test_a_beginning_from_a_file(tmp_path):
    path = tmp_path / "chain.json"
    specfile.write(path, development(netuid=9, miners=0, seed=3))
    with start("--spec", str(path)) as process:
        started = json.loads(process.stdout.readline())
        assert (started["netuid"], started["block"]) == (9, 0)
        process.stdin.close()
        assert process.wait(timeout=10) == 0
    path.write_text("{")
    _, err = invoke("chain", "--port", 0, "--spec", path, code=2)
    assert "is not JSON" in err


def test_the_first_blocks_are_made_once(tmp_path):
    """Also of a chain that was killed while it made them: at each start those that are missing."""
    for blocks, expected in ((5, 5), (20, 20), (10, 20)):
        with start(
            "--blocks", "manual", "--fast-forward", str(blocks), "--state", str(tmp_path / "c")
        ) as process:
            assert json.loads(process.stdout.readline())["block"] == expected
            process.kill()
            process.wait()


@pytest.mark.parametrize("command", ["chain", "fault"])
def test_help_has_examples(command):
    out, _ = invoke(command, "--help")
    assert "Examples:" in out
    assert f"mycelium devnet {command}" in out
