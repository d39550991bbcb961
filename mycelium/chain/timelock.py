"""Sealing a payload until a drand round: to the real beacon's key, or to that of a development chain.

The real beacon ("quicknet") is a network that signs each round when its time comes; a payload sealed to its key opens
with that signature, for anybody, and for nobody before. No development chain can sign for it, so its commits would
never open. Such a chain therefore puts a key of its own into `Drand.BeaconConfig` and names the scheme "mycelium-dev";
what is sealed to that key is opened by the chain itself, which holds the secret: it keeps nothing secret from whoever
runs the chain, and is for tests alone. Any other beacon is refused, never sealed to by guess.

Owns the choice, and the seal of development chains. Pure but for the randomness, which is passed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from secrets import token_bytes
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mycelium.chain.header import compact
from mycelium.errors import ChainError

QUICKNET: Final = bytes.fromhex(
    "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451"
    "0d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a"
)
"""The real beacon's public key, built into bittensor-drand (drand chain 52db9ba7...)."""
SCHEME: Final = b"mycelium-dev"
MARK: Final = b"mycelium-dev-timelock-1"
INFO: Final = b"mycelium dev timelock"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


def raw_bytes(value: Any) -> bytes:
    """Bytes as the decoder gives them: text where they are UTF-8, else 0x text; or bytes, or a list of numbers."""
    if not isinstance(value, str):
        return bytes(value)
    if re.fullmatch(r"0x(?:[0-9a-f]{2})*", value):
        return bytes.fromhex(value[2:])
    return value.encode()


def development_key(beacon: Mapping[str, Any] | None) -> bytes | None:
    """The key of a development chain's beacon, 32 bytes; None for the real one, and where none is configured.

    beacon: `Drand.BeaconConfig`. ChainError for any other, to which nothing can be sealed.
    """
    if beacon is None or raw_bytes(beacon["public_key"]) == QUICKNET:
        return None
    if raw_bytes(beacon.get("scheme_id", b"")) != SCHEME:
        raise ChainError(
            "the chain's drand beacon is neither the real one nor a development chain's",
            "weights cannot be sealed to it: check the endpoint, or update Mycelium",
        )
    return raw_bytes(beacon["public_key"])[:_KEY_BYTES]


def seal(
    payload: bytes, round_number: int, recipient: bytes, random: Callable[[int], bytes] = token_bytes
) -> bytes:
    """A payload sealed to a development chain's key until a round: mark, ephemeral key, nonce, ciphertext."""
    ephemeral = X25519PrivateKey.from_private_bytes(random(_KEY_BYTES))
    nonce = random(_NONCE_BYTES)
    round_bytes = round_number.to_bytes(8, "little")
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    key = HKDF(SHA256(), 32, salt=round_bytes, info=INFO).derive(shared)
    public = ephemeral.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return MARK + public + nonce + AESGCM(key).encrypt(nonce, payload, round_bytes)


def payload(uids: list[int], values: list[int], version_key: int, hotkey: bytes | None) -> bytes:
    """What is sealed, in SCALE (`WeightsTlockPayload`): hotkey, uids, values, version key.

    hotkey None: as before version 4 of commit-reveal, which did not name it.
    """
    named = b"" if hotkey is None else compact(len(hotkey)) + hotkey
    return named + numbers(uids) + numbers(values) + version_key.to_bytes(8, "little")


def numbers(values: list[int]) -> bytes:
    """A `Vec<u16>` in SCALE."""
    return compact(len(values)) + b"".join(value.to_bytes(2, "little") for value in values)
