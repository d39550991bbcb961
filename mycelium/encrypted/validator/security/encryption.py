"""Encryption of a symmetric key for a miner, under the name that programs know."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from mycelium.http import exchange

__all__ = ["hashes", "padding", "public_key_encrypt", "rsa"]


def public_key_encrypt(public_key: rsa.RSAPublicKey, data: bytes) -> bytes:
    """RSA-OAEP with SHA-256 and no label; at most 190 bytes under a key of 2,048 bits, ValueError for more."""
    return exchange.encrypt(public_key, data)
