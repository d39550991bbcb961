"""Nonces, messages and signatures: as captured from both versions of Fiber, and false for whatever is malformed."""

from __future__ import annotations

import re
import time

import pytest
from httpwire.httpkit import MINER, OTHER, VALIDATOR, VERSIONS, vectors
from hypothesis import given
from hypothesis import strategies as st

from mycelium.errors import UsageError
from mycelium.http import signing
from mycelium.http.gate import Claim, message_of
from mycelium.identity.keys import Keypair


def claim_of(request):
    headers = request["headers"]
    return Claim(
        headers["validator-hotkey"],
        headers["miner-hotkey"],
        headers["nonce"],
        headers["signature"],
        headers.get("symmetric-key-uuid"),
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["plain_get", "plain_post", "exchange", "enc_get", "enc_post"])
def test_what_fiber_signed_is_what_we_verify(version, name):
    request = vectors(version)[name]
    if "signature" not in request["headers"]:
        assert (version, request["request_line"][:3]) == ("2.1.0", "GET"), "only the older GET is not signed"
        return
    claim = claim_of(request)
    body = request["body"].encode() if name == "plain_post" else None
    message = message_of(claim, body)
    assert message == request.get("signing_message", message)
    assert signing.verify_text(claim.validator, message, claim.signature)
    assert not signing.verify_text(claim.validator, message + " ", claim.signature)
    assert not signing.verify_text(OTHER.ss58_address, message, claim.signature)


def test_nonces_are_of_now_and_never_the_same():
    nonces = {signing.new_nonce() for _ in range(1_000)}
    assert len(nonces) == 1_000
    for nonce in nonces:
        assert re.fullmatch(r"\d{19}_[A-Za-z0-9]{10}", nonce)
        assert abs(signing.nonce_time_ns(nonce) - time.time_ns()) < 60 * 10**9


@pytest.mark.parametrize(
    "nonce",
    [
        "",
        "_",
        "x_1",
        "-5_a",
        "+5_a",
        " 5_a",
        "5 _a",
        "٣_a",
        "²_a",
        "1" * 21 + "_a",
        str(2**63) + "_a",
        "5_" + "a" * 200,
    ],
)
def test_what_is_no_nonce(nonce):
    assert signing.nonce_time_ns(nonce) is None


def test_a_nonce_needs_no_tail():
    assert (
        signing.nonce_time_ns("123")
        == signing.nonce_time_ns("123_")
        == signing.nonce_time_ns("123_a_b")
        == 123
    )


@pytest.mark.parametrize("keypair", [VALIDATOR, Keypair.from_seed(b"\x11" * 32)], ids=["theirs", "ours"])
def test_each_kind_of_keypair_signs(keypair):
    signature = signing.sign_text(keypair, "1_a:miner")
    assert re.fullmatch("0x[0-9a-f]{128}", signature)
    assert signing.verify_text(VALIDATOR.ss58_address, "1_a:miner", signature)
    # The other way round: what Fiber verifies with is substrate-interface.
    assert VALIDATOR.verify("1_a:miner", signature)


def test_what_cannot_sign_says_so():
    public = type(VALIDATOR)(ss58_address=VALIDATOR.ss58_address)
    for keypair in (object(), public):
        with pytest.raises(UsageError, match="cannot sign"):
            signing.sign_text(keypair, "text")


def test_a_browser_wallets_signature_counts():
    signature = "0x" + VALIDATOR.sign(b"<Bytes>1_a:miner</Bytes>").hex()
    assert signing.verify_text(VALIDATOR.ss58_address, "1_a:miner", signature)


GOOD = signing.sign_text(VALIDATOR, "text")


@pytest.mark.parametrize(
    ("address", "signature"),
    [
        (VALIDATOR.ss58_address, GOOD[2:]),
        (VALIDATOR.ss58_address, GOOD[:-2]),
        (VALIDATOR.ss58_address, GOOD + "00"),
        (VALIDATOR.ss58_address, "0x" + "zz" * 64),
        (VALIDATOR.ss58_address, "0x" + "é" * 128),
        (VALIDATOR.ss58_address, "0x" + " " * 128),
        (VALIDATOR.ss58_address, "0x" + "00" * 64),
        (VALIDATOR.ss58_address, ""),
        ("", GOOD),
        ("5x", GOOD),
        (VALIDATOR.ss58_address[:-1] + "1", GOOD),
        ("5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM", GOOD),
        (MINER.ss58_address, GOOD),
    ],
    ids=range(13),
)
def test_malformed_is_false(address, signature):
    assert signing.verify_text(VALIDATOR.ss58_address, "text", GOOD)
    assert not signing.verify_text(address, "text", signature)


@given(st.text(), st.text(), st.text())
def test_whatever_comes_verifying_never_raises(address, text, signature):
    assert signing.verify_text(address, text, signature) is False
    assert signing.verify_text(VALIDATOR.ss58_address, text, GOOD) is (text == "text")
    signing.nonce_time_ns(address)
