"""Calls that members make on each other's nodes: a registry of methods, and the calling end for each session.

Owns which methods members may call, and how many calls of one member are under way. Must not know what methods do:
the parts of a node register them (`registry.on("endpoints.offer", handler)`). Bodies are theirs too, by custom
msgpack (`calls.encode`, `calls.decode`). The API of programs is another registry, which members may not use.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Container, Sequence

from mycelium._core import codec
from mycelium.config import (
    CALL_BYTES_MAX,
    PEER_CALL_TIMEOUT_MS,
    PEER_CALLS_BYTES_MAX,
    PEER_CALLS_MAX,
    PEER_CALLS_OUT_MAX,
)
from mycelium.errors import LinkClosed, Unauthorised, UsageError
from mycelium.peer.call import ITEM
from mycelium.peer.caller import Caller
from mycelium.peer.callserver import CallServer, Handler, StreamHandler
from mycelium.peer.hub import UNPAIRED
from mycelium.peer.link import Link
from mycelium.protocol.messages import Call, MessageType


class PeerCalls:
    """The methods that members may call here, and calls to theirs.

    link_of: a session with an account (`Hub.link_of`); links_of: all of them. forbidden: methods of the programs' API;
    a member that calls one loses its session, as it took this node for its own.
    """

    def __init__(
        self,
        link_of: Callable[[bytes], Link | None],
        forbidden: Container[str] = (),
        links_of: Callable[[bytes], Sequence[Link]] | None = None,
    ) -> None:
        self._link_of = link_of
        self._forbidden = forbidden
        self._handlers: dict[str, Handler] = {}
        self._streams: dict[str, StreamHandler] = {}
        self._callers: dict[int, Caller] = {}
        self._server = CallServer(
            self._handlers,
            self._streams,
            may_call=lambda link: link.role not in UNPAIRED,
            calls_max=PEER_CALLS_MAX,
            bytes_max=PEER_CALLS_BYTES_MAX,
            sharing=lambda link: (link,) if links_of is None else links_of(link.account),
        )

    # --- what is served -----------------------------------------------------------------------------------

    def on(self, method: str, handler: Handler) -> None:
        """Serve a method: async (link, body) -> body. A MyceliumError that it raises is its caller's CallFailed.

        Who calls is `link.account`; that it is a member is certain, what it may read is not.
        """
        self._check_new(method)
        self._handlers[method] = handler

    def stream(self, method: str, handler: StreamHandler) -> None:
        """Serve a method whose answer is a stream: (link, body) -> async iterator of bodies, at its caller's pace."""
        self._check_new(method)
        self._streams[method] = handler

    def _check_new(self, method: str) -> None:
        if method in self._handlers or method in self._streams or method in self._forbidden:
            raise UsageError(f"there is a method {method!r} already")

    @property
    def active(self) -> int:
        """Calls of members under way here."""
        return self._server.active

    # --- what is called -----------------------------------------------------------------------------------

    async def call(
        self,
        whom: bytes | Link,
        method: str,
        body: bytes,
        timeout_s: float = PEER_CALL_TIMEOUT_MS / 1000,
        answer_bytes_max: int = CALL_BYTES_MAX,
    ) -> bytes:
        """Call a method of a member's node, by its account or over one session with it; the answer's body.

        Raises LinkClosed (no session with it, or it ended), CallFailed (its handler's error; `UsageError` where it has
        no such method), CallTimeout, Overloaded (PEER_CALLS_OUT_MAX are under way), UsageError (a body too large).
        """
        return await self._caller(whom).call(method, body, timeout_s, answer_bytes_max)

    def items(self, whom: bytes | Link, method: str, body: bytes) -> AsyncIterator[bytes]:
        """Call a streaming method of a member's node. There is no time limit. Raises as `call` does."""
        return self._caller(whom).stream(method, body)

    def _caller(self, whom: bytes | Link) -> Caller:
        link = self._link_of(whom) if isinstance(whom, bytes) else whom
        caller = None if link is None else self._callers.get(link.id)
        if caller is None:
            account = whom if isinstance(whom, bytes) else whom.account
            raise LinkClosed(f"there is no session with {account.hex()[:16]}")
        return caller

    # --- links --------------------------------------------------------------------------------------------

    def link_opened(self, link: Link) -> None:
        """A member's session is up."""
        self._callers[link.id] = Caller(link, PEER_CALLS_OUT_MAX)

    def link_closed(self, link: Link) -> None:
        """It ended; what was under way on it has failed with LinkClosed by itself."""
        self._callers.pop(link.id, None)

    def receive(self, link: Link, message: codec.Message) -> None:
        """A member's REQUEST, RESPONSE or STREAM. A ProtocolError raised here closes its link."""
        call = Call.decode(message.payload)
        if message.type == MessageType.REQUEST:
            if call.method in self._forbidden:
                raise Unauthorised("a member's hotkey may not use this node's API: use the node's own")
            self._server.receive(link, message)
        elif message.type == MessageType.STREAM and call.status != ITEM:
            self._server.receive(link, message)
        elif link.id in self._callers:
            self._callers[link.id].receive(message)

    async def close(self, drain_s: float = 0.0) -> None:
        """Take no more calls; wait up to `drain_s` seconds for answers under way, cancel the rest."""
        await self._server.close(drain_s)


__all__ = ["Handler", "PeerCalls", "StreamHandler"]
