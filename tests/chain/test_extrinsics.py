"""Pieces of extrinsics: keypairs, eras, errors by name."""

from __future__ import annotations

import pytest
from chain.submitkit import ALICE, to

from mycelium.chain.connection import Connection
from mycelium.chain.extrinsics import (
    account_of,
    dispatch_error,
    period_of,
    scheme_of,
    signature_of,
    timestamp_ms,
)
from mycelium.chain.header import compact
from mycelium.errors import ChainError, UsageError

# --- pieces -------------------------------------------------------------------------------------------------


class OnlyPublic:
    public_key = "0x" + ALICE.account.hex()


class Odd:
    def __init__(self, public_key):
        self.public_key = public_key


class WrongSize(OnlyPublic):
    def sign(self, payload):
        return b"short"


class Angry(OnlyPublic):
    def sign(self, payload):
        raise ValueError("No private key set to create signatures")


class Ecdsa(OnlyPublic):
    crypto_type = 2


def test_what_is_no_keypair():
    assert account_of(OnlyPublic()) == ALICE.account
    for nothing in (
        None,
        "5Grw",
        object(),
        type("K", (), {"public_key": "0xzz"})(),
        type("K", (), {"public_key": b"x"})(),
    ):
        with pytest.raises(UsageError, match="is no keypair"):
            account_of(nothing)
    with pytest.raises(UsageError, match="cannot sign"):
        signature_of(OnlyPublic(), b"")
    with pytest.raises(UsageError, match="5 bytes"):
        signature_of(WrongSize(), b"")
    with pytest.raises(UsageError, match="No private key"):
        signature_of(Angry(), b"")
    with pytest.raises(UsageError, match="crypto type 2"):
        scheme_of(Ecdsa())


def test_periods_are_powers_of_two():
    assert [period_of(blocks) for blocks in (None, 1, 4, 5, 8, 9, 65_536)] == [None, 4, 4, 8, 8, 16, 65_536]


@pytest.mark.parametrize("time_ms", [2**63, 2**64, 2**500])
def test_a_time_that_no_clock_shows_is_none(chain, time_ms):
    """A block is what an endpoint says: its numbers are bounded before anything counts with them."""
    with Connection(chain.url, cache_dir=None) as connection:
        codec = connection._runtimes.best()
        index = bytes(codec.runtime.compose_call("Timestamp", "set", {"now": 0}))[:2]

    def block(time_ms, cut=0):
        body = b"\x04" + index + compact(time_ms)
        return [compact(len(body)) + body[: len(body) - cut]]

    assert timestamp_ms(codec, block(1_700_000_000_000)) == 1_700_000_000_000
    assert timestamp_ms(codec, block(2**63 - 1)) == 2**63 - 1
    for wrong in (block(time_ms), block(1_700_000_000_000, cut=2), [b""], [b"\x04"], [b"\x03"]):
        with pytest.raises(ChainError, match="no timestamp"):
            timestamp_ms(codec, wrong)


def test_errors_of_no_pallet(chain):
    with to(chain) as connection:
        codec = connection._runtimes.best()
        assert str(dispatch_error(codec, "BadOrigin")) == "BadOrigin"
        assert str(dispatch_error(codec, {"Token": "Frozen"})) == "Token.Frozen"
        assert str(dispatch_error(codec, {"Module": {"index": 200, "error": "0x07000000"}})) == "Module.200.7"
        index = next(at for at in range(255) if _name(codec, at) == "SubtensorModule")
        named = dispatch_error(codec, {"Module": {"index": index, "error": "0x00000000"}})
        assert named.pallet == "SubtensorModule"
        with pytest.raises(ValueError):
            codec.pallet_name(200)


def _name(codec, index):
    try:
        return codec.pallet_name(index)
    except ValueError:
        return None
