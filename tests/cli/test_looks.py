"""What people see: it fits 80 columns, on a terminal it is live, and without one it is plain."""

import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import clikit
import pytest
from rich.console import Console

from mycelium.cli.output import size
from mycelium.cli.status import status_view, value_text
from mycelium.cli.view import final_table, live_table, screen, step_line, verdict
from mycelium.devnet.demo import Outcome, Step, agree
from mycelium.devnet.load import Latency
from mycelium.devnet.network import NodeState, Sample

WIDE = Sample("node64", "starting", 123_456_789, 123_456.7, "f" * 12, 63, 2**33)


def rendered(thing, encoding="utf-8"):
    with Path(os.devnull).open("w", encoding=encoding) as null:
        console = Console(file=null, width=80, record=True)
        console.print(thing if not callable(thing) else thing(console))
        return console.export_text()


@pytest.mark.parametrize(
    "thing",
    [
        live_table([WIDE, WIDE]),
        live_table([Sample("node1", "down", 0, 0.0, "", 0, 0)]),
        live_table([]),
        final_table([NodeState("node64", "a" * 64, 123_456_789), NodeState("node2", None, 0)]),
        lambda console: screen("title", [Step("one", "x", done=True), Step("two")], [WIDE], console),
        lambda console: step_line(
            Step("a node with 1,000,000 records", "p50 12.3 ms, p99 45.6 ms", done=True), console
        ),
    ],
)
def test_fits_80_columns(thing):
    text = rendered(thing)
    assert text.strip() or "node" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "..." not in text.replace("a...", ""), "something was cut off"


def test_marks_are_ascii_where_the_terminal_is():
    step = Step("done", done=True)
    assert rendered(lambda console: step_line(step, console)).startswith(" ✓")
    assert rendered(lambda console: step_line(step, console), "ascii").startswith(" *")


def test_agreement():
    one, same, other = (NodeState(name, digest, 1) for name, digest in (("a", "x"), ("b", "x"), ("c", "y")))
    assert agree([one, same])
    assert not agree([one, other])
    assert not agree([one, NodeState("d", None, 0)])
    assert not agree([])
    assert "byte-identical" in verdict([one, same]).plain
    assert "NOT" in verdict([one, other]).plain
    assert Outcome(states=[one, same]).agree


def test_percentiles():
    latency = Latency([float(number) for number in range(100, 0, -1)])
    assert latency.percentile(0.5) == 51.0
    assert latency.percentile(0.99) == 100.0
    assert latency.percentile(0.0) == 1.0
    assert Latency().percentile(0.5) == 0.0


def test_status_view_fits_and_takes_what_it_does_not_know():
    peer = {
        "account": "5" + "G" * 47,
        "role": "validator",
        "remote": "203.0.113.200:65535",
        "inbound": True,
        "rtt_ms": 123.456,
        "queued_bytes": 8 * 2**20,
        "dropped": 1_000_000,
        "acknowledged": {"main": 1_000_000, "other": 2},
    }
    found = {
        "account": "5" + "G" * 47,
        "uptime_s": 123_456.7,
        "resident_bytes": 3 * 2**30,
        "later": {"a": 1},
        "rejects": {"malformed": 3},
        "peers": [peer, {**peer, "rtt_ms": None}],
        "health": {"checks": [{"name": "sync", "ok": False, "text": "behind in main", "remedy": "wait"}]},
        "events": [{"ago_s": 12345.6, "kind": "proof", "text": "x" * 200, "account": "5" + "G" * 47}],
        "unreachable": {"5" + "H" * 47: "ws://203.0.113.7:9090: connection refused"},
        "database": {
            "vectors": {"main": "e" * 32},
            "held_changes": {"main": 12_345_678},
            "origins": {"main": 256},
            "store": {"files_bytes": 2**40},
        },
    }
    text = rendered(status_view(found))
    assert max(map(len, text.splitlines())) <= 80
    for part in (
        "123,456.7 s",
        "3.0 GiB",
        "malformed 3",
        "12,345,678",
        "files 1.0 TiB",
        "203.0.113.200:65535",
        "not ready: sync: behind in main -- wait",
        "12,346 s",
    ):
        assert part in text
    assert "not connected to 5HH" in text
    found["unreachable"] = {peer["account"]: "ws://203.0.113.7:9090: connection refused"}
    assert "not connected" not in rendered(status_view(found)), "it dialled us"
    assert "no peer is connected" in rendered(status_view({}))


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("a_bytes", 1023, "1023 B"),
        ("a_bytes", 1024, "1.0 KiB"),
        ("a_s", 1.25, "1.2 s"),
        ("n", 1_000, "1,000"),
        ("pid", 1_000, "1000"),
        ("flag", True, "yes"),
        ("none", None, "-"),
        ("text", "as it is", "as it is"),
        ("last_s", {"main": 0.5, "other": 2}, "main 0.5 s, other 2.0 s"),
    ],
)
def test_value_text(key, value, text):
    assert value_text(key, value) == text
    assert size(2**50) == "1024.0 TiB"


def test_on_a_terminal_it_is_live_and_ctrl_c_ends_it_with_130(tmp_path):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        clikit.command("devnet", "up", "--nodes", 2, "--records", 100, "--dir", tmp_path / "net"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=clikit.environment(TERM="xterm-256color", LINES="40"),
        start_new_session=True,
    )
    os.close(theirs)
    shown, began, interrupted = "", time.monotonic(), False
    try:
        while time.monotonic() - began < 40:
            if not select.select([ours], [], [], 0.2)[0]:
                continue
            try:
                shown += os.read(ours, 65_536).decode("utf-8", "replace")
            except OSError:  # the other end is closed: the process is gone
                break
            if not interrupted and re.search(r"running.*running", shown, re.DOTALL):
                process.send_signal(signal.SIGINT)
                interrupted = True
        assert process.wait(20) == 130
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert interrupted, shown
    assert "\x1b[" in shown
    assert "Mycelium local network, 2 nodes" in shown
    assert "Traceback" not in shown
