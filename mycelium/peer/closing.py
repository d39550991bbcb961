"""Close frames: which error becomes which code and text, and which code from a peer becomes which error.

RFC 6455 section 7.4: codes below 3000 are the protocol's own, 4000 to 4999 are ours
(`ProtocolError.close_code`).
"""

from __future__ import annotations

from typing import Final

from mycelium import errors
from mycelium.errors import (
    LinkClosed,
    MalformedMessage,
    MyceliumError,
    Overloaded,
    OversizedMessage,
    ProtocolError,
)

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
ABNORMAL: Final = 1006
INTERNAL: Final = 1011
TRY_LATER: Final = 1013

REASON_BYTES_MAX: Final = 123
"""RFC 6455 section 5.5: a control frame holds 125 bytes, two of which are the code."""

_BY_CODE: Final[dict[int, type[ProtocolError]]] = {
    kind.close_code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ProtocolError)
} | {1002: MalformedMessage, 1003: MalformedMessage, 1007: MalformedMessage, 1009: OversizedMessage}


def reason_text(error: ProtocolError | None, text: str = "") -> str:
    """The text of the close frame: `reason: what exactly`, at most 123 bytes of UTF-8."""
    if error is not None:
        detail = text or str(error)
        text = f"{error.reason}: {detail}" if detail else error.reason
    return text.encode("utf-8", "replace")[:REASON_BYTES_MAX].decode("utf-8", "ignore")


def error_of(code: int, text: str, remote: str) -> MyceliumError | None:
    """What a close frame from `remote` means here. None is a goodbye: the session ended as sessions do."""
    text = "".join(
        letter if letter.isprintable() else "?" for letter in text
    )  # it ends in logs and terminals
    if code in (NORMAL, GOING_AWAY):
        return None
    kind = _BY_CODE.get(code)
    if kind is not None:
        return kind(f"{remote} refused: {text or kind.reason}")
    if code == TRY_LATER:
        return Overloaded(f"{remote} is full: {text or 'try again later'}")
    if code == ABNORMAL:
        return LinkClosed(f"{remote}: the connection was lost")
    return LinkClosed(f"{remote} closed with code {code}: {text or 'no reason given'}")


def said_by_peer(error: ProtocolError) -> bool:
    """Whether the error is the other side's refusal of us, read by `peer.refusal`, and not its own misconduct."""
    return str(error).startswith("refused by the other side")
