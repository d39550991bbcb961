"""The endpoints of one chain as witnesses: what one of them says, and what another says of that. Blocking.

Owns the connections to single endpoints that second opinions are asked of; the main one is given. Believes nothing
and decides nothing, `metagraph.tracker` does; whatever an endpoint answers, only a ChainError comes of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import TypeVar

from mycelium.chain import epochs
from mycelium.chain.connection import Connection
from mycelium.chain.epochs import Rules
from mycelium.chain.header import Head
from mycelium.chain.socket import shown
from mycelium.config import EPOCH_OPINION_S
from mycelium.errors import ChainError, ChainUnreachable, MetagraphError
from mycelium.metagraph.events import EpochRead, HeadSeen, Opinion, ReadFailed, TimesRead

log = logging.getLogger(__name__)
T = TypeVar("T")


class Witnesses:
    """By name: an endpoint's address without what may be secret in it. Safe from several threads."""

    def __init__(self, main: Connection) -> None:
        self.main = main
        self._urls: dict[str, str] = {}
        for url in main.access.rpc.endpoints:
            name, twins = shown(url), 1
            while name in self._urls:
                twins += 1
                name = f"{shown(url)} ({twins})"
            self._urls[name] = url
        self._names = {url: name for name, url in self._urls.items()}
        self._others: dict[str, Connection] = {}
        self._lock = Lock()
        self._turn = 0

    def __len__(self) -> int:
        return len(self._urls)

    @property
    def followed(self) -> str:
        """The endpoint that the main connection uses."""
        return self._names[self.main.endpoint]

    def url(self, name: str) -> str:
        """The address, for a connection."""
        return self._urls[name]

    def head(self, head: Head, anchor: int | None) -> HeadSeen:
        """A head that the main connection told of, with its time and what the same endpoint says of the anchor."""
        name = self.followed
        time_ms = understood(lambda: self.main.timestamp_ms(head.hash))
        known = None if anchor is None else (anchor, self.main.hash_of(anchor))
        self._same(name)
        return HeadSeen(head.number, head.hash, time_ms, name, known)

    def times(self, blocks: Iterable[int]) -> TimesRead:
        """The times of blocks, of the endpoint that is followed, without those that could not be had."""
        times_ms: dict[int, int] = {}
        for block in blocks:
            with suppress(ChainError):  # who needs it asks again
                block_hash = self.main.hash_of(block)
                if block_hash is not None:
                    times_ms[block] = understood(partial(self.main.timestamp_ms, block_hash))
        return TimesRead(times_ms)

    def read(
        self, rules: Rules, number: int, exclude: Collection[str], known: int | None
    ) -> EpochRead | ReadFailed:
        """An epoch from one endpoint that is not excluded: the one that is followed if it may be that."""
        name, connection = self._one(exclude)
        try:
            reading = understood(lambda: epochs.read(connection, rules, number, known=known))
            if connection is self.main:
                self._same(name)
        except ChainError as error:
            return ReadFailed(number, name, error)
        return EpochRead(reading, name)

    def opinion(self, number: int, exclude: str) -> Opinion:
        """What another endpoint says of a block: the first that answers."""
        for name in self._next([exclude]):
            try:
                return understood(partial(self._opinion, number, name, self._connection(name)))
            except ChainError as error:
                log.info("%s cannot be asked about block %d: %s", name, number, error.what)
        return Opinion(number)

    @staticmethod
    def _opinion(number: int, name: str, connection: Connection) -> Opinion:
        final = connection.finalised_head()
        if final.number >= number:
            return Opinion(number, name, connection.hash_of(number))
        # Block 0 has no time.
        return Opinion(number, name, None, connection.timestamp_ms(final.hash) if final.number else 0)

    def _one(self, exclude: Collection[str]) -> tuple[str, Connection]:
        """The endpoint that is followed, or another one if that is excluded. One must be left."""
        if (name := self.followed) not in exclude:
            return name, self.main
        name = self._next(exclude)[0]
        return name, self._connection(name)

    def _next(self, exclude: Collection[str]) -> list[str]:
        """Those that are not excluded, beginning with another one each time."""
        with self._lock:
            self._turn += 1
            turn = self._turn
        names = [name for name in self._urls if name not in exclude]
        return [*names[turn % len(names) :], *names[: turn % len(names)]] if names else []

    def _connection(self, name: str) -> Connection:
        with self._lock:
            if name not in self._others:
                self._others[name] = Connection(
                    (self._urls[name],), genesis=self.main.genesis, timeout_s=EPOCH_OPINION_S
                )
            return self._others[name]

    def _same(self, name: str) -> None:
        if self.followed != name:
            raise ChainUnreachable(f"{name} was lost while it was read")

    def close(self) -> None:
        """End the connections to others; the main one is its owner's."""
        with self._lock:
            for other in self._others.values():
                other.close()


def understood(ask: Callable[[], T]) -> T:
    """What an endpoint answers. ChainError for what cannot be understood, whatever the decoder raised of it."""
    try:
        return ask()
    except ChainError:
        raise
    except Exception as error:
        raise MetagraphError(
            f"the endpoint answered what cannot be read ({type(error).__name__}: {str(error)[:200]})",
            "try another endpoint",
        ) from error
