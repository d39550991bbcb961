"""An encrypted miner's app: the handshake's routes, and the layer that verifies, decrypts and seals in front."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from mycelium.config import HTTP_BODY_BYTES_MAX
from mycelium.encrypted.miner import dependencies
from mycelium.encrypted.miner.core import configuration
from mycelium.encrypted.miner.endpoints.handshake import factory_router as handshake_factory_router
from mycelium.encrypted.miner.endpoints.handshake import session_calls
from mycelium.encrypted.miner.security.encryption import decrypt_body
from mycelium.http import session
from mycelium.http.session.door import Door
from mycelium.miner import gatekeeper
from mycelium.miner.calls import Calls, router_of
from mycelium.miner.lifecycle import Lifespan, lifespan_of

__all__ = ["FastAPI", "configuration", "factory_app", "handshake_factory_router", "logger"]

logger = logging.getLogger(__name__)


def factory_app(
    debug: bool = False,
    *,
    routers: Sequence[APIRouter] = (),
    lifespans: Sequence[Lifespan] = (),
    calls: Calls | None = None,
    body_bytes_max: int = HTTP_BODY_BYTES_MAX,
) -> FastAPI:
    """An app with the routes of the handshake. routers: yours. lifespans: what begins and ends with it, in order.
    calls: your native handlers. body_bytes_max: of one request, 413 above it.

    Validators of ours call over sessions on the same port, unless MYCELIUM_SESSIONS=0.
    """
    calls = calls or Calls()
    door = None
    if session.enabled():
        own = session_calls(lambda: gatekeeper.configured_of(app, dependencies.get_config))
        door = Door(calls, encrypted=True, own=own)
    app = FastAPI(
        lifespan=lifespan_of(
            lambda: configuration.factory_config(), dependencies.get_config, lifespans, door
        ),
        debug=debug,
    )
    gatekeeper.guard(app, dependencies.get_config, door, body_bytes_max, encrypted=True)
    natives = router_of(calls, _guards, decrypt_body, dependencies.current_config)
    for router in (handshake_factory_router(), *routers, natives):
        app.include_router(router)
    return app


def _guards(method: str) -> list[Any]:
    verify = dependencies.verify_get_request if method == "GET" else dependencies.verify_request
    return [Depends(dependencies.blacklist_low_stake), Depends(verify)]
