"""The admin port as an ASGI app: its paths, and the headers that every answer has. Decides nothing about a node.

Every request passes `access.Gate` before a path is looked at. Answers are made at once and are small: there is no
request that makes the node work for longer than a scrape.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from mycelium.admin import page, views
from mycelium.admin.access import Gate, Refusal
from mycelium.admin.live import Live
from mycelium.admin.metrics import CONTENT_TYPE, Exporter
from mycelium.admin.watch import Watch

log = logging.getLogger(__name__)

_HEADERS: Final = (
    (b"content-security-policy", page.POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Json(Response):
    """Any object, as msgspec writes it."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content) + b"\n"


def app(watch: Watch, live: Live, gate: Gate) -> ASGIApp:
    """The whole of it."""
    return Guarded(_router(watch, live), gate, live)


def _router(watch: Watch, live: Live) -> Router:
    node, exporter = watch.node, Exporter(watch, live)

    def ready() -> Response:
        found = views.health(watch.health, node.now_ms())
        return Json(found, 200 if found["ready"] else 503)

    answers: dict[str, Callable[[], Response]] = {
        "/livez": lambda: PlainTextResponse("alive\n"),
        "/readyz": ready,
        "/status": lambda: Json(node.status()),
        "/peers": lambda: Json(views.peers(node)),
        "/sync": lambda: Json(views.sync(node)),
        "/feed": lambda: Json(views.feed(node)),
        "/fleet": lambda: Json(views.fleet(node)),
        "/blacklist": lambda: Json(views.blacklist(node)),
        "/snapshot": lambda: Json(live.snapshot()),
        "/metrics": lambda: Response(exporter.text(), headers={"content-type": CONTENT_TYPE}),
    }
    for path, file in page.files().items():
        answers[path] = lambda file=file: Response(file.body, headers={"content-type": file.type})  # type: ignore[misc]

    def route(path: str, answer: Callable[[], Response]) -> Route:
        async def endpoint(request: Request) -> Response:
            del request
            return answer()

        return Route(path, endpoint, methods=["GET", "HEAD"])

    async def watching(socket: WebSocket) -> None:
        await live.serve(socket)

    routes = [route(path, answer) for path, answer in answers.items()]
    return Router([*routes, WebSocketRoute("/live", watching)], redirect_slashes=False)


class Guarded:
    """Lets through what the gate lets through; adds the headers; turns a failure of ours into a plain 500.

    live: what serves dashboards, where any may watch.
    """

    def __init__(self, inner: ASGIApp, gate: Gate, live: Live | None = None) -> None:
        self._inner = inner
        self._gate = gate
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        socket = scope["type"] == "websocket"
        method = "GET" if socket else scope["method"]
        refusal = self._gate.judge(method, scope["path"], scope["headers"], socket=socket)
        if refusal is None and socket and self._live is not None and self._live.full:
            refusal = Refusal(503, "enough dashboards watch already", ((b"retry-after", b"5"),))
        if refusal is not None:
            await _refuse(scope, receive, send, refusal)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                started = True
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        try:
            await self._inner(scope, receive, sending)
        except Exception:
            log.exception("answering %.80r failed", scope["path"])
            if started or socket:
                raise
            await _refuse(scope, receive, send, Refusal(500, "internal error; the node's log has it"))


async def _refuse(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    """Answer and end the connection: what else it may hold is not read."""
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    body = refusal.text.encode() + b"\n"
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *refusal.headers,
        *_HEADERS,
    ]
    if scope["type"] == "websocket":
        await receive()
    await send({"type": f"{kind}.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": b"" if scope.get("method") == "HEAD" else body})
    if scope["type"] == "websocket":
        # uvicorn takes an app that returns before the connection has ended for one that forgot to answer.
        await receive()
        await receive()
