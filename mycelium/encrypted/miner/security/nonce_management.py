"""The same as `mycelium.miner.security.nonce_management`."""

from __future__ import annotations

from mycelium.miner.core import miner_constants as mcst
from mycelium.miner.security.nonce_management import NonceManager

__all__ = ["NonceManager", "mcst"]
