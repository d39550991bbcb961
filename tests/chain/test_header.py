"""Block hashes are computed, and are those of the real chain."""

from __future__ import annotations

import pytest
from chain.clientkit import recorded
from hypothesis import given
from hypothesis import strategies as st

from mycelium.chain.header import Head, compact, head_of, uncompact, unhex
from mycelium.errors import ChainError


def test_the_hash_of_a_real_header():
    case = recorded()["metagraph"]
    wanted = case["chain_getHead"]["[]"]["result"]
    header = case["chain_getHeader"][f'["{wanted}"]']["result"]
    assert head_of(header) == Head(6_852_690, wanted)


@given(st.integers(0, 2**536 - 1))
def test_compact_numbers(number):
    data = compact(number)
    assert uncompact(data) == (number, len(data))
    assert uncompact(data + b"more") == (number, len(data))


@given(st.binary(max_size=80))
def test_any_bytes_are_a_number_or_an_error(data):
    try:
        number, width = uncompact(data)
    except ValueError:
        return
    assert number >= 0
    assert 0 < width <= len(data)


@pytest.mark.parametrize("text", [None, 7, "0xzz", "abc", ["0x00"], {}])
def test_what_is_no_hex(text):
    with pytest.raises(ChainError, match="hex"):
        unhex(text)


HEADER = {
    "parentHash": "0x" + "00" * 32,
    "number": "0x1",
    "stateRoot": "0x" + "00" * 32,
    "extrinsicsRoot": "0x" + "00" * 32,
    "digest": {"logs": []},
}


@pytest.mark.parametrize(
    "change",
    [
        {"number": "one"},
        {"number": None},
        {"digest": {}},
        {"digest": None},
        {"stateRoot": 7},
        {"number": "-0x1"},
        {"number": hex(2**32)},
        {"number": hex(2**600)},
        {"parentHash": "0xz"},
    ],
)
def test_what_is_no_header(change):
    assert head_of(HEADER).number == 1
    with pytest.raises(ChainError):
        head_of({**HEADER, **change})


def test_no_header_is_an_unknown_block():
    with pytest.raises(ChainError, match="does not know that block"):
        head_of(None)
