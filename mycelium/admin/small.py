"""The admin port of a process that is no node: whether it lives, whether it is ready, its status, its metrics.

The same gate, headers and limits as a node's. Decides nothing about the process: it is given what to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from prometheus_client.metrics_core import Metric
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router

from mycelium.admin import views
from mycelium.admin.app import Guarded, Json
from mycelium.admin.exposition import render
from mycelium.admin.health import Facts, Health
from mycelium.admin.metrics import CONTENT_TYPE
from mycelium.admin.server import Place, serving
from mycelium.config.admin import LIVE_PERIOD_S

log = logging.getLogger(__name__)

Said = Callable[[], Mapping[str, Any]]


@contextlib.asynccontextmanager
async def open_small(
    place: Place,
    now_ms: Callable[[], int],
    facts: Callable[[], Facts],
    status: Said,
    families: Callable[[], Iterable[Metric]],
) -> AsyncIterator[Said]:
    """Answer there during the block; gives what says how healthy the process is. AddressInUse."""
    health = Health(now_ms())

    def judged() -> dict[str, Any]:
        return views.health(health, now_ms())

    async def look() -> None:
        while True:
            try:
                health.look(facts(), now_ms())
            except Exception:
                log.exception("looking at the process failed; the next look is in a second")
            await asyncio.sleep(LIVE_PERIOD_S)

    looking = asyncio.create_task(look(), name="admin-look")
    try:
        async with serving(place, Guarded(_router(judged, status, families), place.gate)):
            log.info("health and metrics: %s", place.url)
            yield judged
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def _router(judged: Said, status: Said, families: Callable[[], Iterable[Metric]]) -> Router:
    def ready() -> Response:
        found = judged()
        return Json(found, 200 if found["ready"] else 503)

    answers: dict[str, Callable[[], Response]] = {
        "/livez": lambda: PlainTextResponse("alive\n"),
        "/readyz": ready,
        "/status": lambda: Json(status()),
        "/metrics": lambda: Response(render(families()), headers={"content-type": CONTENT_TYPE}),
    }

    def route(path: str, answer: Callable[[], Response]) -> Route:
        async def endpoint(request: Request) -> Response:
            del request
            return answer()

        return Route(path, endpoint, methods=["GET", "HEAD"])

    return Router([route(path, answer) for path, answer in answers.items()], redirect_slashes=False)
