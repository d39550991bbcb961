"""Keys, clocks and captured requests for tests of the signed HTTP protocol."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from substrateinterface import Keypair

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "fiber"
VALIDATOR = Keypair.create_from_seed("0x" + "11" * 32)
MINER = Keypair.create_from_seed("0x" + "22" * 32)
OTHER = Keypair.create_from_seed("0x" + "33" * 32)
VERSIONS = ("2.1.0", "2.5.0")


def vectors(version):
    """What the unmodified Fiber of that version sent."""
    path = SHARED / f"fiber_vectors_{version}.json"
    if not path.exists():
        pytest.skip(f"the captured requests are not here: {path.name}")
    return json.loads(path.read_text())


class Clock:
    """Nanoseconds that pass when a test says so."""

    def __init__(self, now_ns=1_700_000_000 * 10**9):
        self.now_ns = now_ns

    def __call__(self):
        return self.now_ns

    def nonce(self, offset_s=0.0, tail="abcdefghij"):
        return f"{self.now_ns + int(offset_s * 10**9)}_{tail}"
