"""Shared by the tests of docs/: its pages, the commands that they print, and the code that draws the rest."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import typer

import mycelium
from mycelium.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
"""Of the sources, wherever the package that is tested was installed."""
PACKAGE = Path(mycelium.__file__).resolve().parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))

_FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def script(name: str) -> ModuleType:
    """A module of docs/_site."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "_site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return [body for _, found, body in _FENCE.findall(page.read_text()) if found == language]


def console(page: Path) -> list[str]:
    """The commands of a page's console blocks, in order; what a line prints has no `$` before it."""
    return [
        line[2:] for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")
    ]


def mentioned(page: Path) -> Iterator[str]:
    """Commands of mycelium anywhere in a page: in blocks, and in the text between backticks."""
    text = page.read_text()
    yield from (line for line in console(page) if line.startswith("mycelium "))
    prose = _FENCE.sub("", text)
    yield from (found for found in re.findall(r"`(mycelium [^`]+)`", prose))


def tree() -> object:
    """The command line as typer understands it."""
    return typer.main.get_command(app)


def words(line: str) -> list[str]:
    """A command's words, without `mycelium`, and with a value for each variable."""
    return shlex.split(re.sub(r"\$\w+", "ws://127.0.0.1:1", line))[1:]


def resolve(line: str) -> tuple[object, list[str], list[str]]:
    """(command, its path, its arguments) of a line that begins with `mycelium`; an unknown word stays an argument."""
    command, path, rest = tree(), [], words(line)
    while rest and hasattr(command, "get_command"):
        found = command.get_command(typer.Context(command), rest[0])
        if found is None:
            break
        command, path, rest = found, [*path, rest[0]], rest[1:]
    return command, path, rest
