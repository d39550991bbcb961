"""Reading and writing the Bittensor chain: for programs that set weights, and for the node that needs its members.

`connection.Connection` is the way to a chain. The modules below are loaded when they are first asked for. Nothing here
loads a store or an event loop.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["chain_utils", "fetch_nodes", "interface", "metagraph", "weights"]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
