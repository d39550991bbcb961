"""The session's door in a miner's app: WebSockets of the node's protocol, on the port that HTTP has.

Owns the hub of the sessions and the calls under way, one for each event loop. Only who may ask by HTTP gets a session:
registered, with stake enough; whether he still may is asked again for each call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from mycelium._core import codec
from mycelium.chain.extrinsics import account_of
from mycelium.config import HANDSHAKE_TIMEOUT_MS, SUBPROTOCOL
from mycelium.errors import MyceliumError, RequestRefused, Silence
from mycelium.http import gate
from mycelium.http.layer import App, Miner, Receive, Scope, Send
from mycelium.http.session import bridge
from mycelium.http.session.bridge import Asker
from mycelium.http.session.carrier import AsgiCarrier
from mycelium.http.session.identity import signer_of
from mycelium.http.session.message import STREAM, split_method
from mycelium.http.session.native import Calls, Native, Validator
from mycelium.identity import account as accounts
from mycelium.peer.admission import Admission, address_group
from mycelium.peer.callserver import CallServer, Handler, StreamHandler
from mycelium.peer.closing import TRY_LATER
from mycelium.peer.greeting import Greeting, Local
from mycelium.peer.hub import CLIENT, Hub
from mycelium.peer.link import Link
from mycelium.peer.network import Network
from mycelium.peer.observer import Observer
from mycelium.peer.session import Session
from mycelium.protocol.messages import MessageType

log = logging.getLogger(__name__)
T = TypeVar("T")

_CALLS: Final = frozenset({MessageType.REQUEST, MessageType.STREAM})
_DRAIN_S: Final = 1.0


class Served(Miner, Protocol):
    """A miner that can have sessions."""

    @property
    def keypair(self) -> Any: ...
    @property
    def netuid(self) -> int: ...


class Door:
    """Of one app. natives: its native handlers. own: more of them, that only sessions reach. encrypted: what its routes
    expect of a request."""

    def __init__(
        self,
        natives: Calls,
        *,
        encrypted: bool,
        own: Calls | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._natives = natives
        self._own = own or Calls()
        self.encrypted = encrypted
        self._observer = observer
        self._room: _Room | None = None

    async def enter(self, scope: Scope, receive: Receive, send: Send, app: App, miner: Served) -> None:
        """A WebSocket that asks for our subprotocol: its whole life. app: what answers the calls."""
        loop = asyncio.get_running_loop()
        room = self._room
        if room is None or room.loop is not loop or room.account != account_of(miner.keypair):
            room = self._room = _Room(self, miner, loop)
        room.miner, room.app = miner, app
        await room.enter(scope, receive, send)

    def find(self, method: str, target: str) -> Native | None:
        """The native handler of a request."""
        return self._natives.find(method, target) or self._own.find(method, target)

    @property
    def sessions(self) -> int:
        """How many there are."""
        return 0 if self._room is None else len(self._room.hub.links())

    @property
    def observer(self) -> Observer | None:
        """Who counts."""
        return self._observer

    async def close(self) -> None:
        """End all sessions; calls under way get a second."""
        room, self._room = self._room, None
        if room is not None and room.loop is asyncio.get_running_loop():
            await room.close()


class _Room:
    """What a door leads to, on one event loop."""

    def __init__(self, door: Door, miner: Served, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.account = account_of(miner.keypair)
        self.miner = miner
        self.app: App | None = None
        self._door = door
        self._askers: dict[int, Asker] = {}
        signer = signer_of(miner.keypair)
        # A validator takes whatever network is named here: it knows the miner by its hotkey.
        local = Local(signer, Network(miner.netuid, bytes(32)), 0, self._authorise)
        self.hub = Hub(local, self._receive, observer=door.observer)
        self._admission = Admission(local, self.hub.observer, addresses=self.hub.addresses)
        self._calls = CallServer(_Routes(self._whole), _Routes(self._streamed))

    async def close(self) -> None:
        await self._calls.close(_DRAIN_S)
        await self.hub.close()

    # --- coming and going -------------------------------------------------------------------------------

    async def enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        client = scope.get("client") or ("", 0)
        carrier = AsgiCarrier(self.hub.observer, receive, send, f"{client[0]}:{client[1]}")
        stranger = _Stranger(address_group(client[0]), carrier)
        if not self._admission.arrive(stranger):
            await send({"type": "websocket.close", "code": TRY_LATER, "reason": "overloaded"})
            return

        def made(session: Session, body: bytes) -> None:
            del body
            left()
            link = self.hub.admit(carrier, session, inbound=True, role=session.role)
            if link is not None:
                hotkey = accounts.format(link.account)
                asker = Asker(hotkey, accounts.format(self.account), scope, self._door.encrypted)
                self._askers[link.id] = asker
                link.closed.add_done_callback(lambda _: self._askers.pop(link.id))

        def lost(error: MyceliumError | None) -> None:
            log.debug("no session with %s: %s", carrier.remote, error)

        def left() -> None:
            self._admission.leave(stranger)
            timer.cancel()

        carrier.owner = Greeting(
            carrier,
            self._admission.responder(stranger.address),
            inbound=True,
            now_ns=self.hub.local.now_ns,
            done=made,
            lost=lost,
        )
        silence = Silence(f"no session within {HANDSHAKE_TIMEOUT_MS} ms")
        timer = self.loop.call_later(HANDSHAKE_TIMEOUT_MS / 1000, carrier.fail, silence)
        try:
            await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
            await carrier.run()
        finally:
            left()

    def _authorise(self, account: bytes) -> str | None:
        with contextlib.suppress(RequestRefused):
            gate.check_stake(self.miner.nodes, accounts.format(account), self.miner.stake_min)
            return CLIENT
        return None

    def _receive(self, link: Link, message: codec.Message, size_bytes: int) -> None:
        del size_bytes
        if message.type in _CALLS:
            self._calls.receive(link, message)

    # --- calls ------------------------------------------------------------------------------------------

    def _whole(self, text: str) -> Handler | None:
        method, target = split_method(text)
        if not method:
            return None
        native = self._door.find(method, target)
        if native is not None:
            found = _Native(self, native)
            return found.whole if native.streams else found.answer

        async def whole(link: Link, body: bytes) -> bytes:
            assert self.app is not None, "a session came by way of an app"
            return await bridge.answer(self.app, self._askers[link.id], method, target, body)

        return whole

    def _streamed(self, text: str) -> StreamHandler | None:
        if not text.startswith(STREAM):
            return None
        method, target = split_method(text.removeprefix(STREAM))
        if not method:
            return None
        native = self._door.find(method, target)
        if native is not None:
            return _Native(self, native).items

        def streamed(link: Link, body: bytes) -> AsyncIterator[bytes]:
            assert self.app is not None, "a session came by way of an app"
            return bridge.items(self.app, self._askers[link.id], method, target, body)

        return streamed

    def validator_of(self, link: Link) -> Validator:
        """Who calls. RequestRefused for who may no longer."""
        hotkey = self._askers[link.id].validator
        nodes = self.miner.nodes
        gate.check_stake(nodes, hotkey, self.miner.stake_min)
        return Validator(hotkey, nodes[hotkey])


class _Native:
    """A native handler, for calls."""

    def __init__(self, room: _Room, native: Native) -> None:
        self._room = room
        self._native = native

    async def answer(self, link: Link, body: bytes) -> bytes:
        try:
            validator = self._room.validator_of(link)
        except RequestRefused as refused:
            return self._native.failed(refused)
        return await self._native.answer(body, validator)

    async def whole(self, link: Link, body: bytes) -> bytes:
        """Of a stream whose reader wants all of it at once."""
        return b"".join([item async for item in self.items(link, body)])

    async def items(self, link: Link, body: bytes) -> AsyncGenerator[bytes, None]:
        try:
            validator = self._room.validator_of(link)
        except RequestRefused as refused:
            yield self._native.failed(refused)
            return
        if not self._native.streams:
            yield await self._native.answer(body, validator)
            return
        async with contextlib.aclosing(self._native.items(body, validator)) as found:
            async for item in found:
                yield item


class _Routes(Generic[T]):
    """The methods that calls may name: as many as there are paths, so each is made when it is asked for. Only those
    of native handlers are kept, as there are few."""

    def __init__(self, find: Callable[[str], T | None]) -> None:
        self._find = find
        self._kept: dict[str, T] = {}

    def get(self, text: str) -> T | None:
        found = self._kept.get(text)
        if found is None:
            found = self._find(text)
            if "?" not in text and isinstance(getattr(found, "__self__", None), _Native):
                assert found is not None, "it has a handler"
                self._kept[text] = found
        return found


class _Stranger:
    """A WebSocket whose other side has not proved who it is."""

    def __init__(self, address: str, carrier: AsgiCarrier) -> None:
        self._address = address
        self._carrier = carrier

    @property
    def address(self) -> str:
        return self._address

    def drop(self) -> None:
        self._carrier.abort()
