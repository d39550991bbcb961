"""Keys from wallets, signatures of text, networks by name, and errors in one line: Fiber's small functions."""

from __future__ import annotations

import json
import logging

import pytest
import substrateinterface
from chain.opskit import NETUID, PALLET, running
from hypothesis import given
from hypothesis import strategies as st

from mycelium import constants
from mycelium.chain import chain_utils, interface, networks, signatures
from mycelium.chain.connection import Connection
from mycelium.chain.signatures import sign_message, verify_signature
from mycelium.errors import ChainUnreachable, ConfigError, UsageError
from mycelium.identity import account as accounts
from mycelium.identity.keys import Keypair

ALICE = substrateinterface.Keypair.create_from_uri("//Alice")
OURS = Keypair.development("//Alice")
SEED = "0x" + "11" * 32
PHRASE = "bottom drive obey lake curtain smoke basket hold race lonely fit walk"


# --- keys -------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".bittensor/wallets/mine/hotkeys").mkdir(parents=True)
    return tmp_path / ".bittensor/wallets/mine"


def write(path, fields):
    path.write_text(fields if isinstance(fields, str) else json.dumps(fields))
    path.chmod(0o600)


def test_where_keys_are(home):
    assert chain_utils.get_hotkey_file_path("mine", "first") == home / "hotkeys" / "first"
    assert chain_utils.get_coldkeypub_file_path(wallet_name="mine") == home / "coldkeypub.txt"


def test_a_hotkey_of_a_seed(home, caplog):
    theirs = substrateinterface.Keypair.create_from_seed(SEED, ss58_format=42)
    write(home / "hotkeys/first", {"secretSeed": SEED, "ss58Address": theirs.ss58_address})
    caplog.set_level(logging.DEBUG)
    found = chain_utils.load_hotkey_keypair("mine", "first")
    assert type(found) is substrateinterface.Keypair
    assert found.ss58_address == theirs.ss58_address
    assert theirs.verify(b"x", found.sign(b"x"))
    assert "Loaded keypair from" in caplog.text
    assert SEED[2:] not in caplog.text


@pytest.mark.parametrize(
    "fields",
    [{"privateKey": "0x" + ALICE.private_key.hex(), "publicKey": "0x" + ALICE.public_key.hex()}, PHRASE],
)
def test_a_hotkey_of_another_kind(home, fields):
    write(home / "hotkeys/first", fields)
    found = chain_utils.load_hotkey_keypair(wallet_name="mine", hotkey_name="first")
    assert found.verify(b"x", found.sign(b"x"))
    if isinstance(fields, dict):
        assert found.ss58_address == ALICE.ss58_address


@pytest.mark.parametrize(
    "fields",
    [
        None,
        "$NACLencrypted",
        "not a key",
        "{",
        {"secretSeed": SEED[:40]},
        {"ss58Address": ALICE.ss58_address},
        {"secretSeed": SEED, "ss58Address": ALICE.ss58_address},
    ],
)
def test_a_hotkey_that_is_none(home, caplog, fields):
    if fields is not None:
        write(home / "hotkeys/first", fields)
    with pytest.raises(ValueError, match=r"^Failed to load keypair: ") as caught:
        chain_utils.load_hotkey_keypair("mine", "first")
    for text in (str(caught.value), caplog.text):
        assert SEED[2:40] not in text


def test_a_coldkey(home):
    write(home / "coldkeypub.txt", {"ss58Address": ALICE.ss58_address})
    found = chain_utils.load_coldkeypub_keypair("mine")
    assert (found.public_key, found.private_key, found.ss58_format) == (ALICE.public_key, None, 42)


@pytest.mark.parametrize("fields", [None, "{", "[]", {}, {"ss58Address": 5}, {"ss58Address": "5xyz"}])
def test_a_coldkey_that_is_none(home, fields):
    if fields is not None:
        write(home / "coldkeypub.txt", fields)
    with pytest.raises(ValueError, match=r"^Failed to load keypair: "):
        chain_utils.load_coldkeypub_keypair("mine")


# --- signatures -------------------------------------------------------------------------------------------


@given(st.text(max_size=50).filter(lambda text: not text.startswith("0x")))
def test_signed_and_verified(text):
    signature = sign_message(ALICE, text)
    assert signature.startswith("0x")
    assert verify_signature(text, signature, ALICE.ss58_address)
    assert ALICE.verify(text, signature)
    assert not verify_signature(text + "x", signature, ALICE.ss58_address)
    assert verify_signature(text, "0x" + ALICE.sign(text).hex(), ALICE.ss58_address)


def test_ours_signs_too():
    signature = chain_utils.sign_message(OURS, "text")
    assert chain_utils.sign_message is signatures.sign_message
    assert verify_signature("text", signature, ALICE.ss58_address)
    assert ALICE.verify("text", signature)


def test_hex_stands_for_its_bytes():
    signature = sign_message(ALICE, "0x0102")
    assert verify_signature("0x0102", signature, ALICE.ss58_address)
    assert ALICE.verify(b"\x01\x02", signature)
    with pytest.raises(ValueError):
        sign_message(ALICE, "0xzz")
    assert sign_message(ALICE, None) is None
    with pytest.raises(UsageError, match="cannot sign"):
        sign_message("//Alice", "x")
    with pytest.raises(UsageError, match="only its public half"):
        sign_message(substrateinterface.Keypair(ss58_address=ALICE.ss58_address), "x")


def test_as_browser_wallets_sign():
    signature = ALICE.sign(b"<Bytes>text</Bytes>")
    assert verify_signature("text", "0x" + signature.hex(), ALICE.ss58_address)
    assert verify_signature("text", signature.hex(), ALICE.ss58_address)
    assert verify_signature(b"text", signature, ALICE.ss58_address)


GOOD = sign_message(ALICE, "text")
THEIRS = ALICE.ss58_address


@pytest.mark.parametrize(
    "arguments",
    [
        (None, GOOD, THEIRS),
        (5, GOOD, THEIRS),
        ("0xzz", GOOD, THEIRS),
        ("text", "", THEIRS),
        ("text", "0x", THEIRS),
        ("text", "0xzz", THEIRS),
        ("text", GOOD[:-2], THEIRS),
        ("text", GOOD + "00", THEIRS),
        ("text", GOOD[:10] + " " + GOOD[10:], THEIRS),
        ("text", None, THEIRS),
        ("text", 5, THEIRS),
        ("text", GOOD, ""),
        ("text", GOOD, "nobody"),
        ("text", GOOD, None),
        ("text", GOOD, 5),
        ("text", GOOD, accounts.format(bytes(32))),
        ("text", GOOD, accounts.format(b"\xff" * 32)),
        ("text", "0x" + "00" * 64, THEIRS),
        ("\ud800", GOOD, THEIRS),
    ],
)
def test_what_is_malformed_is_false(arguments):
    assert verify_signature(*arguments) is False


def test_hashes():
    assert signatures.get_hash(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


# --- networks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "address", "found"),
    [
        ("finney", None, "wss://entrypoint-finney.opentensor.ai:443"),
        ("test", None, "wss://test.finney.opentensor.ai:443/"),
        ("finney", "ws://127.0.0.1:1", "ws://127.0.0.1:1"),
        (None, "ws://127.0.0.1:1", "ws://127.0.0.1:1"),
        ("local", "", "ws://127.0.0.1:9944"),
        ("archive", None, "wss://archive.chain.opentensor.ai:443"),
    ],
)
def test_endpoints(network, address, found):
    assert interface._get_chain_endpoint(network, address) == found


def test_what_is_no_network():
    with pytest.raises(ValueError, match="Unrecognized chain network: nowhere"):
        interface.get_substrate("nowhere")
    with pytest.raises(ValueError, match="cannot both be None"):
        interface.get_substrate(None, None)
    with pytest.raises(ConfigError):
        interface.get_substrate(subtensor_address="localhost")


@pytest.fixture
def opened(monkeypatch):
    """The endpoints that connections were made for; none is opened."""
    found = []
    monkeypatch.setattr(Connection, "__init__", lambda self, endpoints, **_: found.append(endpoints))
    monkeypatch.setattr(Connection, "connect", lambda self: self)
    return found


def test_a_network_has_all_its_endpoints(opened, monkeypatch):
    monkeypatch.setitem(constants.SUBTENSOR_NETWORK_TO_SUBTENSOR_ADDRESS, "own", "ws://10.0.0.1:9944")
    monkeypatch.setitem(constants.SUBTENSOR_NETWORK_TO_SUBTENSOR_ADDRESS, "test", "ws://10.0.0.2:9944")
    for network, address in (("finney", None), ("own", None), ("test", None), ("finney", "ws://x:1")):
        interface.get_substrate(network, address)
    finney = networks.NETWORKS["finney"].endpoints
    assert opened == [finney, "ws://10.0.0.1:9944", "ws://10.0.0.2:9944", "ws://x:1"]


def test_a_connection():
    with running() as (chain, _), interface.get_substrate(subtensor_address=chain.url) as substrate:
        assert isinstance(substrate, substrateinterface.SubstrateInterface)
        assert substrate.url == chain.url
        assert (
            substrate.query(PALLET, "Tempo", [NETUID])
            == substrate.query(PALLET, "Tempo", [NETUID]).value
            == 10
        )


def test_nobody_answers(monkeypatch):
    from functools import partialmethod

    monkeypatch.setattr(Connection, "__init__", partialmethod(Connection.__init__, timeout_s=0.2))
    with pytest.raises(ChainUnreachable):
        interface.get_substrate(subtensor_address="ws://127.0.0.1:1")


# --- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            {"type": "Module", "name": "NotRegistered", "docs": ["Not here.", "more"]},
            "substrate returned `NotRegistered (Module)` error. Description: `Not here.`",
        ),
        (None, "substrate returned `UnknownError (UnknownType)` error. Description: `Unknown Description`"),
        (
            {"docs": []},
            "substrate returned `UnknownError (UnknownType)` error. Description: `Unknown Description`",
        ),
        ({"name": "A", "docs": "b"}, "substrate returned `A (UnknownType)` error. Description: `b`"),
    ],
)
def test_errors_in_one_line(error, text):
    assert chain_utils.format_error_message(error) == text
