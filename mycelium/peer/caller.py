"""The calling end of a link: calls, streams, and what becomes of them when time is over or the link ends.

Owns the ids and the calls under way. What travels is described in `call`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

from mycelium._core import codec, fanout
from mycelium.config import CALL_BYTES_MAX, CALL_TIMEOUT_MS, CALLS_PER_CLIENT_MAX, STREAM_WINDOW_BYTES
from mycelium.errors import (
    CallFailed,
    CallTimeout,
    LinkClosed,
    MalformedMessage,
    MyceliumError,
    Overloaded,
    OversizedMessage,
    UsageError,
)
from mycelium.peer.call import (
    CANCEL,
    CREDIT,
    ITEM_COST_BYTES,
    OK,
    PARTS,
    TEXT_MAX,
    check_body,
    does_not_fit,
    send,
)
from mycelium.peer.link import Link
from mycelium.protocol.messages import Call, MessageType


class _Incoming:
    """The caller's end of a stream. window_bytes: what may be sent ahead of its reader."""

    def __init__(self, window_bytes: int) -> None:
        self.window_bytes = window_bytes
        self.items: deque[bytes] = deque()
        self.arrived = asyncio.Event()
        self.error: MyceliumError | None = None
        self.ended = False
        self.granted_bytes = window_bytes
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


class _Waiting:
    """A call that waits for its answer, and what has come of a large one.

    Not asyncio.timeout: that costs as much as all the rest of a call.
    """

    __slots__ = ("_method", "_size_bytes", "_timeout_s", "_timer", "answer", "bytes_max", "parts")

    def __init__(self, method: str, timeout_s: float, bytes_max: int) -> None:
        loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[bytes] = loop.create_future()
        self.bytes_max = bytes_max
        self.parts: list[bytes] | None = None
        self._size_bytes = 0
        self._method = method
        self._timeout_s = timeout_s
        self._timer = loop.call_later(timeout_s, self._expired)

    def part(self, body: bytes) -> None:
        """Part of a large answer: the rest has as much time again as the first had."""
        if self.parts is None:
            self.parts = []
        self._size_bytes += len(body)
        if self._size_bytes > self.bytes_max:
            raise MalformedMessage(f"an answer of more than the {self.bytes_max} bytes that were asked for")
        self.parts.append(body)
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._timeout_s, self._expired)

    def done(self, body: bytes) -> None:
        """The answer, or its end."""
        if self.parts is not None:
            self.part(body)
            body = b"".join(self.parts)
        self.answer.set_result(body)

    def _expired(self) -> None:
        if not self.answer.done():
            self.answer.set_exception(CallTimeout(f"{self._method}: no answer in {self._timeout_s:g} s"))

    def close(self) -> None:
        """It waits no more."""
        self._timer.cancel()
        if self.answer.done() and not self.answer.cancelled():
            self.answer.exception()  # taken note of, also where another error is on its way out


class Caller:
    """The calling end of one link. Feed it every RESPONSE and STREAM of that link through `receive`.

    When the link ends, all that is under way fails with LinkClosed. calls_max: calls under way at once,
    without it CALLS_PER_CLIENT_MAX.
    """

    def __init__(self, link: Link, calls_max: int | None = None) -> None:
        self.link = link
        self._calls_max = calls_max
        self._next_id = 0
        self._answers: dict[int, _Waiting] = {}
        self._streams: dict[int, _Incoming] = {}
        self._cancels: set[asyncio.Task[None]] = set()
        link.closed.add_done_callback(self._lost)

    async def call(
        self,
        method: str,
        body: bytes,
        timeout_s: float = CALL_TIMEOUT_MS / 1000,
        answer_bytes_max: int = CALL_BYTES_MAX,
    ) -> bytes:
        """The answer's body. A call that times out, or whose task is cancelled, is cancelled at the server
        too.

        answer_bytes_max: above CALL_BYTES_MAX, a larger answer comes in parts, of which each is waited for anew.

        Raises CallFailed (the handler's error), CallTimeout, LinkClosed, Overloaded (too many calls under way
        here), UsageError (a body above CALL_BYTES_MAX).
        """
        call_id = self._new_id(body)
        waiting = self._answers[call_id] = _Waiting(method, timeout_s, answer_bytes_max)
        if answer_bytes_max > CALL_BYTES_MAX:
            request = Call(call_id, method, PARTS, answer_bytes_max, False, body)
        else:
            request = Call(call_id, method, OK, STREAM_WINDOW_BYTES, False, body)
        try:
            if not self.link.post(MessageType.REQUEST, request.encode(), fanout.REPAIR):
                await self._send_late(request, waiting.answer)
            return await waiting.answer
        except CallTimeout:
            self._cancel(call_id)
            raise
        except OversizedMessage as error:
            raise does_not_fit(request, error) from None
        finally:
            del self._answers[call_id]
            if not waiting.answer.done() or waiting.answer.cancelled():
                self._cancel(call_id)
            waiting.close()

    async def _send_late(self, request: Call, answer: asyncio.Future[bytes]) -> None:
        """Send when the queue has room, or give up when the time for the answer is over."""
        sending = asyncio.ensure_future(send(self.link, MessageType.REQUEST, request, fanout.REPAIR))
        try:
            await asyncio.wait((sending, answer), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                await sending
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def stream(
        self, method: str, body: bytes, window_bytes: int = STREAM_WINDOW_BYTES
    ) -> AsyncIterator[bytes]:
        """The items of a streaming call. Leaving the loop early cancels it at the server. Raises as `call` does.

        window_bytes: what may be sent ahead of the reader, and is in memory here; so much comes in one round trip.
        """
        call_id = self._new_id(body)
        incoming = self._streams[call_id] = _Incoming(window_bytes)
        try:
            await send(
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
        if incoming.ended or incoming.granted_bytes - incoming.consumed_bytes > incoming.window_bytes // 2:
            return
        incoming.granted_bytes = incoming.consumed_bytes + incoming.window_bytes
        credit = Call(call_id, "", CREDIT, incoming.granted_bytes, False, b"")
        await send(self.link, MessageType.STREAM, credit, fanout.REPAIR)

    def receive(self, message: codec.Message) -> None:
        """A RESPONSE, or a STREAM whose status is ITEM. What belongs to no call (it was cancelled) is ignored."""
        call = Call.decode(message.payload)
        check_body(call.body)
        if message.type == MessageType.STREAM:
            incoming = self._streams.get(call.id)
            if incoming is not None:
                incoming.receive(call)
            elif call.id in self._answers:
                self._answers[call.id].part(call.body)
            return
        error = None if call.status == OK else _failure(call)
        incoming = self._streams.get(call.id)
        if incoming is not None:
            incoming.finish(error or MalformedMessage("a plain answer to a streaming call"))
            return
        waiting = self._answers.get(call.id)
        if waiting is None or waiting.answer.done():
            return
        if error is None:
            waiting.done(call.body)
        else:
            waiting.answer.set_exception(error)

    def _new_id(self, body: bytes) -> int:
        if len(body) > CALL_BYTES_MAX:
            raise UsageError(f"a call of {len(body)} bytes, at most {CALL_BYTES_MAX} fit")
        calls_max = self._calls_max or CALLS_PER_CLIENT_MAX
        if len(self._answers) + len(self._streams) >= calls_max:
            raise Overloaded(f"{calls_max} calls are under way on this link")
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
            await send(self.link, MessageType.STREAM, cancel, fanout.REPAIR)

    def _lost(self, closed: asyncio.Future[MyceliumError | None]) -> None:
        reason = closed.result() if not closed.cancelled() else None
        text = f"{self.link.remote}: the connection ended" + (f": {reason}" if reason else "")
        for waiting in self._answers.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(LinkClosed(text))
        for incoming in self._streams.values():
            incoming.finish(LinkClosed(text))


def _failure(call: Call) -> CallFailed:
    return CallFailed(call.method or "Error", call.body.decode("utf-8", "replace")[:TEXT_MAX])
