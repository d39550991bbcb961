"""A fleet's bucket in NATS: a key-value stream as `nats kv` knows it, written by compare-and-set, watched in its order.

What an entry means is not known here. A watch is a consumer of the bucket that is made anew whenever something of it
may be missing; what was there then comes again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from mycelium.config.fleet import (
    FLEET_ENTRY_BYTES_MAX,
    FLEET_PUBLISH_S,
    FLEET_WATCH_HEARTBEAT_MS,
    FLEET_WATCH_MISSED_MAX,
)
from mycelium.errors import BrokerError, BrokerUnreachable, StreamGone
from mycelium.extras import load
from mycelium.jetstream import layout, streams
from mycelium.jetstream.client import Session, broker_errors, refused

if TYPE_CHECKING:
    from nats.aio.msg import Msg

log = logging.getLogger(__name__)

_CONFLICTS: Final = frozenset({10071, 10164})
"""The server's codes for: the subject's last sequence number is another."""
_HEARTBEAT: Final = "100"


class Ack(NamedTuple):
    """seq: of the message; 0 where the server refused it for another last sequence number of the subject."""

    seq: int
    duplicate: bool = False


class Seen(NamedTuple):
    """An entry of the bucket. whole: with it, everything that was there when the watch began has been shown."""

    key: str
    revision: int
    value: bytes
    whole: bool


class Bucket:
    """name: of the bucket. replicas: servers that hold it."""

    def __init__(self, name: str, replicas: int, *, check: Callable[[dict[str, Any]], None]) -> None:
        self.name = name
        self.stream = f"KV_{name}"
        self._prefix = f"$KV.{name}."
        self._replicas = replicas
        self._check = check

    async def ensure(self, session: Session) -> str:
        """The bucket's birth, as the server writes it; it is made if it is not there. BrokerError."""
        want: dict[str, Any] = {
            "name": self.stream,
            "subjects": [f"{self._prefix}>"],
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "num_replicas": self._replicas,
            "max_msgs_per_subject": 1,
            "max_msg_size": 2 * FLEET_ENTRY_BYTES_MAX,
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            "allow_direct": True,
        }
        try:
            state = await streams.look(session, self.stream)
        except StreamGone:
            state = await self._make(session, want)
        self._check(dict(state.config))
        if state.replicas != self._replicas:
            changed = {**state.config, "num_replicas": self._replicas}
            await session.api(f"STREAM.UPDATE.{self.stream}", changed)
        return state.created

    async def _make(self, session: Session, want: dict[str, Any]) -> streams.StreamState:
        # A bucket that is made anew must not give the numbers of the last one again: a put that is on its way, or a
        # member that has not heard of it, would take them for those that it knows.
        first = 1 + secrets.randbelow(2**40)
        want |= {"description": "Mycelium: a fleet", "first_seq": first}
        try:
            state = streams.StreamState.parse(await session.api(f"STREAM.CREATE.{self.stream}", want))
        except BrokerError:
            # Another member may have made it meanwhile, with another number.
            return await streams.look(session, self.stream)
        log.info("made the fleet's bucket %s", self.name)
        return state

    async def put(self, session: Session, key: str, revision: int, value: bytes) -> int | None:
        """Write an entry if its revision is this one. Its new revision, or None. BrokerError: it is not known."""
        headers = {layout.EXPECTED: str(revision)}
        ack = await publish(session, f"{self._prefix}{key}", value, headers, FLEET_PUBLISH_S)
        return ack.seq or None

    async def watch(self, session: Session, seen: Callable[[Seen | None], None]) -> None:
        """Show every entry, then what follows, until something may be missing or the connection is lost. BrokerError.

        None: the bucket is empty, so that nothing comes with `whole`.
        """
        api = load("nats.js.api", "nats")
        consumer, inbox = f"fleet-{secrets.token_hex(8)}", session.nc.new_inbox()
        watching = _Watching(self._prefix, seen)
        # Messages may come before the answer that says how many will: all pass through one queue, in order.
        subscription = await session.nc.subscribe(inbox, cb=watching.arrived, pending_bytes_limit=0)
        try:
            with broker_errors(self.name):
                config = api.ConsumerConfig(
                    name=consumer,
                    deliver_policy=api.DeliverPolicy.LAST_PER_SUBJECT,
                    filter_subject=f"{self._prefix}>",
                    deliver_subject=inbox,
                    ack_policy=api.AckPolicy.NONE,
                    idle_heartbeat=FLEET_WATCH_HEARTBEAT_MS / 1000,
                    inactive_threshold=60,
                    mem_storage=True,
                    num_replicas=1,
                )
                info = await session.held(session.js.add_consumer(self.stream, config=config))
            delivered = info.delivered.consumer_seq if info.delivered is not None else 0
            if not (info.num_pending or 0) and not delivered and not watching.last:
                seen(None)
            await watching.until_lost(session)
        finally:
            await _leave(session, subscription, f"$JS.API.CONSUMER.DELETE.{self.stream}.{consumer}")


class _Watching:
    """One consumer: its messages are numbered without a gap, and it is heard from every heartbeat."""

    def __init__(self, prefix: str, seen: Callable[[Seen | None], None]) -> None:
        self.last = 0
        self._prefix = prefix
        self._seen = seen
        self._lost = ""
        self._heard = asyncio.Event()

    async def arrived(self, message: Msg) -> None:
        self._heard.set()
        if self._lost:
            return
        if not message.subject.startswith(self._prefix):
            status = (message.headers or {}).get("Status", "")
            if status != _HEARTBEAT:
                self._lost = f"the server ended the watch ({status})"
            elif int((message.headers or {}).get("Nats-Last-Consumer", self.last)) != self.last:
                self._lost = "entries are missing"
            return
        meta = message.metadata
        if meta.sequence.consumer != self.last + 1:
            self._lost = "entries are missing"
            return
        self.last = meta.sequence.consumer
        key, value = message.subject[len(self._prefix) :], message.data
        self._seen(Seen(key, meta.sequence.stream, value, meta.num_pending == 0))

    async def until_lost(self, session: Session) -> None:
        """BrokerUnreachable, with the reason."""
        patience_s = FLEET_WATCH_MISSED_MAX * FLEET_WATCH_HEARTBEAT_MS / 1000
        while not self._lost:
            self._heard.clear()
            try:
                async with asyncio.timeout(patience_s):
                    await session.held(self._heard.wait())
            except TimeoutError:
                self._lost = "nothing was heard from it"
        raise BrokerUnreachable(f"the watch of the fleet's bucket: {self._lost}")


async def _leave(session: Session, subscription: Any, delete: str) -> None:
    """Let go of a consumer; the server forgets it by itself where it is not told."""
    errors = load("nats.errors", "nats")
    if session.alive:
        try:
            await subscription.unsubscribe()
            await session.nc.publish(delete)
        except (errors.Error, OSError) as error:
            log.debug("a watch is left behind: %s", error)


async def publish(
    session: Session, subject: str, body: bytes, headers: dict[str, str], timeout_s: float
) -> Ack:
    """Publish one message and read what became of it. BrokerError: what did is not known, or it was refused as such."""
    with broker_errors(subject):
        answer = await session.held(session.nc.request(subject, body, timeout=timeout_s, headers=headers))
    try:
        said = msgspec.json.decode(answer.data, type=dict[str, Any])
        error = said.get("error")
        if isinstance(error, dict):
            if error.get("err_code") in _CONFLICTS:
                return Ack(0)
            raise refused(subject, error.get("code"), error.get("err_code"), error.get("description"))
        return Ack(int(said["seq"]), bool(said.get("duplicate", False)))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        raise BrokerError(f"{subject}: the answer does not parse") from None
