"""A local network: its node processes, a connection to each, and what can be asked of all of them.

Used as `async with LocalNetwork(places) as network`; however the block ends, every process is ended by its id.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, TypeVar

from mycelium.database.access import SYS
from mycelium.devnet.chain import callfault
from mycelium.devnet.layout import ChainPlace, NodePlace
from mycelium.devnet.process import ChainProcess, NodeProcess
from mycelium.errors import LinkError, MyceliumError, ProtocolError
from mycelium.node.remote import RemoteNode, connect

AGREE_POLL_S: Final = 0.1
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NodeState:
    """What one node holds: the digest of its state and the number of its rows. None where it did not answer."""

    name: str
    digest: str | None
    rows: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One node at one moment, for the live table. rate: changes per second since the sample before."""

    name: str
    state: str
    changes: int
    rate: float
    vector: str
    peers: int
    rss_bytes: int


class LocalNetwork:
    """The nodes of one directory, and their chain. `remotes[i]`: the connection to node i, None while it does not run.

    chain: None where the members are in a file.
    """

    def __init__(self, places: Sequence[NodePlace], chain: ChainPlace | None = None) -> None:
        self.chain = None if chain is None else ChainProcess(chain)
        self.nodes = [NodeProcess(place) for place in places]
        self.remotes: list[RemoteNode | None] = [None] * len(self.nodes)
        self._before: dict[int, tuple[float, int]] = {}

    async def __aenter__(self) -> LocalNetwork:
        try:
            if self.chain is not None:
                await self.chain.start()
            async with asyncio.TaskGroup() as starting:
                for index in range(len(self.nodes)):
                    starting.create_task(self.start(index))
        except BaseException as error:
            await self._end()
            # One node's failure is what the caller should read, not a group of it and the cancelled others.
            if isinstance(error, BaseExceptionGroup):
                raise error.exceptions[0] from None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def start(self, index: int) -> None:
        """Start node `index` and connect to it."""
        await self.nodes[index].start()
        place = self.nodes[index].place
        self.remotes[index] = await connect(place.url, place.keypair, place.keypair.account)

    async def kill(self, index: int) -> None:
        """SIGKILL node `index`."""
        await self.nodes[index].kill()
        await self._disconnect(index)

    def remote(self, index: int) -> RemoteNode:
        """The connection to a running node."""
        remote = self.remotes[index]
        if remote is None:
            raise MyceliumError(f"{self.nodes[index].place.name} does not run")
        return remote

    def running(self) -> list[int]:
        """Indices of the nodes that run."""
        return [index for index, node in enumerate(self.nodes) if node.running and self.remotes[index]]

    async def fault(self, name: str, *arguments: Any) -> Any:
        """Do something to the chain, as `mycelium devnet fault` does. MyceliumError where there is none."""
        if self.chain is None:
            raise MyceliumError("this network has no chain: its members are in a file")
        return await asyncio.to_thread(callfault.call, self.chain.place.url, name, list(arguments))

    async def status(self, index: int) -> dict[str, Any] | None:
        """The node's status; None when it does not answer. Connects again to one that came back by itself."""
        remote = self.remotes[index]
        place = self.nodes[index].place
        try:
            if remote is None or not remote.connected:
                await self._disconnect(index)
                remote = await connect(place.url, place.keypair, place.keypair.account, timeout_s=1)
                self.remotes[index] = remote
            return await remote.status()
        except (LinkError, ProtocolError):
            return None

    async def sample(self) -> list[Sample]:
        """All nodes now, cheap enough for several times a second."""
        found = await asyncio.gather(*(self.status(index) for index in range(len(self.nodes))))
        now_s = time.monotonic()
        return [self._sample(index, status, now_s) for index, status in enumerate(found)]

    async def vectors(self) -> list[str | None]:
        """What each running node holds, as the digests of its version vectors; None: no answer."""
        found = await asyncio.gather(*(self.status(index) for index in range(len(self.nodes))))
        return [None if status is None else _vector(status) for status in found]

    async def held(self, index: int) -> int:
        """How many changes a node holds, of all origins; 0 when it does not answer."""
        status = await self.status(index)
        return 0 if status is None else _held(status)

    async def wait_agreed(self, timeout_s: float, without: int | None = None) -> float | None:
        """Wait until all nodes hold the same batches; the seconds it took, None if they do not in time.

        without: a node that does not count.
        A node that is gone ends the waiting: nobody here starts it again.
        """
        began_s = time.monotonic()
        while True:
            vectors = await self.vectors()
            if without is not None:
                vectors[without] = vectors[(without + 1) % len(vectors)]
            waited_s = time.monotonic() - began_s
            if None not in vectors and len(set(vectors)) == 1:
                return waited_s
            gone = any(
                vector is None and not node.pid for vector, node in zip(vectors, self.nodes, strict=True)
            )
            if gone or waited_s > timeout_s:
                return None
            await asyncio.sleep(AGREE_POLL_S)

    async def states(self) -> list[NodeState]:
        """The digest of every node's whole state. Reads all of it, one node after the other."""
        found = []
        for index, node in enumerate(self.nodes):
            remote = self.remotes[index]
            state: dict[str, dict[str, Any]] = {}
            if remote is not None:
                with contextlib.suppress(LinkError):
                    state = _declared(await remote.database.state())
            digest = ",".join(one["digest"] for one in state.values()) or None
            found.append(NodeState(node.place.name, digest, sum(one["rows"] for one in state.values())))
        return found

    def _sample(self, index: int, status: dict[str, Any] | None, now_s: float) -> Sample:
        node = self.nodes[index]
        if status is None:
            self._before.pop(index, None)
            state = "starting" if node.pid else "down"
            return Sample(node.place.name, state, 0, 0.0, "", 0, node.rss_bytes())
        changes = _held(status)
        before_s, before = self._before.get(index, (now_s, changes))
        elapsed_s = now_s - before_s
        if elapsed_s >= 1.0 or index not in self._before:
            self._before[index] = (now_s, changes)
        rate = (changes - before) / elapsed_s if elapsed_s > 0 else 0.0
        fetching = status["sync"]["fetching"]
        return Sample(
            node.place.name,
            "syncing" if fetching else "running",
            changes,
            rate,
            _vector(status)[:12],
            len(status["peers"]),
            node.rss_bytes(),
        )

    async def _disconnect(self, index: int) -> None:
        remote, self.remotes[index] = self.remotes[index], None
        if remote is not None:
            await remote.close()

    async def _end(self) -> None:
        # Shielded: a second Ctrl-C while the nodes drain must not leave one of them behind.
        await asyncio.shield(self._end_all())

    async def _end_all(self) -> None:
        await asyncio.gather(*(self._end_one(index) for index in range(len(self.nodes))))
        if self.chain is not None:
            await self.chain.stop()

    async def _end_one(self, index: int) -> None:
        await self._disconnect(index)
        await self.nodes[index].stop()


def _declared(spaces: dict[str, T]) -> dict[str, T]:
    """Without the network's own: what programs put there."""
    return {space: found for space, found in sorted(spaces.items()) if space != SYS}


def _vector(status: dict[str, Any]) -> str:
    return ",".join(_declared(status["database"]["vectors"]).values())


def _held(status: dict[str, Any]) -> int:
    return sum(_declared(status["database"]["held_changes"]).values())
