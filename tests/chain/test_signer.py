"""Keys from what programs have at hand; secrets never from an argument, and never in an error."""

from __future__ import annotations

import pytest
import substrateinterface

from mycelium.chain.signer import address, signer
from mycelium.errors import AccountRefused, KeyFileError, UsageError
from mycelium.identity import account as accounts
from mycelium.identity import wallet
from mycelium.identity.keys import Keypair

ALICE = Keypair.development("//Alice")
SS58 = accounts.format(ALICE.account)


def test_keypairs_are_themselves():
    theirs = substrateinterface.Keypair.create_from_uri("//Alice")
    assert signer(ALICE) is ALICE
    assert signer(theirs) is theirs
    assert address(theirs) == address(ALICE) == SS58


def test_development_keys():
    assert signer("//Alice") == ALICE


def test_key_files_and_wallets(tmp_path, monkeypatch):
    hotkeys = tmp_path / "mine" / "hotkeys"
    hotkeys.mkdir(parents=True)
    wallet.write_file(hotkeys / "one", ALICE)
    wallet.write_file(tmp_path / "mine" / "coldkey", ALICE)
    monkeypatch.setattr(wallet, "WALLETS", str(tmp_path))
    monkeypatch.setattr(wallet.load, "__defaults__", (str(tmp_path),))
    monkeypatch.chdir(tmp_path / "mine")
    assert signer(hotkeys / "one") == ALICE
    assert signer(str(hotkeys / "one")) == ALICE
    assert signer("hotkeys/one") == ALICE  # a file that is there
    assert signer("mine/one") == ALICE
    assert signer("mine", coldkey=True) == ALICE
    with pytest.raises(KeyFileError, match="there is no hotkey"):
        signer("mine/two")
    with pytest.raises(KeyFileError, match="there is no key file"):
        signer("other", coldkey=True)
    with pytest.raises(KeyFileError, match="there is no key file"):
        signer(str(tmp_path / "a" / "b"))


def test_an_address_cannot_sign():
    with pytest.raises(UsageError, match="an address cannot sign"):
        signer(SS58)


@pytest.mark.parametrize("coldkey", [False, True])
@pytest.mark.parametrize("secret", ["0x" + "42" * 32, "42" * 64, " ".join(["bottom"] * 12)])
def test_secrets_are_not_taken_and_not_repeated(secret, coldkey):
    with pytest.raises(KeyFileError, match="looks like a secret") as caught:
        signer(secret, coldkey=coldkey)
    assert secret[:8] not in str(caught.value)


@pytest.mark.parametrize("text", ["", "nobody", ".", ".."])
def test_what_names_nothing(text):
    with pytest.raises(KeyFileError, match="names no wallet and no file"):
        signer(text)


@pytest.mark.parametrize("wrong", [5, None, b"x", object()])
def test_what_is_no_key(wrong):
    with pytest.raises(UsageError, match="no keypair"):
        signer(wrong)


def test_addresses():
    assert address(SS58) == address(ALICE.account) == address(bytearray(ALICE.account)) == SS58
    with pytest.raises(UsageError, match="32 bytes"):
        address(b"short")
    with pytest.raises(AccountRefused):
        address("5nothing")
