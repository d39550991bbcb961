"""Dependencies of a miner's routes: who may ask, and that it is he. As in Fiber; each can be overridden.

`blacklist_low_stake` answers 403, `verify_request` and `verify_get_request` 401, a missing header is a 422.
"""

from __future__ import annotations

import logging

from fastapi import Depends, Header, HTTPException, Request

from mycelium import constants as cst
from mycelium import utils
from mycelium.chain import signatures
from mycelium.http.gate import Claim
from mycelium.miner import gatekeeper
from mycelium.miner.core import configuration
from mycelium.miner.core.models.config import Config

__all__ = [
    "Config",
    "Depends",
    "HTTPException",
    "Header",
    "Request",
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


async def verify_get_request(
    validator_hotkey: str = Header(..., alias=cst.VALIDATOR_HOTKEY),
    signature: str = Header(..., alias=cst.SIGNATURE),
    miner_hotkey: str = Header(..., alias=cst.MINER_HOTKEY),
    nonce: str = Header(..., alias=cst.NONCE),
    config: Config = Depends(current_config),
    request: Request = None,  # type: ignore[assignment] # the framework gives it; who calls this need not
) -> None:
    """For a GET, which has no body."""
    claim = Claim(validator_hotkey, miner_hotkey, nonce, signature)
    await gatekeeper.verify(request, claim, config, with_body=False)


async def verify_request(
    request: Request,
    validator_hotkey: str = Header(..., alias=cst.VALIDATOR_HOTKEY),
    signature: str = Header(..., alias=cst.SIGNATURE),
    miner_hotkey: str = Header(..., alias=cst.MINER_HOTKEY),
    nonce: str = Header(..., alias=cst.NONCE),
    config: Config = Depends(current_config),
) -> None:
    """For a request with a body, which is signed too."""
    claim = Claim(validator_hotkey, miner_hotkey, nonce, signature)
    await gatekeeper.verify(request, claim, config, with_body=True)


async def blacklist_low_stake(
    validator_hotkey: str = Header(..., alias=cst.VALIDATOR_HOTKEY), config: Config = Depends(current_config)
) -> None:
    """Only validators of the metagraph that have stake enough."""
    gatekeeper.check_stake(validator_hotkey, config)
