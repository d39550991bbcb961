"""200,000 seeded mutations of each table end in the value the oracle reads, or in MalformedMessage or OversizedMessage.

Every accepted mutant is held against the oracle, and every tenth refused one. A failure prints the mutant in hex.
"""

from __future__ import annotations

import functools
import random
import struct

import pytest
from reference import codec as oracle
from reference import values

from mycelium._core import schema
from mycelium.errors import MalformedMessage, OversizedMessage

MUTATIONS = 200_000
JSON_MUTATIONS = 4_000
EDGES = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    12,
    16,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x10000,
    2**31,
    2**32 - 4,
)
EDGES += (2**31 - 1, 2**32 - 1, 2**32 - 8, 2**32 - 2)


def mutants(seeds: list[bytes], count: int, seed: int):
    """`count` buffers, each a seed with one to three edits; equal for equal arguments."""
    numbers = struct.iter_unpack("<BBHI", random.Random(seed).randbytes(8 * count))
    for op, which, at, value in numbers:
        data = seeds[which % len(seeds)]
        at %= len(data)
        word = at & ~3
        if op < 70:
            yield b"%b%c%b" % (data[:at], value & 0xFF, data[at + 1 :])
        elif op < 110:
            yield b"%b%c%b" % (data[:at], data[at] ^ 1 << (value & 7), data[at + 1 :])
        elif op < 150:
            edge = EDGES[value % len(EDGES)]
            yield data[:word] + struct.pack("<I", edge) + data[word + 4 :]
        elif op < 180:
            half = at & ~1
            yield data[:half] + struct.pack("<H", value % 64) + data[half + 2 :]
        elif op < 210:
            # A word of the buffer in another place: offsets that point at valid parts of the wrong kind.
            source = value % len(data) & ~3
            yield data[:word] + data[source : source + 4] + data[word + 4 :]
        elif op < 225:
            near = struct.unpack("<I", data[word : word + 4].ljust(4, b"\0"))[0] + (value % 33) - 16
            yield data[:word] + struct.pack("<I", near & 0xFFFFFFFF) + data[word + 4 :]
        elif op < 235:
            yield data[:at]
        elif op < 245:
            yield data[:word] + bytes(4 * (value % 3 + 1)) + data[word:]
        else:
            other = value % len(data)
            edited = bytearray(data)
            edited[at], edited[other], edited[(at + other) % len(data)] = (
                value & 0xFF,
                value >> 8 & 0xFF,
                at & 0xFF,
            )
            yield bytes(edited)


def check(kind: str, data: bytes) -> None:
    """The codec and the oracle say the same of `data`."""
    try:
        expected = values.oracle_decode(kind, data)
    except oracle.RefusedError:
        with pytest.raises((MalformedMessage, OversizedMessage)):
            values.decode(kind, data)
    else:
        assert values.decode(kind, data) == expected, data.hex()


@pytest.mark.parametrize("kind", values.KINDS)
def test_mutations(kind):
    seeds = [bytes.fromhex(item["flatbuffers"]) for item in values.vectors(kind)["valid"]]
    seeds += [values.oracle_encode(kind, value) for value in values.samples(kind)]
    number = schema.KINDS[kind]
    refusals = (MalformedMessage, OversizedMessage)
    read = functools.partial(values.decode, kind)
    accepted = refused = 0
    for data in mutants(seeds, MUTATIONS, seed=number):
        try:
            value = read(data)
        except refusals:
            refused += 1
            if refused % 10 == 0:
                check(kind, data)
        else:
            accepted += 1
            assert value == values.oracle_decode(kind, data), data.hex()
    # A generator that only made noise, or changed nothing that matters, would test nothing.
    assert accepted > MUTATIONS // 50
    assert refused > MUTATIONS // 50


@pytest.mark.parametrize("kind", values.KINDS)
def test_json_mutations(kind):
    seeds = [values.to_json(kind, value) for value in values.samples(kind)]
    accepted = 0
    for data in mutants(seeds, JSON_MUTATIONS, seed=100 + schema.KINDS[kind]):
        if data[:1] != b"\x01":
            continue
        try:
            value = values.from_json(kind, data)
        except (MalformedMessage, OversizedMessage):
            continue
        accepted += 1
        assert values.from_json(kind, values.to_json(kind, value)) == value, data
        assert values.decode(kind, values.encode(kind, value)) == value, data
    assert accepted > 0


@pytest.mark.parametrize("kind", values.KINDS)
def test_noise(kind):
    generator = random.Random(schema.KINDS[kind])
    for _ in range(2_000):
        data = generator.randbytes(generator.randrange(200))
        check(kind, b"\x02" + data if kind == "Message" else data)
