"""Who may import whom. Python imports are parsed, cimports matched by pattern; both wherever they stand in a file.

Lower never imports higher: errors, config < _core < protocol, identity < database < metagraph, feed < peer < node <
jetstream < replica, fleet, sinks < validator, devnet, sim < cli. Packages of one level do not import each other. Only
cli imports sim.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("sources")

LEVELS = [
    {"errors", "config", "constants", "logging_utils", "redaction", "_version"},
    {"_core", "extras", "sqlitefile", "tomlfile", "wholefile"},
    {"protocol", "identity"},
    {"database"},
    {"metagraph", "feed"},
    # Beside the peers: a program that only sets weights loads neither sockets nor a store.
    {"peer", "chain"},
    {"node", "substrate", "http"},
    {"networking", "utils", "jetstream"},
    {"miner", "replica", "fleet", "sinks"},
    {"encrypted"},
    {"validator", "scripts", "devnet", "doctor", "sim", "fiber", "admin"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
HARMLESS = {"__version__", "__author__"}
"""Names of mycelium/__init__.py that load nothing."""

CIMPORT = re.compile(
    r"^\s*(?:from\s+(mycelium[\w.]*)\s+cimport\s+(\w+)|cimport\s+(mycelium[\w.]*))", re.MULTILINE
)
IMPORT_IN_PYX = re.compile(
    r"^\s*(?:from\s+(mycelium[\w.]*)\s+import\s+(\w+)|import\s+(mycelium[\w.]*))", re.MULTILINE
)


def package_of(module: str) -> str | None:
    """mycelium.peer.link -> peer; None for what is not Mycelium's, or is the package itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "mycelium" and len(parts) > 1 else None


def imports_of(text: str, suffix: str, module: str) -> set[str]:
    """The packages of Mycelium that a file imports, under TYPE_CHECKING and inside functions too."""
    found: set[str | None] = set()
    if suffix in (".pyx", ".pxd"):
        for pattern in (CIMPORT, IMPORT_IN_PYX):
            for origin, name, plain in pattern.findall(text):
                found.add(package_of(f"{origin}.{name}" if origin else plain))
    else:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                found |= {package_of(alias.name) for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                origin = node.module or ""
                if node.level:
                    parent = module.split(".")[: -node.level]
                    origin = ".".join([*parent, origin] if origin else parent)
                found |= {package_of(f"{origin}.{alias.name}") for alias in node.names}
    return {name for name in found if name is not None}


def breaches(package: str, imported: set[str]) -> set[str]:
    """Of what a package imports, what it may not. A name without a level, such as `Node`, is nobody's to import."""
    others = imported - {package} - HARMLESS
    return {name for name in others if LEVEL.get(name, len(LEVELS)) >= LEVEL[package]}


def files(root: Path):
    for path in sorted((root / "mycelium").rglob("*")):
        if path.suffix in (".py", ".pyi", ".pyx", ".pxd"):
            yield path


def test_lower_never_imports_higher(root):
    problems = []
    for path in files(root):
        module = ".".join(path.relative_to(root).with_suffix("").parts)
        package = package_of(module)
        if package in (None, "__init__"):
            continue
        found = breaches(package, imports_of(path.read_text(), path.suffix, module))
        problems += [f"{path.relative_to(root)} imports mycelium.{name}" for name in sorted(found)]
    assert problems == []


def test_every_package_has_a_level(root):
    """A new package is placed on purpose, or this fails."""
    names = {
        path.stem
        for path in (root / "mycelium").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert names - {"__init__"} <= LEVEL.keys()


@pytest.mark.parametrize(
    ("package", "suffix", "line"),
    [
        ("database", ".py", "from mycelium.peer.link import Link"),
        ("database", ".py", "from mycelium import peer"),
        ("database", ".py", "import mycelium.node.runtime"),
        ("database", ".py", "def f():\n    from mycelium.cli import main"),
        ("database", ".py", "from ..metagraph import epoch"),
        ("metagraph", ".py", "from mycelium.chain import interface"),
        ("chain", ".py", "from mycelium.peer import link"),
        ("identity", ".py", "from mycelium.protocol import frame"),
        ("node", ".py", "from mycelium.sim import cluster"),
        ("devnet", ".py", "from mycelium.sim import cluster"),
        ("peer", ".py", "from mycelium.chain import interface"),
        ("database", ".py", "from mycelium import Node"),
        ("_core", ".pyx", "from mycelium.protocol cimport frame"),
        ("_core", ".pyx", "from mycelium.database import store"),
        ("errors", ".py", "from mycelium.config import KEY_BYTES_MAX"),
    ],
)
def test_a_breach_is_seen(package, suffix, line):
    assert breaches(package, imports_of(line, suffix, f"mycelium.{package}.module"))


@pytest.mark.parametrize(
    ("package", "suffix", "line"),
    [
        ("database", ".py", "import mycelium.identity.account\nfrom . import table\nfrom .. import errors"),
        ("chain", ".py", "from mycelium.metagraph import membership"),
        (
            "_core",
            ".pyx",
            "from mycelium._core.cursor cimport Cursor\nfrom mycelium.errors import UsageError",
        ),
        ("cli", ".py", "from mycelium.devnet import network"),
        ("cli", ".py", "from mycelium.sim import run"),
        ("node", ".py", "from mycelium.chain import interface\nfrom mycelium import __version__"),
    ],
)
def test_what_is_allowed_passes(package, suffix, line):
    assert not breaches(package, imports_of(line, suffix, f"mycelium.{package}.module"))


@pytest.mark.parametrize("package", ["identity", "metagraph", "chain"])
def test_light_packages_load_neither_uvloop_nor_rocksdb(package, root):
    """In an interpreter of its own, with every module of the package, since this one has loaded everything."""
    modules = [
        ".".join(path.relative_to(root).with_suffix("").parts)
        for path in sorted((root / "mycelium" / package).glob("*.py"))
        if path.stem != "__init__"
    ]
    names = [f"mycelium.{package}", *modules]
    script = f"import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\n"
    script += "print(sorted({'uvloop', 'rocksdict', 'picows'} & set(sys.modules)))"
    if not (root / "mycelium" / package).is_dir():
        pytest.skip(f"mycelium.{package} is not part of this version")
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=False
    )
    assert (loaded.stdout, loaded.stderr) == ("[]\n", "")
