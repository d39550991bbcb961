"""The public networks by name: where their nodes are, and which chain they are. Data; nothing here connects."""

from __future__ import annotations

import difflib
from typing import Final, NamedTuple

from mycelium.errors import ConfigError


class Network(NamedTuple):
    """One network. genesis: 32 bytes, b"" where each instance has its own."""

    endpoints: tuple[str, ...]
    genesis: bytes


DEFAULT: Final = "finney"
NETWORKS: Final = {
    "finney": Network(
        ("wss://entrypoint-finney.opentensor.ai:443", "wss://lite.chain.opentensor.ai:443"),
        bytes.fromhex("2f0555cc76fc2840a25a6ea3b9637146806f1f44b090c175ffde2a7e5ab36c03"),
    ),
    "test": Network(
        ("wss://test.finney.opentensor.ai:443",),
        bytes.fromhex("8f9cf856bf558a14440e75569c9e58594757048d7b3a84b5d25f6bd978263105"),
    ),
    "archive": Network(
        ("wss://archive.chain.opentensor.ai:443",),
        bytes.fromhex("2f0555cc76fc2840a25a6ea3b9637146806f1f44b090c175ffde2a7e5ab36c03"),
    ),
    "local": Network(("ws://127.0.0.1:9944",), b""),
}


def network(name: str) -> Network:
    """The network of that name. ConfigError that lists the names there are."""
    found = NETWORKS.get(name)
    if found is None:
        near = difflib.get_close_matches(name, NETWORKS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(
            f"there is no network {name!r}",
            f"{hint}known are {', '.join(NETWORKS)}; or give an endpoint's address",
        )
    return found


def endpoints(name: str) -> tuple[str, ...]:
    """WebSocket addresses of a network, the first one first. ConfigError."""
    return network(name).endpoints


def resolve(where: str) -> tuple[str, ...]:
    """Endpoints of a network's name, or of an address as it is. ConfigError."""
    return (where,) if where.startswith(("ws://", "wss://")) else endpoints(where)
