"""Requests of validators to miners against the real Fiber: HTTP, plain and encrypted, and calls over the session.

Client and server are processes of their own.

Both sides run the same script (tests/httpwire/scripts/fiber_side.py), once with our package and once with Fiber's, in
rounds that take turns. FIBER_SRC is a directory with the package `fiber`, FIBER_PYTHON an interpreter with what it
needs; without them only ours is measured, and there is nothing to compare.
Required of HTTP: at least 2 times Fiber's requests a second, at a lower p99. Of calls over the session, 16 in flight: 5
times through FastAPI's routes, 30 times through native handlers, of its plain requests. Of handshakes
over the session: 5 times faster than Fiber's.

    FIBER_SRC=... FIBER_PYTHON=... python -m pytest bench/test_http.py -s
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "tests" / "httpwire" / "scripts" / "fiber_side.py"
SOURCE = os.environ.get("FIBER_SRC", "").split(":")[0]
PYTHON = os.environ.get("FIBER_PYTHON", "")
ROUNDS, ROUND_S = 3, 2.0
SIDES = {"ours": (sys.executable, "mycelium", str(ROOT))}
if SOURCE and PYTHON:
    SIDES["fiber"] = (PYTHON, "fiber", SOURCE)


WAYS = {"http": ("0", "/ask"), "session": ("1", "/ask"), "native": ("1", "/native")}
"""How ours goes: whether over a session, and to which endpoint."""


def environment(side, way="http"):
    _, package, path = SIDES[side]
    sessions, endpoint = WAYS[way]
    found = {**os.environ, "PYTHONPATH": path, "PACKAGE": package, "NETUID": "1", "ENDPOINT": endpoint}
    return found | {"MYCELIUM_SESSIONS": sessions}


@contextlib.contextmanager
def serving(side, kind, home):
    process = subprocess.Popen(
        [SIDES[side][0], SCRIPT, "serve", kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(side, "session"),
        cwd=home,
    )
    try:
        line = b""
        while not line.startswith(b'"http'):
            line = process.stdout.readline()
            assert line, f"{side} did not start"
        yield json.loads(line)
    finally:
        process.kill()
        process.communicate()


def run(side, way, home, *arguments):
    command = [SIDES[side][0], SCRIPT, *map(str, arguments)]
    done = subprocess.run(
        command, env=environment(side, way), capture_output=True, cwd=home, timeout=120, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def show(what, rounds):
    """The middle of the rounds: a second's requests, p50 and p99 in ms."""
    rate, p50_ms, p99_ms = found = [statistics.median(one) for one in zip(*rounds, strict=True)]
    print(f"\n{what}: {rate:.0f}/s, p50 {p50_ms:.2f} ms, p99 {p99_ms:.2f} ms", end="")
    return found


@pytest.mark.parametrize("size", [100, 1024])
@pytest.mark.parametrize("in_flight", [1, 16, 64])
@pytest.mark.parametrize("kind", ["plain", "encrypted"])
def test_requests(kind, in_flight, size, tmp_path):
    sides = [("ours", way) for way in (WAYS if kind == "plain" else ("http",))]
    sides += [("fiber", "http")] if "fiber" in SIDES else []
    found = {side: [] for side in sides}
    with contextlib.ExitStack() as stack:
        addresses = {side: stack.enter_context(serving(side, kind, tmp_path)) for side in SIDES}
        for _ in range(ROUNDS):
            for side, way in sides:
                arguments = ("load", kind, addresses[side], ROUND_S, in_flight, size)
                found[side, way].append(run(side, way, tmp_path, *arguments))
    title = f"{kind}, {size} bytes, {in_flight} in flight"
    middle = {who: show(f"{title}, {' '.join(who)}", rounds) for who, rounds in found.items()}
    fibers = middle.get(("fiber", "http"))
    for who, (rate, _, p99_ms) in middle.items():
        if fibers is not None and who[0] == "ours":
            ratios = f"{rate / fibers[0]:.1f} times its requests, p99 {p99_ms / fibers[2]:.2f} times its own"
            print(f"\n  {who[1]}: {ratios}", end="")


def test_handshakes(tmp_path):
    sides = [("ours", "sessions", "session"), ("ours", "rekeys", "session"), ("ours", "handshakes", "http")]
    sides += [("fiber", "handshakes", "http")] if "fiber" in SIDES else []
    found = {side[:2]: [] for side in sides}
    with contextlib.ExitStack() as stack:
        addresses = {side: stack.enter_context(serving(side, "encrypted", tmp_path)) for side in SIDES}
        for _ in range(ROUNDS):
            for side, what, way in sides:
                found[side, what].append(
                    run(side, way, tmp_path, what, "encrypted", addresses[side], ROUND_S)
                )
    middle = {who: show(" ".join(who), rounds) for who, rounds in found.items()}
    if ("fiber", "handshakes") in middle:
        for who in list(found)[:3]:
            ratio = middle["fiber", "handshakes"][1] / middle[who][1]
            print(f"\n  {who[1]}: {ratio:.1f} times faster than Fiber's (p50)", end="")
