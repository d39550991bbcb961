"""Which network a node belongs to: a subnet of a chain. Nothing here talks to either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GENESIS_BYTES: Final = 32
NETUID_MAX: Final = 2**16 - 1


@dataclass(frozen=True, slots=True)
class Network:
    """A subnet: its number, and the hash of the first block of the chain that it is on (32 bytes)."""

    netuid: int
    genesis: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.netuid <= NETUID_MAX:
            raise ValueError(f"a netuid is between 0 and {NETUID_MAX}, not {self.netuid}")
        if len(self.genesis) != GENESIS_BYTES:
            raise ValueError(f"a genesis hash has {GENESIS_BYTES} bytes, not {len(self.genesis)}")


ANY_NETWORK: Final = Network(0, bytes(GENESIS_BYTES))
"""Told apart by identity: a program that dials takes over the network that the node it dialled signs for."""
