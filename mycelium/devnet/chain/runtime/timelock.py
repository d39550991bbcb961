"""Opening timelocked commits, with drand rounds that this chain simulates.

The real beacon is a network that signs each round when its time comes; nobody can open a commit before that, and no
development chain can sign for it. So this chain has a beacon key of its own (X25519, from its seed) and says so: its
`Drand.BeaconConfig` carries that key and the scheme "mycelium-dev". Mycelium's client seals to the key it finds there.
Other clients seal to the real beacon's key, which is built into them: their commits stay closed here until somebody
brings the real pulse of their round (`Drand.write_pulse`), and expire without it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import bittensor_drand
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mycelium.devnet.chain.metadata.scale import compact

SCHEME: Final = b"mycelium-dev"
MARK: Final = b"mycelium-dev-timelock-1"
INFO: Final = b"mycelium dev timelock"
GENESIS_S: Final = 1_692_803_367
"""When round 1 of the real beacon was (drand "quicknet"); rounds here have the same times."""
PERIOD_S: Final = 3
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


def round_at(timestamp_ms: int) -> int:
    """The newest round that is out at that time; 0 before the first."""
    passed_s = timestamp_ms // 1000 - GENESIS_S
    return 0 if passed_s < 0 else 1 + passed_s // PERIOD_S


def is_for_beacon(commit: bytes) -> bool:
    """Whether a commit is sealed to a development chain's beacon."""
    return commit.startswith(MARK)


class Beacon:
    """The chain's own key. `public_key`: 32 bytes."""

    def __init__(self, seed: int) -> None:
        secret = blake2b(b"mycelium development beacon" + seed.to_bytes(16, "little", signed=True)).digest()
        self._key = X25519PrivateKey.from_private_bytes(secret[:_KEY_BYTES])
        self.public_key = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def open(self, commit: bytes, round_number: int) -> bytes | None:
        """What was sealed to this beacon for the round; None for anything else. The round must be out."""
        if not commit.startswith(MARK):
            return None
        body = commit[len(MARK) :]
        ephemeral, nonce = body[:_KEY_BYTES], body[_KEY_BYTES : _KEY_BYTES + _NONCE_BYTES]
        if len(nonce) != _NONCE_BYTES:
            return None
        round_bytes = round_number.to_bytes(8, "little")
        try:
            shared = self._key.exchange(X25519PublicKey.from_public_bytes(ephemeral))
            key = HKDF(SHA256(), 32, salt=round_bytes, info=INFO).derive(shared)
            return AESGCM(key).decrypt(nonce, body[_KEY_BYTES + _NONCE_BYTES :], round_bytes)
        except (InvalidTag, ValueError):
            return None

    def config(self, real: dict[str, Any]) -> dict[str, Any]:
        """`Drand.BeaconConfig` of this chain: the real one's times, this chain's key and scheme."""
        key_bytes = len(bytes.fromhex(real["public_key"].removeprefix("0x")))
        return {
            **real,
            "public_key": self.public_key + bytes(key_bytes - _KEY_BYTES),
            "scheme_id": SCHEME,
        }


def open_with_pulse(commit: bytes, signature: bytes) -> bytes | None:
    """What was sealed to the real beacon, given its signature of the round; None when the two do not fit."""
    # The library wants what its own `encrypt_at_round` gives: the sealed bytes' length before, a round behind them.
    wrapped = compact(len(commit)) + commit + bytes(8)
    try:
        return bytes(bittensor_drand.decrypt_with_signature(wrapped, signature.hex()))
    except ValueError:
        return None
