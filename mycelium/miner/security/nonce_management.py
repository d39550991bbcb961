"""The nonces that a miner has seen, under the name that programs know.

What it keeps is bounded, survives a restart, and is shared by the workers of one machine: see `http.nonces`.
"""

from __future__ import annotations

from pathlib import Path

from mycelium.http.nonces import NonceBook
from mycelium.miner.core import miner_constants as mcst

__all__ = ["NonceManager", "mcst"]

_ANYBODY = bytes(32)
"""For who asks about a nonce without saying whose it is."""


class NonceManager:
    """path: a file for restarts and other workers; None keeps them in memory, and takes none from before now."""

    def __init__(self, path: Path | None = None) -> None:
        self.TTL: int = mcst.NONCE_WINDOW_NS // 10**9
        self._book = NonceBook(path, window_ns=mcst.NONCE_WINDOW_NS)

    def check(self, account: bytes, nonce: str) -> bool:
        """Whether it is of now and unused by this account, 32 bytes. Nothing is kept."""
        return self._book.check(account, nonce)

    def commit(self, account: bytes, nonce: str) -> bool:
        """Use it up; False where it was used before. To be called once its signature was verified."""
        return self._book.commit(account, nonce)

    def nonce_is_valid(self, nonce: str) -> bool:
        """Whether it is of now and unused; from then on it is used."""
        return self._book.commit(_ANYBODY, nonce)

    def add_nonce(self, nonce: str) -> None:
        """Use it up."""
        self._book.commit(_ANYBODY, nonce)

    def cleanup_expired_nonces(self) -> None:
        """Nothing is left to do: what is too old goes by itself."""

    def close(self) -> None:
        """Let go of the file; idempotent."""
        self._book.close()
