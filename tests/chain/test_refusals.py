"""What nodes say when they take no extrinsic, in both spellings, and what it means."""

from __future__ import annotations

import pytest

from mycelium.chain import refusals
from mycelium.chain.refusals import custom_of, invalid, kind_of
from mycelium.errors import ChainRefused, ExtrinsicInvalid


def refused(code, message, data=None):
    return ChainRefused(f"{message}: {data}" if data else message, code=code, data=data)


@pytest.mark.parametrize(
    ("code", "data", "kind"),
    [
        (1010, "Inability to pay some fees (e.g. account balance too low)", refusals.PAYMENT),
        (1010, {"invalid": {"payment": None}}, refusals.PAYMENT),
        (1010, {"invalid": "payment"}, refusals.PAYMENT),
        (1010, "Transaction is outdated", refusals.STALE),
        (1010, {"Invalid": "Stale"}, refusals.STALE),
        (1010, "Transaction will be valid in the future", refusals.FUTURE),
        (1010, "Transaction has a bad signature", refusals.BAD_PROOF),
        (1010, {"invalid": {"badProof": None}}, refusals.BAD_PROOF),
        (1010, "Transaction has an ancient birth block", refusals.ANCIENT),
        (1010, "Transaction would exhaust the block limits", refusals.EXHAUSTS),
        (1010, "Transaction call is not expected", refusals.CALL),
        (1010, "Invalid signing address", refusals.BAD_SIGNER),
        (1010, "Custom error: 6", refusals.CUSTOM),
        (1010, {"invalid": {"custom": 6}}, refusals.CUSTOM),
        (1010, "something new", refusals.UNKNOWN),
        (1010, None, refusals.UNKNOWN),
        (1010, {"invalid": {"somethingNew": None}}, refusals.UNKNOWN),
        (1012, None, refusals.BANNED),
        (1013, "0x00", refusals.IMPORTED),
        (1014, "The transaction has too low priority", refusals.PRIORITY),
        (1016, None, refusals.FULL),
        (1002, "wasm trap", refusals.TRAPPED),
        (1001, None, refusals.FORMAT),
    ],
)
def test_kinds(code, data, kind):
    error = refused(code, "Invalid Transaction", data)
    assert kind_of(error) == kind
    made = invalid(error)
    assert isinstance(made, ExtrinsicInvalid)
    assert (made.code, made.data) == (code, data)
    assert made.what.startswith("the extrinsic was refused: ")
    assert made.remedy
    assert kind_of(made) == kind


@pytest.mark.parametrize(
    ("data", "number"),
    [
        ("Custom error: 6", 6),
        ({"invalid": {"custom": 255}}, 255),
        ("Transaction is outdated", None),
        (None, None),
    ],
)
def test_numbers_of_the_chains_own_rules_are_passed_on(data, number):
    error = refused(1010, "Invalid Transaction", data)
    assert custom_of(error) == number
    if number is not None:
        assert f"custom error {number}" in invalid(error).what
        assert custom_of(invalid(error)) == number
