"""A miner's app: FastAPI with the layer that verifies signed requests in front. As in Fiber, and composable."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from fastapi import APIRouter, FastAPI

from mycelium.miner import dependencies, gatekeeper
from mycelium.miner.core import configuration
from mycelium.miner.lifecycle import Lifespan, lifespan_of

__all__ = ["FastAPI", "configuration", "factory_app", "logger"]

logger = logging.getLogger(__name__)


def factory_app(
    debug: bool = False, *, routers: Sequence[APIRouter] = (), lifespans: Sequence[Lifespan] = ()
) -> FastAPI:
    """An app without routes of its own. routers: yours. lifespans: what begins and ends with it, in order.

    Routes name what they ask for: `dependencies=[Depends(blacklist_low_stake), Depends(verify_request)]`.
    """
    app = FastAPI(
        lifespan=lifespan_of(lambda: configuration.factory_config(), dependencies.get_config, lifespans),
        debug=debug,
    )
    gatekeeper.guard(app, dependencies.get_config, encrypted=False)
    for router in routers:
        app.include_router(router)
    return app
