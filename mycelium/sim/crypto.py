"""A cheap stand-in for sr25519, for runs of hundreds of nodes, where signatures are most of the work.

One seam: `identity.keys` knows the library by one name, and for the length of a `with` block that name means this. A
stand-in signature is BLAKE3 keyed with the public account: it proves nothing to an adversary, so hostile members of a
scenario do not forge with it; a signature over other bytes, or of another account, still fails to verify. Everything
else - X25519, HKDF, the AEAD of every frame, digests - stays real.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from blake3 import blake3

from mycelium.identity import keys

REAL = "real"
FAST = "fast"


class KeyedDigest:
    """The four functions of `sr25519` that `identity.keys` calls."""

    @staticmethod
    def pair_from_seed(seed: bytes) -> tuple[bytes, bytes]:
        private = blake3(b"private" + seed).digest() + bytes(32)
        return KeyedDigest.public_from_secret_key(private), private

    @staticmethod
    def public_from_secret_key(private: bytes) -> bytes:
        return blake3(b"public" + private).digest()

    @staticmethod
    def sign(pair: tuple[bytes, bytes], message: bytes) -> bytes:
        return blake3(message, key=pair[0]).digest(length=64)

    @staticmethod
    def verify(signature: bytes, message: bytes, account: bytes) -> bool:
        return blake3(message, key=account).digest(length=64) == signature


@contextmanager
def signing_with(kind: str) -> Iterator[None]:
    """REAL changes nothing; FAST signs and verifies with KeyedDigest within the block, in this whole process."""
    if kind == REAL:
        yield
        return
    module: Any = keys
    library = module.sr25519
    module.sr25519 = KeyedDigest
    try:
        yield
    finally:
        module.sr25519 = library
