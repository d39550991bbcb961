"""`mycelium feed`: a bridge as a process that is killed, ended and refused; its state; batches that are printed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from contextlib import contextmanager

import clikit
import pytest
from jskit import connected, stored
from natskit import Servers
from nodekit import run

from mycelium.devnet.layout import prepare
from mycelium.jetstream import streams
from mycelium.jetstream.layout import Network

PASSWORD = "correct-horse-battery"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    (place,) = prepare(tmp_path_factory.mktemp("net"), 1)
    with clikit.running(place.config):
        yield place


@pytest.fixture
def nats(tmp_path):
    with Servers.of(tmp_path / "nats") as found:
        yield found


def network_of(place) -> Network:
    found = clikit.invoke_json("status", "--config", place.config)[0]
    return Network(found["netuid"], bytes.fromhex(found["genesis"]))


def options(place, nats) -> list[str]:
    return ["--config", str(place.config), "--nats", nats.url, "--monitors", nats.monitors[0]]


@contextmanager
def bridge(place, nats, *more):
    """`feed bridge`, ready; ended by its process id."""
    process = subprocess.Popen(
        clikit.command("feed", "bridge", *options(place, nats), "--json", "--until-eof", *more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clikit.environment(),
        start_new_session=True,
    )
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read().decode()
        yield process, json.loads(line)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(20)
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()


def status(place, nats, code=0):
    return clikit.invoke_json("feed", "status", *options(place, nats), code=code)[0]


def caught_up(place, nats):
    """The status, once the bridge has put everything into the streams."""
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s:
        found = json.loads(asked("feed", "status", *options(place, nats), "--json").stdout)
        bridges = found["nats"].get("bridges")
        if bridges and bridges[0]["lag"] == 0 and bridges[0]["running"]:
            return found
        time.sleep(0.1)
    raise AssertionError(found)


def asked(*arguments):
    """A command in this process, however it ends."""
    return clikit.CliRunner().invoke(clikit.app, list(map(str, arguments)))


def put(place, key, value="1"):
    clikit.invoke("put", "records", key, value, "--config", place.config)


def test_a_bridge_runs_tells_how_far_it_is_and_ends(place, nats):
    with bridge(place, nats) as (process, ready):
        assert ready["event"] == "ready"
        assert ready["pid"] == process.pid
        assert ready["servers"][0]["safe"] is True
        put(place, "one")
        found = caught_up(place, nats)
        (one,) = found["nats"]["bridges"]
        assert one["cursor"] == found["node"]["newest"]
        assert one["pid"] == process.pid
        assert found["nats"]["safe"] is True
        main = found["nats"]["streams"]["main"]
        assert main["messages"] >= 1
        assert main["last_age_s"] < 60
        assert main["differs"] == []
        assert status(place, nats)["node"]["readers"][0]["behind"] == 0
        out, _ = clikit.invoke("feed", "status", *options(place, nats))
        assert "n0 syncs" in out
        assert "running" in out
        assert max(map(len, out.splitlines())) <= 80
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert process.stderr.read() == b""
    # It has noted where it is: the next one has nothing to repeat.
    with bridge(place, nats) as (_, ready):
        assert ready["cursor"] == one["cursor"]
        assert ready["lag"] == 0
        assert caught_up(place, nats)["nats"]["bridges"][0]["repeated"] == 0


def test_a_bridge_that_is_killed_anywhere_loses_nothing(place, nats):
    rng = random.Random(7)
    for turn in range(3):
        with bridge(place, nats) as (process, _):
            for number in range(3):
                put(place, f"killed-{turn}-{number}")
            time.sleep(rng.uniform(0, 0.1))
            process.kill()
    with bridge(place, nats):
        caught_up(place, nats)
    batches = [json.loads(line) for line in follow(place, "--after", "start", until="killed-2-2")]
    wanted = {one["id"] for one in batches if one["event"] == "batch" and one["space"] == "main"}
    found = run(stored(nats, network_of(place), "main"))
    assert wanted == set(found.ids)
    assert len(found.ids) == len(wanted), "the server drops what is repeated"


def follow(place, *more, until: str) -> list[str]:
    """The lines of `feed follow --json` up to the batch with that key."""
    process = subprocess.Popen(
        clikit.command("feed", "follow", "--json", "--config", place.config, *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clikit.environment(),
        start_new_session=True,
    )
    lines = []
    try:
        while True:
            lines.append(process.stdout.readline().decode())
            if f'"{until}"' in lines[-1]:
                return lines
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()
        process.stderr.close()


def test_follow_prints_batches_and_goes_on_at_a_cursor(place):
    put(place, "followed", '{"a": 1}')
    lines = [json.loads(line) for line in follow(place, "--after", "start", until="followed")]
    assert lines[0]["event"] == "following"
    last = lines[-1]
    (change,) = last["changes"]
    assert change == {"table": "records", "op": "put", "key": "followed", "value": {"a": 1}, "wins": True}
    put(place, "later")
    more = clikit.invoke_json(
        "feed", "follow", "--after", last["cursor"], "--limit", "1", "--config", place.config
    )
    assert more[0] == {"event": "following", "cursor": last["cursor"]}
    assert more[1]["changes"][0]["key"] == "later"
    out, err = clikit.invoke(
        "feed",
        "follow",
        "--after",
        last["cursor"],
        "--limit",
        "1",
        "--table",
        "records",
        "--config",
        place.config,
    )
    assert out.startswith("main/records\tput\tlater\t1\t5")
    assert err == ""
    _, err = clikit.invoke("feed", "follow", "--after", "12", "--config", place.config, code=2)
    assert "is no cursor" in err
    _, err = clikit.invoke(
        "feed", "follow", "--after", "00000000000000aa-1", "--config", place.config, code=1
    )
    assert "another data directory" in err


def test_a_server_that_does_not_sync_is_refused_in_one_line(place, tmp_path):
    with Servers.of(tmp_path / "nats", synced=False) as nats:
        _, err = clikit.run("feed", "bridge", *options(place, nats), code=2)
        assert err.count("\n") == 1
        assert err.startswith("error: NATS server n0 acknowledges before its disk has it")
        assert "sync_interval: always" in err
        assert "--accept-unsynced" in err
        with bridge(place, nats, "--accept-unsynced") as (_, ready):
            assert ready["problems"] == []
            assert "acknowledges before" in ready["accepted"]
        _, err = clikit.run("feed", "bridge", *options(place, nats), "--json", code=2)
        assert json.loads(err)["kind"] == "BrokerUnsafe"


def test_status_without_nats_shows_the_node_and_the_other_way_round(place, nats, tmp_path):
    nats.servers[0].kill()
    found = status(place, nats, code=1)
    assert found["node"]["newest"]
    assert "no NATS server can be used" in found["nats"]["error"]
    out, _ = clikit.invoke("feed", "status", *options(place, nats), code=1)
    assert "no NATS server can be used" in " ".join(out.split())
    nats.servers[0].start()
    nats.wait()
    (away,) = prepare(tmp_path / "away", 1)
    found = clikit.invoke_json("feed", "status", *options(away, nats), code=1)[0]
    assert "error" in found["node"]
    assert found["nats"]["streams"] == {}
    out, _ = clikit.invoke("feed", "status", *options(place, nats))
    assert "no bridge of this network has run" in out


def test_mistakes_of_the_options(place, nats):
    for wrong in ("", "http://x", "nats://u:hunter22@h/x"):
        _, err = clikit.invoke("feed", "bridge", "--config", place.config, "--nats", wrong, code=2)
        assert err.startswith("error: ")
        assert "hunter22" not in err
    _, err = clikit.invoke("feed", "status", *options(place, nats)[:4], "--monitors", "nats://x", code=2)
    assert "--monitors" in err


def test_no_password_is_ever_shown(place, tmp_path):
    users = f'authorization {{ users: [{{user: "me", password: "{PASSWORD}"}}] }}'
    with Servers.of(tmp_path / "nats", extra=users) as nats:
        url = nats.url.replace("//", f"//me:{PASSWORD}@")
        wrong = nats.url.replace("//", f"//me:{PASSWORD}x@")
        said = []
        given = ["--config", place.config, "--monitors", nats.monitors[0]]
        process = subprocess.Popen(
            clikit.command("feed", "bridge", "--nats", url, *given, "--json", "--log-level", "debug"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clikit.environment(),
            start_new_session=True,
        )
        said.append(process.stdout.readline().decode())
        assert json.loads(said[0])["event"] == "ready"
        nats.servers[0].kill()
        time.sleep(0.5)
        process.terminate()
        out, err = process.communicate(timeout=20)
        said += [out.decode(), err.decode()]
        assert "no connection to NATS" in said[-1]
        nats.servers[0].start()
        nats.wait()
        said.append(asked("feed", "status", "--nats", url, *given, "--json").output)
        said.append(asked("feed", "status", "--nats", wrong, *given).output)
        assert "login is refused" in " ".join(said[-1].split())
    assert PASSWORD not in "".join(said)


def test_a_stream_that_differs_and_a_bridge_that_is_gone_are_shown(place, nats):
    with bridge(place, nats):
        put(place, "one")
        caught_up(place, nats)

    network = network_of(place)

    async def change():
        async with connected(nats) as session:
            name = network.stream("main")
            state = await streams.look(session, name)
            await session.api(f"STREAM.UPDATE.{name}", {**state.config, "max_msgs": 7})

    run(change())
    found = status(place, nats)
    assert found["nats"]["streams"]["main"]["differs"] == ["max_msgs"]
    assert os.getpid() != found["nats"]["bridges"][0]["pid"]
