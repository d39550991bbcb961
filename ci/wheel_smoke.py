"""What an installed wheel must do with nothing but its own dependencies: run by ci/wheel_test.py and cibuildwheel.

Every module imports, or says which extra it lacks; the commands are there; four nodes share records for a moment.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import distribution
from pathlib import Path

import mycelium
from mycelium.errors import MissingExtra

INSIDE = "mycelium.http"
"""Its parts are imported by packages that ask for the extra first, and by nobody else."""
OF_AN_EXTRA = {"fastapi", "httpx"}


def imported() -> tuple[list[str], list[str]]:
    """Names of the modules that can be imported, and of those that lack an extra. Anything else ends the program."""
    whole, lacking = [], []
    for module in pkgutil.walk_packages(mycelium.__path__, "mycelium.", onerror=lambda name: None):
        if module.name == "mycelium.cli.stand_in.fiber":
            continue  # it puts `fiber` in place of another package, for the program that is run with it
        try:
            importlib.import_module(module.name)
            whole.append(module.name)
        except ImportError as error:
            if not asks_for_an_extra(error, module.name):
                raise
            lacking.append(module.name)
    return whole, lacking


def asks_for_an_extra(error: ImportError, module: str) -> bool:
    """Whether a module fails as it should: with one line that installs what it lacks."""
    if isinstance(error, MissingExtra):
        return str(error).endswith(f": pip install 'mycelium-node[{error.extra}]'") and "\n" not in str(error)
    return module.startswith(INSIDE) and error.name in OF_AN_EXTRA


def command(*arguments: str) -> str:
    """What a command of this environment prints; it ends well, and nowhere near the sources."""
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(arguments, cwd=elsewhere, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def main() -> None:
    where = Path(mycelium.__file__).parent
    assert where.parent == Path(sysconfig.get_path("platlib")), f"{where} is not the installed package"
    files = {str(path) for path in distribution("mycelium-node").files or ()}
    assert "mycelium/py.typed" in files
    assert any(name.endswith("licenses/LICENSE") for name in files)
    whole, lacking = imported()
    for name in ("codec", "replay", "merge", "fanout", "allow"):
        assert not sys.modules[f"mycelium._core.{name}"].__file__.endswith(".py"), name  # type: ignore[union-attr]
    script = str(Path(sysconfig.get_path("scripts")) / "mycelium")
    found = [
        json.loads(command(*how, "version", "--json"))
        for how in ([script], [sys.executable, "-m", "mycelium"])
    ]
    assert found[0] == found[1]
    assert found[0]["version"] == distribution("mycelium-node").version == mycelium.__version__
    with tempfile.TemporaryDirectory() as network:
        print(
            command(
                script, "devnet", "demo", "--for", "1", "--records", "500", "--dir", network
            ).splitlines()[-1]
        )
    print(
        f"mycelium {found[0]['version']} on Python {found[0]['python']}: {len(whole)} modules import, "
        f"{len(lacking)} ask for an extra"
    )


if __name__ == "__main__":
    main()
