"""The routes by which validators exchange a symmetric key with a miner. As in Fiber, and signed by the miner."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from cryptography.fernet import Fernet
from fastapi import APIRouter, Depends, Header, HTTPException
from pydantic import BaseModel

from mycelium import constants as cst
from mycelium.encrypted.miner.core.configuration import Config
from mycelium.encrypted.miner.core.models.encryption import PublicKeyResponse, SymmetricKeyExchange
from mycelium.encrypted.miner.dependencies import (
    blacklist_low_stake,
    current_config,
    get_config,
    verify_request,
)
from mycelium.encrypted.miner.security.encryption import get_symmetric_key_b64_from_payload
from mycelium.errors import HandshakeFailed
from mycelium.http import exchange
from mycelium.http.session.native import Calls, Validator

__all__ = [
    "APIRouter",
    "Config",
    "Depends",
    "Fernet",
    "Header",
    "PublicKeyResponse",
    "SymmetricKeyExchange",
    "blacklist_low_stake",
    "cst",
    "exchange_symmetric_key",
    "factory_router",
    "get_config",
    "get_public_key",
    "get_symmetric_key_b64_from_payload",
    "logger",
    "verify_request",
]

logger = logging.getLogger(__name__)


async def get_public_key(config: Config = Depends(current_config)) -> PublicKeyResponse:
    """GET /public-encryption-key: the miner's RSA key, signed with its hotkey."""
    pem = config.encryption_keys_handler.public_bytes.decode()
    return PublicKeyResponse(**exchange.public_key_answer(pem, config.keypair, config.keypair.ss58_address))


async def exchange_symmetric_key(
    payload: SymmetricKeyExchange,
    validator_hotkey_address: str = Header(..., alias=cst.VALIDATOR_HOTKEY),
    nonce: str = Header(..., alias=cst.NONCE),
    symmetric_key_uuid: str = Header(..., alias=cst.SYMMETRIC_KEY_UUID),
    config: Config = Depends(current_config),
) -> dict[str, str]:
    """POST /exchange-symmetric-key: keep the validator's key under its uuid, for five hours."""
    key = get_symmetric_key_b64_from_payload(
        payload, config.encryption_keys_handler.private_key, validator_hotkey_address, nonce
    )
    _keep(config, validator_hotkey_address, symmetric_key_uuid, key)
    return {"status": "Symmetric key exchanged successfully"}


class KeyOverSession(BaseModel):
    """The same exchange where a session has proved and sealed it. symmetric_key: base64."""

    symmetric_key: str
    symmetric_key_uuid: str


def session_calls(config_of: Callable[[], Awaitable[Config]]) -> Calls:
    """What only sessions reach: a validator's key, as it is."""
    calls = Calls()

    @calls.on(exchange.OVER_SESSION)
    async def take(given: KeyOverSession, validator: Validator) -> dict[str, str]:
        config = await config_of()
        try:
            key = exchange.plain_key(given.symmetric_key)
        except HandshakeFailed as error:
            raise HTTPException(status_code=400, detail=str(error)) from None
        _keep(config, validator.hotkey, given.symmetric_key_uuid, key)
        return {"status": "Symmetric key exchanged successfully"}

    return calls


def _keep(config: Config, validator: str, uuid: str, key_b64: str) -> None:
    if not 0 < len(uuid) <= exchange.UUID_CHARS_MAX:
        raise HTTPException(status_code=400, detail="That is no uuid")
    config.encryption_keys_handler.add_symmetric_key(
        uuid=uuid, hotkey_ss58_address=validator, fernet=Fernet(key_b64)
    )


def factory_router() -> APIRouter:
    """Both routes; the second for validators with stake enough."""
    router = APIRouter(tags=["Handshake"])
    router.add_api_route(
        f"/{cst.PUBLIC_ENCRYPTION_KEY_ENDPOINT}",
        get_public_key,
        methods=["GET"],
        response_model_exclude_none=True,
    )
    router.add_api_route(
        f"/{cst.EXCHANGE_SYMMETRIC_KEY_ENDPOINT}",
        exchange_symmetric_key,
        methods=["POST"],
        dependencies=[Depends(blacklist_low_stake), Depends(verify_request)],
    )
    return router
