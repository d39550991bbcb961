"""Symmetric keys: each for its time, bounded by validator and in all, and on disk for nobody else."""

from __future__ import annotations

import json
import os
import stat

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from mycelium.http import keyring
from mycelium.http.keyring import Keyring, SymmetricKeyInfo, key_of

STORAGE = Fernet(Fernet.generate_key())


def info(ttl_s=60):
    return SymmetricKeyInfo.create(Fernet(Fernet.generate_key()), ttl_s)


def test_a_key_ends_with_its_time():
    """Fiber's ends when a thread comes by."""
    ring = Keyring()
    over, valid = info(-1), info()
    ring.add("v", "over", over)
    ring.add("v", "valid", valid)
    assert over.is_expired()
    assert ring.get("v", "over") is None
    assert ring.get("v", "valid") is valid
    assert (len(ring), ring.get("w", "valid"), ring.get("v", "none")) == (1, None, None)


def test_the_same_uuid_is_replaced():
    ring, first, second = Keyring(), info(), info()
    ring.add("v", "u", first)
    ring.add("v", "u", second)
    assert (ring.get("v", "u"), len(ring)) == (second, 1)


def test_a_key_in_use_does_not_give_way_to_those_that_are_not():
    """One process of a validator asks all the time, another one exchanges a new key for each request."""
    ring, used = Keyring(total_max=8, per_validator_max=3), info()
    ring.add("v", "used", used)
    for number in range(20):
        ring.add("v", str(number), info())
        ring.add(f"other {number}", "u", info())
        assert ring.get("v", "used") is used
    assert len(ring) == 8


def test_pruning_forgets_what_is_over():
    ring = Keyring()
    for number in range(5):
        ring.add("v", str(number), info(-1 if number % 2 else 60))
    ring.prune()
    assert sorted(uuid for _, uuid, _ in ring) == ["0", "2", "4"]
    assert len(ring) == 3


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9)), max_size=80))
def test_bounded_and_the_newest_of_each_validator_stay(adds):
    ring, kept = Keyring(total_max=8, per_validator_max=3), []
    for hotkey, number in adds:
        name = (hotkey, str(number))
        ring.add(*name, info())
        kept = [one for one in kept if one != name] + [name]
        own = [one for one in kept if one[0] == hotkey]
        if len(own) > 3:
            kept.remove(own[0])
        if len(kept) > 8:
            kept.pop(0)
        assert [(validator, uuid) for validator, uuid, _ in ring] == kept
        assert len(ring) == len(kept)


# --- on disk ----------------------------------------------------------------------------------------------


def test_what_was_saved_is_there_again(tmp_path):
    path, ring = tmp_path / "keys", Keyring()
    one = info()
    ring.add("v", "u", one)
    ring.add("v", "over", info(-1))
    ring.save(path, STORAGE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"expiration" not in path.read_bytes()
    again = Keyring()
    again.load(path, Fernet(Fernet.generate_key()), STORAGE)
    assert key_of(again.get("v", "u").fernet) == key_of(one.fernet)
    assert again.get("v", "u").expiration_time == one.expiration_time
    assert len(again) == 1


def test_what_fiber_wrote_is_read(tmp_path):
    key = Fernet.generate_key().decode()
    later = info(3_600).expiration_time.isoformat()
    data = json.dumps({"v": {"u": {"key": key, "expiration_time": later}}}).encode()
    (tmp_path / "keys").write_bytes(STORAGE.encrypt(data))
    ring = Keyring()
    ring.load(tmp_path / "keys", STORAGE)
    assert key_of(ring.get("v", "u").fernet) == key


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"garbage", "cannot be read with this STORAGE_ENCRYPTION_KEY"),
        (STORAGE.encrypt(b"no json"), "cannot be read"),
        (STORAGE.encrypt(b"[1]"), "holds what are no keys"),
        (
            STORAGE.encrypt(b'{"v": {"u": {"key": "short", "expiration_time": "2026-01-01"}}}'),
            "holds what are no keys",
        ),
        (STORAGE.encrypt(b'{"v": {"u": {}}}'), "holds what are no keys"),
        (Fernet(Fernet.generate_key()).encrypt(b"{}"), "cannot be read"),
    ],
    ids=range(6),
)
def test_a_file_that_cannot_be_read_stops_nobody(tmp_path, caplog, data, said):
    (tmp_path / "keys").write_bytes(data)
    ring = Keyring()
    ring.load(tmp_path / "keys", STORAGE)
    assert len(ring) == 0
    assert said in caplog.text


def test_no_file_is_nothing_to_tell(tmp_path, caplog):
    Keyring().load(tmp_path / "none", STORAGE)
    assert not caplog.records
    Keyring().load(tmp_path, STORAGE)
    assert "exchange new keys" in caplog.text


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path, monkeypatch):
    path, ring = tmp_path / "keys", Keyring()
    ring.save(path, STORAGE)
    before = path.read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        ring.save(path, STORAGE)
    assert path.read_bytes() == before


def test_the_limits_are_those_of_the_configuration():
    ring = Keyring()
    for number in range(keyring.HTTP_KEYS_PER_VALIDATOR_MAX + 5):
        ring.add("v", str(number), info())
    assert len(ring) == keyring.HTTP_KEYS_PER_VALIDATOR_MAX
