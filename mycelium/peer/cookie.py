"""Cookies: proof that a stranger receives at the address it sends from, asked for under load before any
public-key work. Keeps two secrets and nothing per stranger.

As in WireGuard (section 5.3 of its paper), but bound to the first message as well, so that a cookie serves
one first message from one address, for as long as it lasts.
"""

from __future__ import annotations

import hmac
from typing import Final

from mycelium import config
from mycelium.peer.cipher import Random

COOKIE_BYTES: Final = 32
_SECRET_BYTES: Final = 32


class CookieJar:
    """Makes and checks cookies. A cookie is good for between half of and the whole of `lifetime_ns`.

    The secret changes every half lifetime, and the one before is still accepted.
    """

    __slots__ = ("_current", "_half_ns", "_previous", "_random", "_slot")

    def __init__(self, random: Random, lifetime_ns: int = config.COOKIE_LIFETIME_S * 10**9) -> None:
        self._random = random
        self._half_ns = lifetime_ns // 2
        self._slot: int | None = None
        self._current = random(_SECRET_BYTES)
        self._previous = random(_SECRET_BYTES)

    def issue(self, remote: bytes, hello: bytes, now_ns: int) -> bytes:
        """A cookie for `remote`, an address in any form, and `hello`, the fields of its first message."""
        self._rotate(now_ns)
        return _mac(self._current, remote, hello)

    def accepts(self, cookie: bytes, remote: bytes, hello: bytes, now_ns: int) -> bool:
        """Whether `issue` gave this cookie for the same address and message within the lifetime."""
        if len(cookie) != COOKIE_BYTES:
            return False
        self._rotate(now_ns)
        return hmac.compare_digest(cookie, _mac(self._current, remote, hello)) or hmac.compare_digest(
            cookie, _mac(self._previous, remote, hello)
        )

    def _rotate(self, now_ns: int) -> None:
        slot = now_ns // self._half_ns
        if slot == self._slot:
            return
        if self._slot is not None:
            # A clock that jumped, either way, outdates both secrets.
            self._previous = self._current if slot == self._slot + 1 else self._random(_SECRET_BYTES)
            self._current = self._random(_SECRET_BYTES)
        self._slot = slot


def _mac(secret: bytes, remote: bytes, hello: bytes) -> bytes:
    return hmac.digest(secret, len(remote).to_bytes(4, "little") + remote + hello, "sha256")
