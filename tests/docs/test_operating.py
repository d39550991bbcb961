"""What operating.md quotes is what the program says; its files are what the program reads."""

import ast
import json
import re

import docskit
import pytest

from mycelium.database.policy import parse
from mycelium.node.settings import Settings

OPERATING = docskit.DOCS / "operating.md"
HOLE = "\0"
"""What stands in a text for a value that is filled in."""


def said_by_the_program():
    """Every text in the sources, with HOLE for each value in it."""
    found = []
    for path in docskit.PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else HOLE for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.ClassDef):
                found.append(node.name)
    return found


def quoted(page):
    """What the tables under "When something is wrong" quote: the text in backticks that a row begins with."""
    text = page.read_text()
    rows = text[text.index("## When something is wrong") :].splitlines()
    return [found[1] for row in rows if (found := re.match(r"\| (?:exit with )?`([^`]+)`", row))]


def pieces(quote):
    """The parts of a quote that must be said: between `...`, with capital letters alone for values."""
    holed = re.sub(r"\b[A-Z]\b", HOLE, quote)
    return [part.strip() for part in holed.split("...") if part.strip()]


def is_said(piece, texts):
    """Whether a text holds the piece; a value may be several values in a row."""
    pattern = re.compile(re.escape(piece).replace(re.escape(HOLE), f"[^a-z]*{HOLE}[^a-z]*"))
    return any(pattern.search(text) for text in texts)


def test_what_the_page_quotes_is_what_the_program_says():
    texts, quotes = said_by_the_program(), quoted(OPERATING)
    assert len(quotes) > 25
    assert [(quote, part) for quote in quotes for part in pieces(quote) if not is_said(part, texts)] == []


@pytest.mark.parametrize("wrong", ["the disk is on fire", "epoch N changes nothing", "`wrong-galaxy`"])
def test_what_nobody_says_is_seen(wrong):
    assert not all(is_said(part, said_by_the_program()) for part in pieces(wrong))


def test_the_least_file_is_what_a_node_reads(tmp_path):
    (least,) = docskit.blocks(OPERATING, "toml")
    (tmp_path / "node.toml").write_text(least)
    settings = Settings.load(tmp_path / "node.toml")
    assert (settings.netuid, settings.host, settings.port) == (1, "0.0.0.0", 9090)
    assert len(settings.chain.endpoints) == 2


def test_the_policy_is_a_policy():
    (document,) = docskit.blocks(docskit.DOCS / "concepts.md", "json")
    assert parse(document.encode()).document.rules
    assert json.loads(document)["version"] == 1
