"""numpy and pandas, which are optional: loaded when they are needed, with a remedy where they are missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mycelium.errors import ConfigError


def numpy() -> Any:
    """The module. ConfigError where it is not installed."""
    return _load("numpy")


def pandas() -> Any:
    """The module. ConfigError where it is not installed."""
    return _load("pandas")


def _load(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise ConfigError(
            f"{name} is not installed", f'install it with: pip install "mycelium-node[{name}]"'
        ) from None
