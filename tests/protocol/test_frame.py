"""Frames: join and split are each other's inverse, and split takes nothing that join would not have made."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium import config
from mycelium.errors import MalformedMessage, OversizedMessage
from mycelium.protocol import frame

messages = st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=20)


@given(messages)
def test_what_is_joined_splits(parts):
    assert frame.split(frame.join(parts)) == parts
    assert frame.split(frame.join(iter(parts))) == parts


@given(st.binary(max_size=40))
def test_what_splits_joins_to_the_same_bytes(data):
    try:
        parts = frame.split(data)
    except (MalformedMessage, OversizedMessage):
        return
    assert frame.join(parts) == data


@given(messages, st.data())
def test_no_proper_prefix_inside_a_message_splits(parts, data):
    whole = frame.join(parts)
    cut = data.draw(st.integers(0, len(whole) - 1))
    edges = {0}
    for part in parts:
        edges.add(max(edges) + 4 + len(part))
    if cut in edges - {0}:
        assert b"".join(frame.split(whole[:cut])) == b"".join(parts)[: cut - 4 * sorted(edges).index(cut)]
    else:
        with pytest.raises(MalformedMessage):
            frame.split(whole[:cut])


def test_layout():
    assert frame.join([b"ab", b"c"]) == b"\x02\0\0\0ab\x01\0\0\0c"


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\x01\0\0", bytes(4), b"\x02\0\0\0a", b"\x01\0\0\0ab", b"\x01\0\0\0a\0\0\0\0"]
)
def test_malformed(data):
    with pytest.raises(MalformedMessage):
        frame.split(data)


def test_empty_frames_and_messages_are_not_made():
    for parts in ([], [b""], [b"a", b""]):
        with pytest.raises(MalformedMessage):
            frame.join(parts)


def test_caps():
    largest = bytes(config.DATA_BYTES_MAX)
    assert frame.split(frame.join([largest])) == [largest]
    with pytest.raises(OversizedMessage):
        frame.join([largest + b"x"])
    with pytest.raises(OversizedMessage):
        frame.join([largest, largest])
    with pytest.raises(OversizedMessage):
        frame.split(struct.pack("<I", config.DATA_BYTES_MAX + 1) + b"x")
    with pytest.raises(OversizedMessage):
        frame.split(bytes(config.FRAME_BYTES_MAX + 1))
    with pytest.raises(OversizedMessage):
        frame.split(frame.join([b"abc"]), max=6)
    assert frame.split(frame.join([b"abc"]), max=7) == [b"abc"]


def test_a_length_allocates_nothing():
    with pytest.raises(OversizedMessage):
        frame.split(b"\xff\xff\xff\xff")
