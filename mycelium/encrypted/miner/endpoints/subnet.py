"""Example routes of an encrypted miner; yours take their place."""

from __future__ import annotations

from functools import partial

from fastapi import Depends
from fastapi.routing import APIRouter
from pydantic import BaseModel

from mycelium.encrypted.miner.dependencies import blacklist_low_stake, verify_get_request, verify_request
from mycelium.encrypted.miner.security.encryption import decrypt_general_payload

__all__ = [
    "APIRouter",
    "BaseModel",
    "Depends",
    "ExampleSubnetRequest",
    "blacklist_low_stake",
    "decrypt_general_payload",
    "example_subnet_get",
    "example_subnet_request",
    "factory_router",
    "partial",
    "verify_get_request",
    "verify_request",
]


class ExampleSubnetRequest(BaseModel):
    """What is asked: nothing."""


async def example_subnet_request(
    decrypted_payload: ExampleSubnetRequest = Depends(partial(decrypt_general_payload, ExampleSubnetRequest)),
) -> dict[str, str]:
    """POST /example-subnet-request."""
    del decrypted_payload
    return {"status": "Example request received"}


async def example_subnet_get() -> dict[str, str]:
    """GET /example-subnet-get."""
    return {"status": "Example get request received"}


def factory_router() -> APIRouter:
    """Both, for validators with stake enough."""
    router = APIRouter(tags=["Example"])
    for path, endpoint, method, verify in (
        ("/example-subnet-request", example_subnet_request, "POST", verify_request),
        ("/example-subnet-get", example_subnet_get, "GET", verify_get_request),
    ):
        router.add_api_route(
            path, endpoint, methods=[method], dependencies=[Depends(blacklist_low_stake), Depends(verify)]
        )
    return router
