"""What commands that run until they are ended have in common: signals, the parent's end, and not hanging for ever.

Owns the signal handlers of the process. Knows nothing of what runs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from mycelium.cli import output
from mycelium.config import DRAIN_S

_EXIT_S: Final = DRAIN_S + 1.5
"""After SIGTERM the process is gone within 10 s, whatever hangs."""

T = TypeVar("T")


class Ending:
    """asked: done, with the exit code, once somebody wants the process to end. Make it in the running loop.

    until_eof: the end of stdin ends it too, for who started it and is gone. on_end: called then.
    """

    def __init__(self, *, until_eof: bool = False, on_end: Callable[[], None] = lambda: None) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_end = on_end
        self.asked: asyncio.Future[int] = self._loop.create_future()
        self._loop.add_signal_handler(signal.SIGTERM, self._end, 0)
        self._loop.add_signal_handler(signal.SIGINT, self._end, output.INTERRUPTED)
        if until_eof:
            threading.Thread(target=self._watch_stdin, daemon=True).start()

    def _end(self, code: int) -> None:
        if not self.asked.done():
            self.asked.set_result(code)
            self._on_end()
            _leave_in(_EXIT_S)
        elif code == output.INTERRUPTED:
            os._exit(output.INTERRUPTED)  # Ctrl-C again: the operator does not want to wait

    async def unless(self, opening: asyncio.Future[T]) -> T | None:
        """The result of `opening`; None, and it is cancelled, where the end is asked for first."""
        # It may wait for the chain, a minute long: who ends it meanwhile is not kept waiting.
        either: set[asyncio.Future[Any]] = {opening, self.asked}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if opening.done():
            return await opening
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        return None

    def _watch_stdin(self) -> None:
        """End the process when stdin does: the process that started it is gone, however it went."""
        while os.read(sys.stdin.fileno(), 4096):
            pass
        _leave_in(_EXIT_S)
        self._loop.call_soon_threadsafe(self._end, 0)


def _leave_in(seconds: float) -> None:
    """End the process after `seconds` even if draining hangs; durable data is safe by then."""
    timer = threading.Timer(seconds, os._exit, (output.FAILED,))
    timer.daemon = True
    timer.start()
