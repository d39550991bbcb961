"""Packages that not everybody needs: where one is missing, the error says in one line what installs it.

Owns the names of the extras of pyproject.toml. Imports none of what they bring unless it is asked to.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from mycelium.errors import MissingExtra


def need(extra: str, *modules: str) -> None:
    """Raise MissingExtra if one of these top-level modules is not installed. Loads none of them.

    For the first line of a package that cannot do without: its own import would name the module, not the remedy.
    """
    for name in modules:
        if find_spec(name) is None:
            raise MissingExtra(name, extra)


def load(name: str, extra: str) -> Any:
    """Import a module of an extra where it is used. MissingExtra where it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise  # it is there, and lacks something itself
        raise MissingExtra(name, extra) from None
