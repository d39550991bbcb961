"""Decryption of what validators send: whole bodies, and the symmetric key in a handshake. As in Fiber."""

from __future__ import annotations

import json
import logging
from base64 import urlsafe_b64encode
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import Depends, Header, HTTPException, Request
from pydantic import AliasChoices, BaseModel, ValidationError

from mycelium.encrypted.miner.core.models.config import Config
from mycelium.encrypted.miner.core.models.encryption import SymmetricKeyExchange
from mycelium.encrypted.miner.dependencies import current_config, get_config
from mycelium.errors import HandshakeFailed, RequestRefused
from mycelium.http import exchange, gate
from mycelium.http.layer import CHECKED, Checked
from mycelium.miner import gatekeeper

__all__ = [
    "BaseModel",
    "Config",
    "Depends",
    "HTTPException",
    "Header",
    "Request",
    "SymmetricKeyExchange",
    "T",
    "decrypt_general_payload",
    "decrypt_symmetric_key_exchange_payload",
    "get_body",
    "get_config",
    "get_symmetric_key_b64_from_payload",
    "logger",
    "rsa",
]

logger = logging.getLogger(__name__)
T = TypeVar("T", bound=BaseModel)


class _Decrypted(bytes):
    """A body that the layer has decrypted."""


async def get_body(request: Request) -> bytes:
    """The body: decrypted already, where it was and the validator's signature is good."""
    checked: Checked | None = request.scope.get(CHECKED)
    if checked is not None and checked.verified:
        if checked.undecryptable is not None:
            raise gatekeeper.refused(checked.undecryptable)
        if checked.plain is not None:
            return _Decrypted(checked.plain)
    return await request.body()


def get_symmetric_key_b64_from_payload(
    payload: SymmetricKeyExchange, private_key: rsa.RSAPrivateKey, validator_hotkey: str = "", nonce: str = ""
) -> str:
    """The exchanged key, URL-safe base64. 401 for what cannot be decrypted, is no key, or is another's signature."""
    try:
        key = exchange.key_from(
            payload.model_dump(),
            private_key,
            validator_hotkey,
            nonce,
            signed_only=exchange.signed_keys_only(),
        )
    except HandshakeFailed as error:
        logger.debug("a symmetric key was refused: %s", error)
        raise HTTPException(status_code=401, detail=gate.KEY_REFUSED) from None
    return urlsafe_b64encode(key).decode()


async def decrypt_symmetric_key_exchange_payload(
    config: Config = Depends(current_config), encrypted_payload: bytes = Depends(get_body)
) -> SymmetricKeyExchange:
    """A whole body encrypted with the miner's RSA key. 401 for what cannot be decrypted, 422 for no such exchange."""
    try:
        plain = config.encryption_keys_handler.private_key.decrypt(encrypted_payload, exchange.OAEP)
    except ValueError:
        raise HTTPException(status_code=401, detail=gate.KEY_REFUSED) from None
    return _model(SymmetricKeyExchange, plain)


async def decrypt_general_payload(
    model: type[T],
    encrypted_payload: bytes = Depends(get_body),
    symmetric_key_uuid: str = Header(...),
    validator_hotkey: str = Header(...),
    miner_hotkey: str = Header(...),
    config: Config = Depends(current_config),
) -> T:
    """The body as a model: `Depends(partial(decrypt_general_payload, Model))`.

    400 for a key that is unknown or whose time is over, 401 for a body that was not encrypted with it, 422 for one
    that is no such model. A nonce that a strict model does not know is left out.
    """
    del miner_hotkey
    plain = await decrypt_body(encrypted_payload, symmetric_key_uuid, validator_hotkey, config)
    return _model(model, plain)


async def decrypt_body(
    encrypted_payload: bytes = Depends(get_body),
    symmetric_key_uuid: str = Header(...),
    validator_hotkey: str = Header(...),
    config: Config = Depends(current_config),
) -> bytes:
    """The body's plain text. 400, 401 as above."""
    if isinstance(encrypted_payload, _Decrypted):
        return encrypted_payload
    info = config.encryption_keys_handler.get_symmetric_key(validator_hotkey, symmetric_key_uuid)
    try:
        return gate.decrypt(None if info is None else info.fernet, encrypted_payload)
    except RequestRefused as error:
        raise gatekeeper.refused(error) from None


def _model(model: type[T], plain: bytes) -> T:
    try:
        fields: Any = json.loads(plain)
        if not isinstance(fields, dict):
            raise ValueError("no JSON object")
    except (ValueError, RecursionError):
        raise HTTPException(status_code=422, detail="The decrypted body is no JSON object") from None
    if model.model_config.get("extra") == "forbid" and not _knows(model, "nonce"):
        # Validators put it there, and a strict model would refuse it; any other sees it as with Fiber.
        fields.pop("nonce", None)
    try:
        return model(**fields)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        raise HTTPException(status_code=422, detail=json.loads(json.dumps(details, default=str))) from None
    except TypeError:
        raise HTTPException(status_code=422, detail="The decrypted body has a field of no name") from None


def _knows(model: type[BaseModel], name: str) -> bool:
    """Whether a field is filled from that name: its own, or one of its aliases."""
    return any(
        name in (own, field.alias, field.validation_alias)
        or (isinstance(field.validation_alias, AliasChoices) and name in field.validation_alias.choices)
        for own, field in model.model_fields.items()
    )
