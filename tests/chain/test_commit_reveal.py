"""Sealed weights: every argument of the library is the chain's, and what cannot be sealed says why."""

from __future__ import annotations

from dataclasses import replace

import bittensor_drand
import pytest
from chain.opskit import NETUID, SUBNET, VALIDATORS, ss58

from mycelium.chain import commit_reveal, timelock
from mycelium.chain.commit_reveal import commit_hash, sealed_commit
from mycelium.chain.weights_state import state_of
from mycelium.devnet.chain.runtime.commits import commit_hash_of
from mycelium.devnet.chain.runtime.state import Layout, State
from mycelium.devnet.chain.runtime.timelock import Beacon
from mycelium.errors import ChainError, UsageError

ME = VALIDATORS[1]
REAL = {"public_key": "0x" + timelock.QUICKNET.hex(), "scheme_id": "bls-unchained-g1-rfc9380"}


def state(**values):
    found = {**SUBNET, "CommitRevealWeightsEnabled": True, **values}
    return state_of(found, NETUID, ss58(ME), 0, 12.0)


def test_every_argument_is_read_from_the_chain(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        commit_reveal.bittensor_drand,
        "get_encrypted_commit_v2",
        lambda **given: (asked.update(given), (b"sealed", 42))[1],
    )
    sealed = sealed_commit(
        state(PendingEpochAt=103, RevealPeriodEpochs=3, BeaconConfig=REAL), ME.account, [0, 1], [9, 65_535], 5
    )
    assert sealed == (b"sealed", 42)
    assert asked == {
        "uids": [0, 1],
        "weights": [9, 65_535],
        "version_key": 5,
        "last_epoch_block": 95,
        "pending_epoch_at": 103,
        "subnet_epoch_index": 7,
        "tempo": 10,
        "blocks_since_last_step": 5,
        "current_block": 100,
        "subnet_reveal_period_epochs": 3,
        "block_time": 12.0,
        "hotkey": ME.account,
    }


def test_the_real_library_takes_them():
    sealed = sealed_commit(state(BeaconConfig=REAL), ME.account, list(range(256)), [65_535] * 256, 0)
    assert not sealed.sealed.startswith(timelock.MARK)
    assert 1000 < len(sealed.sealed) <= commit_reveal.COMMIT_BYTES_MAX
    assert sealed.reveal_round > 34_000_000


def test_a_development_chain_is_sealed_to_with_the_same_payload_and_round():
    beacon = Beacon(3)
    sealed = sealed_commit(state(BeaconConfig=beacon.config(REAL)), ME.account, [0, 1], [9, 65_535], 5)
    assert beacon.open(sealed.sealed, sealed.reveal_round) == timelock.payload(
        [0, 1], [9, 65_535], 5, ME.account
    )


def test_a_development_chain_that_is_ahead_of_this_machines_clock_takes_the_commit():
    beacon = Beacon(3)
    ahead = replace(state(BeaconConfig=beacon.config(REAL)), last_round=10**9)
    sealed = sealed_commit(ahead, ME.account, [0], [1], 0)
    # Not the round that is out: when the commit's block is made, the next one may be.
    assert sealed.reveal_round == 10**9 + 1
    assert beacon.open(sealed.sealed, 10**9 + 1) is not None


def test_older_chains_are_not_told_the_hotkey(monkeypatch):
    given = {}

    def encrypt(data, reveal_round):
        given.update(data=data, round=reveal_round)
        return b"\x0cabc" + reveal_round.to_bytes(8, "little"), reveal_round

    monkeypatch.setattr(commit_reveal.bittensor_drand, "encrypt_at_round", encrypt)
    sealed = sealed_commit(
        state(BeaconConfig=REAL, CommitRevealWeightsVersion=3), ME.account, [0], [65_535], 2
    )
    assert sealed.sealed == b"abc"
    assert given == {"data": timelock.payload([0], [65_535], 2, None), "round": sealed.reveal_round}


def test_what_the_library_wraps_is_unwrapped():
    data = b"x" * 100
    wrapped, _ = bittensor_drand.encrypt_at_round(data, 40_000_000)
    inner = commit_reveal._at_round(data, 40_000_000)
    assert len(wrapped) - len(inner) in (9, 10, 12)


def test_a_subnet_without_epochs_reveals_nothing():
    with pytest.raises(ChainError, match="tempo"):
        sealed_commit(state(BeaconConfig=REAL, Tempo=0), ME.account, [0], [1], 0)


def test_an_unknown_beacon_is_refused_before_anything_is_sealed():
    with pytest.raises(ChainError, match="beacon"):
        sealed_commit(
            state(BeaconConfig={"public_key": "0x" + "01" * 96, "scheme_id": "x"}), ME.account, [0], [1], 0
        )


def test_a_commit_that_no_chain_takes_is_not_sent(monkeypatch):
    monkeypatch.setattr(
        commit_reveal.bittensor_drand, "get_encrypted_commit_v2", lambda **_: (b"x" * 5001, 1)
    )
    with pytest.raises(UsageError, match="5001 bytes"):
        sealed_commit(state(BeaconConfig=REAL), ME.account, [0], [1], 0)


def test_the_hash_is_the_chains():
    import bittensor_core

    from mycelium.devnet.chain.metadata import RuntimeSpec, build

    layout = Layout(bittensor_core.Runtime(build(RuntimeSpec()).v15, 424, 1))
    given = ([0, 5], [1, 65_535], [3] * 8, 9)
    wanted = commit_hash_of(State(layout, None), ss58(ME), 4097, *given)
    assert "0x" + commit_hash(ME.account, 4097, *given).hex() == wanted
