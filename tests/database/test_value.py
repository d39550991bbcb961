"""Keys and values, to bytes and back, and everything that is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.config import KEY_BYTES_MAX, VALUE_BYTES_MAX
from mycelium.database import value
from mycelium.errors import KeyRefused, StoreCorrupt, ValueRefused

objects = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(objects)
def test_objects_come_back(thing: Any) -> None:
    assert value.value_of(value.value_bytes(thing)) == thing


@given(st.binary())
def test_bytes_come_back(thing: bytes) -> None:
    assert value.value_of(value.value_bytes(thing)) == thing


def test_equal_maps_have_equal_bytes() -> None:
    assert value.value_bytes({"a": 1, "b": 2}) == value.value_bytes({"b": 2, "a": 1})


@given(st.binary())
def test_any_stored_bytes_are_readable(stored: bytes) -> None:
    value.value_of(stored)


@given(st.text(min_size=1, max_size=200))
def test_text_keys_come_back(key: str) -> None:
    assert value.key_of(value.key_bytes(key)) == key


@pytest.mark.parametrize("key", ["", b"", 7, None, "x" * (KEY_BYTES_MAX + 1), "\ud800"])
def test_keys_that_are_refused(key: Any) -> None:
    with pytest.raises(KeyRefused):
        value.key_bytes(key)


def test_the_longest_key_and_value() -> None:
    assert len(value.key_bytes("x" * KEY_BYTES_MAX)) == KEY_BYTES_MAX
    assert len(value.value_bytes(bytes(VALUE_BYTES_MAX - 1))) == VALUE_BYTES_MAX
    with pytest.raises(ValueRefused, match="at most"):
        value.value_bytes(bytes(VALUE_BYTES_MAX))


@pytest.mark.parametrize("thing", [object(), {1: object()}, lambda: 0, 2**70])
def test_values_without_an_encoding(thing: Any) -> None:
    with pytest.raises(ValueRefused):
        value.value_bytes(thing)


def test_a_list_that_holds_itself_is_refused() -> None:
    thing: list[Any] = []
    thing.append(thing)
    with pytest.raises(ValueRefused):
        value.value_bytes(thing)


@given(st.integers(-(2**63), 2**63 - 1))
def test_amounts(amount: int) -> None:
    assert int.from_bytes(value.amount_bytes(amount), "big", signed=True) == amount


@pytest.mark.parametrize("amount", [1.5, True, "1", 2**63, -(2**63) - 1])
def test_amounts_that_are_refused(amount: Any) -> None:
    with pytest.raises(ValueRefused):
        value.amount_bytes(amount)


def test_a_counter_row_of_another_width_is_corrupt() -> None:
    assert value.amount_of((-5).to_bytes(16, "big", signed=True)) == -5
    with pytest.raises(StoreCorrupt):
        value.amount_of(b"short")
