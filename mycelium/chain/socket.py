"""One WebSocket to one node of the chain: requests and their answers, subscriptions, and its end.

A thread opens it and reads for as long as it lives, so that the node's pings are answered while nobody asks anything,
several threads may ask at once, and no step of opening it can hold up who waits for it. Whatever ends the socket fails
everything that waits on it, at once. Knows one address and never connects again; `rpc` does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import websocket

from mycelium.chain import wire
from mycelium.chain.subscription import Subscription, unsubscriber
from mycelium.config import CHAIN_CONNECT_S, CHAIN_IDLE_S, CHAIN_NOTICES_MAX, CHAIN_PING_S
from mycelium.errors import ChainRefused, ChainUnreachable

log = logging.getLogger(__name__)

BUSY_STATUS: Final = (403, 429)
"""HTTP: forbidden, which gateways answer to an address that asks too often; too many requests."""
BUSY_CODES: Final = (-32029, 429)
"""JSON-RPC errors of gateways that mean the same."""
_decoder: Final = msgspec.json.Decoder()
_CLOSE_S: Final = 2.0
_LOOK_S: Final = 0.1
"""So often who waits for a connection to open looks whether it is still wanted."""
_EXCERPT_MAX: Final = 300
"""Characters of what an endpoint says that stand in a message: a trapped runtime tells of it in kilobytes."""


class Busy(ChainUnreachable):
    """The node wants fewer requests from here. Internal: `rpc` asks another one, and waits longer with this one."""


class NotSent(ChainUnreachable):
    """The request did not leave this machine. Internal: even one that must not be repeated may be sent again."""


class Socket:
    """An open connection. Raises ChainUnreachable, or Busy, when it cannot be opened within connect_s.

    ended: set by another thread, it ends the opening too.
    """

    def __init__(
        self,
        url: str,
        connect_s: float = CHAIN_CONNECT_S,
        *,
        ping_s: float = CHAIN_PING_S,
        ended: threading.Event | None = None,
    ) -> None:
        self.url = url
        self.name = shown(url)
        """The address for messages and logs."""
        self._ping_s = ping_s
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Any]] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._early: deque[tuple[str, Any]] = deque(maxlen=CHAIN_NOTICES_MAX)
        self._next_id = 0
        self._heard_s = self._answered_s = time.monotonic()
        self._error: str | None = None
        self._opened: Future[None] = Future()
        self._websocket = wire.unconnected()
        self._reader = threading.Thread(
            target=self._run, args=(connect_s,), name=f"chain {self.name}", daemon=True
        )
        self._reader.start()
        give_up_s = time.monotonic() + connect_s
        while (left_s := give_up_s - time.monotonic()) > 0 and not (ended is not None and ended.is_set()):
            with contextlib.suppress(FutureTimeout):
                return self._opened.result(min(_LOOK_S, left_s))
        why = f"not open within {connect_s:g} s" if left_s <= 0 else "closed while it was opened"
        self._fail(f"{self.name}: {why}")
        raise ChainUnreachable(f"{self.name}: {why}")

    @property
    def open(self) -> bool:
        """Whether it can be asked; never in a forked process, where nobody reads it and the parent still does."""
        return self._error is None and self._process == os.getpid()

    @property
    def websocket(self) -> Any:
        """websocket-client's object, for programs that look at it; to write to it breaks the connection."""
        return self._websocket

    def request(self, method: str, params: Sequence[Any], timeout_s: float, most_s: float = 0.0) -> Any:
        """One call's result.

        timeout_s: after that long without an answer to anything the socket is given up. most_s: waited in all while
        other answers come, so that one slow call does not end the connection under the others.
        Raises ChainRefused when the node says no, ChainUnreachable when there is no answer.
        """
        return self.batch([(method, params)], timeout_s, most_s)[0]

    def batch(
        self, calls: Iterable[tuple[str, Sequence[Any]]], timeout_s: float, most_s: float = 0.0
    ) -> list[Any]:
        """Several calls sent at once; their results. The first that is refused raises."""
        sent_s = time.monotonic()
        futures = self._send(list(calls))
        try:
            return [self._await(future, sent_s, timeout_s, most_s) for _, future in futures]
        finally:
            with self._lock:
                for number, _ in futures:
                    self._waiting.pop(number, None)

    def subscribe(self, method: str, params: Sequence[Any], timeout_s: float) -> Subscription:
        """Begin a subscription. Notices that came before its id was known are not lost."""
        subscription = Subscription(method)
        answer = self.request(method, params, timeout_s)
        if not isinstance(answer, str | int) or isinstance(answer, bool):
            # Its notices could never be told from others: a connection that stays silent for ever.
            raise ChainUnreachable(
                f"{self.name}: {method} was answered with {excerpt(answer)}, which is no subscription"
            )
        name = str(answer)
        with self._lock:
            subscription.id = name
            for early, notice in list(self._early):
                if early == name:
                    subscription.put(notice)
                    self._early.remove((early, notice))
            self._subscriptions[name] = subscription
            if self._error is not None:
                subscription.end(self._error)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription; the node's answer is not waited for."""
        with self._lock:
            known = self._subscriptions.pop(subscription.id, None)
        if known is not None:
            with contextlib.suppress(ChainUnreachable):
                self._send([(unsubscriber(subscription.method), [subscription.id])])

    def close(self) -> None:
        """End it and wait for its thread, which closes the descriptor."""
        if self._process != os.getpid():
            # The connection is the parent's: only this process's descriptor goes.
            wire.abandon(self._websocket)
            return
        if self._error is None and self._websocket.lock.acquire(blocking=False):
            self._websocket.lock.release()
            with contextlib.suppress(OSError, websocket.WebSocketException):
                self._websocket.send_close()
        self._fail(f"{self.name}: closed")
        if threading.current_thread() is not self._reader:
            self._reader.join(_CLOSE_S)

    # --- asking -----------------------------------------------------------------------------------------

    def _await(self, future: Future[Any], sent_s: float, timeout_s: float, most_s: float) -> Any:
        try:
            return future.result(max(0.0, sent_s + timeout_s - time.monotonic()))
        except FutureTimeout:
            pass
        left_s = sent_s + most_s - time.monotonic()
        if left_s > 0 and self._answered_s > sent_s:
            with contextlib.suppress(FutureTimeout):
                return future.result(left_s)
        waited_s = max(timeout_s, most_s) if left_s <= 0 else timeout_s
        raise ChainUnreachable(f"{self.name}: no answer within {waited_s:.3g} s")

    def _send(self, calls: list[tuple[str, Sequence[Any]]]) -> list[tuple[int, Future[Any]]]:
        futures = []
        payload = []
        if self._process != os.getpid():
            raise NotSent(f"{self.name}: the connection is another process's")
        with self._lock:
            if self._error is not None:
                raise NotSent(self._error)
            for method, params in calls:
                self._next_id += 1
                future: Future[Any] = Future()
                self._waiting[self._next_id] = future
                futures.append((self._next_id, future))
                payload.append({"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params})
        text = msgspec.json.encode(payload[0] if len(payload) == 1 else payload)
        try:
            self._websocket.send(text)
        except (OSError, ValueError, AttributeError, websocket.WebSocketException) as error:
            # Part of it may have been sent: it is not known whether the node acts on it.
            why = f"{self.name}: {reason(error)}"
            self._fail(why)
            raise ChainUnreachable(why) from None
        return futures

    # --- the reading thread -----------------------------------------------------------------------------

    def _run(self, connect_s: float) -> None:
        try:
            self._open(connect_s)
            while self._error is None:
                self._read_one()
        except (OSError, ValueError, RecursionError, websocket.WebSocketException) as error:
            self._fail(f"{self.name}: {reason(error)}")
        finally:
            # Whatever happened: nobody waits on a thread that is gone, and no descriptor outlives it.
            self._fail(f"{self.name}: the reader failed")
            wire.close(self._websocket)

    def _open(self, connect_s: float) -> None:
        try:
            wire.connect(self._websocket, self.url, connect_s, self._ping_s)
        except websocket.WebSocketBadStatusException as refused:
            kind = Busy if refused.status_code in BUSY_STATUS else ChainUnreachable
            self._opened.set_exception(kind(f"{self.name}: HTTP {refused.status_code}"))
            self._fail(f"{self.name}: HTTP {refused.status_code}")
        except (OSError, ValueError, websocket.WebSocketException) as error:
            self._opened.set_exception(ChainUnreachable(f"{self.name}: {reason(error)}"))
            self._fail(f"{self.name}: {reason(error)}")
        else:
            self._heard_s = time.monotonic()
            self._opened.set_result(None)

    def _read_one(self) -> None:
        try:
            opcode, message = self._websocket.recv_data(control_frame=True)
        except websocket.WebSocketTimeoutException:
            if time.monotonic() - self._heard_s > CHAIN_IDLE_S / CHAIN_PING_S * self._ping_s:
                raise ConnectionError("nothing heard for too long") from None
            self._websocket.ping()
            return
        self._heard_s = time.monotonic()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise ConnectionError("the node closed the connection")
        if opcode not in (websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY):
            return
        decoded = _decoder.decode(message)
        for one in decoded if isinstance(decoded, list) else [decoded]:
            self._deliver(one)

    def _deliver(self, message: Any) -> None:
        if not isinstance(message, dict):
            raise ConnectionError("an answer that is no JSON-RPC object")
        if "method" in message:
            self._notice(message.get("params"))
            return
        number = message.get("id")
        if number is None and "error" in message:
            # Without an id it may be the answer to anything that waits: a node says so of what it could not parse.
            raise ConnectionError(f"the node could not read a request: {message['error']}")
        with self._lock:
            future = self._waiting.pop(number, None) if isinstance(number, int) else None
        if future is None:
            return  # its asker has given up
        self._answered_s = time.monotonic()
        if message.get("error") is not None:
            future.set_exception(refusal(self.name, message["error"]))
        else:
            future.set_result(message.get("result"))

    def _notice(self, params: Any) -> None:
        if not isinstance(params, dict):
            raise ConnectionError("a notice without its subscription")
        name = str(params.get("subscription"))
        with self._lock:
            subscription = self._subscriptions.get(name)
            if subscription is None:
                # Bounded: of a subscription that was ended the last notices may still come.
                self._early.append((name, params.get("result")))
                return
        subscription.put(params.get("result"))

    def _fail(self, why: str) -> None:
        with self._lock:
            if self._error is not None:
                return
            self._error = why
            waiting, self._waiting = self._waiting, {}
            subscriptions, self._subscriptions = list(self._subscriptions.values()), {}
        for future in waiting.values():
            future.set_exception(ChainUnreachable(why))
        for subscription in subscriptions:
            subscription.end(why)
        wire.wake(self._websocket)


def shown(url: str) -> str:
    """An address without what may be a secret in it: user, password, path, and what follows a question mark."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{'/...' if parts.path.strip('/') or parts.query else ''}"


def excerpt(said: object) -> str:
    """What an endpoint says, fit for one line of a log: short, and without control characters."""
    text = " ".join(str(said)[: 4 * _EXCERPT_MAX].split())
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= _EXCERPT_MAX else f"{text[:_EXCERPT_MAX]}..."


def refusal(name: str, error: Any) -> ChainRefused | Busy:
    """A JSON-RPC error object as an exception."""
    if not isinstance(error, dict):
        return ChainRefused(f"the node answered with an error: {excerpt(error)}")
    data, code = error.get("data"), error.get("code")
    code = code if isinstance(code, int) else 0
    message = excerpt(error.get("message", "an error"))
    if code in BUSY_CODES or "too many requests" in message.lower():
        return Busy(f"{name}: {message}")
    return ChainRefused(f"{message}: {excerpt(data)}" if data else message, code=code, data=data)


def reason(error: Exception) -> str:
    """An exception of the network in few words."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return excerpt(text).rstrip(".").lower()
