"""A logger that says the same thing at most once in a while, and then how often it was meant."""

from __future__ import annotations

import logging
import time


class Quiet:
    """Wraps a logger: each format string is logged at most once per `interval_s`."""

    def __init__(self, log: logging.Logger, interval_s: float) -> None:
        self._log = log
        self._interval_s = interval_s
        self._last: dict[str, tuple[float, int]] = {}

    def error(self, text: str, *args: object) -> None:
        self._say(logging.ERROR, text, args)

    def warning(self, text: str, *args: object) -> None:
        self._say(logging.WARNING, text, args)

    def _say(self, level: int, text: str, args: tuple[object, ...]) -> None:
        now = time.monotonic()
        said, left_out = self._last.get(text, (-self._interval_s, 0))
        if now - said < self._interval_s:
            self._last[text] = (said, left_out + 1)
            return
        self._last[text] = (now, 0)
        if left_out:
            text += f" ({left_out} more like it were not logged)"
        self._log.log(level, text, *args)
