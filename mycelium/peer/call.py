"""Calls over a link: one request and one answer, or one request and a stream of items with flow control.

Owns what travels; `caller` and `callserver` are the two ends. Must not know what methods do. On the wire (schema table
Call):

| message | direction | fields |
|---|---|---|
| REQUEST | caller to server | id, method, body; status OK, sequence: first credit in bytes |
| REQUEST | caller to server | the same with status PARTS, sequence: bytes that the whole answer may have |
| RESPONSE | server to caller | id, status OK and body, or status FAILED, method: class of the error, body: its text |
| STREAM | server to caller | id, status ITEM, sequence 0, 1, 2..., body; or `end` after the last |
| STREAM | caller to server | id, status CREDIT, sequence: bytes it may have sent in all; or status CANCEL |

A server sends an item only while what it sent is below its credit, so a reader holds one window and one item
more. A plain answer that is larger than a message comes to one who asked for PARTS as items, and a RESPONSE with the
rest.
"""

from __future__ import annotations

from typing import Final

from mycelium.config import CALL_BYTES_MAX
from mycelium.errors import OversizedMessage, UsageError
from mycelium.peer.link import Link
from mycelium.protocol.messages import Call, MessageType

OK: Final = 0
FAILED: Final = 1
PARTS: Final = 1
ITEM: Final = 0
CREDIT: Final = 1
CANCEL: Final = 2

ITEM_COST_BYTES: Final = 64
"""Added to each item's size, so that empty items are not free."""
TEXT_MAX: Final = 1024


async def send(link: Link, type: MessageType, call: Call, klass: int) -> None:
    """Send in its turn, however full the queue is. Raises LinkClosed; UsageError for a body that does not fit a
    message in the session's encoding (JSON takes a third more)."""
    payload = call.encode()
    try:
        while not link.post(type, payload, klass):
            await link.drained(klass)
    except OversizedMessage as error:
        raise does_not_fit(call, error) from None


def does_not_fit(call: Call, error: OversizedMessage) -> UsageError:
    """A body that is too large in the encoding of its session."""
    return UsageError(f"a body of {len(call.body)} bytes does not fit: {error}")


def check_body(body: bytes) -> None:
    """Raise OversizedMessage for the body of a call that is too large."""
    if len(body) > CALL_BYTES_MAX:
        raise OversizedMessage(
            f"the body of a call has {len(body)} bytes, at most {CALL_BYTES_MAX} are allowed"
        )
