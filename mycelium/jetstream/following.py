"""Follows the stream of one space into an `Intake`, from where the last run stood, for as long as it runs.

It reads through a pull consumer of its own that is made anew whenever it may be lost; where it stands lies in the store
(`place`). What comes next may not be there: the stream is new, was deleted and made again, dropped its oldest messages
or lost its newest. `behind` then says from where to read; whoever has snapshots gives one to the intake first.

The runtime between the machines `Intake` and `Pulling` and a connection to NATS. Decides nothing about batches. A
connection that breaks is not mended here: the next one is asked for.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from mycelium.config.replica import (
    CONSUMER_IDLE_S,
    FOLLOW_LOOK_MS,
    FOLLOW_RETRY_MAX_MS,
    FOLLOW_RETRY_MIN_MS,
    FOLLOW_SAVE_MESSAGES,
    PULL_MESSAGES,
)
from mycelium.database.store import Store
from mycelium.errors import BrokerError, Overloaded, StoreError, StreamGone
from mycelium.extras import load
from mycelium.jetstream import layout, place, streams
from mycelium.jetstream.client import Session, broker_errors
from mycelium.jetstream.intake import Intake, Taken
from mycelium.jetstream.place import Place
from mycelium.jetstream.pulling import Pulling, Said
from mycelium.node.ratelimit import Quiet

if TYPE_CHECKING:
    from nats.aio.msg import Msg

log = logging.getLogger(__name__)

_DELIVERED: Final = "$JS.ACK."
"""What the reply subject of a stream's message begins with; it numbers it. Headers are its publisher's to choose."""

NO_STREAM: Final = "no stream"
UNREACHABLE: Final = "no server"
BEGINNING: Final = "beginning"
READING: Final = "reading"
FULL: Final = "full"
FAILING: Final = "the store refuses"


class Stream(NamedTuple):
    """What the server says of a stream. first, last: sequences of its messages; created: text, to be compared only."""

    created: str
    first: int
    last: int


class Connections(Protocol):
    """Where connections come from; `client.Broker` is one."""

    async def ready(self) -> Session:
        """One that is alive, however long that takes. BrokerUnreachable, ConfigError where there will be none."""
        ...


class Control(NamedTuple):
    """A message that is no batch (`layout.KIND`)."""

    kind: str
    sequence: int
    subject: str
    body: bytes


Behind = Callable[[Stream, str], Awaitable[int]]
"""Called with the stream and the reason when what comes next is not in it: the sequence after which to read on."""


class _BegunAgain(Exception):
    """What was being offered is not offered any more: `Follower.again` was called."""


class Follower:
    """Of one stream. `run` it as a task, and call `tick` about once a second.

    control: is given the messages that are no batches, in their place.
    state: for people. stream: as of the last look.
    """

    def __init__(
        self,
        connections: Connections,
        name: str,
        intake: Intake,
        store: Store,
        now_ms: Callable[[], int],
        *,
        behind: Behind | None = None,
        control: Callable[[Control], None] | None = None,
    ) -> None:
        self.name = name
        self.intake = intake
        self.state = BEGINNING
        self.stream: Stream | None = None
        self.pending = 0
        """Messages of the stream that had not been given to us when the newest was."""
        self.newest_ms = 0
        """When the newest message that was read came to the server, by its clock."""
        self._connections = connections
        self._store = store
        self._now_ms = now_ms
        self._behind = behind or _from_the_first
        self._control = control
        self._quiet = Quiet(log, interval_s=60)
        self._room = asyncio.Event()
        self._queue: deque[Msg] = deque()
        self._undone_bytes = 0
        self._arrived = asyncio.Event()
        self._lost = ""
        """Why what comes of the present consumer is not to be waited for any more."""
        self._again = ""
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tie = count()
        self._looked_ms = 0
        self._unsaved = 0
        found = place.load(store, intake.space)
        self.known = found is not None and found.position >= 0
        """Whether a stream was ever read, and how far is known."""
        self._place = found or Place("", 0, 0)
        self._body: bytes | None = None
        """Of the newest message that was read in this run."""
        if self.known:
            intake.restart(self._place.position)

    # --- for who owns it --------------------------------------------------------------------------------

    async def run(self) -> None:
        """For ever, until it is cancelled."""
        pause_ms = FOLLOW_RETRY_MIN_MS
        try:
            while True:
                read = self.intake.read
                try:
                    await self._follow()
                except StreamGone as error:
                    self.state = NO_STREAM
                    # One that never was is made with the first batch of its space.
                    say = self._quiet.warning if self.known else log.debug
                    say("the stream %s cannot be read: %s", self.name, error)
                except BrokerError as error:
                    self.state = UNREACHABLE
                    self._quiet.warning("the stream %s cannot be read: %s", self.name, error)
                except StoreError as error:
                    self.state = FAILING
                    self._quiet.error("the store refuses what comes of the stream %s: %s", self.name, error)
                except _BegunAgain:
                    log.info("the stream %s is read again: %s", self.name, self._again)
                except Exception:
                    log.exception("following the stream %s failed; it is tried again", self.name)
                moved = self.intake.read != read
                pause_ms = FOLLOW_RETRY_MIN_MS if moved else min(2 * pause_ms, FOLLOW_RETRY_MAX_MS)
                await asyncio.sleep(pause_ms / 1000)
        finally:
            for _, _, future in self._waiters:
                future.cancel()

    def tick(self, *, hurry: bool = False) -> None:
        """Try again what waits. hurry: an epoch, a block or a policy has become known."""
        try:
            done = self.intake.retry(self._now_ms(), hurry=hurry)
        except StoreError as error:
            self._quiet.error("the store refuses what waited of the stream %s: %s", self.name, error)
            return
        if done:
            self._unsaved += done
            self._room.set()

    def again(self, why: str) -> None:
        """Begin again, as where the stream is another one: something of it is lacking here."""
        self._again = why
        self._lost = self._lost or why
        self._room.set()
        self._arrived.set()

    async def reached(self, sequence: int) -> None:
        """Return once all messages up to that one were read."""
        if self.intake.read < sequence:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heappush(self._waiters, (sequence, next(self._tie), future))
            await future

    def save(self) -> None:
        """Write down how far it is. StoreError."""
        self._unsaved = 0
        position = self.intake.position
        if not self.known or position < 0:
            return
        mark = self._place.mark if self._body is None else place.mark_of(self._body)
        read = self._place.read if self._body is None else self.intake.read
        found = Place(self._place.created, position, read, mark)
        if found != self._place:
            place.save(self._store, self.intake.space, found)
            self._place = found

    @property
    def created(self) -> str:
        """Of the stream that what was read is of; the one that is there now may be another. "" for none."""
        return self._place.created if self.known else ""

    @property
    def lag(self) -> int:
        """Messages of the stream that are not settled here, as far as is known."""
        behind = 0 if self.stream is None else max(0, self.stream.last - self.intake.read)
        return max(behind, self.pending + len(self._queue)) + self.intake.waiting

    def lag_s(self) -> float:
        """Age of the newest message that was read, where there are newer ones; else 0."""
        if not self.lag or not self.newest_ms:
            return 0.0
        return max(0.0, (self._now_ms() - self.newest_ms) / 1000)

    async def offer(self, take: Callable[[], Taken]) -> Taken:
        """Offer something to the intake again and again until it is taken."""
        usual = self.state
        while True:
            try:
                found = take()
            except Overloaded:
                self.state = FULL
                oldest = self.intake.oldest()
                self._quiet.warning(
                    "no more of the stream %s is read: %d batches wait for an epoch, a policy or a predecessor, "
                    "the oldest is message %d of %s",
                    self.name,
                    self.intake.waiting,
                    *(oldest[:2] if oldest else (0, "")),
                )
            except StoreError as error:
                self.state = FAILING
                self._quiet.error("the store refuses what comes of the stream %s: %s", self.name, error)
            else:
                self.state = usual
                return found
            if self._again:
                raise _BegunAgain
            self._room.clear()
            try:
                async with asyncio.timeout(1):
                    await self._room.wait()
            except TimeoutError:
                continue

    # --- one consumer -----------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Until the consumer is lost. BrokerError, StoreError."""
        self.state = UNREACHABLE
        session = await self._connections.ready()
        try:
            with broker_errors(self.name):
                stream = await self._look(session)
                await self._begin(session, stream)
                await self._consume(session)
        finally:
            self._queue.clear()
            self._undone_bytes = 0

    async def _look(self, session: Session) -> Stream:
        try:
            found = await streams.look(session, self.name)
        except StreamGone:
            self.stream = None
            raise
        self._looked_ms = _monotonic_ms()
        self.stream = Stream(found.created, found.first_seq, found.last_seq)
        return self.stream

    async def _begin(self, session: Session, stream: Stream) -> None:
        """Stand where the next message to read is."""
        why = await self._why_behind(session, stream)
        if why:
            self.state = BEGINNING
            self._again = ""
            position = await self._behind(stream, why)
            self.intake.restart(position)
            self.known = True
            self._place = Place(stream.created, position, position)
            self._body = None
            if self.intake.position >= 0:
                place.save(self._store, self.intake.space, self._place)
        self._wake_waiters()

    async def _why_behind(self, session: Session, stream: Stream) -> str:
        """Why what comes next is not what the stream would give; "" where it is."""
        if self._again:
            return self._again
        if not self.known:
            return "nothing of it was read yet"
        if stream.created != self._place.created:
            return "another stream stands in its place"
        read, mark = self._place.read, self._place.mark
        if self._body is not None:
            read, mark = self.intake.read, place.mark_of(self._body)
        if stream.last < read:
            return f"it has lost its end: message {read} was read, and {stream.last} is the last"
        if stream.first > self.intake.read + 1:
            return (
                f"message {self.intake.read + 1} comes next, and {stream.first} is the oldest that it keeps"
            )
        if mark and stream.first <= read and not await self._is_known(session, read, mark):
            return f"message {read} is another one than was read"
        return ""

    async def _is_known(self, session: Session, sequence: int, mark: bytes) -> bool:
        try:
            answer = await session.api(f"STREAM.MSG.GET.{self.name}", {"seq": sequence})
            body = base64.b64decode((answer.get("message") or {}).get("data") or "")
        except StreamGone:
            return True  # deleted by itself; says nothing
        except ValueError:
            return False
        return place.mark_of(body) == mark

    async def _consume(self, session: Session) -> None:
        api = load("nats.js.api", "nats")
        nc, consumer = session.nc, f"follow-{secrets.token_hex(8)}"
        pulling = Pulling(_monotonic_ms())
        self._lost = ""

        def broken(lost: asyncio.Future[str]) -> None:
            del lost
            self._arrived.set()

        async def arrived(message: Msg) -> None:
            self._received(pulling, message)

        inbox = nc.new_inbox()
        subscription = await nc.subscribe(
            inbox, cb=arrived, pending_msgs_limit=4 * PULL_MESSAGES, pending_bytes_limit=0
        )
        session.lost.add_done_callback(broken)
        try:
            config = api.ConsumerConfig(
                name=consumer,
                deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self.intake.read + 1,
                ack_policy=api.AckPolicy.NONE,
                inactive_threshold=CONSUMER_IDLE_S,
                mem_storage=True,
                num_replicas=1,
            )
            info = await session.held(session.js.add_consumer(self.name, config=config))
            self.pending = info.num_pending or 0
            self.state = READING
            await self._read(session, pulling, f"$JS.API.CONSUMER.MSG.NEXT.{self.name}.{consumer}", inbox)
        finally:
            session.lost.remove_done_callback(broken)
            await self._leave(session, subscription, consumer)

    async def _leave(self, session: Session, subscription: Any, consumer: str) -> None:
        """Let go of a consumer; the server forgets it by itself where it is not told."""
        try:
            self.save()
        except StoreError as error:
            log.debug("how far %s was read is not written down: %s", self.name, error)
        if session.alive:
            try:
                with broker_errors(self.name):
                    await subscription.unsubscribe()
                    await session.nc.publish(f"$JS.API.CONSUMER.DELETE.{self.name}.{consumer}")
            except BrokerError as error:
                log.debug("a consumer of %s is left behind: %s", self.name, error)

    def _received(self, pulling: Pulling, message: Msg) -> None:
        """A message or a word of the server came."""
        now_ms = _monotonic_ms()
        if message.reply.startswith(_DELIVERED):
            if pulling.message(message.metadata.sequence.consumer, now_ms) is Said.LOST:
                self._lost = self._lost or "a message was lost on its way"
            elif not self._lost:
                self._queue.append(message)
                self._undone_bytes += len(message.data)
        elif message.headers and "Status" in message.headers:
            code, text = message.headers["Status"], message.headers.get("Description", "")
            if pulling.status(code, text, now_ms) is Said.LOST:
                self._lost = f"{code} {text}"
        self._arrived.set()

    async def _read(self, session: Session, pulling: Pulling, next_subject: str, inbox: str) -> None:
        """Apply what comes until the consumer is lost."""
        while not self._again and not (self._lost and not self._queue):
            asked = None if self._lost else pulling.ask(self._undone_bytes, _monotonic_ms())
            if asked is not None:
                await session.nc.publish(next_subject, json.dumps(asked).encode(), inbox)
            if self._queue:
                message = self._queue.popleft()
                await self._take(message)
                self._undone_bytes -= len(message.data)
                # Whoever else has something to do on this loop gets a turn after every batch.
                await asyncio.sleep(0)
                continue
            if self._unsaved:
                self.save()
            await self._wait(session)
            if not session.alive:
                self._lost = self._lost or "the connection is lost"
            elif pulling.silent(_monotonic_ms()):
                self._lost = self._lost or "it says nothing"
        log.info("the consumer of %s is lost (%s): another is made", self.name, self._lost)

    async def _wait(self, session: Session) -> None:
        """Until something comes, a second at most; look at the stream now and then."""
        self._arrived.clear()
        try:
            async with asyncio.timeout(1):
                await self._arrived.wait()
        except TimeoutError:
            if _monotonic_ms() - self._looked_ms > FOLLOW_LOOK_MS and session.alive:
                await self._check(session)

    async def _check(self, session: Session) -> None:
        """The stream may have been deleted or made anew, and nobody told us."""
        stream = await self._look(session)
        if stream.created != self._place.created:
            self._lost = "another stream stands in its place"
        if self.intake.read >= stream.last:
            self.pending = 0

    async def _take(self, message: Msg) -> None:
        """Give one message to the intake, however long it takes until there is room."""
        meta = message.metadata
        sequence = meta.sequence.stream
        kind = (message.headers or {}).get(layout.KIND)
        if kind is not None:
            self.intake.skip(sequence)
            if self._control is not None:
                self._control(Control(kind, sequence, message.subject, message.data))
        else:
            await self.offer(
                lambda: self.intake.message(sequence, message.subject, message.data, self._now_ms())
            )
        self._body = message.data
        self.pending = meta.num_pending
        self.newest_ms = int(meta.timestamp.timestamp() * 1000)
        self._unsaved += 1
        if self._unsaved >= FOLLOW_SAVE_MESSAGES:
            self.save()
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        while self._waiters and self._waiters[0][0] <= self.intake.read:
            future = heappop(self._waiters)[2]
            if not future.done():
                future.set_result(None)


async def _from_the_first(stream: Stream, why: str) -> int:
    """For who has no snapshots."""
    log.info("a stream is read from message %d on: %s", stream.first, why)
    return max(0, stream.first - 1)


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
