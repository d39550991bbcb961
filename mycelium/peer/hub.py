"""All links of a node: the registry, the queue they share, and one place where messages are dispatched.

Decides which of two sessions with one node of an account stays, and how many there may be. An account may have several
nodes (a fleet), told apart by the generations of their databases. Must not know what messages mean: `on_message` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from mycelium._core import codec, fanout
from mycelium.config import (
    CLIENTS_MAX,
    CLIENTS_PER_ACCOUNT_MAX,
    CONTROL_QUEUE_BYTES_MAX,
    DUPLICATE_STALE_MS,
    OUTBOUND_BYTES_MAX,
    OUTBOUND_MESSAGES_MAX,
    SESSIONS_MAX,
)
from mycelium.config.peer import FURTHER_NODES_MAX, MEMBER_NODES_MAX
from mycelium.errors import MyceliumError, Overloaded, WrongPeer
from mycelium.peer.carrier import Carrier
from mycelium.peer.closing import GOING_AWAY, INTERNAL, TRY_LATER
from mycelium.peer.envelope import AuthMode, Envelope
from mycelium.peer.greeting import CONFIRMATION, Local
from mycelium.peer.link import Link, intake
from mycelium.peer.observer import NullObserver, Observer
from mycelium.peer.scores import Addresses
from mycelium.peer.session import Session

log = logging.getLogger(__name__)

CLIENT: Final = "client"
NODE: Final = "node"
"""The role of the node that a client dialled, as the client sees it."""
UNPAIRED: Final = frozenset((CLIENT, NODE))
"""Roles of which one account may have many sessions."""
TICK_S: Final = 1.0

OnMessage = Callable[[Link, codec.Message, int], None]
OnOpen = Callable[[Link], None]
OnClose = Callable[[Link, MyceliumError | None], None]


class Hub:
    """Registry of links. Everything happens on the loop that it was made on.

    on_message(link, message, size_bytes): called for each message, in order; a ProtocolError closes that one
    link with its reason, anything else is a bug here: logged, and that one link closed with 1011.
    on_open(link) after it is registered; on_close(link, error) after it is not, error None for a goodbye.
    """

    def __init__(
        self,
        local: Local,
        on_message: OnMessage,
        *,
        on_open: OnOpen | None = None,
        on_close: OnClose | None = None,
        observer: Observer | None = None,
        auth_mode: AuthMode = "session",
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.local = local
        self.observer: Observer = observer or NullObserver()
        self.envelope = Envelope(local, auth_mode)
        self.fanout = fanout.Fanout(OUTBOUND_BYTES_MAX, OUTBOUND_MESSAGES_MAX, CONTROL_QUEUE_BYTES_MAX)
        self.clock_ns = clock_ns
        self.addresses = Addresses()
        """Who failed to shake hands: of all listeners, so that another port forgives nothing."""
        self._on_message = on_message
        self._on_open = on_open
        self._on_close = on_close
        self._check = self.envelope.check
        self._message_in = self.observer.message_in
        self._links: dict[int, Link] = {}
        self._members: dict[bytes, dict[int, Link]] = {}
        """By account and generation, the oldest first."""
        self._paired = 0
        self._again: set[int] = set()
        self._next_id = 0
        self._woken = False
        self._closing = False
        self._ticker: asyncio.TimerHandle | None = None

    # --- who is there -------------------------------------------------------------------------------------

    def links(self) -> list[Link]:
        """Every live link, clients too."""
        return list(self._links.values())

    def link_of(self, account: bytes) -> Link | None:
        """A session with a member: of several the oldest that is not silent."""
        links = self._members.get(account)
        if links is None:
            return None
        if len(links) > 1:
            for link in links.values():
                if not self._is_stale(link):
                    return link
        return next(iter(links.values()))

    def links_of(self, account: bytes) -> list[Link]:
        """All sessions with a member, one for each generation, the oldest first."""
        return list(self._members.get(account, {}).values())

    def link_to(self, account: bytes, generation: int) -> Link | None:
        """The session with a member's node of that generation, or else with another of its nodes."""
        return self._members.get(account, {}).get(generation) or self.link_of(account)

    def clients(self) -> int:
        """How many sessions are not one of a pair of members."""
        return len(self._links) - self._paired

    # --- sending ------------------------------------------------------------------------------------------

    def publish(self, message: bytes, klass: int, links: Iterable[Link]) -> list[Link]:
        """Queue one encoded message for many. Returns the links that did not take it (their queue is full)."""
        by_id = {link.id: link for link in links if not link.closed.done()}
        refused = self.fanout.publish(message, klass, list(by_id))
        self.wake()
        if not refused:
            return []
        self.observer.dropped(klass, len(refused))
        unserved = [by_id[peer] for peer in refused]
        for link in unserved:
            link.note_refusal()
        if klass == fanout.CONTROL:
            for link in unserved:
                link.close(Overloaded("control messages left unread"))
        return unserved

    def post(self, type: int, payload: bytes, klass: int, links: Sequence[Link]) -> list[Link]:
        """Make a message of that MessageType and publish it, encoded once for each encoding in use.

        Returns the links that did not take it.
        """
        if self.envelope.signed:  # a signature is bound to its session
            return [link for link in links if not link.post(type, payload, klass)]
        groups: dict[tuple[int, int], list[Link]] = {}
        for link in links:
            groups.setdefault((link.session.version, link.session.encoding), []).append(link)
        refused: list[Link] = []
        for group in groups.values():
            message = self.envelope.wrap(group[0].session, type, payload)
            unserved = self.publish(message, klass, group)
            refused += unserved
            for _ in range(len(group) - len(unserved)):
                self.observer.message_out(type, len(message))
        return refused

    def wake(self) -> None:
        """Something is queued: write it before this turn of the loop is over, once per link."""
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._flush)

    def resume(self, link: Link) -> None:
        """A link's socket takes bytes again."""
        self._again.add(link.id)
        self.wake()

    def _flush(self) -> None:
        self._woken = False
        again, self._again = self._again, set()
        for peer in again.union(self.fanout.ready()):
            link = self._links.get(peer)
            if link is None:
                continue
            try:
                if link.flush():
                    self.resume(link)
            except Exception:  # one link's failure must not leave the others unwritten
                log.exception("writing to %s failed", link.remote)
                self.observer.rejected("internal")
                link.wire.close(INTERNAL, "internal error")

    # --- receiving ----------------------------------------------------------------------------------------

    def deliver(self, link: Link, message: codec.Message, size: int) -> None:
        """Judge one message of a link and hand it on."""
        self._check(link.session, message)
        self._message_in(message.type, size)
        self._on_message(link, message, size)

    # --- coming and going ---------------------------------------------------------------------------------

    def admit(
        self, wire: Carrier, session: Session, *, inbound: bool, role: str, url: str = "", body: bytes = b""
    ) -> Link | None:
        """Make a link of a session, unless there is no room for it or a better one; then the wire is closed.

        body: what the first frame held, if it was opened already.
        """
        if not self._has_place(wire, session, inbound, role):
            return None
        self._next_id += 1
        # Programs and their node may send each other as much as they like; members may not.
        metered = role not in UNPAIRED
        rates = None
        if metered:
            # A member with several nodes may not send as much as several members.
            others = self._members.get(session.peer)
            rates = next(iter(others.values())).intake if others else intake()
        link = Link(self, self._next_id, wire, session, inbound=inbound, role=role, intake=rates)
        link.url = url
        self._links[link.id] = link
        if metered:
            theirs = self._members.setdefault(link.account, {})
            self._paired += link.generation not in theirs
            theirs.pop(link.generation, None)  # of several the newest comes last
            theirs[link.generation] = link
        self.fanout.add_peer(link.id)
        wire.owner = link
        session.tick(self.clock_ns())  # its clock starts here
        if inbound:
            wire.send(session.seal(CONFIRMATION))
        self.observer.session_opened(inbound)
        if self._ticker is None:
            self._ticker = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        if self._on_open is not None:
            self._on_open(link)
        if body and not link.closed.done():
            link.body_received(body)
        return link

    def _has_place(self, wire: Carrier, session: Session, inbound: bool, role: str) -> bool:
        if self._closing:
            wire.close(GOING_AWAY, "this node is shutting down")
            return False
        if role in UNPAIRED:
            return self._has_client_place(wire, session.peer, role)
        if session.peer == self.local.account:
            wire.fail(WrongPeer("this node reached itself"))
            return False
        links = self._members.get(session.peer, {})
        present = links.get(session.peer_generation)
        if present is not None:
            if self._keeps(present, inbound):
                wire.close(text="duplicate: another session with this account is kept")
                return False
            present.close(text="duplicate: a newer session with this account is kept")
        return self._has_member_place(wire, session.peer)

    def _has_member_place(self, wire: Carrier, account: bytes) -> bool:
        links = self._members.get(account)
        if not links:
            if len(self._members) >= SESSIONS_MAX:
                self._full(wire, "sessions-full", f"{SESSIONS_MAX} members are connected")
                return False
            return True
        if len(links) >= MEMBER_NODES_MAX:
            stale = [link for link in links.values() if self._is_stale(link)]
            if not stale:
                self._full(wire, "fleet-full", f"{MEMBER_NODES_MAX} nodes of this account are connected")
                return False
            self._expel(
                min(stale, key=lambda link: link.last_received_ns), "silent, and another node has come"
            )
        elif self._paired - len(self._members) >= FURTHER_NODES_MAX:
            most = max(self._members.values(), key=len)
            if len(most) <= len(links) + 1:
                self._full(wire, "fleets-full", f"{FURTHER_NODES_MAX} further nodes of members are connected")
                return False
            # Else a few members with sixteen each would keep everybody else at one.
            self._expel(next(reversed(most.values())), "a member with fewer nodes needs the place")
        return True

    def _expel(self, link: Link, text: str) -> None:
        """Its place is free at once, however long its goodbye takes."""
        self._drop_member(link)
        link.close(text=text)

    def _drop_member(self, link: Link) -> None:
        links = self._members.get(link.account)
        if links is not None and links.get(link.generation) is link:
            del links[link.generation]
            self._paired -= 1
            if not links:
                del self._members[link.account]

    def _has_client_place(self, wire: Carrier, account: bytes, role: str) -> bool:
        if self.clients() >= CLIENTS_MAX:
            self._full(wire, "clients-full", f"{CLIENTS_MAX} clients are connected")
            return False
        # One client must not lock out the others, least of all the node's own account, which may take any place.
        if role == CLIENT and account != self.local.account:
            theirs = sum(link.account == account and link.role == CLIENT for link in self._links.values())
            if theirs >= CLIENTS_PER_ACCOUNT_MAX:
                self._full(wire, "client-full", f"{CLIENTS_PER_ACCOUNT_MAX} sessions of this client are open")
                return False
        return True

    def _full(self, wire: Carrier, label: str, text: str) -> None:
        self.observer.rejected(label)
        wire.close(TRY_LATER, f"overloaded: {text}", Overloaded(text))

    def _keeps(self, present: Link, inbound: bool) -> bool:
        """Whether the present session stays when another comes, which the same account dialled if `inbound`.

        Both sides of a simultaneous open see the same two connections and keep the one that the lower account
        dialled. A second one in the same direction replaces the first, which its dialler must have lost.
        """
        if present.inbound == inbound:
            return False
        if self._is_stale(present):
            return False
        ours_is_kept = self.local.account < present.account
        return ours_is_kept != present.inbound

    def _is_stale(self, link: Link) -> bool:
        return self.clock_ns() - link.last_received_ns > DUPLICATE_STALE_MS * 1_000_000

    def forget(self, link: Link, error: MyceliumError | None) -> None:
        """Called by a link, once, when it ended."""
        del self._links[link.id]
        self._drop_member(link)
        self._again.discard(link.id)
        self.fanout.remove_peer(link.id)
        self.observer.session_closed(link.inbound)
        if self._on_close is not None:
            try:
                self._on_close(link, error)
            except Exception:
                log.exception("the close handler failed for %s", link.remote)

    def _tick(self) -> None:
        self._ticker = None
        now_ns = self.clock_ns()
        for link in self.links():
            link.tick(now_ns)
        if self._links and not self._closing:
            self._ticker = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    async def close(self, drain_s: float = 0.0, text: str = "shutting down") -> None:
        """Admit nobody more, give what is queued up to `drain_s` seconds to leave, say goodbye, and end all links."""
        self._closing = True
        if self._ticker is not None:
            self._ticker.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                for link in self.links():
                    await link.emptied()
        goodbyes = [link.wire for link in self.links()]
        for wire in goodbyes:
            wire.close(GOING_AWAY, text)
        for wire in goodbyes:
            await wire.disconnected()
