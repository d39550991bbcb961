"""The configuration of a miner of plain requests, from its environment. Importing it loads `.env`."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import httpx
from dotenv import load_dotenv
from pydantic import BaseModel

from mycelium.chain import chain_utils, interface
from mycelium.chain.metagraph import Metagraph
from mycelium.miner.core import environment
from mycelium.miner.core.models.config import Config
from mycelium.miner.security import nonce_management

__all__ = [
    "BaseModel",
    "Config",
    "Metagraph",
    "T",
    "chain_utils",
    "factory_config",
    "httpx",
    "interface",
    "load_dotenv",
    "nonce_management",
]

T = TypeVar("T", bound=BaseModel)

load_dotenv()


@lru_cache
def factory_config() -> Config:
    """The one configuration of this process, made at the first call, which may take seconds: it connects to the chain.

    Raises ConfigError, ChainUnreachable, and ValueError for a hotkey that cannot be loaded.
    """
    settings = environment.read()
    keypair = chain_utils.load_hotkey_keypair(settings.wallet_name, settings.hotkey_name)
    return Config(
        nonce_manager=nonce_management.NonceManager(settings.nonces_path),
        keypair=keypair,
        metagraph=environment.open_metagraph(settings),
        min_stake_threshold=settings.stake_min,
        httpx_client=httpx.AsyncClient(),
    )
