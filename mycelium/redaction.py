"""What must not be seen in a log or a message: known secrets by their text, and what addresses carry beside the host.

Pure text to text. Whose secrets they are is said by the caller; this keeps them in memory and shows them to nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

HIDDEN: Final = "[hidden]"
SECRET_CHARACTERS_MIN: Final = 6
"""A shorter text would be found in the midst of words, and is no secret."""

_CREDENTIALS: Final = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@'\"]+@")
# What follows the host of an endpoint is where hosted nodes put the key of their customer.
_PATH: Final = re.compile(r"(\bwss?://[^\s/?#'\"]+)[/?#][^\s'\",\])]+")


def masked(text: str) -> str:
    """Addresses in a text without user and password, those of WebSockets without path and query either."""
    if "://" not in text:
        return text
    return _PATH.sub(r"\1/...", _CREDENTIALS.sub(rf"\1{HIDDEN}@", text))


class Redactor:
    """Takes known texts out of others, however they are cased. `add` when more of them become known."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.add(secrets)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._secrets)}>"

    def add(self, secrets: Iterable[str]) -> None:
        """Hide these too. Empty and very short ones are left out."""
        wanted = {secret.strip() for secret in secrets}
        self._secrets |= {secret for secret in wanted if len(secret) >= SECRET_CHARACTERS_MIN}
        # The longest first: a private key may begin with what is hidden by itself.
        ordered = sorted(self._secrets, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_spaced, ordered)), re.IGNORECASE) if ordered else None

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        if self._pattern is not None:
            text = self._pattern.sub(HIDDEN, text)
        return masked(text)


def _spaced(secret: str) -> str:
    """The words of a phrase count however they are set apart; hex with or without 0x."""
    words = secret.removeprefix("0x").split()
    return r"\W+".join(map(re.escape, words))
