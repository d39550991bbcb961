"""The page of `mycelium --help`: fits its width, is ASCII where it must be, has colours only where they are wanted."""

import io
import sys

import pytest

from mycelium.cli import listing

ROWS = [
    ("a", "Short."),
    ("longer-name", "A text that is so long that it has to go on, on a line of its own below."),
]


class Stream(io.StringIO):
    def __init__(self, encoding, terminal):
        super().__init__()
        self._encoding, self._terminal = encoding, terminal

    @property
    def encoding(self):
        return self._encoding

    def isatty(self):
        return self._terminal


@pytest.fixture
def shown(monkeypatch):
    def show(columns=80, encoding="utf-8", terminal=False, **environment):
        monkeypatch.setattr(sys, "stdout", Stream(encoding, terminal))
        for name in ("NO_COLOR", "TERM"):
            monkeypatch.delenv(name, raising=False)
        for name, text in {"COLUMNS": str(columns), **environment}.items():
            monkeypatch.setenv(name, text)
        return listing.page("mycelium COMMAND", "What it is.", [("Commands", ROWS)], "The end.")

    return show


@pytest.mark.parametrize("columns", [10, 40, 80, 500])
def test_every_line_of_a_box_has_the_width(shown, columns):
    boxed = [line for line in shown(columns).splitlines() if line[:1] in "╭│╰" and line]
    assert {len(line) for line in boxed} == {max(40, min(100, columns))}


def test_nothing_is_cut_off(shown):
    text = " ".join(word for word in shown(45).replace("│", " ").split())
    for word in ROWS[1][1].split():
        assert word in text


def test_ascii_where_the_terminal_is(shown):
    assert shown(encoding="ascii").isascii()
    assert not shown(encoding="UTF-8").isascii()


@pytest.mark.parametrize(
    ("terminal", "environment", "colours"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {"NO_COLOR": ""}, True),
    ],
)
def test_colours(shown, terminal, environment, colours):
    assert ("\x1b" in shown(terminal=terminal, **environment)) is colours
