"""Signed requests over HTTP, plain and encrypted, against the real Fiber; client and server in processes of their own.

Both sides run the same script (tests/httpwire/scripts/fiber_side.py), once with our package and once with Fiber's, in
rounds that take turns. FIBER_SRC is a directory with the package `fiber`, FIBER_PYTHON an interpreter with what it
needs; without them only ours is measured, and there is nothing to compare.
Required: at least 2 times Fiber's requests a second, at a lower p99.

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
RATIO_MIN = 2.0
SIDES = {"ours": (sys.executable, "mycelium", str(ROOT))}
if SOURCE and PYTHON:
    SIDES["fiber"] = (PYTHON, "fiber", SOURCE)


def environment(side):
    _, package, path = SIDES[side]
    return {**os.environ, "PYTHONPATH": path, "PACKAGE": package, "NETUID": "1"}


@contextlib.contextmanager
def serving(side, kind, home):
    process = subprocess.Popen(
        [SIDES[side][0], SCRIPT, "serve", kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(side),
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


def load(side, kind, address, in_flight, size, home):
    command = [SIDES[side][0], SCRIPT, "load", kind, address, str(ROUND_S), str(in_flight), str(size)]
    done = subprocess.run(
        command, env=environment(side), capture_output=True, cwd=home, timeout=120, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("size", [100, 1024])
@pytest.mark.parametrize("in_flight", [1, 16, 64])
@pytest.mark.parametrize("kind", ["plain", "encrypted"])
def test_requests(kind, in_flight, size, tmp_path):
    found = {side: [] for side in SIDES}
    with contextlib.ExitStack() as stack:
        addresses = {side: stack.enter_context(serving(side, kind, tmp_path)) for side in SIDES}
        for _ in range(ROUNDS):
            for side, address in addresses.items():
                found[side].append(load(side, kind, address, in_flight, size, tmp_path))
    middle = {}
    for side, rounds in found.items():
        rate, p50_ms, p99_ms = middle[side] = [statistics.median(one) for one in zip(*rounds, strict=True)]
        print(
            f"\n{kind}, {size} bytes, {in_flight} in flight, {side}: {rate:.0f}/s, p50 {p50_ms:.1f} ms",
            end="",
        )
        print(f", p99 {p99_ms:.1f} ms")
    if "fiber" in middle:
        rates, lates = ([middle[side][place] for side in ("ours", "fiber")] for place in (0, 2))
        print(f"  {rates[0] / rates[1]:.2f} times its requests, p99 {lates[0] / lates[1]:.2f} times its own")
