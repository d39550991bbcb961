"""Progress of what takes longer than two seconds: how far it is, how fast, and how long it will take.

One line on stderr that is written over again and again, where stderr is a terminal and --json is not asked for; else
nothing. Shows nothing in the first two seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from mycelium.cli.output import size

BEFORE_S: Final = 2.0
REFRESH_S: Final = 0.2


class Line:
    """what: what is done. on: whether anybody sees it.

    unit: of its numbers, "bytes" for sizes. total: None where nobody knows.
    """

    def __init__(
        self,
        what: str,
        unit: str,
        total: int | None = None,
        *,
        on: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self.what = what
        self._unit = unit
        self._stream = sys.stderr if stream is None else stream
        self.on = on and self._stream.isatty()
        self._clock = clock
        self._began_s = clock()
        self._shown_s = 0.0
        self._shown = False

    def at(self, done: int) -> None:
        """So much is done. Cheap enough for a loop."""
        if not self.on:
            return
        now_s = self._clock()
        if now_s - self._began_s < BEFORE_S or now_s - self._shown_s < REFRESH_S:
            return
        self._shown_s = now_s
        self.say(text(self.what, self._unit, done, self.total, now_s - self._began_s))

    def say(self, shown: str) -> None:
        """Show this, in the place of what is there."""
        if self.on:
            self._shown = True
            self._stream.write(f"\r\x1b[K{shown}")
            self._stream.flush()

    def clear(self) -> None:
        """Leave no trace."""
        if self._shown:
            self._shown = False
            self._stream.write("\r\x1b[K")
            self._stream.flush()


@contextmanager
def line(what: str, unit: str, total: int | None = None, *, json: bool = False) -> Iterator[Line]:
    """A line that is gone at the end."""
    shown = Line(what, unit, total, on=not json)
    try:
        yield shown
    finally:
        shown.clear()


def text(what: str, unit: str, done: int, total: int | None, passed_s: float) -> str:
    """`copying: 1.0 GiB of 4.0 GiB (25 %), 100.0 MiB/s, 31 s left`."""
    rate = done / passed_s if passed_s > 0 else 0.0
    parts = [f"{what}: {amount(done, unit)}"]
    if total:
        parts[0] += f" of {amount(total, unit)} ({100 * done // total} %)"
    parts.append(f"{amount(rate, unit)}/s")
    if total and rate > 0:
        parts.append(f"{span(max(0, total - done) / rate)} left")
    return ", ".join(parts)


def amount(number: float, unit: str) -> str:
    """A number with its unit."""
    return size(number) if unit == "bytes" else f"{number:,.0f} {unit}"


def span(seconds: float) -> str:
    """A time to wait, for people."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return (
        f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
    )
