"""Calls over a link: one request and one answer, or one request and a stream of items with flow control.

Owns the ids and the calls under way on either side. Must not know what methods do. On the wire (schema table
Call):

| message | direction | fields |
|---|---|---|
| REQUEST | caller to server | id, method, body, sequence: first credit in bytes |
| RESPONSE | server to caller | id, status OK and body, or status FAILED, method: class of the error, body: its text |
| STREAM | server to caller | id, status ITEM, sequence 0, 1, 2..., body; or `end` after the last |
| STREAM | caller to server | id, status CREDIT, sequence: bytes it may have sent in all; or status CANCEL |

A server sends an item only while what it sent is below its credit, so a reader holds one window and one item
more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

from mycelium._core import codec, fanout
from mycelium.config import (
    CALL_BYTES_MAX,
    CALL_TIMEOUT_MS,
    CALLS_PENDING_BYTES_MAX,
    CALLS_PER_CLIENT_MAX,
    STREAM_WINDOW_BYTES,
)
from mycelium.errors import (
    CallFailed,
    CallTimeout,
    LinkClosed,
    MalformedMessage,
    MyceliumError,
    Overloaded,
    OversizedMessage,
    Unauthorised,
    UsageError,
    ValueRefused,
)
from mycelium.peer.hub import CLIENT
from mycelium.peer.link import Link
from mycelium.protocol.messages import Call, MessageType

log = logging.getLogger(__name__)

Handler = Callable[[Link, bytes], Awaitable[bytes]]
StreamHandler = Callable[[Link, bytes], AsyncIterator[bytes]]

OK: Final = 0
FAILED: Final = 1
ITEM: Final = 0
CREDIT: Final = 1
CANCEL: Final = 2

ITEM_COST_BYTES: Final = 64
"""Added to each item's size, so that empty items are not free."""
TEXT_MAX: Final = 1024


async def _send(link: Link, type: MessageType, call: Call, klass: int) -> None:
    """Send in its turn, however full the queue is. Raises LinkClosed; UsageError for a body that does not fit a
    message in the session's encoding (JSON takes a third more)."""
    payload = call.encode()
    try:
        while not link.post(type, payload, klass):
            await link.drained(klass)
    except OversizedMessage as error:
        raise UsageError(f"a body of {len(call.body)} bytes does not fit: {error}") from None


def _check_body(body: bytes) -> None:
    if len(body) > CALL_BYTES_MAX:
        raise OversizedMessage(
            f"the body of a call has {len(body)} bytes, at most {CALL_BYTES_MAX} are allowed"
        )


class _Incoming:
    """The caller's end of a stream."""

    def __init__(self) -> None:
        self.items: deque[bytes] = deque()
        self.arrived = asyncio.Event()
        self.error: MyceliumError | None = None
        self.ended = False
        self.granted_bytes = STREAM_WINDOW_BYTES
        self.received_bytes = 0
        self.consumed_bytes = 0
        self._sequence = 0

    def receive(self, call: Call) -> None:
        if call.end:
            self.finish(None)
            return
        if call.sequence != self._sequence:
            raise MalformedMessage(f"item {call.sequence} of a stream where {self._sequence} was due")
        if self.received_bytes >= self.granted_bytes:
            raise MalformedMessage("a stream was sent beyond its credit")
        self._sequence += 1
        self.received_bytes += len(call.body) + ITEM_COST_BYTES
        self.items.append(call.body)
        self.arrived.set()

    def finish(self, error: MyceliumError | None) -> None:
        if not self.ended:
            self.ended = True
            self.error = error
            self.arrived.set()


class Caller:
    """The calling end of one link. Feed it every RESPONSE and STREAM of that link through `receive`.

    When the link ends, all that is under way fails with LinkClosed.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self._next_id = 0
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._streams: dict[int, _Incoming] = {}
        self._cancels: set[asyncio.Task[None]] = set()
        link.closed.add_done_callback(self._lost)

    async def call(self, method: str, body: bytes, timeout_s: float = CALL_TIMEOUT_MS / 1000) -> bytes:
        """The answer's body. A call that times out, or whose task is cancelled, is cancelled at the server
        too.

        Raises CallFailed (the handler's error), CallTimeout, LinkClosed, Overloaded (too many calls under way
        here), UsageError (a body above CALL_BYTES_MAX).
        """
        call_id = self._new_id(body)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers[call_id] = answer
        try:
            async with asyncio.timeout(timeout_s):
                await _send(
                    self.link,
                    MessageType.REQUEST,
                    Call(call_id, method, OK, STREAM_WINDOW_BYTES, False, body),
                    fanout.REPAIR,
                )
                return await answer
        except TimeoutError:
            raise CallTimeout(f"{method}: no answer in {timeout_s:g} s") from None
        finally:
            del self._answers[call_id]
            if not answer.done() or answer.cancelled():
                self._cancel(call_id)

    async def stream(self, method: str, body: bytes) -> AsyncIterator[bytes]:
        """The items of a streaming call. Leaving the loop early cancels it at the server. Raises as `call` does."""
        call_id = self._new_id(body)
        incoming = self._streams[call_id] = _Incoming()
        try:
            await _send(
                self.link,
                MessageType.REQUEST,
                Call(call_id, method, OK, incoming.granted_bytes, False, body),
                fanout.REPAIR,
            )
            while True:
                while incoming.items:
                    item = incoming.items.popleft()
                    await self._grant(call_id, incoming, len(item) + ITEM_COST_BYTES)
                    yield item
                if incoming.ended:
                    break
                incoming.arrived.clear()
                await incoming.arrived.wait()
            if incoming.error is not None:
                raise incoming.error
        finally:
            del self._streams[call_id]
            if not incoming.ended:
                self._cancel(call_id)

    async def _grant(self, call_id: int, incoming: _Incoming, cost: int) -> None:
        incoming.consumed_bytes += cost
        if incoming.ended or incoming.granted_bytes - incoming.consumed_bytes > STREAM_WINDOW_BYTES // 2:
            return
        incoming.granted_bytes = incoming.consumed_bytes + STREAM_WINDOW_BYTES
        credit = Call(call_id, "", CREDIT, incoming.granted_bytes, False, b"")
        await _send(self.link, MessageType.STREAM, credit, fanout.REPAIR)

    def receive(self, message: codec.Message) -> None:
        """A RESPONSE, or a STREAM whose status is ITEM. What belongs to no call (it was cancelled) is ignored."""
        call = Call.decode(message.payload)
        _check_body(call.body)
        if message.type == MessageType.STREAM:
            incoming = self._streams.get(call.id)
            if incoming is not None:
                incoming.receive(call)
            return
        error = None if call.status == OK else _failure(call)
        incoming = self._streams.get(call.id)
        if incoming is not None:
            incoming.finish(error or MalformedMessage("a plain answer to a streaming call"))
            return
        answer = self._answers.get(call.id)
        if answer is None or answer.done():
            return
        if error is None:
            answer.set_result(call.body)
        else:
            answer.set_exception(error)

    def _new_id(self, body: bytes) -> int:
        if len(body) > CALL_BYTES_MAX:
            raise UsageError(f"a call of {len(body)} bytes, at most {CALL_BYTES_MAX} fit")
        if len(self._answers) + len(self._streams) >= CALLS_PER_CLIENT_MAX:
            raise Overloaded(f"{CALLS_PER_CLIENT_MAX} calls are under way on this link")
        self._next_id += 1
        return self._next_id

    def _cancel(self, call_id: int) -> None:
        """Behind its request, in the same class, so that it cannot overtake it."""
        if self.link.closed.done():
            return
        cancel = Call(call_id, "", CANCEL, 0, False, b"")
        if self.link.post(MessageType.STREAM, cancel.encode(), fanout.REPAIR):
            return
        task = asyncio.get_running_loop().create_task(self._send_cancel(cancel))
        self._cancels.add(task)
        task.add_done_callback(self._cancels.discard)

    async def _send_cancel(self, cancel: Call) -> None:
        with contextlib.suppress(LinkClosed):
            await _send(self.link, MessageType.STREAM, cancel, fanout.REPAIR)

    def _lost(self, closed: asyncio.Future[MyceliumError | None]) -> None:
        reason = closed.result() if not closed.cancelled() else None
        text = f"{self.link.remote}: the connection ended" + (f": {reason}" if reason else "")
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(LinkClosed(text))
        for incoming in self._streams.values():
            incoming.finish(LinkClosed(text))


def _failure(call: Call) -> CallFailed:
    return CallFailed(call.method or "Error", call.body.decode("utf-8", "replace")[:TEXT_MAX])


class _Serving:
    """One call under way at the server."""

    def __init__(self, size_bytes: int, credit_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.granted_bytes = credit_bytes
        self.more_credit = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.streams = False


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
    Unauthorised.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        streams: Mapping[str, StreamHandler] | None = None,
        *,
        may_call: Callable[[Link], bool] = lambda link: link.role == CLIENT,
    ) -> None:
        self._handlers = handlers
        self._streams = streams or {}
        self._may_call = may_call
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
            _check_body(call.body)
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
            serving.more_credit.set()
        elif serving.task is not None:
            serving.task.cancel()

    def _request(self, link: Link, call: Call) -> None:
        callers = self._callers_of(link)
        if call.id in callers.serving:
            raise MalformedMessage(f"call {call.id} is under way already")
        refusal = self._refusal(link, callers, call)
        if refusal is not None:
            # Dropped if the caller's own queue is full: one who reads no answers gets none.
            link.post(MessageType.RESPONSE, _failed(call.id, refusal).encode(), fanout.REPAIR)
            return
        serving = _Serving(len(call.body), call.sequence)
        callers.serving[call.id] = serving
        callers.size_bytes += serving.size_bytes
        serving.streams = call.method in self._streams
        run = self._stream if serving.streams else self._answer
        serving.task = asyncio.get_running_loop().create_task(run(link, call, serving))
        serving.task.add_done_callback(lambda _: self._done(callers, call.id))

    def _refusal(self, link: Link, callers: _Callers, call: Call) -> MyceliumError | None:
        if not self._may_call(link):
            return Unauthorised(f"the role {link.role!r} may not call")
        if call.method not in self._handlers and call.method not in self._streams:
            return UsageError(f"no method is called {call.method[:64]!r}")
        if self._closing:
            return Overloaded("this node is shutting down")
        if len(callers.serving) >= CALLS_PER_CLIENT_MAX:
            return Overloaded(f"{CALLS_PER_CLIENT_MAX} calls of this client are under way")
        if callers.size_bytes + len(call.body) > CALLS_PENDING_BYTES_MAX:
            return Overloaded(f"calls of {CALLS_PENDING_BYTES_MAX} bytes of this client are under way")
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

    async def _answer(self, link: Link, call: Call, serving: _Serving) -> None:
        del serving
        try:
            body = await self._handlers[call.method](link, call.body)
            if len(body) > CALL_BYTES_MAX:
                raise ValueRefused(f"the answer has {len(body)} bytes, at most {CALL_BYTES_MAX} fit")
            answer = Call(call.id, "", OK, 0, True, body)
        except MyceliumError as error:
            answer = _failed(call.id, error)
        except Exception:
            log.exception("the handler of %s failed", call.method)
            answer = _failed(call.id, None)
        with contextlib.suppress(LinkClosed):
            try:
                await _send(link, MessageType.RESPONSE, answer, fanout.REPAIR)
            except UsageError as error:
                await _send(link, MessageType.RESPONSE, _failed(call.id, error), fanout.REPAIR)

    async def _stream(self, link: Link, call: Call, serving: _Serving) -> None:
        items = self._streams[call.method](link, call.body)
        try:
            await self._send_items(link, call.id, items, serving)
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
            await _send(link, *last, fanout.BULK)

    @staticmethod
    async def _send_items(link: Link, call_id: int, items: AsyncIterator[bytes], serving: _Serving) -> None:
        sent_bytes = sequence = 0
        async for item in items:
            if len(item) > CALL_BYTES_MAX:
                raise ValueRefused(f"an item has {len(item)} bytes, at most {CALL_BYTES_MAX} fit")
            while sent_bytes >= serving.granted_bytes:
                serving.more_credit.clear()
                await serving.more_credit.wait()
            await _send(link, MessageType.STREAM, Call(call_id, "", ITEM, sequence, False, item), fanout.BULK)
            sent_bytes += len(item) + ITEM_COST_BYTES
            sequence += 1

    async def close(self, drain_s: float = 0.0) -> None:
        """Take no more calls, end the streams, wait up to `drain_s` seconds for answers under way, cancel the rest."""
        self._closing = True
        under_way = [serving for callers in self._links.values() for serving in callers.serving.values()]
        for serving in under_way:
            # A stream may have no end: waiting for it would take all the time there is.
            if serving.streams and serving.task is not None:
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
