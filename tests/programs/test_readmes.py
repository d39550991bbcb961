"""The README files of the examples: complete, and their commands are ones that exist, with options that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from itertools import pairwise

import clikit
import pytest
from examplekit import EXAMPLES
from typer.main import get_command

from mycelium.cli.main import app

LINES_MAX = 115
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "__pycache__")
FILES = sorted(EXAMPLES.rglob("README.md"))


def read(name):
    return (EXAMPLES / name / "README.md").read_text()


def commands(text):
    """The lines of its blocks without a language, as words, without what the shell does around them."""
    for block in re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                words.pop(0)
            for sign in ("<", ">", "|", "&&"):
                words = words[: words.index(sign)] if sign in words else words
            yield words


def options(words):
    return {word.split("=")[0] for word in words if word.startswith("--")}


def test_the_index_lists_all():
    listed = re.findall(
        r"^\| \[(\w+)\]\(\1\) \|.*`(\w+\.py)` \|$", (EXAMPLES / "README.md").read_text(), re.MULTILINE
    )
    assert sorted(name for name, _ in listed) == NAMES
    assert [name for name, first in listed if not (EXAMPLES / name / first).is_file()] == []


@pytest.mark.parametrize("name", NAMES)
def test_each_is_complete_and_short(name):
    text = read(name)
    assert "## Run it" in text
    assert "```text\n" in text, "what is to be seen"
    programs = sorted((EXAMPLES / name).glob("*.py"))
    assert [path.name for path in programs if path.read_text().count("\n") > LINES_MAX] == []
    if len(programs) > 2:
        files = [
            path.name for path in (EXAMPLES / name).iterdir() if path.is_file() and path.name != "README.md"
        ]
        assert [file for file in files if f"`{file}`" not in text] == []


@pytest.mark.parametrize("path", FILES, ids=[path.parent.name for path in FILES])
def test_links_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text())
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", FILES, ids=[path.parent.name for path in FILES])
def test_the_commands_exist(path):
    found = list(commands(path.read_text()))
    ours = [words for words in found if words[0] == "mycelium"]
    assert any(words[1:3] == ["devnet", "up"] for words in ours)
    for words in ours:
        command = get_command(app)
        rest = words[1:]
        while hasattr(command, "get_command"):
            command = command.get_command(None, rest.pop(0))
            assert command is not None, words
        known = {option for parameter in command.params for option in parameter.opts}
        if not command.context_settings.get("ignore_unknown_options"):
            assert options(rest) <= known, words
    for words in found:
        tables = [word for before, word in pairwise(words) if before == "--tables"]
        assert all((clikit.TREE / table).is_file() for table in tables)


PROGRAMS = sorted(
    {words[1] for path in FILES for words in commands(path.read_text()) if words[0] == "python"} - {"-m"}
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_programs_exist_and_have_those_options(program):
    assert (clikit.TREE / program).is_file()
    used = [
        words for path in FILES for words in commands(path.read_text()) if words[:2] == ["python", program]
    ]
    if not any(options(words) for words in used):
        return
    shown = subprocess.run(
        [sys.executable, str(clikit.TREE / program), "--help"],
        capture_output=True, text=True, timeout=60, env=clikit.environment(),
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    for words in used:
        assert options(words) <= set(re.findall(r"--[a-z-]+", shown.stdout)), words
