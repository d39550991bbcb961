"""The way to one chain: its endpoints, which chain it is, its newest runtime version, and archives for old blocks.

Owns the check of the genesis hash on every new connection: none of another chain is ever used. Decodes nothing.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import Any

from mycelium.chain.header import unhex
from mycelium.chain.rpc import Rpc
from mycelium.chain.runtime import Version, VersionWatch
from mycelium.chain.socket import Socket
from mycelium.config import CHAIN_CONNECT_S, CHAIN_REQUEST_S
from mycelium.errors import ChainRefused, ChainUnreachable, WrongChain

_WATCHES_MAX = 3


class Identity:
    """Which chain it is: the one that was asked for, or the first one met."""

    def __init__(self, genesis: bytes | None) -> None:
        self._genesis = genesis
        self._lock = threading.Lock()

    @property
    def genesis(self) -> bytes | None:
        return self._genesis

    def check(self, socket: Socket, timeout_s: float) -> None:
        """Raises WrongChain when the node is of another one."""
        found = unhex(socket.request("chain_getBlockHash", [0], timeout_s))
        with self._lock:
            if self._genesis is None:
                self._genesis = found
        if found != self._genesis:
            raise WrongChain(
                f"{socket.name} is another chain: its genesis is 0x{found.hex()}, not 0x{self._genesis.hex()}",
                "name an endpoint of the right chain; or, if it was begun anew, a fresh data directory",
            )

    def greet(self, socket: Socket, timeout_s: float) -> VersionWatch:
        """For a connection that answers for the best block."""
        self.check(socket, timeout_s)
        return VersionWatch(socket, timeout_s)


class Access:
    """Requests to a chain. archive: endpoints that are asked when the others have discarded a block's state."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        archive: Sequence[str] = (),
        timeout_s: float = CHAIN_REQUEST_S,
        genesis: bytes | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._identity = Identity(genesis)
        self.rpc = Rpc(endpoints, timeout_s=timeout_s, rng=rng, greet=self._identity.greet)
        self._archive: Rpc | None = None
        if archive:
            self._archive = Rpc(archive, timeout_s=timeout_s, rng=rng, greet=self._identity.check)

    @property
    def genesis(self) -> bytes:
        """Hash of block 0, 32 bytes; a connection is opened if it is not known yet."""
        if self._identity.genesis is None:
            self.rpc.greeting()
        found = self._identity.genesis
        assert found is not None, "no connection is used whose genesis was not read"
        return found

    def version(self) -> Version:
        """Of the best block's runtime, without a question where the node tells of upgrades by itself."""
        for _ in range(_WATCHES_MAX):
            watch: VersionWatch = self.rpc.greeting()
            try:
                return watch.now(min(CHAIN_CONNECT_S, self.rpc.timeout_s))
            except ChainUnreachable as error:
                lost = error  # with its connection; the next one has a watch of its own
        raise lost

    def request(self, method: str, params: Sequence[Any] = (), *, timeout_s: float | None = None) -> Any:
        """A call's result, of an archive where the nodes have discarded the block. Raises as `Rpc.request`."""
        return self._or_archive(lambda rpc: rpc.request(method, params, timeout_s=timeout_s))

    def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """Several calls at once; their results."""
        found: list[Any] = self._or_archive(lambda rpc: rpc.batch(calls))
        return found

    def _or_archive(self, ask: Any) -> Any:
        try:
            return ask(self.rpc)
        except ChainRefused as refused:
            if self._archive is None or not discarded(refused):
                raise
        return ask(self._archive)

    def close(self) -> None:
        """End all connections; everything that waits raises ChainUnreachable."""
        self.rpc.close()
        if self._archive is not None:
            self._archive.close()

    def reopen(self) -> None:
        """Let connections be opened again after `close`."""
        self.rpc.reopen()
        if self._archive is not None:
            self._archive.reopen()


def discarded(refused: ChainRefused) -> bool:
    """Whether the node says that it has not, or no more, the block or its state."""
    said = refused.what.lower()
    return "discarded" in said or "unknownblock" in said or "unknown block" in said
