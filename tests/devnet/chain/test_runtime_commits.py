"""Weights that are committed first: by hash, sealed to the chain's own beacon, sealed to the real one."""

from __future__ import annotations

import os

import bittensor_drand
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from devnet.chain.chainkit import GENESIS_MS, MINERS, NETUID, VALIDATORS, Bench, refused, spec, ss58

from mycelium.devnet.chain.runtime.commits import commit_hash_of
from mycelium.devnet.chain.runtime.state import as_bytes
from mycelium.devnet.chain.runtime.timelock import GENESIS_S, Beacon, open_with_pulse, round_at

PALLET = "SubtensorModule"
SIGNATURE_1000 = bytes.fromhex(
    "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39"
)
"""The public signature of quicknet's round 1000."""
UIDS, VALUES = [3, 4], [1, 3]
KEPT = [(3, 21_845), (4, 65_535)]


@pytest.fixture
def bench():
    return Bench(spec(commit_reveal=True, WeightsSetRateLimit=0, RevealPeriodEpochs=1))


def weights(bench, who=0):
    return bench.read(PALLET, "Weights", NETUID, who)


# --- by hash ----------------------------------------------------------------------------------------------


def hashed(bench, who, salt, index=NETUID):
    return commit_hash_of(bench.state, ss58(who), index, UIDS, VALUES, salt, 0)


def revealed(salt):
    return {"netuid": NETUID, "uids": UIDS, "values": VALUES, "salt": salt, "version_key": 0}


def commit(bench, salt=(1, 2), who=VALIDATORS[0]):
    given = hashed(bench, who, list(salt))
    return bench.call(who, PALLET, "commit_weights", netuid=NETUID, commit_hash=given)


def test_a_commit_is_revealed_in_the_next_epoch_and_not_before(bench):
    assert bench.call(VALIDATORS[0], PALLET, "set_weights", netuid=NETUID, dests=UIDS, weights=VALUES,
                      version_key=0) == "CommitRevealEnabled"  # fmt: skip
    assert commit(bench) is None
    assert bench.read(PALLET, "WeightCommits", NETUID, ss58(VALIDATORS[0]))[0][1:] == (0, 2, 0)
    assert bench.subnet("LastUpdate")[0] == 2
    assert refused(bench, VALIDATORS[0], PALLET, "reveal_weights", **revealed([1, 2])) == "Custom error: 17"
    assert refused(bench, VALIDATORS[0], PALLET, "reveal_weights", **revealed([9])) == "Custom error: 16"
    bench.to_block(10)
    assert bench.call(VALIDATORS[0], PALLET, "reveal_weights", **revealed([1, 2])) is None
    assert bench.event("WeightsRevealed")[:2] == (ss58(VALIDATORS[0]), NETUID)
    assert weights(bench) == KEPT
    assert bench.subnet("LastUpdate")[0] == 2, "the commit was the update"
    assert bench.read(PALLET, "WeightCommits", NETUID, ss58(VALIDATORS[0])) is None


def test_a_commit_that_was_not_revealed_in_time_has_expired(bench):
    assert commit(bench) is None
    bench.to_block(20)
    assert refused(bench, VALIDATORS[0], PALLET, "reveal_weights", **revealed([1, 2])) == "Custom error: 17"
    assert commit(bench, (3,)) is None
    assert bench.read(PALLET, "WeightCommits", NETUID, ss58(VALIDATORS[0]))[0][1] == 2, "the old one is gone"


def test_no_more_than_ten_commits_wait(bench):
    for number in range(10):
        assert commit(bench, (number,)) is None
        bench.edit_item(PALLET, "LastEpochBlock", NETUID, value=bench.core.chain.best.number)
    assert commit(bench, (11,)) == "TooManyUnrevealedCommits"


def test_several_commits_at_once(bench):
    salts = [[1], [2]]
    for salt in salts:
        assert commit(bench, salt) is None
    bench.to_block(10)
    lists = {"uids_list": [UIDS, UIDS], "values_list": [VALUES, VALUES], "salts_list": salts}
    short = {"netuid": NETUID, **lists, "version_keys": [0]}
    assert refused(bench, VALIDATORS[0], PALLET, "batch_reveal_weights", **short) == "Custom error: 18"
    whole = short | {"version_keys": [0, 0]}
    assert bench.call(VALIDATORS[0], PALLET, "batch_reveal_weights", **whole) is None
    assert len(bench.event("WeightsBatchRevealed")[2]) == 2
    assert weights(bench) == KEPT
    hashes = [hashed(bench, VALIDATORS[1], [7])] * 2
    batch = {"netuids": [NETUID, 9], "commit_hashes": hashes}
    assert bench.call(VALIDATORS[1], PALLET, "batch_commit_weights", **batch) is None
    assert bench.event("BatchWeightItemFailed")[0] == 9
    assert len(bench.read(PALLET, "WeightCommits", NETUID, ss58(VALIDATORS[1]))) == 1


def test_a_mechanism_has_commits_of_its_own(bench):
    bench.edit_item(PALLET, "MechanismCountCurrent", NETUID, value=2)
    index = NETUID + 4096
    given = {"netuid": NETUID, "mecid": 1}
    digest = hashed(bench, VALIDATORS[0], [5], index)
    assert bench.call(VALIDATORS[0], PALLET, "commit_mechanism_weights", commit_hash=digest, **given) is None
    bench.to_block(10)
    shown = revealed([5]) | given
    assert bench.call(VALIDATORS[0], PALLET, "reveal_mechanism_weights", **shown) is None
    assert bench.read(PALLET, "Weights", index, 0) == KEPT
    assert weights(bench) == []


def test_commits_are_limited_in_their_rate():
    bench = Bench(spec(commit_reveal=True, WeightsSetRateLimit=5))
    assert commit(bench) is None
    digest = hashed(bench, VALIDATORS[0], [3])
    again = {"netuid": NETUID, "commit_hash": digest}
    assert refused(bench, VALIDATORS[0], PALLET, "commit_weights", **again) == "Custom error: 6"
    sealed = timelocked(bench, b"x", round_now(bench) + 9)
    assert bench.call(VALIDATORS[0], *sealed[0], **sealed[1]) == "CommittingWeightsTooFast"
    bench.core.step(4)
    assert commit(bench, (3,)) is None


# --- sealed -----------------------------------------------------------------------------------------------


def payload(who, uids=UIDS, values=VALUES, key=0):
    def vector(numbers):
        return bytes((len(numbers) << 2,)) + b"".join(number.to_bytes(2, "little") for number in numbers)

    named = b"" if who is None else bytes((32 << 2,)) + who.account
    return named + vector(uids) + vector(values) + key.to_bytes(8, "little")


def seal(bench, data, round_number):
    """The format that Mycelium's client uses: see `timelock`."""
    config = bench.read("Drand", "BeaconConfig")
    assert as_bytes(config["scheme_id"]) == b"mycelium-dev"
    public = X25519PublicKey.from_public_bytes(as_bytes(config["public_key"])[:32])
    ephemeral, nonce = X25519PrivateKey.generate(), os.urandom(12)
    salt = round_number.to_bytes(8, "little")
    key = HKDF(SHA256(), 32, salt=salt, info=b"mycelium dev timelock").derive(ephemeral.exchange(public))
    mine = ephemeral.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return b"mycelium-dev-timelock-1" + mine + nonce + AESGCM(key).encrypt(nonce, data, salt)


def round_now(bench):
    return round_at(bench.core.chain.best.timestamp_ms)


def timelocked(bench, sealed, round_number, version=4, **change):
    given = {
        "netuid": NETUID,
        "commit": sealed,
        "reveal_round": round_number,
        "commit_reveal_version": version,
    }
    return (PALLET, "commit_timelocked_weights"), given | change


def waiting(bench):
    return [entries for _, entries in bench.state.map(PALLET, "TimelockedWeightCommits", NETUID)]


def commit_sealed(bench, sealed, round_number, who=VALIDATORS[0], **change):
    names, given = timelocked(bench, sealed, round_number, **change)
    return bench.call(who, *names, **given)


@pytest.mark.parametrize("named", [True, False])
def test_a_sealed_commit_opens_when_its_epoch_comes(bench, named):
    due = round_now(bench) + 1
    data = payload(VALIDATORS[0] if named else None)
    assert commit_sealed(bench, seal(bench, data, due), due) is None
    assert bench.event("TimelockedWeightsCommitted")[3] == due
    bench.to_block(9)
    assert weights(bench) == []
    bench.to_block(12)
    assert weights(bench) == KEPT
    assert bench.read(PALLET, "LastUpdate", NETUID)[0] == 1
    assert waiting(bench) == []


def test_a_commit_whose_round_is_late_is_tried_until_its_epoch_is_over(bench):
    late, never = round_now(bench) + 5, round_now(bench) + 500
    assert commit_sealed(bench, seal(bench, payload(VALIDATORS[0]), late), late) is None
    assert commit_sealed(bench, seal(bench, payload(VALIDATORS[1]), never), never, VALIDATORS[1]) is None
    bench.to_block(11)
    assert weights(bench) == []
    assert len(waiting(bench)[0]) == 2
    bench.core.shift_time(15_000)
    bench.core.step()
    assert weights(bench) == KEPT
    assert len(waiting(bench)[0]) == 1
    bench.to_block(20)
    assert waiting(bench) == []
    assert weights(bench, 1) == []


@pytest.mark.parametrize(
    "sealed",
    [
        lambda bench, due: seal(bench, payload(VALIDATORS[1]), due),
        lambda bench, due: seal(bench, payload(VALIDATORS[0]), due + 1),
        lambda bench, due: seal(bench, payload(VALIDATORS[0])[:-1], due),
        lambda bench, due: seal(bench, payload(VALIDATORS[0], uids=[3, 77]), due),
        lambda bench, due: seal(bench, b"", due),
        lambda bench, due: b"mycelium-dev-timelock-1" + bytes(20),
        lambda bench, due: b"mycelium-dev-timelock-1" + bytes(80),
    ],
    ids=["another's", "another round", "cut short", "no such uid", "empty", "no nonce", "a weak key"],
)
def test_a_sealed_commit_that_is_no_good_is_dropped(bench, sealed):
    due = round_now(bench) + 1
    assert commit_sealed(bench, sealed(bench, due), due) is None
    bench.to_block(12)
    assert waiting(bench) == []
    assert weights(bench) == []
    assert "TimelockedWeightsRevealed" not in [event["event_id"] for event in bench.events()]


def test_each_rule_of_sealed_commits_has_its_error(bench):
    due = round_now(bench) + 5
    assert commit_sealed(bench, b"\x00\xff", due, version=3) == "IncorrectCommitRevealVersion"
    assert commit_sealed(bench, b"text", due, who=MINERS[0]) is None, "no permit is asked of a commit"
    assert commit_sealed(bench, b"", due, netuid=9) == "MechanismDoesNotExist"
    names, given = timelocked(bench, b"x", round_now(bench) - 1)
    assert refused(bench, VALIDATORS[0], *names, **given) == "Custom error: 15"
    bench.edit_item(PALLET, "CommitRevealWeightsEnabled", NETUID, value=False)
    assert commit_sealed(bench, b"x", due) == "CommitRevealDisabled"
    names, given = timelocked(bench, bytes(5_001), due)
    assert "Execution failed" in refused(bench, VALIDATORS[0], *names, **given)


def test_no_more_than_ten_sealed_commits_in_an_epoch():
    bench = Bench(spec(commit_reveal=True, tempo=50, WeightsSetRateLimit=0))
    due = round_now(bench) + 500
    for number in range(10):
        assert commit_sealed(bench, bytes((number,)), due) is None
    assert commit_sealed(bench, b"more", due) == "TooManyUnrevealedCommits"
    assert commit_sealed(bench, b"of another", due, who=VALIDATORS[1]) is None


def test_the_crv3_call_of_mechanisms_still_works(bench):
    due = round_now(bench) + 1
    sealed = seal(bench, payload(VALIDATORS[0]), due)
    given = {"netuid": NETUID, "mecid": 0, "commit": sealed, "reveal_round": due}
    assert bench.call(VALIDATORS[0], PALLET, "commit_crv3_mechanism_weights", **given) is None
    bench.to_block(12)
    assert weights(bench) == KEPT


# --- sealed to the real beacon ----------------------------------------------------------------------------


def real_seal(data, round_number=1000):
    """What an unmodified client commits: the library's wrapping (length before, round behind) is not of it."""
    wrapped, _ = bittensor_drand.encrypt_at_round(data, round_number)
    width = (1, 2, 4)[wrapped[0] & 3]
    return wrapped[width:-8]


def test_the_real_beacons_signature_opens_what_was_sealed_to_it():
    sealed = real_seal(b"some weights")
    assert open_with_pulse(sealed, SIGNATURE_1000) == b"some weights"
    for bad in (b"", sealed[:-1], bytes(len(sealed))):
        assert open_with_pulse(bad, SIGNATURE_1000) is None
    assert open_with_pulse(sealed, bytes(48)) is None
    assert Beacon(0).open(sealed, 1000) is None


@pytest.mark.parametrize("by_sudo", [True, False])
def test_a_commit_of_an_unmodified_client_opens_with_the_real_pulse(by_sudo):
    whole = spec(commit_reveal=True, WeightsSetRateLimit=0)
    early = Bench(whole.__class__(**{**_fields(whole), "genesis_time_ms": (GENESIS_S + 900 * 3) * 1000}))
    assert commit_sealed(early, real_seal(payload(VALIDATORS[0])), 1000) is None
    early.to_block(12)
    assert weights(early) == []
    assert len(waiting(early)[0]) == 1, "nobody here can open it"
    if by_sudo:
        early.bring_pulse(1000, SIGNATURE_1000)
    else:
        early.core.edit(lambda view: early.runtime.give_pulse(view, 1000, SIGNATURE_1000))
    early.core.step()
    assert weights(early) == KEPT
    assert waiting(early) == []


def _fields(whole):
    return {name: getattr(whole, name) for name in whole.__dataclass_fields__}


def test_rounds_have_the_real_beacons_times():
    assert round_at(GENESIS_S * 1000 - 1) == 0
    assert [round_at((GENESIS_S + seconds) * 1000) for seconds in (0, 2, 3, 2997)] == [1, 1, 2, 1000]
    bench = Bench()
    bench.core.step()
    assert bench.read("Drand", "LastStoredRound") == round_at(GENESIS_MS + 250)


def test_what_the_clients_library_makes_is_taken(bench):
    """`get_encrypted_commit_v2` as the SDK calls it; its round lies in the future by the wall clock."""
    bench.core.step()
    items = ("LastEpochBlock", "PendingEpochAt", "SubnetEpochIndex", "Tempo", "BlocksSinceLastStep")
    state = [bench.subnet(item) for item in items]
    sealed, due = bittensor_drand.get_encrypted_commit_v2(
        UIDS, VALUES, 0, *state, bench.core.chain.best.number, 1, 0.25, VALIDATORS[0].account
    )
    assert commit_sealed(bench, sealed, due) is None
    assert as_bytes(waiting(bench)[0][0][2]) == sealed
