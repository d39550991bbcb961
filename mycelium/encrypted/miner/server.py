"""An encrypted miner's app: the handshake's routes, and the layer that verifies, decrypts and seals in front."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from fastapi import APIRouter, FastAPI

from mycelium.encrypted.miner import dependencies
from mycelium.encrypted.miner.core import configuration
from mycelium.encrypted.miner.endpoints.handshake import factory_router as handshake_factory_router
from mycelium.miner import gatekeeper
from mycelium.miner.lifecycle import Lifespan, lifespan_of

__all__ = ["FastAPI", "configuration", "factory_app", "handshake_factory_router", "logger"]

logger = logging.getLogger(__name__)


def factory_app(
    debug: bool = False, *, routers: Sequence[APIRouter] = (), lifespans: Sequence[Lifespan] = ()
) -> FastAPI:
    """An app with the routes of the handshake. routers: yours. lifespans: what begins and ends with it, in order."""
    app = FastAPI(
        lifespan=lifespan_of(lambda: configuration.factory_config(), dependencies.get_config, lifespans),
        debug=debug,
    )
    gatekeeper.guard(app, dependencies.get_config, encrypted=True)
    for router in (handshake_factory_router(), *routers):
        app.include_router(router)
    return app
