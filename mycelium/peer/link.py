"""A session on a wire: messages in and out of one other node or client.

Owns the order of sealing and the moment of writing. What it is given to send waits in the hub's Fanout,
bounded and by class, until the socket takes it; sealing happens last. Must not know what messages mean.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mycelium._core import codec, fanout
from mycelium.config import (
    COALESCED_BYTES,
    CONTROL_QUEUE_BYTES_MAX,
    FLUSH_BYTES,
    HOLD_MAX_S,
    LINK_BYTES_BURST,
    LINK_BYTES_PER_S,
    LINK_MESSAGES_BURST,
    LINK_MESSAGES_PER_S,
    TRANSPORT_BUFFER_BYTES,
)
from mycelium.errors import LinkClosed, MyceliumError, Overloaded, ProtocolError
from mycelium.peer.bucket import Bucket
from mycelium.peer.carrier import Carrier
from mycelium.peer.cipher import TAG_BYTES
from mycelium.peer.closing import NORMAL, TRY_LATER
from mycelium.peer.session import Session
from mycelium.protocol import frame
from mycelium.protocol.messages import MessageType

if TYPE_CHECKING:
    from mycelium.peer.hub import Hub

_HEAVY: Final = 80
"""Of what an honest member sends once a second, and what makes a node send or read more than came."""
_WEIGHTS: Final = tuple(
    {
        MessageType.PING: _HEAVY,
        MessageType.PONG: _HEAVY,
        MessageType.DB_SYNC_REQ: _HEAVY,
        MessageType.BLACKLIST_SYNC: _HEAVY,
        MessageType.REQUEST: 20,
        MessageType.TREE: 20,
    }.get(kind, 1)
    for kind in MessageType
)
_DRAINED_BYTES: Final = {fanout.CONTROL: CONTROL_QUEUE_BYTES_MAX // 2}


def intake() -> tuple[Bucket, Bucket]:
    """What one member may send: messages by their weight, and bytes."""
    return Bucket(LINK_MESSAGES_PER_S, LINK_MESSAGES_BURST), Bucket(LINK_BYTES_PER_S, LINK_BYTES_BURST)


class Link:
    """One live session. Made by `Hub.admit`; used from the loop's thread only.

    id: unique in this process. account: the other side's, 32 bytes; generation: of its database. role: what
    membership says of it; `client` for a program, `node` for what a client dialled. remote: `host:port`. rtt_ms:
    set by whoever measures it, None before. last_received_ns: monotonic. closed: resolves to the reason of the end,
    None for a goodbye. closed_by_peer: who ended it. url: what was dialled, "" if inbound. intake: at which
    rates, in messages and bytes, what comes is read; None for any. throttled: how often reading was put off for that.
    """

    __slots__ = (
        "_body_max",
        "_drain",
        "_fanout",
        "_hub",
        "_refused",
        "account",
        "closed",
        "closed_by_peer",
        "generation",
        "id",
        "inbound",
        "intake",
        "last_received_ns",
        "opened_ns",
        "remote",
        "role",
        "rtt_ms",
        "session",
        "throttled",
        "url",
        "wire",
    )

    def __init__(
        self,
        hub: Hub,
        id: int,
        wire: Carrier,
        session: Session,
        *,
        inbound: bool,
        role: str,
        intake: tuple[Bucket, Bucket] | None = None,
    ) -> None:
        self._hub = hub
        self._fanout = hub.fanout
        self.id = id
        self.wire = wire
        self.session = session
        self.account = session.peer
        self.generation = session.peer_generation
        self.role: str = role
        self.inbound = inbound
        self.remote = wire.remote
        self.url = ""
        self.rtt_ms: float | None = None
        self.opened_ns = self.last_received_ns = hub.clock_ns()
        self.closed: asyncio.Future[MyceliumError | None] = asyncio.get_running_loop().create_future()
        self.closed_by_peer = False
        self._body_max = min(COALESCED_BYTES, session.frame_max - TAG_BYTES)
        self._drain: list[asyncio.Future[None]] = []
        self._refused = False
        self.intake = intake
        self.throttled = 0

    def __repr__(self) -> str:
        way = "from" if self.inbound else "to"
        return f"<Link {self.id} {way} {self.remote} {self.account.hex()[:16]} {self.role}>"

    # --- sending ------------------------------------------------------------------------------------------

    def send(self, message: bytes, klass: int) -> bool:
        """Queue an encoded message. False if its queue is full or the link closed; then it is not sent.

        Control is never dropped: a peer that leaves CONTROL_QUEUE_BYTES_MAX of it unread is closed.
        """
        if self.closed.done():
            return False
        try:
            taken = self._fanout.send(self.id, message, klass)
        except Overloaded as overload:
            self.wire.observer.dropped(klass, 1)
            self.close(overload, "control messages left unread")
            return False
        if taken:
            self._hub.wake()
            return True
        self._refused = True
        self.wire.observer.dropped(klass, 1)
        return False

    def post(self, type: int, payload: bytes, klass: int) -> bool:
        """Make a message of that MessageType and send it; as `send`."""
        if self.closed.done():
            return False
        message = self._hub.envelope.wrap(self.session, type, payload)
        taken = self.send(message, klass)
        if taken:
            self.wire.observer.message_out(type, len(message))
        return taken

    async def drained(self, klass: int) -> None:
        """Wait until a refused message may be tried again. Raises LinkClosed when the link ends."""
        limit = _DRAINED_BYTES.get(klass, TRANSPORT_BUFFER_BYTES)
        while not self.closed.done():
            if not self._refused and self._fanout.pending_bytes(self.id) <= limit:
                return
            await self._progress()
        raise LinkClosed(f"{self.remote}: the connection ended")

    def flush(self) -> bool:
        """Seal and write what is queued. True if it stopped only to give others a turn."""
        wire = self.wire
        if wire.paused or self.closed.done():
            return False
        session = self.session
        for control in session.take_control():
            wire.send(control)
        budget = FLUSH_BYTES
        while not wire.paused and budget > 0:
            body = self._fanout.take(self.id, self._body_max)
            if body is None:
                break
            budget -= len(body)
            wire.send(session.seal(body))
        if self._drain or self._refused:
            self._refused = False
            self._wake_drained()
        return budget <= 0 and not wire.paused

    def note_refusal(self) -> None:
        """The queue refused a message that was published to many: `drained` waits for room."""
        self._refused = True

    async def emptied(self) -> None:
        """Wait until nothing is queued, or the link ended."""
        while not self.closed.done() and self._fanout.pending(self.id):
            await self._progress()

    async def _progress(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._drain.append(waiter)
        await waiter

    @property
    def lagging(self) -> bool:
        """Whether a push was dropped because the queue was full, since `clear_lagging`."""
        return self._fanout.lagging(self.id)

    def clear_lagging(self) -> None:
        self._fanout.clear_lagging(self.id)

    def _wake_drained(self) -> None:
        waiters, self._drain = self._drain, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def tick(self, now_ns: int) -> None:
        """Time has passed: lets the session change its keys when they are due."""
        try:
            self.session.tick(now_ns)
        except ProtocolError as error:
            self.wire.fail(error)
            return
        if self.session.has_control:
            self._hub.resume(self)

    # --- receiving ----------------------------------------------------------------------------------------

    def frame_received(self, data: bytes) -> None:
        """A sealed frame: open it and hand its messages over, in order, each completely before the next."""
        now_ns = self.last_received_ns = self._hub.clock_ns()
        body = self.session.open(data)
        if body is None:
            self.flush()
            return
        weight = self.body_received(body)
        if self.intake is not None:
            self._throttle(weight, len(data), now_ns)

    def _throttle(self, weight: int, size_bytes: int, now_ns: int) -> None:
        """Who sends more than he may is read later: his own buffers fill, and nobody else's."""
        assert self.intake is not None, "a member's link has its buckets"
        count, size = self.intake
        wait_ns = max(count.take(weight, now_ns), size.take(size_bytes, now_ns))
        if wait_ns > 0:
            self.throttled += 1
            self.wire.hold(min(wait_ns / 1e9, HOLD_MAX_S))

    def body_received(self, body: bytes) -> int:
        """The messages of an opened frame; their weight. A ProtocolError raised here closes the link."""
        deliver = self._hub.deliver
        decode = codec.decode_message
        closed = self.closed
        weight = 0
        for raw in frame.split(body, len(body)):
            message = decode(raw)
            weight += _WEIGHTS[message.type]
            deliver(self, message, len(raw))
            if closed.done():
                break
        return weight

    # --- the end ------------------------------------------------------------------------------------------

    def close(self, error: ProtocolError | Overloaded | None = None, text: str = "") -> None:
        """End the session: with a reason the peer is told, or as a goodbye. What is queued is lost. Idempotent."""
        if isinstance(error, ProtocolError):
            self.wire.fail(error, text)
        elif error is not None:
            self.wire.observer.rejected("overloaded")
            self.wire.close(TRY_LATER, f"overloaded: {text or error}", error)
        else:
            self.wire.close(NORMAL, text)

    def writable(self) -> None:
        """The socket takes bytes again."""
        self._hub.resume(self)

    def wire_closed(self, error: MyceliumError | None, by_peer: bool) -> None:
        self.closed_by_peer = by_peer
        self.closed.set_result(error)
        self._wake_drained()
        self._hub.forget(self, error)
