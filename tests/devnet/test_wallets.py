"""Wallets of a development network: the layout that Bittensor's tools read, made once."""

import json
import stat

import bittensor_core
import pytest

from mycelium.devnet import wallets
from mycelium.errors import KeyFileError
from mycelium.identity import wallet as identity_wallet


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_layout_is_bittensors(tmp_path):
    made = wallets.make(tmp_path, "validator1")
    folder = tmp_path / "validator1"
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {"coldkey", "coldkeypub.txt", "hotkeys/default", "hotkeys/defaultpub.txt"}
    assert mode(folder) == mode(folder / "hotkeys") == 0o700
    assert mode(folder / "coldkey") == mode(folder / "hotkeys/default") == 0o600
    public = json.loads((folder / "hotkeys/defaultpub.txt").read_text())
    assert public["ss58Address"] == made.address
    assert public["publicKey"] == "0x" + made.hotkey.account.hex()
    assert "secret" not in (folder / "coldkeypub.txt").read_text().lower()


def test_bittensors_own_reader_agrees(tmp_path):
    made = wallets.make(tmp_path, "w")
    read = bittensor_core.deserialize_keypair_from_keyfile_data((tmp_path / "w/hotkeys/default").read_bytes())
    assert read.ss58_address == made.address
    assert identity_wallet.load("w", "default", tmp_path) == made.hotkey


def test_made_again_it_is_the_same(tmp_path):
    first = wallets.make(tmp_path, "w")
    assert wallets.make(tmp_path, "w") == first
    assert wallets.make(tmp_path, "other").hotkey != first.hotkey
    assert first.coldkey != first.hotkey


def test_a_damaged_key_is_named_and_not_replaced(tmp_path):
    wallets.make(tmp_path, "w")
    (tmp_path / "w/coldkey").write_text("{")
    with pytest.raises(KeyFileError, match="w/coldkey"):
        wallets.make(tmp_path, "w")
    assert (tmp_path / "w/coldkey").read_text() == "{"
