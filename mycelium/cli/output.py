"""What commands print: one JSON line with --json, else text for people; errors as one line on stderr.

Text goes through rich only where there is something to lay out. When stdout is not a terminal nothing here emits
a control sequence. Also the one place that turns errors into exit codes: 0 done, 1 failed, 2 usage or
configuration, 130 interrupted.
"""

from __future__ import annotations

import base64
import functools
import os
import sys
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn

import typer

from mycelium import errors, redaction
from mycelium.errors import ConfigError, MyceliumError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
WIDTH_MIN: Final = 80
"""Columns assumed where there is no terminal to ask."""
_SIZES: Final = ("KiB", "MiB", "GiB", "TiB")

_REMEDIES: Final[Mapping[type[BaseException], str]] = {
    errors.KeyFileError: "recreate the hotkey, or name another under [identity]",
    errors.ConfigError: "`mycelium config check` and `mycelium doctor` look closer",
    errors.Unreachable: "is the node running, and is that its address? `mycelium doctor` looks",
    errors.LinkClosed: "the node ended the session: its log says why",
    errors.CallTimeout: "the node is busy or gone: raise --timeout, or look at `mycelium node status`",
    errors.Overloaded: "the node is busy: try again in a while",
    errors.CallFailed: "the node's log says more",
    errors.Unauthorised: "use the node's own hotkey, or add this one to [auth] clients there",
    errors.WrongPeer: "another node listens there: mend --url, or --account",
    errors.WrongNetwork: "the node is of another network: mend --url, or [network] netuid and genesis",
    errors.ProtocolError: "are both of the same version? see `mycelium version`",
    errors.StoreFull: "free some space where data_dir is",
    errors.StoreError: "`mycelium doctor` looks at the data directory",
    errors.SinkUnreachable: "is it running, and is that its address? mend --dsn, or try again",
    errors.SimulationFailed: "the command above repeats it; --seed names another run",
    errors.UnknownTable: "declare it in [tables], or name one that is",
    errors.UsageError: "see --help",
    TimeoutError: "raise --timeout, or look at `mycelium node status`",
    PermissionError: "make it accessible to this user",
    FileNotFoundError: "mend the path",
}
"""What to do about errors that carry no remedy of their own; that of the nearest class counts."""


@functools.cache
def _console_class() -> type[Console]:
    # Here only: rich takes 50 ms to load, which most commands have no use for.
    from rich.console import Console

    class Piped(Console):
        """Lets `guard` see that the reader of a pipe has gone, where rich would end the process with exit code 1."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Piped


def console(*, stderr: bool = False) -> Console:
    """A rich console; without a terminal it writes plain text of WIDTH_MIN columns or more."""
    stream = sys.stderr if stderr else sys.stdout
    columns = os.environ.get("COLUMNS", "")
    wide = int(columns) if columns.isascii() and columns.isdigit() else 0
    width = None if stream.isatty() else max(WIDTH_MIN, wide)
    return _console_class()(file=stream, width=width, highlight=False, soft_wrap=False, emoji=False)


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
    import msgspec

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


def size(number: float) -> str:
    """Bytes in the unit that leaves at most four digits."""
    if number < 1024:
        return f"{number:.0f} B"
    for unit in _SIZES:
        number /= 1024
        if number < 1024 or unit == _SIZES[-1]:
            return f"{number:.1f} {unit}"
    raise AssertionError


def remedy(error: BaseException) -> str:
    """What to do about an error: its own remedy, or that of its class; "" where there is none."""
    own = getattr(error, "remedy", "")
    if own or " -- " in reason(error).rpartition("\n")[2]:
        return str(own)  # of several mistakes each line has its own
    return next((_REMEDIES[kind] for kind in type(error).__mro__ if kind in _REMEDIES), "")


def reason(error: BaseException) -> str:
    """What is wrong, without the remedy and without secrets."""
    if isinstance(error, TimeoutError) and not str(error):
        return "timed out"
    return redaction.masked(str(getattr(error, "what", "") or error) or type(error).__name__)


def error_line(error: BaseException) -> str:
    """What goes after "error: ". The remedy follows on the same line."""
    help_ = remedy(error)
    return f"{reason(error)} -- {help_}" if help_ else reason(error)


def fail(error: BaseException, *, json: bool) -> NoReturn:
    """Say what is wrong on stderr and exit with the code of its class."""
    say_error(reason(error), remedy(error), type(error).__name__, json=json)
    raise typer.Exit(USAGE if isinstance(error, ConfigError | UsageError) else FAILED)


def say_error(what: str, help_: str, kind: str, *, json: bool) -> None:
    """One line for each mistake, or one JSON object with error, help and kind, the name of the error's class."""
    if json:
        sys.stderr.write(json_text({"error": what, "help": help_, "kind": kind}) + "\n")
        return
    lines = what.splitlines() or [kind]
    for number, text in enumerate(lines, start=1):
        tail = f" -- {help_}" if help_ and number == len(lines) else ""
        sys.stderr.write(f"error: {text}{tail}\n")


def note(text: str) -> None:
    """One line on stderr for who sits at a terminal; nothing for programs."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{text}\n")


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
        said = MyceliumError(f"{where}{error.strerror or error}")
        say_error(
            reason(said), remedy(error) or "see what the system says of it", type(error).__name__, json=json
        )
        raise typer.Exit(FAILED) from None


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run on uvloop until done."""
    import asyncio

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
    "note",
    "open_closed_streams",
    "presentable",
    "reason",
    "remedy",
    "run",
    "say_error",
    "show",
    "size",
]
