"""The answering end of all links: which calls are under way for whom, how many, and their end.

Owns the tasks of the calls. Must not know what methods do: handlers are given. What travels is described in `call`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from mycelium._core import codec, fanout
from mycelium.config import CALL_BYTES_MAX, CALL_PART_BYTES, CALLS_PENDING_BYTES_MAX, CALLS_PER_CLIENT_MAX
from mycelium.errors import (
    CallFailed,
    LinkClosed,
    MalformedMessage,
    MyceliumError,
    Overloaded,
    Unauthorised,
    UsageError,
    ValueRefused,
)
from mycelium.peer.call import (
    CANCEL,
    CREDIT,
    FAILED,
    ITEM,
    ITEM_COST_BYTES,
    OK,
    PARTS,
    TEXT_MAX,
    check_body,
    send,
)
from mycelium.peer.hub import CLIENT
from mycelium.peer.link import Link
from mycelium.protocol.messages import Call, MessageType

log = logging.getLogger(__name__)

Handler = Callable[[Link, bytes], Awaitable[bytes]]
StreamHandler = Callable[[Link, bytes], AsyncIterator[bytes]]
T_co = TypeVar("T_co", covariant=True)


class Methods(Protocol[T_co]):
    """Handlers by the names of their methods; a mapping is one."""

    def get(self, method: str, /) -> T_co | None: ...


class _Serving:
    """One call under way at the server."""

    def __init__(self, size_bytes: int, credit_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.granted_bytes = credit_bytes
        self.more_credit: asyncio.Event | None = None
        """Of a stream."""
        self.task: asyncio.Task[None] | None = None


class _Callers:
    """The calls of one link."""

    def __init__(self) -> None:
        self.serving: dict[int, _Serving] = {}
        self.size_bytes = 0


class CallServer:
    """The answering end of all links. Feed it every REQUEST, and every STREAM whose status is not ITEM.

    handlers: method -> async (link, body) -> body. streams: method -> (link, body) -> async iterator of
    bodies. A MyceliumError they raise goes to the caller with its class's name and text; anything else is a
    bug here, logged, of which the caller learns no more than that. may_call: who may; the others are told
    Unauthorised. calls_max, bytes_max: calls of one link under way at once, and the bytes of their bodies;
    without them CALLS_PER_CLIENT_MAX and CALLS_PENDING_BYTES_MAX. sharing: with which links it shares these.
    """

    def __init__(
        self,
        handlers: Methods[Handler],
        streams: Methods[StreamHandler] | None = None,
        *,
        may_call: Callable[[Link], bool] = lambda link: link.role == CLIENT,
        calls_max: int | None = None,
        bytes_max: int | None = None,
        sharing: Callable[[Link], Sequence[Link]] = lambda link: (link,),
    ) -> None:
        self._handlers = handlers
        self._streams: Methods[StreamHandler] = {} if streams is None else streams
        self._may_call = may_call
        self._calls_max = calls_max
        self._bytes_max = bytes_max
        self._sharing = sharing
        self._links: dict[int, _Callers] = {}
        self._closing = False

    @property
    def active(self) -> int:
        """Calls under way, of all links."""
        return sum(len(callers.serving) for callers in self._links.values())

    def receive(self, link: Link, message: codec.Message) -> None:
        """A REQUEST, or a caller's STREAM. Raises MalformedMessage or OversizedMessage, which close the link."""
        call = Call.decode(message.payload)
        if message.type == MessageType.REQUEST:
            check_body(call.body)
            self._request(link, call)
            return
        callers = self._links.get(link.id)
        serving = callers.serving.get(call.id) if callers is not None else None
        if call.status not in (CREDIT, CANCEL):
            raise MalformedMessage("a stream item to one who asked for none")
        if serving is None:  # it ended while this was on its way
            return
        if call.status == CREDIT:
            serving.granted_bytes = max(serving.granted_bytes, call.sequence)
            if serving.more_credit is not None:
                serving.more_credit.set()
        elif serving.task is not None:
            serving.task.cancel()

    def _request(self, link: Link, call: Call) -> None:
        callers = self._callers_of(link)
        if call.id in callers.serving:
            raise MalformedMessage(f"call {call.id} is under way already")
        handler = self._handlers.get(call.method)
        stream = None if handler is not None else self._streams.get(call.method)
        refusal = self._refusal(link, call)
        if refusal is None and handler is None and stream is None:
            refusal = UsageError(f"no method is called {call.method[:64]!r}")
        if refusal is not None:
            # Dropped if the caller's own queue is full: one who reads no answers gets none.
            link.post(MessageType.RESPONSE, _failed(call.id, refusal).encode(), fanout.REPAIR)
            return
        serving = _Serving(len(call.body), call.sequence)
        callers.serving[call.id] = serving
        callers.size_bytes += serving.size_bytes
        if handler is not None:
            work = self._answer(handler, link, call)
        else:
            assert stream is not None, "a method is the one or the other"
            serving.more_credit = asyncio.Event()
            work = self._stream(stream, link, call, serving, serving.more_credit)
        serving.task = asyncio.get_running_loop().create_task(work)
        serving.task.add_done_callback(lambda _: self._done(callers, call.id))

    def _refusal(self, link: Link, call: Call) -> MyceliumError | None:
        if not self._may_call(link):
            return Unauthorised(f"the role {link.role!r} may not call")
        if self._closing:
            return Overloaded("this node is shutting down")
        calls_max = self._calls_max or CALLS_PER_CLIENT_MAX
        bytes_max = self._bytes_max or CALLS_PENDING_BYTES_MAX
        of_all = [found for one in self._sharing(link) if (found := self._links.get(one.id)) is not None]
        if sum(len(callers.serving) for callers in of_all) >= calls_max:
            return Overloaded(f"{calls_max} calls of this client are under way")
        if sum(callers.size_bytes for callers in of_all) + len(call.body) > bytes_max:
            return Overloaded(f"calls of {bytes_max} bytes of this client are under way")
        return None

    def _callers_of(self, link: Link) -> _Callers:
        callers = self._links.get(link.id)
        if callers is None:
            callers = self._links[link.id] = _Callers()
            link.closed.add_done_callback(lambda _: self._forget(link.id))
        return callers

    def _forget(self, link_id: int) -> None:
        callers = self._links.pop(link_id, None)
        if callers is not None:
            for serving in list(callers.serving.values()):
                if serving.task is not None:
                    serving.task.cancel()

    @staticmethod
    def _done(callers: _Callers, call_id: int) -> None:
        callers.size_bytes -= callers.serving.pop(call_id).size_bytes

    async def _answer(self, handler: Handler, link: Link, call: Call) -> None:
        klass = fanout.REPAIR
        try:
            body = await handler(link, call.body)
            if len(body) > CALL_BYTES_MAX:
                # Its end must not overtake its beginning, so all of it goes in one class.
                klass = fanout.BULK
                body = await self._send_parts(link, call, body)
            answer = Call(call.id, "", OK, 0, True, body)
        except MyceliumError as error:
            answer = _failed(call.id, error)
        except Exception:
            log.exception("the handler of %s failed", call.method)
            answer = _failed(call.id, None)
        with contextlib.suppress(LinkClosed):
            try:
                await send(link, MessageType.RESPONSE, answer, klass)
            except UsageError as error:
                await send(link, MessageType.RESPONSE, _failed(call.id, error), klass)

    @staticmethod
    async def _send_parts(link: Link, call: Call, body: bytes) -> bytes:
        """Send all of a large answer but its end, which is returned. ValueRefused above what was asked for."""
        size_max = call.sequence if call.status == PARTS else CALL_BYTES_MAX
        if len(body) > size_max:
            raise ValueRefused(f"the answer has {len(body)} bytes, at most {size_max} fit")
        last = (len(body) - 1) // CALL_PART_BYTES * CALL_PART_BYTES
        for at in range(0, last, CALL_PART_BYTES):
            part = body[at : at + CALL_PART_BYTES]
            item = Call(call.id, "", ITEM, at // CALL_PART_BYTES, False, part)
            await send(link, MessageType.STREAM, item, fanout.BULK)
        return body[last:]

    async def _stream(
        self, handler: StreamHandler, link: Link, call: Call, serving: _Serving, more_credit: asyncio.Event
    ) -> None:
        items = handler(link, call.body)
        try:
            await self._send_items(link, call.id, items, serving, more_credit)
            last = MessageType.STREAM, Call(call.id, "", ITEM, 0, True, b"")
        except LinkClosed:
            return
        except MyceliumError as error:
            last = MessageType.RESPONSE, _failed(call.id, error)
        except Exception:
            log.exception("the handler of %s failed", call.method)
            last = MessageType.RESPONSE, _failed(call.id, None)
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()
        with contextlib.suppress(LinkClosed):
            await send(link, *last, fanout.BULK)

    @staticmethod
    async def _send_items(
        link: Link,
        call_id: int,
        items: AsyncIterator[bytes],
        serving: _Serving,
        more_credit: asyncio.Event,
    ) -> None:
        sent_bytes = sequence = 0
        async for item in items:
            if len(item) > CALL_BYTES_MAX:
                raise ValueRefused(f"an item has {len(item)} bytes, at most {CALL_BYTES_MAX} fit")
            while sent_bytes >= serving.granted_bytes:
                more_credit.clear()
                await more_credit.wait()
            await send(link, MessageType.STREAM, Call(call_id, "", ITEM, sequence, False, item), fanout.BULK)
            sent_bytes += len(item) + ITEM_COST_BYTES
            sequence += 1

    async def close(self, drain_s: float = 0.0) -> None:
        """Take no more calls, end the streams, wait up to `drain_s` seconds for answers under way, cancel the rest."""
        self._closing = True
        under_way = [serving for callers in self._links.values() for serving in callers.serving.values()]
        for serving in under_way:
            # A stream may have no end: waiting for it would take all the time there is.
            if serving.more_credit is not None and serving.task is not None:
                serving.task.cancel()
        tasks = [serving.task for serving in under_way if serving.task is not None]
        if tasks and drain_s > 0:
            await asyncio.wait(tasks, timeout=drain_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _failed(call_id: int, error: MyceliumError | None) -> Call:
    """The answer that says why; None for a bug of ours, of which the caller learns no more."""
    if error is None:
        return Call(call_id, "InternalError", FAILED, 0, True, b"internal error; the node's log says more")
    kind = error.kind if isinstance(error, CallFailed) else type(error).__name__
    return Call(call_id, kind, FAILED, 0, True, str(error)[:TEXT_MAX].encode("utf-8", "replace"))
