"""Cipher suites and key derivation of a session. Holds no state; knows nothing of messages.

Suites: AES-256-GCM where the CPU has AES instructions, ChaCha20-Poly1305 (RFC 8439) where it has not: without
them AES is slow, and its table look-ups leak through the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mycelium.errors import HandshakeFailed

AES_256_GCM: Final = 1
CHACHA20_POLY1305: Final = 2

KEY_BYTES: Final = 32
IV_BYTES: Final = 12
TAG_BYTES: Final = 16
EPHEMERAL_BYTES: Final = 32

Random: TypeAlias = Callable[[int], bytes]
Aead: TypeAlias = AESGCM | ChaCha20Poly1305


class DirectionKeys(NamedTuple):
    """One direction: its key, and the number that a frame's count is mixed into (RFC 8446, 5.3)."""

    key: bytes
    iv: int

    def __repr__(self) -> str:
        return "<DirectionKeys>"  # a tuple would show the key


class SessionKeys(NamedTuple):
    """Both directions, and the secret from which the next keys are made."""

    initiator: DirectionKeys
    responder: DirectionKeys
    chain: bytes

    def __repr__(self) -> str:
        return "<SessionKeys>"


def aead(suite: int, key: bytes) -> Aead:
    """The cipher of a suite that was negotiated."""
    return AESGCM(key) if suite == AES_256_GCM else ChaCha20Poly1305(key)


def suites_for(cpuinfo: str) -> tuple[int, ...]:
    """Both suites, best first, for a machine whose /proc/cpuinfo is given. An unknown one has AES, we assume.

    x86 lists `aes` under `flags`, ARM under `Features`.
    """
    for line in cpuinfo.splitlines():
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            fast = "aes" in values.split()
            return (AES_256_GCM, CHACHA20_POLY1305) if fast else (CHACHA20_POLY1305, AES_256_GCM)
    return (AES_256_GCM, CHACHA20_POLY1305)


@lru_cache(maxsize=1)
def local_suites() -> tuple[int, ...]:
    """Both suites, best first, for this machine."""
    try:
        return suites_for(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return suites_for("")


def choose_suite(ours: Sequence[int], theirs: Sequence[int]) -> int | None:
    """The suite of a session, or None: ChaCha20 if either side puts it first, because that side lacks AES."""
    common = [suite for suite in ours if suite in theirs]
    if not common:
        return None
    return CHACHA20_POLY1305 if theirs[0] == CHACHA20_POLY1305 and theirs[0] in common else common[0]


def derive(secret: bytes, salt: bytes, label: bytes, length: int) -> bytes:
    """HKDF-SHA256 (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=b"mycelium/1/" + label).derive(secret)


def derive_session(secret: bytes, salt: bytes, label: bytes) -> SessionKeys:
    """Keys of both directions from a shared secret; `salt` is what the two sides must agree on."""
    out = derive(secret, salt, label, 3 * KEY_BYTES + 2 * IV_BYTES)
    keys = [out[at : at + KEY_BYTES] for at in range(0, 3 * KEY_BYTES, KEY_BYTES)]
    ivs = [int.from_bytes(out[at : at + IV_BYTES], "big") for at in (3 * KEY_BYTES, 3 * KEY_BYTES + IV_BYTES)]
    return SessionKeys(DirectionKeys(keys[0], ivs[0]), DirectionKeys(keys[1], ivs[1]), keys[2])


class Ephemeral:
    """An X25519 key (RFC 7748) for one agreement."""

    __slots__ = ("_private", "public")

    def __init__(self, random: Random) -> None:
        self._private = X25519PrivateKey.from_private_bytes(random(EPHEMERAL_BYTES))
        self.public: bytes = self._private.public_key().public_bytes_raw()

    def agree(self, theirs: bytes) -> bytes:
        """The shared secret, 32 bytes. Refuses points of small order: with them it is zero for anybody."""
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(theirs))
        except ValueError:
            raise HandshakeFailed("the ephemeral key has small order") from None
