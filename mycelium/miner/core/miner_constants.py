"""Constants of a miner, under the names that programs know."""

from __future__ import annotations

from typing import Final

from mycelium.config import HTTP_WINDOW_NS

SYMMETRIC_KEYS_FILENAME: Final = "symmetric_keys.encrypted"
DEFAULT_ENCRYPTION_STRING: Final = "default_encryption"
"""What Fiber derives its storage key from where none is set. Here it only opens what Fiber has left."""
NONCE_WINDOW_NS: Final = HTTP_WINDOW_NS
