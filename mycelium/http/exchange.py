"""The exchange of a symmetric key: RSA-OAEP under a key of the miner's, which our miners sign with their hotkey.

Fiber's public key is unauthenticated: whoever stands in between can give his own. A signed one carries two more
fields, which a Fiber client passes over; one of ours verifies them, and can be told to take no other. In the same way
our client signs the key that it sends, which Fiber's headers do not cover.
"""

from __future__ import annotations

import binascii
import os
import time
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from mycelium.config import HTTP_KEYS_MAX, HTTP_WINDOW_NS
from mycelium.errors import HandshakeFailed
from mycelium.http.keyring import KEY_BYTES
from mycelium.http.remembered import Remembered
from mycelium.http.signing import sign_text, verify_text

REQUIRE_SIGNED_KEY: Final = "MYCELIUM_REQUIRE_SIGNED_KEY"
"""Environment: 1 takes no key that its owner's hotkey has not signed."""
OVER_SESSION: Final = "/mycelium/symmetric-key"
"""Where a session takes a key as it is: it has proved both sides, and seals what goes over it."""
RSA_BITS: Final = 2048
UUID_BYTES: Final = 32
UUID_CHARS_MAX: Final = 128
OAEP: Final = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
_PEM_CHARS_MAX: Final = 4_096
_ENCRYPTED_CHARS_MAX: Final = 1_024
_proved: Final = Remembered(HTTP_KEYS_MAX)
_TRUE: Final = ("1", "true", "yes", "on")


def signed_keys_only() -> bool:
    """Whether the environment says so."""
    return os.environ.get(REQUIRE_SIGNED_KEY, "").strip().lower() in _TRUE


def generate() -> rsa.RSAPrivateKey:
    """A new key of a miner; some 50 ms."""
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def pem_of(key: rsa.RSAPrivateKey | rsa.RSAPublicKey) -> str:
    """The public half, PEM of a SubjectPublicKeyInfo."""
    public = key.public_key() if isinstance(key, rsa.RSAPrivateKey) else key
    encoding, kind = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(encoding, kind).decode()


def public_key_answer(pem: str, keypair: Any, hotkey: str) -> dict[str, Any]:
    """What GET /public-encryption-key answers: Fiber's two fields, and a signature by the hotkey over both."""
    now_s = time.time()
    return {
        "public_key": pem,
        "timestamp": now_s,
        "hotkey": hotkey,
        "signature": sign_text(keypair, _key_message(hotkey, now_s, pem)),
    }


def public_key_of(answer: Any, miner: str | None, *, signed_only: bool) -> rsa.RSAPublicKey:
    """The miner's key out of its answer. HandshakeFailed for none, one signed by another, or unsigned if it must be.

    miner: its hotkey. Where that is not known no signature can be verified.
    """
    try:
        pem, made_s = answer["public_key"], float(answer["timestamp"])
        if len(pem) > _PEM_CHARS_MAX:
            raise ValueError("too long")
        key = serialization.load_pem_public_key(pem.encode())
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, UnsupportedAlgorithm) as error:
        raise HandshakeFailed(f"the miner gave no public key: {error or type(error).__name__}") from None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < RSA_BITS:
        raise HandshakeFailed(f"the miner's key is no RSA key of {RSA_BITS} bits or more")
    signature = answer.get("signature")
    if signature is None or miner is None:
        if signed_only:
            raise HandshakeFailed(
                f"the miner's key is not signed, or its hotkey not known, and {REQUIRE_SIGNED_KEY} is set: "
                "anybody could have put the key there"
            )
        return key
    fresh = abs(time.time() - made_s) * 10**9 <= HTTP_WINDOW_NS
    if not fresh or not verify_text(miner, _key_message(miner, answer["timestamp"], pem), str(signature)):
        raise HandshakeFailed(
            f"the key was not signed by {miner}, or long ago: somebody may stand in between"
        )
    _proved.add(key.public_numbers().n)
    return key


def plain_key(text: str) -> str:
    """The key (base64) that came over a session. HandshakeFailed for what is none."""
    try:
        key = b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise HandshakeFailed("the key is no base64") from None
    if len(key) != KEY_BYTES:
        raise HandshakeFailed(f"a key has {KEY_BYTES} bytes, not {len(key)}")
    return urlsafe_b64encode(key).decode()


def is_proved(key: rsa.RSAPublicKey) -> bool:
    """Whether `public_key_of` has found the key signed by its miner, which is one of ours then."""
    return key.public_numbers().n in _proved


def encrypt(public: rsa.RSAPublicKey, data: bytes) -> bytes:
    """RSA-OAEP with SHA-256, as Fiber's."""
    return public.encrypt(data, OAEP)


def exchange_body(keypair: Any, public: rsa.RSAPublicKey, key: bytes, nonce: str) -> dict[str, str]:
    """What is posted to /exchange-symmetric-key: Fiber's field, and a signature that binds the key to the nonce."""
    try:
        encrypted = b64encode(encrypt(public, key)).decode()
    except ValueError:
        raise HandshakeFailed("the miner's key is none that anything can be encrypted with") from None
    return {
        "encrypted_symmetric_key": encrypted,
        "key_signature": sign_text(keypair, _exchange_message(nonce, encrypted)),
    }


def key_from(
    body: Mapping[str, Any], private: rsa.RSAPrivateKey, validator: str, nonce: str, *, signed_only: bool
) -> bytes:
    """The 32 bytes of an exchanged key. HandshakeFailed for whatever is none; 290 us."""
    encrypted, signature = body.get("encrypted_symmetric_key"), body.get("key_signature")
    if not isinstance(encrypted, str) or len(encrypted) > _ENCRYPTED_CHARS_MAX:
        raise HandshakeFailed("no encrypted key")
    if signature is None and signed_only:
        raise HandshakeFailed(f"the key is not signed, and {REQUIRE_SIGNED_KEY} is set")
    if signature is not None and not verify_text(
        validator, _exchange_message(nonce, encrypted), str(signature)
    ):
        raise HandshakeFailed("the key was not signed by who sent it")
    try:
        key = private.decrypt(b64decode(encrypted, validate=True), OAEP)
    except (ValueError, binascii.Error):
        raise HandshakeFailed("the key cannot be decrypted") from None
    if len(key) != KEY_BYTES:
        raise HandshakeFailed(f"a key has {KEY_BYTES} bytes, not {len(key)}")
    return key


def _key_message(hotkey: str, timestamp: object, pem: str) -> str:
    return f"mycelium/1/public-encryption-key:{hotkey}:{timestamp}:{sha256(pem.encode()).hexdigest()}"


def _exchange_message(nonce: str, encrypted: str) -> str:
    return f"mycelium/1/exchange-symmetric-key:{nonce}:{sha256(encrypted.encode()).hexdigest()}"
