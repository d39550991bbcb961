"""How one side tells the other why it will not go on: `reason: text`, and back into an error.

The text comes from outside, at times unauthenticated: it informs people, and no decision may rest on it.
"""

from __future__ import annotations

from typing import Final

from mycelium import errors
from mycelium.errors import HandshakeFailed, ProtocolError

TEXT_MAX: Final = 160
_KINDS: Final[dict[str, type[ProtocolError]]] = {
    kind.reason: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ProtocolError)
}


def write(error: ProtocolError) -> str:
    """What the other side is told: the reason's label and the error's text, printable, at most TEXT_MAX."""
    return printable(f"{error.reason}: {error}")


def read(text: str) -> ProtocolError:
    """The error the other side named, to raise here; HandshakeFailed if it named none that we know."""
    reason, _, rest = printable(text).partition(": ")
    kind = _KINDS.get(reason, HandshakeFailed)
    return kind(f"refused by the other side: {rest or reason}")


def printable(text: str) -> str:
    """At most TEXT_MAX letters of printable ASCII, the rest as `?`: fit for a terminal and a log."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text[:TEXT_MAX])
