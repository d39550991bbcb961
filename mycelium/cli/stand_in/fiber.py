"""`fiber` in the processes that a program under `mycelium fiber run` starts: this package, as in the program itself.

Found by its directory, which `fiber run` puts on their module path; they know of no import hook.
"""

from __future__ import annotations

import sys
from importlib import import_module

if __name__ == "fiber":
    # The import system then finds what `install` puts here.
    del sys.modules[__name__]
    import_module("mycelium.fiber").install()
