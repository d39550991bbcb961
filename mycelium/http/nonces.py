"""Which nonces were used: bounded memory, kept over a restart, shared by the workers of one machine.

`check` before the signature stores nothing, `commit` after it does: a stranger costs no memory. In this process the
compiled replay window answers; a file tells what other workers, and this one before a restart, have accepted.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Final

from mycelium import sqlitefile
from mycelium._core.replay import OK, ReplayWindow
from mycelium.config import HTTP_NONCES_MAX, HTTP_NONCES_PER_VALIDATOR_MAX, HTTP_WINDOW_NS
from mycelium.http.signing import nonce_time_ns

log = logging.getLogger(__name__)

_BUCKET_NS: Final = 60 * 10**9
"""Nonces are forgotten by the minute in which they say they were made."""
_KEY_BYTES: Final = 16
_INSERT: Final = "insert or ignore into seen values(?, ?)"
_UNWRITTEN_MAX: Final = 10_000
"""Nonces that are written once the file can be written again, so that they outlive this process."""
_OPEN_S: Final = 2.0
"""Workers begin together, and SQLite lets none wait for another that makes the file."""
_AGAIN_S: Final = 0.005
_SCHEMA: Final = (
    "create table if not exists seen(minute integer, key blob, primary key(minute, key)) without rowid"
)


class NonceBook:
    """path: the file; None keeps everything in memory, and then nothing that was made before now is accepted.

    window_ns: how far a nonce's time may be from now. Safe from several threads. A file that cannot be used is logged,
    and done without.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        window_ns: int = HTTP_WINDOW_NS,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.path = path
        self.window_ns = window_ns
        self._clock_ns = clock_ns
        self._lock = Lock()
        self._db = self._open()
        self._minute = 0
        self._unwritten: deque[tuple[int, bytes]] = deque(maxlen=_UNWRITTEN_MAX)
        self._window = ReplayWindow(
            HTTP_NONCES_MAX,
            HTTP_NONCES_PER_VALIDATOR_MAX,
            window_ns,
            window_ns,
            clock_ns() if self._db is None else 0,
        )

    def _open(self) -> sqlite3.Connection | None:
        if self.path is None:
            return None
        end_s = time.monotonic() + _OPEN_S
        while True:
            try:
                db = sqlitefile.connect(self.path, threads=True)
                # A kill loses nothing; a machine that crashes is not back before its last nonces are old.
                db.execute("pragma synchronous=off")
                db.execute(_SCHEMA)
            except sqlite3.Error as error:
                if (
                    getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
                    and time.monotonic() < end_s
                ):
                    time.sleep(_AGAIN_S)
                    continue
                log.error(
                    "%s: %s; nonces are kept in memory, and known to this process alone", self.path, error
                )
                return None
            return db

    def check(self, account: bytes, nonce: str) -> bool:
        """Whether the nonce is fresh and unused, as far as this process knows. Nothing is stored."""
        made_ns = nonce_time_ns(nonce)
        if made_ns is None:
            return False
        return self._window.check(account, _number(nonce), made_ns, self._clock_ns()) == OK

    def commit(self, account: bytes, nonce: str) -> bool:
        """Use it up, once its signature was verified; False where somebody did before."""
        made_ns, number = nonce_time_ns(nonce), _number(nonce)
        if made_ns is None:
            return False
        with self._lock:
            now_ns = self._clock_ns()
            if self._window.check(account, number, made_ns, now_ns) != OK:
                return False
            self._window.commit(account, number, made_ns, now_ns)
            return self._db is None or self._first(
                account, nonce, made_ns // _BUCKET_NS, now_ns // _BUCKET_NS
            )

    def _first(self, account: bytes, nonce: str, made_minute: int, minute: int) -> bool:
        assert self._db is not None, "asked only where there is a file"
        key = blake2b(account + nonce.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()
        try:
            if minute != self._minute:
                oldest = minute - 1 - self.window_ns // _BUCKET_NS
                self._db.execute("delete from seen where minute<?", (oldest,))
                self._minute = minute
            while self._unwritten:
                self._db.execute(_INSERT, self._unwritten[0])
                self._unwritten.popleft()
            return self._db.execute(_INSERT, (made_minute, key)).rowcount == 1
        except sqlite3.Error as error:
            self._unwritten.append((made_minute, key))
            # This process still knows its own; to refuse everybody would be worse than what this guards against.
            log.error("%s: %s; other workers do not know of this request yet", self.path, error)
            return True

    def __len__(self) -> int:
        return len(self._window)

    def close(self) -> None:
        """Idempotent."""
        # SQLite ends the process where a connection is closed while another thread is in it.
        with self._lock:
            if self._db is not None:
                self._db.close()


def _number(nonce: str) -> int:
    """A nonce as the 64 bits that the replay window remembers."""
    return int.from_bytes(blake2b(nonce.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
