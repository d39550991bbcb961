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
    UsageError,
)
from mycelium.peer.call import CANCEL, CREDIT, ITEM_COST_BYTES, OK, PARTS, TEXT_MAX, check_body, send
from mycelium.peer.link import Link
from mycelium.protocol.messages import Call, MessageType


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


class _Parts:
    """What has come of a large answer. Each part gives the rest as much time again as the first had."""

    def __init__(self, bytes_max: int, timeout_s: float, deadline: asyncio.Timeout) -> None:
        self.bytes_max = bytes_max
        self.parts: list[bytes] = []
        self._size_bytes = 0
        self._timeout_s = timeout_s
        self._deadline = deadline

    def receive(self, body: bytes) -> None:
        self._size_bytes += len(body)
        if self._size_bytes > self.bytes_max:
            raise MalformedMessage(f"an answer of more than the {self.bytes_max} bytes that were asked for")
        self.parts.append(body)
        if not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._timeout_s)


class Caller:
    """The calling end of one link. Feed it every RESPONSE and STREAM of that link through `receive`.

    When the link ends, all that is under way fails with LinkClosed.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self._next_id = 0
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._streams: dict[int, _Incoming] = {}
        self._parts: dict[int, _Parts] = {}
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
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers[call_id] = answer
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                if answer_bytes_max > CALL_BYTES_MAX:
                    self._parts[call_id] = _Parts(answer_bytes_max, timeout_s, deadline)
                    request = Call(call_id, method, PARTS, answer_bytes_max, False, body)
                else:
                    request = Call(call_id, method, OK, STREAM_WINDOW_BYTES, False, body)
                await send(self.link, MessageType.REQUEST, request, fanout.REPAIR)
                return await answer
        except TimeoutError:
            raise CallTimeout(f"{method}: no answer in {timeout_s:g} s") from None
        finally:
            del self._answers[call_id]
            self._parts.pop(call_id, None)
            if not answer.done() or answer.cancelled():
                self._cancel(call_id)

    async def stream(self, method: str, body: bytes) -> AsyncIterator[bytes]:
        """The items of a streaming call. Leaving the loop early cancels it at the server. Raises as `call` does."""
        call_id = self._new_id(body)
        incoming = self._streams[call_id] = _Incoming()
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
        if incoming.ended or incoming.granted_bytes - incoming.consumed_bytes > STREAM_WINDOW_BYTES // 2:
            return
        incoming.granted_bytes = incoming.consumed_bytes + STREAM_WINDOW_BYTES
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
            elif call.id in self._parts:
                self._parts[call.id].receive(call.body)
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
            parts = self._parts.get(call.id)
            if parts is not None and parts.parts:
                parts.receive(call.body)
                answer.set_result(b"".join(parts.parts))
            else:
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
            await send(self.link, MessageType.STREAM, cancel, fanout.REPAIR)

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
