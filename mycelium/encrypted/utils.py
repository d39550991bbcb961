"""Small helpers of encrypted requests, under the names that programs know."""

from __future__ import annotations

import logging

from cryptography.fernet import Fernet

from mycelium.http.signing import encrypted_message
from mycelium.logging_utils import get_logger
from mycelium.utils import fernet_to_symmetric_key

__all__ = ["Fernet", "construct_header_signing_message", "fernet_to_symmetric_key", "get_logger", "logger"]

logger = logging.getLogger(__name__)


def construct_header_signing_message(nonce: str, miner_hotkey: str, symmetric_key_uuid: str) -> str:
    """What is signed of a request that is encrypted, and of the exchange of its key."""
    return encrypted_message(nonce, miner_hotkey, symmetric_key_uuid)
