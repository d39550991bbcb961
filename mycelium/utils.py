"""Small helpers of plain requests, under the names that programs know."""

from __future__ import annotations

import logging

from cryptography.fernet import Fernet

from mycelium.http.keyring import key_of
from mycelium.http.signing import plain_message
from mycelium.logging_utils import get_logger

__all__ = ["Fernet", "construct_header_signing_message", "fernet_to_symmetric_key", "get_logger", "logger"]

logger = logging.getLogger(__name__)


def fernet_to_symmetric_key(fernet: Fernet) -> str:
    """A Fernet's key as URL-safe base64, by which `Fernet(...)` makes it again."""
    return key_of(fernet)


def construct_header_signing_message(nonce: str, miner_hotkey: str, payload_hash: str | None) -> str:
    """What is signed of a plain request. payload_hash: SHA-256 of the body in hex; None where there is no body."""
    return plain_message(nonce, miner_hotkey, payload_hash)
