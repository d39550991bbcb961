"""What a process that is a node does to itself."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import resource
from mycelium.node import process
from mycelium.node.status import resident_bytes

if {prepared}:
    process.prepare()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard

def churn():
    # One buffer of 16 MiB that was freed is enough for glibc to keep all that are smaller.
    del (big := [bytearray(16 << 20)])[:]
    held = [bytearray(4 << 20) for _ in range(30)]
    pins = [bytearray(2_000) for _ in range(200)]
    return pins

before = resident_bytes()
pins = churn()
print((resident_bytes() - before) >> 20)
"""


def test_freed_buffers_go_back_to_the_system() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(prepared=True)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert int(done.stdout) < 20
