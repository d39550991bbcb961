"""Dials the bootstrap list while this node has no session with any member. Who answers is learnt in the handshake.

For a node that knows no address of a member yet: one session is enough, its peer knows the others' records. Owns its
one task, and no link.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence

from mycelium.config import BOOTSTRAP_RETRY_MS, DIAL_BACKOFF_MAX_MS
from mycelium.errors import MyceliumError
from mycelium.peer.dialer import Dial, dial_once
from mycelium.peer.hub import CLIENT, Hub
from mycelium.peer.link import Link

log = logging.getLogger(__name__)

_FIRST_LOOK_S = 0.2
"""Before the first round: those whom we know by name may be there, and are dialled anyway."""


class Bootstrap:
    """urls: addresses of whoever listens there. failures: url -> the last error, for people."""

    def __init__(self, hub: Hub, urls: Sequence[str], rng: random.Random, dial: Dial | None = None) -> None:
        self.failures: dict[str, MyceliumError] = {}
        self._hub = hub
        self._urls = list(urls)
        self._rng = rng
        self._dial = dial
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, if there is a list."""
        if self._urls:
            self._task = asyncio.get_running_loop().create_task(self._keep(), name="bootstrap")

    def dial(self, urls: Sequence[str]) -> None:
        """Another list, from the next round on."""
        self._urls = list(urls)
        self.failures = {url: error for url, error in self.failures.items() if url in urls}
        if self._task is None:
            self.start()

    async def close(self) -> None:
        """Stop; sessions stay. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def alone(self) -> bool:
        """Whether there is no session with a member."""
        return all(link.role == CLIENT for link in self._hub.links())

    async def _keep(self) -> None:
        await asyncio.sleep(_FIRST_LOOK_S * self._rng.random())
        wait_ms = BOOTSTRAP_RETRY_MS
        while True:
            if self.alone():
                await self._round()
                wait_ms = min(2 * wait_ms, DIAL_BACKOFF_MAX_MS) if self.alone() else BOOTSTRAP_RETRY_MS
            await asyncio.sleep(wait_ms / 1000 * self._rng.uniform(0.5, 1))

    async def _round(self) -> None:
        self._rng.shuffle(self._urls)
        for url in self._urls:
            if not self.alone():
                return
            try:
                link = await (self._dial or dial_once)(self._hub, url, as_client=False)
            except MyceliumError as error:
                self.failures[url] = error
                log.info("no session with %s of the bootstrap list: %s", url, error)
                continue
            self.failures.pop(url, None)
            if link.role == CLIENT:
                self._useless(link, url)

    def _useless(self, link: Link, url: str) -> None:
        """It is ourselves, or an account that does not hold the store."""
        link.close(text="dialled by a bootstrap list, and no member")
        if link.account == self._hub.local.account:
            log.info("%s of the bootstrap list is this node itself", url)
            self._urls = [other for other in self._urls if other != url]
