"""Account nonces for several submissions within one block, from several threads, over nodes that know not the same.

Owns which nonces are taken by extrinsics that may still be included. The node's own count (it includes its pool) is
passed in; it is behind after a change of endpoint, and ahead of nothing. Sans-IO, but for the lock that gives turns.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mycelium.errors import ExtrinsicTimeout


class _Account:
    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.taken: dict[int, int] = {}
        """Nonce -> the first block that is too late for its extrinsic."""


class Nonces:
    """The nonces of all accounts that sign over one connection."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accounts: dict[bytes, _Account] = {}

    @contextmanager
    def turn(self, account: bytes, timeout_s: float) -> Iterator[None]:
        """Be the only one to sign for an account, until a node has taken or refused what was signed.

        A nonce that is refused is thus free again before the next is taken, and leaves no gap that what follows
        would wait behind.
        """
        mine = self._of(account)
        if not mine.turn.acquire(timeout=max(0.0, timeout_s)):
            raise ExtrinsicTimeout(
                f"another extrinsic of this account was still being submitted after {timeout_s:.0f} s",
                "nothing was submitted; try again",
            )
        try:
            yield
        finally:
            mine.turn.release()

    def take(self, account: bytes, node_next: int, number: int, death: int) -> int:
        """The next free nonce, taken until block `death`.

        node_next: `system_accountNextIndex`. number: of the best block, by which older ones are free again.
        """
        with self._lock:
            taken = self._living(account, number)
            nonce = self._free(taken, node_next)
            taken[nonce] = death
            return nonce

    def peek(self, account: bytes, node_next: int, number: int) -> int:
        """The next free nonce, not taken."""
        with self._lock:
            return self._free(self._living(account, number), node_next)

    def note(self, account: bytes, nonce: int, death: int) -> None:
        """A nonce that its sender chose himself."""
        with self._lock:
            self._accounts.setdefault(account, _Account()).taken[nonce] = death

    def release(self, account: bytes, nonce: int) -> None:
        """Its extrinsic was refused, or never sent: the nonce is free."""
        with self._lock:
            self._accounts.setdefault(account, _Account()).taken.pop(nonce, None)

    def _of(self, account: bytes) -> _Account:
        with self._lock:
            return self._accounts.setdefault(account, _Account())

    def _living(self, account: bytes, number: int) -> dict[int, int]:
        taken = self._accounts.setdefault(account, _Account()).taken
        for nonce in [nonce for nonce, death in taken.items() if death <= number]:
            del taken[nonce]
        return taken

    @staticmethod
    def _free(taken: dict[int, int], nonce: int) -> int:
        while nonce in taken:
            nonce += 1
        return nonce
