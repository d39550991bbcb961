"""The name `fiber` for this package: after `import mycelium.fiber` programs that import `fiber` run on Mycelium.

Owns the import hook. A module and its classes are the same under both names, so that an exception raised by one is
caught by the other. Nothing else is put in Fiber's place than the imports of this process.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from mycelium.errors import UsageError

if TYPE_CHECKING:
    from substrateinterface import Keypair as Keypair
    from substrateinterface import SubstrateInterface as SubstrateInterface

__all__ = ["Keypair", "SubstrateInterface"]

_NAME: Final = "fiber"
_OURS: Final = "mycelium"
__path__: list[str] = []
"""Its parts are found by the hook alone."""


class _Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds fiber.x as mycelium.x."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """None for what is not Fiber's, or has no equal here."""
        if not fullname.startswith(f"{_NAME}."):
            return None
        ours = _ours(fullname)
        try:
            found = importlib.util.find_spec(ours)
        except ModuleNotFoundError:
            return None
        if found is None:
            return None
        return importlib.machinery.ModuleSpec(
            fullname, self, is_package=found.submodule_search_locations is not None
        )

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The module of ours itself."""
        module = importlib.import_module(_ours(spec.name))
        # The import system writes its own spec into it, which must stay the first one.
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has run already."""
        written = module.__spec__
        if written is not None and written.loader is self:
            module.__spec__ = written.loader_state


def _ours(fullname: str) -> str:
    return f"{_OURS}.{fullname[len(_NAME) + 1 :]}"


def install() -> None:
    """Make `fiber` mean this package from now on; once or many times. UsageError where the other one is imported."""
    there = sys.modules.get(_NAME)
    me = sys.modules[__name__]
    if there is me:
        return
    if there is not None:
        raise UsageError(
            f"`fiber` is imported already, from {getattr(there, '__file__', 'somewhere')}\n"
            "  import mycelium.fiber before anything that imports fiber, or use `mycelium fiber run`"
        )
    sys.meta_path.insert(0, _Alias())
    sys.modules[_NAME] = me


def __getattr__(name: str) -> Any:
    if name in __all__:
        # It takes a quarter of a second, and not every program asks for it.
        return getattr(importlib.import_module("substrateinterface"), name)
    if not name.startswith("_"):
        try:
            return importlib.import_module(f"{_OURS}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{_OURS}.{name}":
                raise
    raise AttributeError(f"module {_NAME!r} has no attribute {name!r}")


install()
