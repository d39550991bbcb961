"""Amounts: exact, whole rao, and no floats."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.chain.balance import U64_MAX, check, format_tao, rao


@pytest.mark.parametrize(
    ("tao", "amount"),
    [
        ("0.5", 500_000_000),
        (1, 10**9),
        (Decimal("0.000000001"), 1),
        ("18446744073.709551615", U64_MAX),
        ("1e3", 10**12),
    ],
)
def test_tao_in_rao(tao, amount):
    assert rao(tao) == amount


@pytest.mark.parametrize("tao", [0.1, 1.0, True, None, b"1"])
def test_floats_are_refused(tao):
    with pytest.raises(TypeError):
        rao(tao)


@pytest.mark.parametrize(
    "tao", ["", "x", "0.0000000001", "-1", "18446744073.709551616", "NaN", "Infinity", -1]
)
def test_what_is_no_amount(tao):
    with pytest.raises(ValueError):
        rao(tao)


@pytest.mark.parametrize("amount", [1.0, True, "1", None])
def test_rao_are_whole_numbers(amount):
    with pytest.raises(TypeError):
        check(amount)


@given(st.integers(0, U64_MAX))
def test_there_and_back(amount):
    text = format_tao(amount)
    assert rao(text) == amount == check(amount)
    assert "e" not in text.lower()
    assert not text.endswith(".")
    assert "." not in text or not text.endswith("0")
