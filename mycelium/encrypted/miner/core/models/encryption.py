"""What is exchanged in the handshake of encrypted requests, and the keys that come of it."""

from __future__ import annotations

from cryptography.fernet import Fernet
from pydantic import BaseModel

from mycelium.http.keyring import SymmetricKeyInfo

__all__ = ["BaseModel", "Fernet", "PublicKeyResponse", "SymmetricKeyExchange", "SymmetricKeyInfo"]


class SymmetricKeyExchange(BaseModel):
    """A symmetric key encrypted for the miner, base64; and, from validators of ours, their signature over it."""

    encrypted_symmetric_key: str
    key_signature: str | None = None


class PublicKeyResponse(BaseModel):
    """A miner's RSA key, PEM, and when it was asked for, seconds; from miners of ours their signature over both."""

    public_key: str
    timestamp: float
    hotkey: str | None = None
    signature: str | None = None
