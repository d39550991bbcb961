"""What a miner of encrypted requests holds while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from mycelium.chain.metagraph import Metagraph
from mycelium.encrypted.miner.security import key_management

__all__ = ["Config", "Metagraph", "httpx", "key_management"]


@dataclass
class Config:
    """Mutable, and programs may put more into it. keypair: the miner's hotkey. min_stake_threshold: TAO."""

    encryption_keys_handler: key_management.EncryptionKeysHandler
    keypair: Any
    metagraph: Any
    min_stake_threshold: float
    httpx_client: httpx.AsyncClient
