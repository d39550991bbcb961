"""Strangers who have not proved who they are yet: how many there may be, of how many addresses, and who gives way.

Owns their count, and the cookies that are asked for under load. Each has an address and can be dropped; a session
belongs to the hub.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from typing import Protocol

from mycelium.config import (
    ARRIVAL_ADDRESSES_MAX,
    ARRIVALS_BURST,
    ARRIVALS_PER_S,
    COOKIE_THRESHOLD,
    HANDSHAKES_PENDING_MAX,
    PENDING_PER_ADDRESS_MAX,
)
from mycelium.peer.bucket import Bucket
from mycelium.peer.cookie import CookieJar
from mycelium.peer.greeting import Local
from mycelium.peer.handshake import Responder
from mycelium.peer.observer import Observer
from mycelium.peer.scores import Addresses


class Stranger(Protocol):
    """A connection without a session. address: of `address_group`."""

    @property
    def address(self) -> str: ...

    def drop(self) -> None:
        """End the connection at once, to make room."""


class Admission:
    """The strangers at one listening address. addresses: what several listeners together hold against whom."""

    def __init__(
        self,
        local: Local,
        observer: Observer,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        addresses: Addresses | None = None,
    ) -> None:
        self._local = local
        self._observer = observer
        self._cookies = CookieJar(local.random)
        self._pending: dict[str, dict[Stranger, None]] = {}
        self._pending_count = 0
        self._clock_ns = clock_ns
        self._arrivals: dict[str, Bucket] = {}
        self.addresses = addresses or Addresses()

    @property
    def pending(self) -> int:
        """Connections that have no session yet."""
        return self._pending_count

    def under_load(self) -> bool:
        """Whether strangers must show a cookie before any public-key work is done for them."""
        return self._pending_count > COOKIE_THRESHOLD

    def arrive(self, stranger: Stranger) -> bool:
        """Count a new connection in; False if there is no room for it.

        When all places are taken, the address with the most of them gives up its oldest to an address that
        has fewer: a flood from one place crowds out itself. When all have one, the oldest of them (it had the most
        time) gives way to an address that has none: else idle connections of many would keep everyone out.
        """
        key = stranger.address
        if not is_loopback(key) and self.addresses.banned(key, self._clock_ns() // 1_000_000):
            self._observer.rejected("address-banned")
            return False
        if not self._in_time(key):
            self._observer.rejected("address-rate")
            return False
        mine = self._pending.get(key, {})
        if len(mine) >= PENDING_PER_ADDRESS_MAX:
            self._observer.rejected("address-full")
            return False
        if self._pending_count >= HANDSHAKES_PENDING_MAX:
            greediest = max(self._pending.values(), key=len)  # of equals the first, so the oldest
            self._observer.rejected("handshakes-full")
            if mine and len(greediest) <= len(mine) + 1:
                return False
            next(iter(greediest)).drop()
        self._pending.setdefault(key, {})[stranger] = None
        self._pending_count += 1
        return True

    def _in_time(self, address: str) -> bool:
        """Whether an address has not come too often of late. This machine's own may: it would flood itself."""
        if is_loopback(address):
            return True
        now_ns = self._clock_ns()
        bucket = self._arrivals.pop(address, None)
        if bucket is None:
            bucket = Bucket(ARRIVALS_PER_S, ARRIVALS_BURST)
            if len(self._arrivals) >= ARRIVAL_ADDRESSES_MAX:
                del self._arrivals[next(iter(self._arrivals))]
        self._arrivals[address] = bucket  # the last one to be forgotten
        return bucket.take(1, now_ns) == 0

    def failed(self, address: str, reason: str) -> None:
        """A connection of an address broke a rule before there was a session."""
        if self.addresses.failed(address, reason, self._clock_ns() // 1_000_000):
            self._observer.rejected("address-ban")

    def leave(self, stranger: Stranger) -> None:
        """The connection has a session, or is gone."""
        mine = self._pending.get(stranger.address)
        if mine is None or stranger not in mine:
            return
        del mine[stranger]
        self._pending_count -= 1
        if not mine:
            del self._pending[stranger.address]

    def strangers(self) -> list[Stranger]:
        """All of them."""
        return [stranger for group in self._pending.values() for stranger in group]

    def responder(self, remote: str) -> Responder:
        """Our side of a handshake with one of them."""
        local = self._local
        return Responder(
            local.keypair,
            local.network,
            local.generation,
            local.authorise,
            self._cookies,
            self.under_load,
            local.random,
            remote.encode(),
        )


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, or none at all, as of a socket of its file system."""
    try:
        address = ipaddress.ip_address(host)
        # The group of ::1 is that of its whole network, ::.
        return address.is_loopback or address.is_unspecified
    except ValueError:
        return "/" not in host


def address_group(host: str) -> str:
    """What one host controls: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False).network_address)
