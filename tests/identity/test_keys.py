"""Keypairs: known vectors, what a signature covers, and that no secret leaves by accident."""

import copy
import dataclasses
import inspect
import json
import logging
import pickle
import re
from pathlib import Path

import pytest
import sr25519
from hypothesis import given
from hypothesis import strategies as st

import mycelium
from mycelium.errors import KeyFileError
from mycelium.identity import account, keys, signing
from mycelium.identity.keys import Keypair, verify

PHRASE = "bottom drive obey lake curtain smoke basket hold race lonely fit walk"
PHRASE_ACCOUNT = bytes.fromhex("46ebddef8cd9bb167dc30878d7113b7e168e6f0646beffd77d69d39bad76b47a")
SEED = bytes(range(32))
PRIVATE = sr25519.pair_from_seed(SEED)[1]

# The development accounts that every Substrate tool prints (`subkey inspect //Alice`).
DEVELOPMENT = {
    "//Alice": "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY",
    "//Bob": "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty",
    "//Charlie": "5FLSigC9HGRKVhB9FiEo4Y3koPsNmBmLJbpXg2mp1hXcS59Y",
    "//Dave": "5DAAnrj7VHTznn2AWBemMuyBwZWs6FNFjdyVXUeYum3PTXFy",
    "//Eve": "5HGjWAeFDfFCWPsjFQdVV2Msvz2XtMktvgocEZcCj68kUMaw",
    "//Ferdie": "5CiPPseXPECbkjWCa6MnjNokrgYjMqmKndv2rSnekmSK2DjL",
}


# --- where keypairs come from ---------------------------------------------------------------------------------


def test_phrase_gives_the_account_that_substrate_gives():
    assert Keypair.from_phrase(PHRASE).account == PHRASE_ACCOUNT
    assert Keypair.from_phrase(f"  {PHRASE.replace(' ', '   ')}\n").account == PHRASE_ACCOUNT


def test_phrase_password_changes_the_account():
    assert Keypair.from_phrase(PHRASE, "x").account != PHRASE_ACCOUNT


@pytest.mark.parametrize("name", DEVELOPMENT)
def test_development_accounts_are_the_well_known_ones(name):
    assert account.format(Keypair.development(name).account) == DEVELOPMENT[name]
    assert Keypair.development(name.removeprefix("//")) == Keypair.development(name)


def test_development_paths():
    node = Keypair.development("//node//3")
    assert node == Keypair.development("//node//3")
    assert len({node.account, Keypair.development("//node").account, Keypair.development("//3").account}) == 3
    long = Keypair.development("//" + "a" * 40)
    assert long != Keypair.development("//" + "a" * 41)


@pytest.mark.parametrize("name", ["", "//", "//a/b", "/a", "//a////b", "//" + "a" * 64])
def test_development_paths_that_are_none(name):
    with pytest.raises(KeyFileError):
        Keypair.development(name)


def test_seed_and_private_key_are_one_account():
    assert Keypair.from_seed(SEED) == Keypair.from_private_key(PRIVATE)
    assert hash(Keypair.from_seed(SEED)) == hash(Keypair.from_private_key(PRIVATE))
    assert Keypair.from_seed(SEED) != SEED
    assert Keypair.generate() != Keypair.generate()


def test_secrets_of_another_length_or_scheme_are_refused():
    for raw in (b"", SEED[:-1], SEED + b"x", PRIVATE):
        with pytest.raises(KeyFileError, match="32 bytes"):
            Keypair.from_seed(raw)
    for raw in (b"", SEED, PRIVATE + b"x"):
        with pytest.raises(KeyFileError, match="64 bytes"):
            Keypair.from_private_key(raw)
    with pytest.raises(KeyFileError, match="not an sr25519 key"):
        Keypair.from_private_key(b"\xff" * 64)
    with pytest.raises(KeyFileError, match="not an sr25519 key"):
        Keypair.from_private_key(bytes(64))


# --- what is signed -------------------------------------------------------------------------------------------


def test_sign_and_verify():
    pair = Keypair.from_seed(SEED)
    signature = pair.sign(signing.BATCH, b"data")
    assert len(signature) == 64
    assert verify(pair.account, signing.BATCH, b"data", signature)
    assert not verify(pair.account, signing.BATCH, b"datb", signature)
    assert not verify(Keypair.generate().account, signing.BATCH, b"data", signature)


def test_signatures_are_randomised_and_so_no_ids():
    pair = Keypair.from_seed(SEED)
    assert pair.sign(signing.BATCH, b"x") != pair.sign(signing.BATCH, b"x")
    assert keys.digest(b"x") == keys.digest(b"x") != keys.digest(b"y")


@pytest.mark.parametrize("signed", signing.DOMAINS)
@pytest.mark.parametrize("read", signing.DOMAINS)
def test_domains_are_apart(signed, read):
    pair = Keypair.from_seed(SEED)
    assert verify(pair.account, read, b"x", pair.sign(signed, b"x")) == (signed == read)


@given(st.binary(max_size=100), st.sampled_from(signing.DOMAINS))
def test_a_preimage_is_of_its_form(data, domain):
    preimage = keys.preimage(domain, data)
    assert preimage == b"\x00mycelium/1/" + domain + len(data).to_bytes(8, "little") + keys.digest(data)
    assert preimage[0] != ord("<")


def test_what_a_browser_wallet_signs_never_verifies():
    pair, public = Keypair.from_seed(SEED), sr25519.pair_from_seed(SEED)
    for text in (b"<Bytes>x</Bytes>", b"<Bytes>" + keys.preimage(signing.BATCH, b"x") + b"</Bytes>", b"x"):
        assert not verify(pair.account, signing.BATCH, b"x", sr25519.sign(public, text))


@given(st.binary(max_size=70), st.binary(max_size=130))
def test_verify_refuses_other_lengths_without_raising(raw, signature):
    assert not verify(raw, signing.BATCH, b"x", signature)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_verify_refuses_garbage_without_raising(raw, signature):
    assert not verify(raw, signing.BATCH, b"x", signature)
    assert not verify(PHRASE_ACCOUNT, signing.BATCH, b"x", signature)


@given(st.integers(0, 511))
def test_verify_refuses_a_changed_signature(bit):
    pair = Keypair.from_seed(SEED)
    signature = bytearray(pair.sign(signing.BATCH, b"x"))
    signature[bit // 8] ^= 1 << bit % 8
    assert not verify(pair.account, signing.BATCH, b"x", bytes(signature))


def test_the_account_for_which_anyone_can_sign_is_nobody():
    """The zero account is Ristretto's neutral element: a zero secret makes signatures that the library accepts."""
    forged = sr25519.sign((bytes(32), bytes(64)), keys.preimage(signing.BATCH, b"x"))
    assert sr25519.verify(forged, keys.preimage(signing.BATCH, b"x"), bytes(32))
    assert not verify(bytes(32), signing.BATCH, b"x", forged)


# --- no secret leaves by accident -----------------------------------------------------------------------------


def spellings(secret: bytes) -> list[str]:
    return [secret.hex(), secret.hex().upper(), repr(secret)[2:-1], str(list(secret))[1:-1]]


@pytest.fixture(params=["seed", "private", "phrase"])
def pair(request):
    makers = {
        "seed": lambda: Keypair.from_seed(SEED),
        "private": lambda: Keypair.from_private_key(PRIVATE),
        "phrase": lambda: Keypair.from_phrase(PHRASE),
    }
    return makers[request.param]()


def assert_silent(text: str) -> None:
    for secret in (SEED, PRIVATE, PRIVATE[:32], sr25519.pair_from_seed(SEED)[1]):
        assert not any(spelling in text for spelling in spellings(secret))
    assert "bottom" not in text


def test_no_secret_in_any_text(pair, caplog):
    @dataclasses.dataclass
    class Holder:
        keypair: Keypair

    logger = logging.getLogger("test")
    with caplog.at_level(logging.DEBUG):
        logger.info("%s %r", pair, pair)
    texts = [repr(pair), str(pair), f"{pair}", f"{pair!r:>80}", f"{[pair]}", f"{pair.sign}", caplog.text]
    texts += [repr(Holder(pair)), str(dataclasses.asdict(Holder(pair))), str(inspect.getmembers(pair))]
    texts += [repr(getattr(pair, name)) for name in dir(pair)]
    for text in texts:
        assert_silent(text)
    assert account.format(pair.account) in repr(pair)


def test_no_vars_no_change_no_pickle(pair):
    with pytest.raises(TypeError):
        vars(pair)
    with pytest.raises(AttributeError):
        pair.account = bytes(32)
    with pytest.raises(AttributeError):
        del pair.account
    with pytest.raises(AttributeError):
        pair.other = 1
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(pair, protocol)
    assert copy.copy(pair) is pair
    assert copy.deepcopy([pair])[0] is pair
    with pytest.raises(TypeError):
        json.dumps(pair)


@pytest.mark.parametrize(
    "text",
    [
        SEED.hex()[:-1],
        SEED.hex() + "00",
        "0x" + PRIVATE.hex() + "ff",
        "0x" + "ff" * 64,
        PHRASE.replace("walk", "walkk"),
        PHRASE.replace(" walk", ""),
        PHRASE.replace("walk", "fit"),
        "bottom",
        "",
    ],
)
def test_errors_name_the_source_and_not_the_secret(text):
    with pytest.raises(KeyFileError, match="variable X") as caught:
        keys.from_text(text, "variable X")
    said = f"{caught.value} {caught.value!r} {caught.value.__cause__} {caught.value.args}"
    assert_silent(said)
    words = set(re.findall(r"\w{12,}", text))
    assert not any(word in said for word in words)
    assert caught.value.remedy


def test_only_one_file_touches_secrets():
    package = Path(mycelium.__file__).parent
    secret = re.compile(
        r"\bsr25519\.\w+\(|\bimport (sr25519|bip39)\b|secretSeed|privateKey|secretPhrase|\b_export\b"
    )
    touching = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if secret.search(path.read_text())
    }
    assert touching == {"identity/keys.py"}
