"""Mycelium: a node that replicates a signed store among the validators of a Bittensor subnet.

    async with mycelium.Node.open("node.toml") as node:  # run a node in this process
        await node.database.table("scores").put("5F3s...", {"score": 0.93})

    async with mycelium.connect("node.toml") as node:  # or use the one that runs: as its own hotkey
        print(await node.database.table("scores").get("5F3s..."))

    async with mycelium.connect("ws://127.0.0.1:9090", keypair) as node:  # or as somebody else
        print(await node.epoch())

Importing the package loads none of its parts: they are loaded at first use. `Keypair` and `SubstrateInterface` are
substrate-interface's, where programs written for Fiber look for them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mycelium._version import __version__

if TYPE_CHECKING:
    from substrateinterface import Keypair as Keypair
    from substrateinterface import SubstrateInterface as SubstrateInterface

    from mycelium import chain as chain
    from mycelium import encrypted as encrypted
    from mycelium import validator as validator
    from mycelium.database.history import Verifier as Verifier
    from mycelium.node.node import Node as Node
    from mycelium.node.remote import connect as connect
    from mycelium.node.settings import Settings as Settings

__author__ = "Mycelium Contributors"

_PACKAGES = frozenset({"chain", "encrypted", "validator"})
_NAMES = {
    "Keypair": "substrateinterface",
    "Node": "mycelium.node.node",
    "Settings": "mycelium.node.settings",
    "SubstrateInterface": "substrateinterface",
    "Verifier": "mycelium.database.history",
    "connect": "mycelium.node.remote",
}

__all__ = [
    "Keypair",
    "Node",
    "Settings",
    "SubstrateInterface",
    "Verifier",
    "__author__",
    "__version__",
    "chain",
    "connect",
    "encrypted",
    "validator",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"mycelium.{name}")
    if name in _NAMES:
        value = getattr(import_module(_NAMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mycelium' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
