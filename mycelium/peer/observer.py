"""What a link reports while it works: counts, for metrics. Owns no counter and decides nothing.

`node.metrics` implements `Observer`; everything else may use `NullObserver`. An observer must not raise and
must not block: it is called on the hot path.
"""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """`type` is a MessageType, `klass` one of fanout's CONTROL, REPAIR, PUSH, BULK, `reason` a short label."""

    def rejected(self, reason: str) -> None:
        """A connection, or what it sent, was refused. Labels: the `reason` of every ProtocolError, and
        `upgrade`, `subprotocol`, `overloaded`, `handshakes-full`, `address-full`, `address-rate`, `sessions-full`,
        `clients-full`, `internal`."""

    def handshake(self, ok: bool, inbound: bool) -> None: ...

    def bytes_in(self, n: int) -> None: ...

    def bytes_out(self, n: int) -> None: ...

    def message_in(self, type: int, size_bytes: int) -> None: ...

    def message_out(self, type: int, size_bytes: int) -> None: ...

    def dropped(self, klass: int, n: int) -> None:
        """`n` messages of the class found a link's queue full."""

    def session_opened(self, inbound: bool) -> None: ...

    def session_closed(self, inbound: bool) -> None: ...


class NullObserver:
    """Counts nothing."""

    def rejected(self, reason: str) -> None:
        del reason

    def handshake(self, ok: bool, inbound: bool) -> None:
        del ok, inbound

    def bytes_in(self, n: int) -> None:
        del n

    def bytes_out(self, n: int) -> None:
        del n

    def message_in(self, type: int, size_bytes: int) -> None:
        del type, size_bytes

    def message_out(self, type: int, size_bytes: int) -> None:
        del type, size_bytes

    def dropped(self, klass: int, n: int) -> None:
        del klass, n

    def session_opened(self, inbound: bool) -> None:
        del inbound

    def session_closed(self, inbound: bool) -> None:
        del inbound
