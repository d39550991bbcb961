"""Dependencies of an encrypted miner's routes: who may ask, and that it is he. As in Fiber; each can be overridden."""

from __future__ import annotations

import logging

from fastapi import Depends, Header, HTTPException, Request

from mycelium import constants as cst
from mycelium.chain import signatures
from mycelium.encrypted import utils
from mycelium.encrypted.miner.core import configuration
from mycelium.encrypted.miner.core.models.config import Config
from mycelium.http.gate import Claim
from mycelium.miner import gatekeeper

__all__ = [
    "Config",
    "Depends",
    "HTTPException",
    "Header",
    "blacklist_low_stake",
    "configuration",
    "cst",
    "current_config",
    "get_config",
    "logger",
    "signatures",
    "utils",
    "verify_get_request",
    "verify_request",
]

logger = logging.getLogger(__name__)


def get_config() -> Config:
    """The configuration of this process."""
    return configuration.factory_config()


async def current_config(request: Request) -> Config:
    """The same as a dependency, and what a program overrides `get_config` with; without a thread for each request."""
    config: Config = await gatekeeper.configured(request, get_config)
    return config


async def verify_request(
    validator_hotkey: str = Header(..., alias=cst.VALIDATOR_HOTKEY),
    signature: str = Header(..., alias=cst.SIGNATURE),
    miner_hotkey: str = Header(..., alias=cst.MINER_HOTKEY),
    nonce: str = Header(..., alias=cst.NONCE),
    symmetric_key_uuid: str = Header(..., alias=cst.SYMMETRIC_KEY_UUID),
    config: Config = Depends(current_config),
    request: Request = None,  # type: ignore[assignment] # the framework gives it; who calls this need not
) -> None:
    """401 for a request that was not signed by its validator, for this miner, now and for the first time."""
    claim = Claim(validator_hotkey, miner_hotkey, nonce, signature, symmetric_key_uuid)
    await gatekeeper.verify(request, claim, config, with_body=False)


async def verify_get_request(
    validator_hotkey: str = Header(..., alias=cst.VALIDATOR_HOTKEY),
    signature: str = Header(..., alias=cst.SIGNATURE),
    miner_hotkey: str = Header(..., alias=cst.MINER_HOTKEY),
    nonce: str = Header(..., alias=cst.NONCE),
    symmetric_key_uuid: str = Header(..., alias=cst.SYMMETRIC_KEY_UUID),
    config: Config = Depends(current_config),
    request: Request = None,  # type: ignore[assignment]
) -> None:
    """The same for a GET."""
    claim = Claim(validator_hotkey, miner_hotkey, nonce, signature, symmetric_key_uuid)
    await gatekeeper.verify(request, claim, config, with_body=False)


async def blacklist_low_stake(
    validator_hotkey: str = Header(..., alias=cst.VALIDATOR_HOTKEY), config: Config = Depends(current_config)
) -> None:
    """Only validators of the metagraph that have stake enough."""
    gatekeeper.check_stake(validator_hotkey, config)
