"""Dashboards that watch: each is told once a second what the node is like. Owns who they are and what they wait for.

A dashboard has room for one message. Who has not taken the last one when the next is due misses it, and a connection
that takes nothing for UNREAD_S is dropped by `server`: a dead client costs one socket and one message, for so long.
Without clients nothing is made.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from mycelium.admin import views
from mycelium.admin.watch import Watch
from mycelium.config.admin import LIVE_CLIENTS_MAX

_POLICY: Final = 1008


class Client:
    """One dashboard's place."""

    __slots__ = ("filled", "message", "missed", "number")

    def __init__(self) -> None:
        self.filled = asyncio.Event()
        self.message = b""
        self.missed = 0
        self.number = 0
        """Of the newest event that it was told."""

    def offer(self, message: bytes) -> bool:
        """Whether there was room for it."""
        if self.filled.is_set():
            self.missed += 1
            return False
        self.message = message
        self.filled.set()
        return True


class Live:
    """All dashboards of one node."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._clients: set[Client] = set()
        watch.on_tick = self.tick

    def __len__(self) -> int:
        return len(self._clients)

    @property
    def full(self) -> bool:
        return len(self._clients) >= LIVE_CLIENTS_MAX

    def tick(self) -> None:
        """A second has passed: one message for all that have read what they were sent before."""
        if not self._clients:
            return
        node = self._watch.node
        said = views.snapshot(node, self._watch.health) | {"rates": self._watch.history.latest()}
        made: dict[int, bytes] = {}
        for client in self._clients:
            # Who missed a message is still told all events; almost always there is one message for all.
            message = made.get(client.number)
            news = node.events.after(client.number)
            if message is None:
                body = said | {"events": [views.event(one) for one in news]}
                message = made[client.number] = msgspec.json.encode(body)
            if client.offer(message) and news:
                client.number = news[-1].number

    def snapshot(self) -> dict[str, Any]:
        """What a dashboard begins with: the last minutes, and all events that are kept."""
        node = self._watch.node
        return views.snapshot(node, self._watch.health) | {
            "rates": self._watch.history.latest(),
            "history": self._watch.history.series(),
            "events": [views.event(one) for one in node.events.after(0)],
        }

    async def serve(self, socket: WebSocket) -> None:
        """One dashboard, until it goes. Whoever calls has seen that it is not full."""
        client = Client()
        self._clients.add(client)
        try:
            await socket.accept()
            first = self.snapshot()
            client.number = first["events"][-1]["number"] if first["events"] else 0
            client.offer(msgspec.json.encode(first))
            listening = asyncio.ensure_future(_gone(socket))
            try:
                await self._tell(socket, client, listening)
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
        finally:
            self._clients.discard(client)

    async def _tell(self, socket: WebSocket, client: Client, listening: asyncio.Future[bool]) -> None:
        while True:
            waiting = asyncio.ensure_future(client.filled.wait())
            either: set[asyncio.Future[Any]] = {waiting, listening}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if listening.done():
                if listening.result():
                    await socket.close(_POLICY, "nothing is to be said here")
                return
            with contextlib.suppress(WebSocketDisconnect):
                await socket.send_text(client.message.decode())
            client.filled.clear()


async def _gone(socket: WebSocket) -> bool:
    """Wait until the dashboard has gone, or says something, which it has no reason to: True."""
    message = await socket.receive()
    return bool(message["type"] == "websocket.receive")
