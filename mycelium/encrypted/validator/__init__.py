"""What a validator does, in the shape of older programs. Loads its modules at first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mycelium.encrypted.validator import client as client
    from mycelium.encrypted.validator import handshake as handshake

__all__ = ["client", "handshake"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
