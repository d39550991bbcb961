"""The log of the daemon: what it looks like, what is hidden in it, and how often the same is said.

For a process that is a node and nothing else: `mycelium node run` sets it up. The library has plain loggers of the
standard library and no handler; nothing imports this module on its behalf.

A line says what happened and, after two dashes or on a second line, what to do about it; in JSON these are `event` and
`help`. Errors that no person can act on, but a bug of ours, carry their traceback.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final, TextIO
from urllib.parse import urlsplit

import structlog

from mycelium.node.log_help import help_for
from mycelium.node.log_settings import LogSettings
from mycelium.node.settings import Settings
from mycelium.redaction import Redactor

BURST: Final = 10
"""So many lines of one kind within INTERVAL_S are all written."""
INTERVAL_S: Final = 60.0
_KINDS_MAX: Final = 1024
_BUG: Final = "this is a fault of Mycelium: please report it, with the lines around it"
_PASSWORDS: Final = ("BT_WALLET_PASSWORD", "BT_PW_")
"""Variables of Bittensor's tools that hold passwords, or begin the names of those that do."""
_EVERYBODYS: Final = frozenset({"0.0.0.0", "::", "127.0.0.1", "::1", "localhost"})  # noqa: S104 - compared


class Repeats(logging.Filter):
    """Lets BURST lines of one kind through in INTERVAL_S, and says with the next one how many were not.

    A kind is what the program wrote, before names and numbers are put into it. `debug` is never held back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is written; `record.left_out` says how many like it were not."""
        if record.levelno < logging.INFO:
            return True
        now_s, kind = self._clock(), (record.name, str(record.msg))
        since_s, count = self._kinds.get(kind, (now_s, 0))
        left_out = 0
        if now_s - since_s >= INTERVAL_S:
            since_s, left_out, count = now_s, max(0, count - BURST), 0
        self._kinds[kind] = since_s, count + 1
        self._kinds.move_to_end(kind)
        if len(self._kinds) > _KINDS_MAX:
            self._kinds.popitem(last=False)
        record.left_out = left_out
        return count < BURST


class Log:
    """The handler of the root logger while a node runs. `close` takes it away again."""

    def __init__(
        self,
        settings: LogSettings,
        redact: Redactor,
        stream: TextIO | None = None,
        *,
        repeats: Repeats | None = None,
    ) -> None:
        self.redact = redact
        self._stream = sys.stderr if stream is None else stream
        self._handler = logging.StreamHandler(self._stream)
        self._handler.setFormatter(self._formatter(settings.format))
        self._handler.addFilter(repeats or Repeats())
        self._before = logging.root.level
        logging.root.addHandler(self._handler)
        self.set_level(settings.level)

    def set_level(self, level: str) -> None:
        """Another of LEVELS, from now on."""
        logging.root.setLevel(logging.getLevelNamesMapping()[level.upper()])

    def close(self) -> None:
        """Log no more."""
        logging.root.removeHandler(self._handler)
        logging.root.setLevel(self._before)

    def _formatter(self, form: str) -> logging.Formatter:
        terminal = self._stream.isatty()
        console = terminal if form == "auto" else form == "console"
        render: Any
        if console:
            colours = terminal and not os.environ.get("NO_COLOR")
            render = structlog.dev.ConsoleRenderer(
                # Its tracebacks with local variables would show whatever these hold.
                colors=colours,
                exception_formatter=structlog.dev.plain_traceback,
                sort_keys=False,
            )
        else:
            render = structlog.processors.JSONRenderer(default=str)
        processors: list[Any] = [
            _named,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.TimeStamper(fmt="iso", utc=not console, key="timestamp"),
            _with_help,
        ]
        if not console:
            processors.append(structlog.processors.format_exc_info)
            processors.append(_ordered)
        return structlog.stdlib.ProcessorFormatter(processors=[*processors, render, self._hide])

    def _hide(self, logger: Any, name: str, line: Any) -> str:
        """Last of all: nothing is added after it."""
        del logger, name
        return self.redact(str(line))


Event = MutableMapping[str, Any]


def _named(logger: Any, name: str, event: Event) -> Event:
    del logger, name
    record = event.get("_record")
    if record is not None:
        event["level"] = record.levelname.lower()
        event["logger"] = record.name
        event["_help"] = help_for(str(record.msg)) if record.levelno >= logging.WARNING else ""
        if getattr(record, "left_out", 0):
            event["left_out"] = record.left_out
        if record.exc_info:
            event["exc_info"] = record.exc_info
    return event


def _with_help(logger: Any, name: str, event: Event) -> Event:
    """What to do apart from what happened: errors have it on their second line, log lines after two dashes."""
    del logger, name
    text = str(event.get("event", ""))
    what, cut, help_ = text.partition("\n  ")
    if not cut:
        what, cut, help_ = text.rpartition(" -- ")
        what = what if cut else text
    known = event.pop("_help", "")
    event["event"] = " ".join(what.split("\n"))
    if cut or known:
        event["help"] = " ".join(help_.split()) if cut else known
    elif event.get("exc_info"):
        event["help"] = _BUG
    return event


def _ordered(logger: Any, name: str, event: Event) -> Event:
    del logger, name
    first = ("timestamp", "level", "logger", "event", "help")
    return {key: event[key] for key in first if key in event} | {
        key: value for key, value in event.items() if key not in first
    }


def secrets_of(settings: Settings, environ: Mapping[str, str], others: Iterable[str] = ()) -> set[str]:
    """What this node's log must not show: the hotkey's secret in every form it has here, passwords, keys of endpoints.

    others: values of settings that are secret. Also the node's own host, where the operator has it announce none.
    """
    found = set(others) | set(settings.identity.secret_texts(environ))
    found |= {text for name, text in environ.items() if name.startswith(_PASSWORDS)}
    found |= settings.nats.secret_texts(environ)
    chain = settings.chain
    for url in (*chain.endpoints, *chain.archive) if chain is not None else ():
        parts = urlsplit(url)
        found |= {parts.path.strip("/"), parts.query, parts.password or ""}
    if settings.advertise == () and settings.host not in _EVERYBODYS:
        found.add(settings.host)
    return found - {""}
