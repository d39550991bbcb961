"""Local networks of real processes: they agree, a killed node is noticed, and no process is left behind."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import clikit
import pytest

from mycelium.devnet import chainlayout

pytestmark = pytest.mark.timeout(120)


def alive(pid):
    try:
        with Path(f"/proc/{pid}/stat").open(encoding="utf-8") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_gone(pids, seconds):
    end = time.monotonic() + seconds
    while any(map(alive, pids)):
        assert time.monotonic() < end, "a node was left behind"
        time.sleep(0.05)


def start(*arguments):
    """A devnet command with --json, and its first line."""
    process = subprocess.Popen(
        clikit.command("devnet", *arguments, "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clikit.environment(),
        start_new_session=True,
    )
    line = process.stdout.readline()
    assert line, process.stderr.read().decode()
    return process, json.loads(line)


def finish(process, code, timeout=60):
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == code, err.decode()
    assert b"Traceback" not in err, err.decode()
    return [json.loads(line) for line in out.splitlines()]


def test_up_replicates_and_agrees(tmp_path):
    process, started = start(
        "up", "--nodes", 3, "--for", 3, "--records", 3000, "--rate", 0, "--dir", tmp_path / "net"
    )
    pids = [node["pid"] for node in started["nodes"]]
    assert len(set(pids)) == len({node["account"] for node in started["nodes"]}) == 3
    for node in started["nodes"]:
        assert node["data_dir"].startswith(str(tmp_path))
        assert node["url"].startswith("ws://127.0.0.1:")
        with urllib.request.urlopen(f"{node['dashboard']}status", timeout=10) as answer:
            assert json.load(answer)["account"] == node["account"]
    first = clikit.invoke_json("digest", "--config", started["nodes"][0]["config"])
    assert "main" in first[0]["spaces"]
    (finished,) = finish(process, 0)
    assert finished["records_written"] == finished["records_replicated"] == 3000
    assert len(set(finished["digests"].values())) == 1
    assert set(finished["digests"]) == {"node1", "node2", "node3"}
    assert finished["agree"] is True
    assert finished["problems"] == []
    wait_gone(pids, 1)
    process, again = start("up", "--nodes", 3, "--for", 1, "--records", 10, "--dir", tmp_path / "net")
    assert [node["account"] for node in again["nodes"]] == [node["account"] for node in started["nodes"]]
    (finished_again,) = finish(process, 0)
    assert finished_again["records_replicated"] == 10
    assert finished_again["digests"] != finished["digests"]


def test_a_killed_node_is_noticed(tmp_path):
    process, started = start("up", "--nodes", 2, "--for", 2, "--records", 100, "--rate", 0)
    victim = started["nodes"][1]
    os.kill(victim["pid"], signal.SIGKILL)
    (finished,) = finish(process, 1)
    assert finished["agree"] is False
    assert finished["digests"]["node2"] is None
    wait_gone([node["pid"] for node in started["nodes"]], 1)


@pytest.mark.parametrize(
    ("number", "code", "seconds"),
    [(signal.SIGINT, 130, 1), (signal.SIGTERM, 130, 1), (signal.SIGKILL, -9, 15)],
)
def test_no_node_outlives_its_starter(tmp_path, number, code, seconds):
    process, started = start("up", "--nodes", 2, "--records", 0, "--dir", tmp_path / "net")
    pids = [node["pid"] for node in started["nodes"]]
    assert all(map(alive, pids))
    process.send_signal(number)
    assert finish(process, code) == []
    wait_gone(pids, seconds)


def test_demo_kills_restarts_and_agrees():
    process, started = start("demo", "--nodes", 3, "--for", 0, "--records", 4000)
    (shown,) = finish(process, 0)
    assert shown["agree"] is True
    assert shown["records_written"] >= 4000
    assert shown["refused_by"] == 2
    assert 0 < shown["latency_p50_ms"] <= shown["latency_p99_ms"]
    wait_gone([node["pid"] for node in started["nodes"]], 1)


def test_demo_on_a_pipe_is_plain_text():
    out, err = clikit.run("devnet", "demo", "--nodes", 2, "--for", 0, "--records", 1000)
    assert "\x1b" not in out
    assert "All 2 nodes hold byte-identical state." in out
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80


def test_up_on_a_pipe_says_where_it_is_before_it_ends(tmp_path):
    out, err = clikit.run(
        "devnet", "up", "--nodes", 2, "--for", 0, "--records", 10, "--dir", tmp_path / "net"
    )
    lines = out.splitlines()
    title = lines.index(f"Mycelium local network, 2 nodes in {tmp_path / 'net'}")
    assert "2 nodes started" in lines[title + 1]
    table = "\n".join(lines[:title])
    assert all(name in table for name in ("validator1", "validator2", "miner2", "ws://127.0.0.1:", ".env"))
    assert "watch node2 at http://127.0.0.1:" in table
    assert err == ""


def test_a_network_without_a_chain(tmp_path):
    process, started = start(
        "up", "--static", "--nodes", 2, "--for", 0, "--records", 10, "--dir", tmp_path / "net"
    )
    assert set(started) == {"event", "directory", "nodes"}
    assert finish(process, 0)[0]["agree"] is True
    _, message = clikit.invoke("devnet", "up", "--nodes", 2, "--dir", tmp_path / "net", code=2)
    assert "holds a network without one -- give --static" in message
    imported = ("--import-metagraph", "x.json", "--dir", tmp_path / "other")
    _, message = clikit.invoke("devnet", "up", "--static", *imported, code=2)
    assert "needs a chain" in message
    assert not (tmp_path / "other").exists()


def test_a_network_with_tables_of_ones_own_and_faster_blocks(tmp_path):
    tables = tmp_path / "tables.toml"
    tables.write_text(
        '[tables.mine]\nmerge = "lww"\nspace = "one"\n[tables.yours]\nmerge = "lww"\nspace = "two"\n'
    )
    own = ("--tables", tables, "--block-ms", 200)
    where = ("--records", 0, "--dir", tmp_path / "net")
    process, started = start("up", "--nodes", 2, "--for", 3, *own, *where)
    config = started["nodes"][0]["config"]
    for table in ("mine", "yours"):
        clikit.run("put", table, "k", "1", "--config", config)
    (finished,) = finish(process, 0)
    assert finished["agree"] is True
    assert {digest.count(",") for digest in finished["digests"].values()} == {1}
    for wrong, said in (
        (("--tables", tables), "give --records 0"),
        (("--static", "--block-ms", 200, "--records", 0), "leave out --static"),
        (("--tables", tmp_path / "none.toml", "--records", 0), "none.toml"),
    ):
        _, message = clikit.invoke("devnet", "up", *wrong, "--dir", tmp_path / "other", code=2)
        assert said in message
    assert not (tmp_path / "other").exists()


def test_a_permit_that_is_removed_is_seen_in_the_status(tmp_path):
    process, started = start("up", "--nodes", 3, "--records", 0, "--dir", tmp_path / "net")
    try:
        url, config = started["chain"]["url"], started["nodes"][2]["config"]
        environment = dict(
            line.split("=", 1) for line in Path(started["env"]).read_text().splitlines() if "=" in line
        )
        assert environment["SUBTENSOR_ADDRESS"] == url
        assert Path(environment["BT_WALLET_PATH"], environment["BT_WALLET"], "hotkeys/default").is_file()
        assert clikit.invoke_json("node", "status", "--config", config)[0]["chain"]["problems"] == []
        clikit.run("devnet", "fault", "remove-permit", 1, 2, "--url", url)
        clikit.run("devnet", "fault", "step", 25, "--url", url)
        end = time.monotonic() + 20
        while (status := clikit.invoke_json("node", "status", "--config", config)[0])["role"] != "miner":
            assert time.monotonic() < end, status
            time.sleep(0.1)
        (problem,) = status["chain"]["problems"]
        assert "has no validator permit" in problem
        assert problem in " ".join(clikit.invoke("node", "status", "--config", config)[0].split())
        _, err = clikit.invoke("put", "records", "k", "1", "--config", config, code=1)
        assert "may not write" in err
    finally:
        process.send_signal(signal.SIGTERM)
        finish(process, 130)
    wait_gone([started["chain"]["pid"], *(node["pid"] for node in started["nodes"])], 1)


RECORDED = Path(__file__).resolve().parents[2].parent / "shared/chain/recorded_rpc.json"


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded chain data is not here")
def test_stakes_of_a_real_subnet(tmp_path):
    process, started = start(
        "up", "--nodes", 2, "--dir", tmp_path / "net", "--records", 10, "--import-metagraph", RECORDED
    )
    try:
        status = clikit.invoke_json("node", "status", "--config", started["nodes"][0]["config"])
        assert status[0]["chain"]["members"] > 100
    finally:
        process.send_signal(signal.SIGTERM)
        finish(process, 130)


def test_a_port_that_is_taken_is_said_with_the_place_where_it_stands(tmp_path):
    network = chainlayout.prepare(tmp_path / "net", 1)
    with socket.create_server(("127.0.0.1", network.chain.port)):
        _, err = clikit.run("devnet", "up", "--nodes", 1, "--dir", tmp_path / "net", code=1)
    assert f"127.0.0.1:{network.chain.port} cannot be listened on" in err
    assert "set other ports in network.json" in err


def test_a_node_that_cannot_start_is_named(tmp_path):
    process, _ = start("up", "--nodes", 2, "--for", 0, "--records", 0, "--dir", tmp_path / "net")
    finish(process, 0)
    data = tmp_path / "net/node2/data"
    for path in data.glob("*"):
        path.unlink() if path.is_file() else None
    (data / "thesis.txt").write_text("mine")
    _, err = clikit.run("devnet", "up", "--nodes", 2, "--for", 1, "--dir", tmp_path / "net", code=1)
    assert err.startswith("error: node2 did not start: ")
    assert "{" not in err
    assert err.count("\n") == 1
