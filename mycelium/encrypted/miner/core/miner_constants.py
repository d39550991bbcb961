"""The same as `mycelium.miner.core.miner_constants`."""

from __future__ import annotations

from mycelium.miner.core.miner_constants import (
    DEFAULT_ENCRYPTION_STRING,
    NONCE_WINDOW_NS,
    SYMMETRIC_KEYS_FILENAME,
)

__all__ = ["DEFAULT_ENCRYPTION_STRING", "NONCE_WINDOW_NS", "SYMMETRIC_KEYS_FILENAME"]
