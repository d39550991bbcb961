"""What is sealed to a development chain opens there and nowhere else; to an unknown beacon nothing is sealed."""

from __future__ import annotations

import bittensor_core
import pytest
from chain.clientkit import shared
from hypothesis import given
from hypothesis import strategies as st

from mycelium.chain import timelock
from mycelium.chain.header import compact
from mycelium.devnet.chain.metadata import RuntimeSpec, build
from mycelium.devnet.chain.runtime.commits import _payload
from mycelium.devnet.chain.runtime.timelock import Beacon
from mycelium.errors import ChainError

U16S = st.lists(st.integers(0, 65_535), max_size=300)
REAL = {"public_key": "0x" + timelock.QUICKNET.hex(), "scheme_id": "bls-unchained-g1-rfc9380"}


def of(beacon):
    return beacon.config(REAL)


@given(st.binary(max_size=2000), st.integers(0, 2**63), st.integers(0, 1000))
def test_the_chain_opens_what_is_sealed_to_it(payload, round_number, seed):
    beacon = Beacon(seed)
    sealed = timelock.seal(payload, round_number, timelock.development_key(of(beacon)))
    assert beacon.open(sealed, round_number) == payload
    assert beacon.open(sealed, round_number + 1) is None
    assert Beacon(seed + 1).open(sealed, round_number) is None
    assert beacon.open(sealed[:-1] + bytes((sealed[-1] ^ 1,)), round_number) is None


def test_the_layout_is_what_the_chain_is_promised():
    draws = iter((b"\x01" * 32, b"\x02" * 12))
    sealed = timelock.seal(b"x", 7, Beacon(0).public_key, lambda size: next(draws))
    assert sealed.startswith(b"mycelium-dev-timelock-1")
    assert sealed[23 + 32 : 23 + 44] == b"\x02" * 12
    assert len(sealed) == 23 + 32 + 12 + 1 + 16


def test_two_seals_of_one_thing_differ():
    assert timelock.seal(b"x", 7, Beacon(0).public_key) != timelock.seal(b"x", 7, Beacon(0).public_key)


def test_the_real_beacon_is_known_by_its_key():
    assert timelock.development_key(REAL) is None
    assert timelock.development_key(None) is None
    codec = bittensor_core.Runtime(build(RuntimeSpec()).v15, 424, 1)
    entry = codec.storage_entry("Drand", "BeaconConfig")
    assert timelock.development_key(codec.decode(entry.value_type, bytes(entry.default_bytes))) is None


def test_the_public_chains_own_default_is_the_real_beacon():
    raw = shared("chain/metadata_v15_spec424_converted.scale").read_bytes()
    entry = bittensor_core.Runtime(raw, 424, 1).storage_entry("Drand", "BeaconConfig")
    assert timelock.QUICKNET in bytes(entry.default_bytes)


@pytest.mark.parametrize("scheme", ["bls-unchained-g1-rfc9380", "", "mycelium-dev-2"])
def test_nothing_is_sealed_to_an_unknown_beacon(scheme):
    with pytest.raises(ChainError, match="neither the real one nor a development chain's"):
        timelock.development_key({"public_key": "0x" + "07" * 96, "scheme_id": scheme})


@pytest.mark.parametrize(
    ("value", "raw"),
    [("0x6162", b"ab"), ("abc", b"abc"), (b"ab", b"ab"), ([97, 98], b"ab"), ("0xzz", b"0xzz"), ("", b"")],
)
def test_bytes_as_the_decoder_gives_them(value, raw):
    assert timelock.raw_bytes(value) == raw


@given(U16S, U16S, st.integers(0, 2**64 - 1))
def test_the_payload_is_what_the_chain_reads(uids, values, key):
    account = b"\x09" * 32
    payload = timelock.payload(uids, values, key, account)
    assert _payload(payload, account) == (uids, values, key)
    # Older chains were not told the hotkey; all else is the same.
    assert payload == compact(32) + account + timelock.payload(uids, values, key, None)


@given(U16S)
def test_numbers_are_scale(values):
    assert timelock.numbers(values)[: len(compact(len(values)))] == compact(len(values))
    assert len(timelock.numbers(values)) == len(compact(len(values))) + 2 * len(values)
