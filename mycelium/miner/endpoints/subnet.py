"""Example routes of a miner; yours take their place."""

from __future__ import annotations

from fastapi import Depends
from fastapi.routing import APIRouter
from pydantic import BaseModel

from mycelium.miner.dependencies import blacklist_low_stake, verify_get_request, verify_request

__all__ = [
    "APIRouter",
    "BaseModel",
    "Depends",
    "ExampleSubnetRequest",
    "blacklist_low_stake",
    "example_subnet_get",
    "example_subnet_request",
    "factory_router",
    "verify_get_request",
    "verify_request",
]


class ExampleSubnetRequest(BaseModel):
    """What is asked."""

    hi: str


async def example_subnet_request(example_body: ExampleSubnetRequest) -> dict[str, str]:
    """POST /example-subnet-request."""
    del example_body
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
