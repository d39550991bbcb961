"""A miner's app: FastAPI with the layer that verifies signed requests in front. As in Fiber, and composable."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request

from mycelium.config import HTTP_BODY_BYTES_MAX
from mycelium.http import session
from mycelium.http.session.door import Door
from mycelium.miner import dependencies, gatekeeper
from mycelium.miner.calls import Calls, router_of
from mycelium.miner.core import configuration
from mycelium.miner.lifecycle import Lifespan, lifespan_of

__all__ = ["FastAPI", "configuration", "factory_app", "logger"]

logger = logging.getLogger(__name__)


def factory_app(
    debug: bool = False,
    *,
    routers: Sequence[APIRouter] = (),
    lifespans: Sequence[Lifespan] = (),
    calls: Calls | None = None,
    body_bytes_max: int = HTTP_BODY_BYTES_MAX,
) -> FastAPI:
    """An app without routes of its own. routers: yours. lifespans: what begins and ends with it, in order. calls: your
    native handlers. body_bytes_max: of one request, 413 above it.

    Routes name what they ask for: `dependencies=[Depends(blacklist_low_stake), Depends(verify_request)]`.
    Validators of ours call over sessions on the same port, unless MYCELIUM_SESSIONS=0.
    """
    calls = calls or Calls()
    door = Door(calls, encrypted=False) if session.enabled() else None
    app = FastAPI(
        lifespan=lifespan_of(
            lambda: configuration.factory_config(), dependencies.get_config, lifespans, door
        ),
        debug=debug,
    )
    gatekeeper.guard(app, dependencies.get_config, door, body_bytes_max, encrypted=False)
    for router in (*routers, router_of(calls, _guards, _body, dependencies.current_config)):
        app.include_router(router)
    return app


def _guards(method: str) -> list[Any]:
    verify = dependencies.verify_get_request if method == "GET" else dependencies.verify_request
    return [Depends(dependencies.blacklist_low_stake), Depends(verify)]


async def _body(request: Request) -> bytes:
    return await request.body()
