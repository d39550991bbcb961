"""schemas/vectors is the contract with other implementations: both readers, both writers and JSON agree with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from reference import codec as oracle
from reference import values

from mycelium.errors import ProtocolError

ROOT = Path(__file__).parents[2]
CASES = [(kind, item["name"]) for kind in values.KINDS for item in values.vectors(kind)["valid"]]
SPOILT = [(kind, item["name"]) for kind in values.KINDS for item in values.vectors(kind)["invalid"]]


def case(kind, name, group):
    return next(item for item in values.vectors(kind)[group] if item["name"] == name)


def test_one_file_for_each_table():
    assert {path.stem for path in values.VECTORS.glob("*.json")} == set(values.KINDS)
    assert all(values.vectors(kind)["kind"] == kind for kind in values.KINDS)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_valid(kind, name):
    item = case(kind, name, "valid")
    data = bytes.fromhex(item["flatbuffers"])
    value = values.from_json(kind, b"\x01" + json.dumps(item["json"]).encode())
    assert values.decode(kind, data) == value == values.oracle_decode(kind, data)
    assert values.encode(kind, value) == data
    assert json.loads(values.to_json(kind, value)[1:]) == item["json"]


@pytest.mark.parametrize(("kind", "name"), SPOILT)
def test_invalid(kind, name):
    data = bytes.fromhex(case(kind, name, "invalid")["flatbuffers"])
    with pytest.raises(ProtocolError):
        values.decode(kind, data)
    with pytest.raises(oracle.RefusedError):
        values.oracle_decode(kind, data)


def test_the_generator_gives_these_files():
    command = [sys.executable, str(ROOT / "ci" / "golden_vectors.py"), "--check"]
    run = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
