"""Loggers for programs that want coloured lines on stdout without setting up anything.

Mycelium's own modules use none of this: a library leaves handlers to its program.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Final

_RESET: Final = "\x1b[0m"
_BRIGHT: Final = "\x1b[1m"
_BLUE: Final = "\x1b[34m"
_WHITE: Final = "\x1b[37m"
_FORMAT: Final = (
    "$BLUE%(asctime)s.%(msecs)03d$RESET | $COLOR$BOLD%(levelname)-8s$RESET | "
    "$BLUE%(name)s$RESET:$BLUE%(funcName)s$RESET:$BLUE%(lineno)d$RESET - $COLOR$BOLD%(message)s$RESET"
)
_DATES: Final = "%Y-%m-%d %H:%M:%S"


class ColoredFormatter(logging.Formatter):
    """Puts colours where a format says $COLOR, $BLUE, $BOLD and $RESET; none where `colours` is False."""

    COLORS: Final = {
        "DEBUG": "\x1b[36m",
        "INFO": "\x1b[32m",
        "WARNING": "\x1b[33m",
        "ERROR": "\x1b[31m",
        "CRITICAL": "\x1b[31m\x1b[47m",
    }

    def __init__(self, fmt: str | None = None, datefmt: str | None = None, *, colours: bool = True) -> None:
        signs = {"$RESET": _RESET, "$BOLD": _BRIGHT, "$BLUE": _BLUE + _BRIGHT}
        # In the format and not in the line: a message that says "$BOLD" stays as it is.
        text = fmt or "%(message)s"
        for sign, code in signs.items():
            text = text.replace(sign, code if colours else "")
        self._colours = colours
        super().__init__(text, datefmt)
        self._formats = {
            level: logging.Formatter(text.replace("$COLOR", code if colours else ""), datefmt)
            for level, code in self.COLORS.items()
        }
        self._other = logging.Formatter(text.replace("$COLOR", _WHITE if colours else ""), datefmt)

    def format(self, record: logging.LogRecord) -> str:
        """The line; the record stays as it was for other handlers."""
        return self._formats.get(record.levelname, self._other).format(record)


class _Stdout(logging.StreamHandler):  # type: ignore[type-arg]
    """To what is `sys.stdout` when a line comes, which tests and programs replace."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


def get_logger(name: str) -> logging.Logger:
    """A logger of that name that writes to stdout; INFO, or DEBUG where the environment's ENV is not "prod".

    Asked for again, it is the same one, with one handler; what it writes does not come a second time by way of the
    root logger. Where the program has set up logging itself, it gets no handler.
    """
    logger = logging.getLogger(name)
    debug = os.environ.get("ENV", "prod").lower() != "prod"
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    if not logger.hasHandlers():
        handler = _Stdout()
        handler.setFormatter(ColoredFormatter(_FORMAT, _DATES, colours=_is_terminal()))
        logger.addHandler(handler)
        logger.propagate = False
    return logger


def _is_terminal() -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()
