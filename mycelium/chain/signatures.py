"""Signatures of text by hotkeys, as subnets exchange them: made, and verified. sr25519 alone.

Owns which bytes are signed: the text's own, or those that text in hex stands for. Knows no protocol.
"""

from __future__ import annotations

import binascii
import hashlib
import logging
from typing import Any, Final

from substrateinterface import Keypair

from mycelium.chain.extrinsics import signature_of
from mycelium.errors import AccountRefused
from mycelium.identity import account as accounts
from mycelium.identity import keys

logger = logging.getLogger(__name__)

__all__ = ["Keypair", "get_hash", "hashlib", "logger", "sign_message", "verify_signature"]

_WRAPPED: Final = (b"<Bytes>", b"</Bytes>")
"""What browser wallets put around what they sign, so that it can be no extrinsic."""


def sign_message(keypair: Any, message: str | None) -> str | None:
    """A signature of the message, "0x" and 128 hex digits; None for None. Text that begins with 0x is read as hex.

    keypair: substrate-interface's, Bittensor's, or ours. ValueError for bad hex; UsageError for what is no keypair.
    A keypair that knows its public half only raises what its own library does.
    """
    return None if message is None else f"0x{signature_of(keypair, _payload(message)).hex()}"


def get_hash(body: bytes) -> str:
    """SHA-256, 64 hex digits."""
    return hashlib.sha256(body).hexdigest()


def verify_signature(message: str | bytes | None, signature: str | bytes, signer_ss58_address: str) -> bool:
    """Whether the account signed the message, as it is or as browser wallets wrap it. Never raises: False.

    signature: hex, with or without 0x, or bytes. signer_ss58_address: with prefix 42, Bittensor's.
    """
    try:
        if message is None:
            return False
        payload, account = _payload(message), accounts.parse(signer_ss58_address)
        given = (
            signature if isinstance(signature, bytes) else binascii.unhexlify(signature.removeprefix("0x"))
        )
    except (ValueError, TypeError, AttributeError, AccountRefused):
        return False
    wrapped = payload.join(_WRAPPED)
    return any(keys.verify_preimage(account, signed, given) for signed in (payload, wrapped))


def _payload(message: str | bytes) -> bytes:
    if isinstance(message, bytes):
        return message
    # Both sides do it, and have since before Mycelium: text in hex stands for its bytes.
    return bytes.fromhex(message[2:]) if message.startswith("0x") else message.encode()
