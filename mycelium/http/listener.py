"""uvicorn's HTTP/1.1 with an end to what it waits for: the headers of a request, in bytes and in time.

    uvicorn miner:app --http mycelium.http.listener:Bounded

uvicorn over httptools waits forever for headers that never end, and takes ever longer for a long one; an app learns of
neither. Bodies are the app's to bound: see `layer`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mycelium.config import HTTP_HEAD_BYTES_MAX, HTTP_HEAD_S

log = logging.getLogger(__name__)


class Bounded(HttpToolsProtocol):
    """One connection. Callbacks named on_* are the parser's."""

    head_bytes_max = HTTP_HEAD_BYTES_MAX
    head_s = HTTP_HEAD_S

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._bodiless = 0
        self._head_since_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        self._head_since_s = self.loop.time()
        self._timer = self.loop.call_later(self.head_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._bodiless += len(data)
        super().data_received(data)
        if self._bodiless > self.head_bytes_max and not self.transport.is_closing():
            log.warning("%s sent %d bytes that are no body", self.client, self._bodiless)
            if self.cycle is None or self.cycle.response_complete:
                self.send_400_response("Too much that is no body.")
            else:
                # An answer may be under way, in which another would be read as a part of it.
                self.transport.abort()

    def _look(self) -> None:
        # One timer a connection, looked at now and then, costs a request nothing.
        if self.transport.is_closing():
            return
        since_s = self._head_since_s
        if since_s is not None and self.loop.time() - since_s >= self.head_s:
            log.debug("%s did not finish its headers", self.client)
            self.transport.abort()
            return
        wait_s = self.head_s if since_s is None else since_s + self.head_s - self.loop.time()
        self._timer = self.loop.call_later(wait_s, self._look)

    # --- the parser -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._head_since_s is None:
            self._head_since_s = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_since_s = None
        self._bodiless = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._bodiless = 0
        super().on_body(body)
