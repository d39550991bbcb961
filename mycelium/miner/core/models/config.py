"""What a miner of plain requests holds while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from mycelium.chain.metagraph import Metagraph
from mycelium.miner.security.nonce_management import NonceManager

__all__ = ["Config", "Metagraph", "NonceManager", "httpx"]


@dataclass
class Config:
    """Mutable, and programs may put more into it. keypair: the miner's hotkey. min_stake_threshold: TAO."""

    nonce_manager: NonceManager
    keypair: Any
    metagraph: Any
    min_stake_threshold: float
    httpx_client: httpx.AsyncClient
