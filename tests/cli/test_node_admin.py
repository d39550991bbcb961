"""`node run` and its admin port: what the settings say, and mistakes in them, which change nothing."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import clikit
import pytest

from mycelium.devnet.layout import prepare


@pytest.fixture
def place(tmp_path):
    (place,) = prepare(tmp_path / "net", 1)
    return place


def admin(place, lines):
    """Set its [admin] section."""
    text = place.config.read_text()
    place.config.write_text(re.sub(r"\[admin\]\n.*\n", f"[admin]\n{lines}\n", text))


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def test_it_answers_as_long_as_the_node_runs(place):
    with clikit.running(place.config) as (_, ready):
        status = get(f"{ready['admin']}status")
        assert status["account"] == place.address
        assert {check["name"] for check in status["health"]["checks"]} == {
            "chain",
            "epoch",
            "store",
            "sync",
            "clock",
        }
        (over_session,) = clikit.invoke_json("status", "--config", place.config)
        assert over_session["health"]["checks"]
        assert [event["kind"] for event in over_session["events"]]
    with pytest.raises(OSError):
        get(f"{ready['admin']}status")


def test_it_can_be_left_out(place):
    admin(place, "enabled = false")
    with clikit.running(place.config) as (_, ready):
        assert ready["admin"] == ""
        assert clikit.invoke_json("status", "--config", place.config)[0]["health"] == {}


def test_people_are_told_where_it_is(place):
    with clikit.running(place.config, plain=True) as (_, line):
        assert f", dashboard http://127.0.0.1:{place.admin_port}/" in line


@pytest.mark.parametrize("taken", [True, False], ids=["taken", "token"])
def test_mistakes_are_found_before_anything_is_written(place, taken):
    with socket.socket() as other:
        if taken:
            other.bind(("127.0.0.1", place.admin_port))
            other.listen()
            said = "another process listens there -- stop that process, or set another port in [admin] listen"
        else:
            admin(place, 'listen = "0.0.0.0:0"\ntoken_file = "absent"')
            said = "absent: No such file or directory -- make it with: openssl rand -hex 32"
        out, err = clikit.run("node", "run", "--config", place.config, code=2)
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err
    assert not place.data_dir.exists()


def test_another_address_without_a_token_is_refused_with_its_line(place):
    admin(place, 'listen = "0.0.0.0:9091"')
    _, err = clikit.run("node", "run", "--config", place.config, code=2)
    assert re.search(r"node\.toml:\d+: admin\.listen 0\.0\.0\.0 can be reached from other machines", err)
    assert "openssl rand -hex 32" in err


def test_a_token_is_asked_for(place):
    token = "0123456789abcdef0123456789abcdef"
    (place.directory / "token").write_text(token)
    (place.directory / "token").chmod(0o600)
    admin(place, 'listen = "127.0.0.1:0"\ntoken_file = "token"')
    with clikit.running(place.config) as (_, ready):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(f"{ready['admin']}status")
        refused.value.close()
        assert refused.value.code == 401
        request = urllib.request.Request(
            f"{ready['admin']}status", headers={"Authorization": f"Bearer {token}"}
        )
        assert get(request)["account"] == place.address


def test_on_a_terminal_the_status_is_watched_until_ctrl_c(place):
    """It takes the whole screen, follows the node, and gives the screen back."""
    with clikit.running(place.config):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            clikit.command("status", "--config", place.config, "--watch", "--every", "0.1"),
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            env=clikit.environment(TERM="xterm-256color", LINES="60", COLUMNS="100", PYTHONFAULTHANDLER="1"),
            start_new_session=True,
        )
        os.close(theirs)
        shown, end_s = b"", time.monotonic() + 30
        while shown.count(b"uptime") < 3:
            assert time.monotonic() < end_s, shown
            shown += os.read(ours, 65_536)
        process.send_signal(signal.SIGINT)
        end_s = time.monotonic() + 30
        with contextlib.suppress(OSError):  # the terminal is gone when the process is
            while time.monotonic() < end_s:
                if select.select([ours], [], [], 1)[0]:
                    shown += os.read(ours, 65_536)
        if process.poll() is None and time.monotonic() > end_s:
            process.send_signal(signal.SIGABRT)  # it says on stderr where each of its threads is
            pytest.fail(f"Ctrl-C did not end it:\n{process.communicate()[1].decode()}")
        assert process.wait(10) == 130
        assert b"Traceback" not in process.stderr.read()
        process.stderr.close()
        os.close(ours)
    assert b"\x1b[?1049h" in shown
    assert b"\x1b[?1049l" in shown, "the screen is as it was"
    assert place.address[:20].encode() in shown
