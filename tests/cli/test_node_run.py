"""`node run` as a process: its ready line, and how it ends by each signal and when its starter is gone."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import clikit
import pytest
from chain.clientkit import RawServer

from mycelium.devnet import chainlayout
from mycelium.devnet.chain import specfile
from mycelium.devnet.chain.thread import ThreadedChain
from mycelium.devnet.layout import prepare


@pytest.fixture
def place(tmp_path):
    (place,) = prepare(tmp_path / "net", 1)
    return place


def test_ready_line(place):
    with clikit.running(place.config) as (process, ready):
        assert ready == {
            "event": "ready",
            "url": place.url,
            "account": place.address,
            "generation": ready["generation"],
            "pid": process.pid,
            "data_dir": str(place.data_dir),
            "admin": f"http://127.0.0.1:{place.admin_port}/",
        }
        assert ready["generation"] > 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_end_it_in_time(place, number, code):
    with clikit.running(place.config) as (process, _):
        clikit.invoke("put", "records", "k", "1", "--config", place.config)
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == code
        assert time.monotonic() - began < 10
        assert process.stderr.read() == b""
    with clikit.running(place.config):
        assert clikit.invoke("get", "records", "k", "--config", place.config)[0] == "1\n"


def test_sigterm_ends_it_while_a_program_is_connected(place):
    with clikit.running(place.config) as (process, _):
        watcher = subprocess.Popen(
            clikit.command("watch", "records", "--config", place.config, "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clikit.environment(),
        )
        assert json.loads(watcher.stdout.readline())["event"] == "watching"
        process.terminate()
        assert process.wait(10) == 0
        _, err = watcher.communicate(timeout=20)
        assert watcher.returncode == 1
        assert b"resume with" in err
        assert b"Traceback" not in err


def test_it_ends_when_its_starter_is_gone(place):
    with clikit.running(place.config) as (process, _):
        process.stdin.close()
        assert process.wait(12) == 0


@pytest.fixture(params=["nobody answers", "no final block"])
def waiting(request, tmp_path):
    """The settings of a node whose chain keeps it waiting, and what it says then."""
    network = chainlayout.prepare(tmp_path / "net", 1, miners=0)
    config = network.nodes[0].config

    def endpoint(url):
        config.write_text(config.read_text().replace(network.chain.url, url))
        return config

    if request.param == "nobody answers":
        with RawServer(lambda connection, ended: ended.wait(60)) as server:
            yield endpoint(server.url), b"which it is"
    else:
        with ThreadedChain(specfile.read(network.chain.spec), blocks="manual") as chain:
            yield endpoint(chain.url), b"waits for a final block"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (None, 0)])
def test_it_ends_at_once_while_it_waits_for_the_chain(waiting, number, code):
    config, waits = waiting
    process = subprocess.Popen(
        clikit.command("node", "run", "--config", config, "--until-eof", "--log-level", "info"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clikit.environment(),
    )
    try:
        said = b""
        while waits not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        began = time.monotonic()
        if number is None:
            process.stdin.close()
            process.stdin = None
        else:
            process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (code, b"")
        assert b"Traceback" not in err
        # Far below the limit after which it is ended by force, with another code.
        assert time.monotonic() - began < 5
    finally:
        process.kill()
        process.communicate()


def test_without_json_the_ready_line_is_text(place):
    process = subprocess.Popen(
        clikit.command("node", "run", "--config", place.config),
        stdout=subprocess.PIPE,
        env=clikit.environment(),
    )
    try:
        line = process.stdout.readline().decode()
        assert line.startswith(f"ready: {place.url} as {place.address}")
    finally:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0
        process.stdout.close()


def test_it_may_open_as_many_files_as_the_system_lets_it(place):
    with clikit.running(place.config) as (process, _):
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
        soft, hard = line.split()[3:5]
        assert soft == hard
