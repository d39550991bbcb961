"""What commands print: one JSON line with --json, else text for people; errors as one line on stderr.

Text goes through rich only where there is something to lay out. When stdout is not a terminal nothing here emits
a control sequence. Also the one place that turns errors into exit codes: 0 done, 1 failed, 2 usage or
configuration, 130 interrupted.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import msgspec
import typer
from rich.console import Console

from mycelium.errors import ChainError, ConfigError, MyceliumError, UsageError

FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
WIDTH_MIN: Final = 80
"""Columns assumed where there is no terminal to ask."""


class _Console(Console):
    """Lets `guard` see that the reader of a pipe has gone, where rich would end the process with exit code 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """A rich console; without a terminal it writes plain text of WIDTH_MIN columns or more."""
    stream = sys.stderr if stderr else sys.stdout
    columns = os.environ.get("COLUMNS", "")
    wide = int(columns) if columns.isascii() and columns.isdigit() else 0
    width = None if stream.isatty() else max(WIDTH_MIN, wide)
    return _Console(file=stream, width=width, highlight=False, soft_wrap=False, emoji=False)


def presentable(value: Any) -> Any:
    """The value with everything that JSON has not replaced: bytes become {"$bytes": base64}, big integers text."""
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): presentable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [presentable(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return value


def json_text(value: Any) -> str:
    """One line of JSON."""
    return msgspec.json.encode(presentable(value)).decode()


def line(text: str) -> None:
    """One line on stdout, at once: a reader of a pipe waits for it."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def emit(value: Any) -> None:
    """One line of JSON on stdout, at once."""
    line(json_text(value))


def show(value: Any) -> str:
    """A key or value for people: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json_text(value)


def error_line(error: BaseException) -> str:
    """What goes after "error: ". The remedy, where an error has one, follows on the same line."""
    if isinstance(error, ConfigError | ChainError) and error.remedy:
        return f"{error.what} -- {error.remedy}"
    if isinstance(error, asyncio.TimeoutError) and not str(error):
        return "timed out"
    return str(error) or type(error).__name__


def fail(error: BaseException, *, json: bool) -> NoReturn:
    """Say what is wrong on stderr and exit with the code of its class."""
    text = error_line(error)
    code = USAGE if isinstance(error, ConfigError | UsageError) else FAILED
    if json:
        sys.stderr.write(json_text({"error": type(error).__name__, "message": text}) + "\n")
    else:
        sys.stderr.write(f"error: {text}\n")
    raise typer.Exit(code)


def open_closed_streams() -> None:
    """Make /dev/null of each standard stream that was closed (`>&-`): Python has None for it, and libuv aborts."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))


@contextmanager
def guard(*, json: bool) -> Iterator[None]:
    """Turn what a command's body raises into one line and an exit code."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader had enough (`mycelium scan t | head`). Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except (MyceliumError, TimeoutError) as error:
        fail(error, json=json)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(MyceliumError(f"{where}{error.strerror or error}"), json=json)


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run on uvloop until done."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


__all__ = [
    "FAILED",
    "INTERRUPTED",
    "USAGE",
    "console",
    "emit",
    "error_line",
    "fail",
    "guard",
    "json_text",
    "line",
    "open_closed_streams",
    "presentable",
    "run",
    "show",
]
