"""The page of `mycelium --help`: in the look of typer's other pages, without rich, whose loading takes twice as long.

Pure text: names and what they mean in, lines out.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Final

WIDTH_MIN: Final = 40
WIDTH_MAX: Final = 100
_ROUND: Final = ("╭", "─", "╮", "│", "╰", "╯")
_PLAIN: Final = ("+", "-", "+", "|", "+", "+")


def page(usage: str, about: str, panels: Sequence[tuple[str, Sequence[tuple[str, str]]]], epilog: str) -> str:
    """The whole page for where it is printed to: its width, its letters, and whether it shows colours."""
    width = max(WIDTH_MIN, min(WIDTH_MAX, shutil.get_terminal_size().columns))
    corners = _ROUND if (sys.stdout.encoding or "").lower().startswith("utf") else _PLAIN
    lines = ["", f" Usage: {usage}", "", *_wrapped(about, width - 2), ""]
    for title, rows in panels:
        lines += panel(title, rows, width, corners, colours=has_colours())
    return "\n".join([*lines, "", *_wrapped(epilog, width - 2), ""])


def has_colours() -> bool:
    """Whether stdout is a terminal that shows them, and nobody objects."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def panel(
    title: str, rows: Sequence[tuple[str, str]], width: int, corners: Sequence[str], *, colours: bool = False
) -> list[str]:
    """Names and meanings in a box with a title."""
    left_top, bar, right_top, side, left_bottom, right_bottom = corners
    name_width = max(len(name) for name, _ in rows)
    dim, strong, end = ("\x1b[2m", "\x1b[1;36m", "\x1b[0m") if colours else ("", "", "")
    head = f"{bar} {title} "
    lines = [f"{dim}{left_top}{head}{bar * (width - 2 - len(head))}{right_top}{end}"]
    for name, meaning in rows:
        parts = textwrap.wrap(meaning, max(10, width - name_width - 6)) or [""]
        for number, part in enumerate(parts):
            shown = name if number == 0 else ""
            text = part.ljust(width - name_width - 6)
            lines.append(f"{dim}{side}{end} {strong}{shown:<{name_width}}{end}  {text} {dim}{side}{end}")
    lines.append(f"{dim}{left_bottom}{bar * (width - 2)}{right_bottom}{end}")
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=" ", subsequent_indent=" ")
