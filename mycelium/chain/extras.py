"""numpy and pandas, which are optional: loaded when they are needed."""

from __future__ import annotations

from typing import Any

from mycelium.extras import load


def numpy() -> Any:
    """The module. MissingExtra where it is not installed."""
    return load("numpy", "numpy")


def pandas() -> Any:
    """The module. MissingExtra where it is not installed."""
    return load("pandas", "pandas")
