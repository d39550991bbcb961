"""The node that a bridge reads from: one connection, made anew for as long as it takes, and who it turned out to be.

A client of the node like any other: what goes wrong here, the node never notices. Reads no feed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol

from mycelium.config.jetstream import NODE_PAUSE_MAX_S, NODE_PAUSE_S
from mycelium.errors import ConfigError, LinkError, MyceliumError, ProtocolError, StoreError, UsageError
from mycelium.jetstream.layout import Network
from mycelium.jetstream.problems import Problems
from mycelium.node.remote import RemoteNode

logger = logging.getLogger(__name__)

SUBJECT: Final = "the node"
NODE_ERRORS: Final = (LinkError, ProtocolError, StoreError, OSError, TimeoutError)
"""What a connection to a node raises that another connection may mend."""


class Identity(NamedTuple):
    """Whose feed it is. fleet: the account's fleet puts the account's own batches into the streams itself."""

    network: Network
    account: bytes
    generation: int
    fleet: bool


class Connect(Protocol):
    def __call__(self) -> Awaitable[RemoteNode]: ...


class Source:
    """Of one node. connect: makes a connection; problems: where it is said that there is none."""

    def __init__(self, connect: Callable[[], Awaitable[RemoteNode]], problems: Problems) -> None:
        self._connect = connect
        self._problems = problems
        self._node: RemoteNode | None = None
        self._lock = asyncio.Lock()
        self._met = False

    async def node(self) -> RemoteNode:
        """A node that is connected, however long that takes.

        Raises ConfigError, UsageError, and what it is refused for, before it was ever connected: then nobody waits.
        """
        async with self._lock:
            pause_s = NODE_PAUSE_S
            while self._node is None or not self._node.connected:
                await self._drop()
                try:
                    self._node = await self._connect()
                except (ConfigError, UsageError):
                    raise
                except NODE_ERRORS as error:
                    if isinstance(error, ProtocolError) and not self._met:
                        raise
                    self._problems.say(SUBJECT, error)
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, NODE_PAUSE_MAX_S)
            if not self._met:
                logger.info("reads the feed of %s at %s", self._node.address, self._node.url)
            self._met = True
            self._problems.over(SUBJECT)
            return self._node

    async def identity(self) -> Identity:
        """Who the node is now."""
        while True:
            node = await self.node()
            try:
                status = await node.status()
                network = Network(int(status["netuid"]), bytes.fromhex(status["genesis"]))
                generation = int(status["database"]["generation"])
            except NODE_ERRORS as error:
                self._problems.say(SUBJECT, error)
                await asyncio.sleep(NODE_PAUSE_S)
            except (KeyError, ValueError, TypeError):
                raise MyceliumError(
                    f"the node at {node.url} does not say its network: it is of an older version"
                ) from None
            else:
                return Identity(network, node.account, generation, bool(status.get("fleet")))

    async def newest(self) -> int | None:
        """The index of the newest durable batch of the feed; None where no node answers just now."""
        if self._node is None or not self._node.connected:
            return None
        try:
            return int((await self._node.status())["database"]["durable"])
        except (*NODE_ERRORS, KeyError, ValueError, TypeError):
            return None

    async def close(self) -> None:
        """End the connection."""
        await self._drop()

    async def _drop(self) -> None:
        node, self._node = self._node, None
        if node is not None:
            await node.close()
