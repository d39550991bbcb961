"""The bridge: every batch of a node's feed into the stream of its space, exactly as signed, none left out.

It is a client of its node and holds nothing but a bounded window of what is not acknowledged. Where NATS takes no more,
the window is full, no more is read, and the feed waits in the node's log. Where anything breaks, the bridge goes on
after the last batch before which all is acknowledged; what is sent twice carries the same id, and the server drops it.

Owns the cursor, the window and when to begin again. The keeper beside it owns streams and snapshots.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Final

from mycelium._version import __version__
from mycelium.config import BATCH_BYTES_MAX
from mycelium.config.jetstream import (
    ACK_S,
    BRIDGE_CALM_S,
    BRIDGE_CHECK_S,
    BRIDGE_PAUSE_MAX_S,
    BRIDGE_PAUSE_S,
    BRIDGE_TICK_S,
    BUSY_BATCHES,
    KEEPER_LOOK_S,
    STREAM_SETTLED_MS,
    WINDOW_BYTES,
    WINDOW_MESSAGES,
    WINDOW_SPAN,
)
from mycelium.errors import (
    BrokerError,
    BrokerUnreachable,
    BrokerUnsafe,
    ConfigError,
    CursorForeign,
    FeedBehind,
    FeedRewound,
    StreamGone,
    Unauthorised,
)
from mycelium.feed.batch import FeedBatch
from mycelium.feed.cursor import Cursor
from mycelium.feed.reader import START
from mycelium.jetstream import durability, layout, marks, resuming
from mycelium.jetstream.client import Broker, Session
from mycelium.jetstream.durability import Durability
from mycelium.jetstream.keeper import Keeper
from mycelium.jetstream.marks import Mark
from mycelium.jetstream.noting import Noter
from mycelium.jetstream.problems import Problems
from mycelium.jetstream.publisher import Ack, Publisher
from mycelium.jetstream.source import NODE_ERRORS, SUBJECT, Identity, Source
from mycelium.jetstream.together import first
from mycelium.jetstream.window import Item, Window
from mycelium.node.nats_settings import NatsSettings
from mycelium.node.remote import RemoteNode
from mycelium.node.remotefeed import RemoteFeed

logger = logging.getLogger(__name__)

_NATS: Final = "NATS"
_FEED: Final = "the feed"
_HEADERS_BYTES: Final = 1024
"""Subject, headers and signature of a message, at most."""


class Bridge:
    """Of one node. connect: makes a connection to it. now_ms: by the wall clock. status: for people and programs."""

    def __init__(
        self,
        settings: NatsSettings,
        connect: Callable[[], Coroutine[Any, Any, RemoteNode]],
        now_ms: Callable[[], int],
        *,
        look_s: float = KEEPER_LOOK_S,
        settled_ms: int = STREAM_SETTLED_MS,
    ) -> None:
        self.problems = Problems(logger)
        self.began = asyncio.Event()
        """Set once NATS and the node are there, and batches may go."""
        self.published = 0
        self.repeated = 0
        self.sent_bytes = 0
        self.newest = 0
        """The index of the node's newest durable batch, as it last said."""
        self._settings = settings
        self._broker = Broker(settings, "bridge")
        self._source = Source(connect, self.problems)
        self._now_ms = now_ms
        self._look_s = look_s
        self._settled_ms = settled_ms
        self._identity: Identity | None = None
        self._keeper: Keeper | None = None
        self._window: Window | None = None
        self._after: Cursor | str | None = None
        """Where the feed is opened, where that is not where the window has read to."""
        self._from_now = False
        self._passed_over = ""
        """Why something of the feed was passed over, which snapshots must have."""
        self._feed: RemoteFeed | None = None
        self._known: set[str] = set()
        """Ids that are in their streams though the cursor is before them: they need not be sent again."""
        self._names: dict[str, str] = {}
        self._verdict: Durability | None = None
        self._accepted = ""
        self._served = False
        self._room = asyncio.Event()
        self._trouble: asyncio.Future[None] | None = None
        self._noter = Noter(settings, self.problems)
        self._started_ms = now_ms()

    # --- for who runs it --------------------------------------------------------------------------------

    async def run(self) -> None:
        """For ever. Raises what only a person can mend: ConfigError (BrokerUnsafe at the start), Unauthorised."""
        try:
            async with self._broker:
                async for session in self._broker.sessions():
                    await self._during(session)
        finally:
            await self._end_feed()
            await self._source.close()

    def status(self) -> dict[str, Any]:
        """How far it is and what it lacks. lag: batches of the feed that are not in their streams yet."""
        window = self._window
        index = 0 if window is None else window.cursor.index
        return {
            "cursor": "" if window is None else str(window.cursor),
            "newest": self.newest,
            "lag": max(0, self.newest - index),
            "published": self.published,
            "repeated": self.repeated,
            "sent_bytes": self.sent_bytes,
            "underway": 0 if window is None else len(window),
            "underway_bytes": 0 if window is None else window.size_bytes,
            "snapshots": 0 if self._keeper is None else self._keeper.made,
            "connected": self._broker.problem == "",
            "connects": self._broker.connects,
            "problems": self._lacks(),
            "accepted": self._accepted,
            "servers": [] if self._verdict is None else self._verdict.shown(),
        }

    def _busy(self) -> bool:
        window = self._window
        # How far behind it is, it learns when the feed is open.
        return window is None or self._feed is None or self.newest - window.cursor.index > BUSY_BATCHES

    def _lacks(self) -> list[str]:
        away = self._broker.problem.replace("\n  ", " -- ")
        return ([f"no connection to NATS: {away}"] if away else []) + self.problems.texts

    # --- one session ------------------------------------------------------------------------------------

    async def _during(self, session: Session) -> None:
        """Serve, and again after whatever breaks, until the session is lost."""
        pause_s = BRIDGE_PAUSE_S
        while session.alive:
            settled = self.published + self.repeated
            try:
                await self._serve(session)
            except BrokerUnsafe as error:
                if not self._served:
                    raise
                self.problems.say(_NATS, error)
                await self._note_trouble(session)
            except BrokerError as error:
                if session.alive:
                    self.problems.say(_NATS, error)
                    await self._note_trouble(session)
            if self.published + self.repeated > settled:
                pause_s = BRIDGE_PAUSE_S
            await asyncio.wait((session.lost,), timeout=pause_s)
            pause_s = min(2 * pause_s, BRIDGE_PAUSE_MAX_S)

    async def _serve(self, session: Session) -> None:
        """Until something breaks. BrokerError, and what `run` raises."""
        await self._check(session)
        identity = self._identity = self._identity or await self._source.identity()
        await marks.ensure(session, identity.network, self._settings)
        if self._keeper is None:
            self._keeper = Keeper(
                identity.network,
                self._settings,
                self._source,
                self.problems,
                self._now_ms,
                self._busy,
                self._look_s,
                self._settled_ms,
            )
        await self._keeper.again(session)
        if self._window is None:
            await self._begin(session, identity)
        trouble = self._trouble = asyncio.get_running_loop().create_future()
        publisher = Publisher(session, self._acked)
        await publisher.open()
        self._served = True
        try:
            await self._send_again(session, publisher)
            self.began.set()
            await first(
                self._feeding(session, publisher),
                self._watch(session),
                self._keeper.run(session),
                _lost(session, trouble),
            )
        finally:
            if not trouble.cancel() and not trouble.cancelled():
                trouble.exception()  # another trouble came first
            await self._note_trouble(session)
            if session.alive:
                await publisher.close()

    async def _check(self, session: Session) -> None:
        """BrokerUnsafe where what is acknowledged may be lost, unless the operator takes that."""
        verdict = self._verdict = await durability.ask(self._settings, session)
        if not self._settings.accept_unsynced:
            verdict.require()
        elif verdict.problem != self._accepted:
            self._accepted = verdict.problem
            logger.warning("accepted, as accept_unsynced is set: %s", verdict.problem or "nothing any more")
        if session.max_payload < BATCH_BYTES_MAX + _HEADERS_BYTES:
            raise BrokerUnsafe(
                f"NATS server {session.server_name} takes messages of {session.max_payload} bytes, and a batch may "
                f"have {BATCH_BYTES_MAX}",
                "set max_payload: 1MB in its configuration",
            )

    async def _begin(self, session: Session, identity: Identity) -> None:
        """Find where to go on: the cursor that was noted, or what the streams themselves tell."""
        assert self._keeper is not None, "made before the window"
        for space in await self._spaces():
            await self._keeper.meet(session, space)
        found = await resuming.find(session, identity, self._keeper.streams, WINDOW_SPAN)
        self._known = found.known
        self._after = START if found.cursor is None else found.cursor
        cursor = found.cursor or Cursor(identity.generation, 0)
        self._window = Window(cursor, WINDOW_MESSAGES, WINDOW_BYTES, WINDOW_SPAN)
        logger.info(
            "goes on after %s%s", cursor, f", {len(found.known)} beyond it are known" if found.known else ""
        )

    async def _spaces(self) -> list[str]:
        """The spaces of which the node tells this account."""
        while True:
            node = await self._source.node()
            feed = node.feed()
            try:
                await feed.start()
                return feed.spaces
            except Unauthorised:
                raise
            except NODE_ERRORS as error:
                self.problems.say(SUBJECT, error)
                await asyncio.sleep(BRIDGE_PAUSE_S)
            finally:
                await feed.aclose()

    async def _send_again(self, session: Session, publisher: Publisher) -> None:
        """What was not acknowledged. The first alone, as a stream that is full would refuse them all."""
        assert self._window is not None, "begun before anything is sent"
        for number, item in enumerate(self._window.unsettled()):
            if item.settled:
                continue
            await self._send(publisher, item)
            while number == 0 and not item.settled:
                await self._settled(session)

    async def _settled(self, session: Session) -> None:
        """Until something is acknowledged. BrokerError where it is refused, or nothing comes."""
        assert self._trouble is not None, "made before anything is sent"
        self._room.clear()
        waiting = asyncio.ensure_future(self._room.wait())
        try:
            await asyncio.wait(
                (waiting, session.lost, self._trouble), timeout=ACK_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waiting.cancel()
        session.check()
        if self._trouble.done():
            self._trouble.result()
        if not self._room.is_set():
            raise BrokerUnreachable(f"no acknowledgement for {ACK_S:.0f} s")

    # --- the feed ---------------------------------------------------------------------------------------

    async def _feeding(self, session: Session, publisher: Publisher) -> None:
        """Read, and publish, for ever. What the node cannot give is asked for again."""
        assert self._trouble is not None, "made before the feed"
        pause_s = BRIDGE_PAUSE_S
        while True:
            try:
                feed = await self._opened()
                window = self._window
                assert window is not None, "begun before the feed"
                while not self._trouble.done():
                    while not window.room():
                        self._room.clear()
                        await self._room.wait()
                    batch = await anext(feed)
                    pause_s = BRIDGE_PAUSE_S
                    self.problems.over(_FEED)
                    await self._take(session, publisher, batch)
                await self._trouble
            except FeedRewound as error:
                await self._rewound(error)
            except FeedBehind as error:
                await self._behind(error)
            except NODE_ERRORS as error:
                await self._end_feed()
                self.problems.say(_FEED, error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, BRIDGE_PAUSE_MAX_S)

    async def _opened(self) -> RemoteFeed:
        """The feed that is being read, or a new one where the last ended."""
        if self._feed is not None:
            return self._feed
        window, keeper, identity = self._window, self._keeper, self._identity
        assert window is not None, "begun before the feed"
        assert keeper is not None, "made before the feed"
        assert identity is not None, "known before the feed"
        node = await self._source.node()
        self._identity = identity._replace(fleet=bool((await node.status()).get("fleet")))
        feed = node.feed(None if self._from_now else self._after or window.read)
        try:
            cursor = await feed.start()
        except BaseException:
            await feed.aclose()
            raise
        self._feed, self._after, self._from_now = feed, None, False
        self.newest = max(self.newest, feed.newest)
        window.skip(cursor)
        if self._passed_over:
            # Only now: what a snapshot does not have is read by this feed.
            for space in keeper.streams:
                keeper.ask(space, self._passed_over)
            self._passed_over = ""
        return feed

    async def _end_feed(self) -> None:
        feed, self._feed = self._feed, None
        if feed is not None:
            await feed.aclose()

    async def _take(self, session: Session, publisher: Publisher, batch: FeedBatch) -> None:
        """Publish a batch that was read, unless it needs not be."""
        window, identity = self._window, self._identity
        assert window is not None, "begun before the feed"
        assert identity is not None, "known before the feed"
        self.newest = batch.newest
        raw, signature, message_id = batch.raw, batch.signature, batch.id.hex()
        if raw is None or signature is None:
            raise ConfigError(
                f"this account may not read all of the space {batch.space!r}, and a part of a batch has no signature",
                "use the node's own hotkey, or name this one under [auth] clients there",
            )
        if identity.fleet and batch.account == identity.account:
            window.skip(batch.cursor)  # its members publish what they write before they have it themselves
            return
        if message_id in self._known:
            self._known.discard(message_id)
            self.repeated += 1
            window.skip(batch.cursor)
            return
        if batch.space not in self._names:
            assert self._keeper is not None, "made before the feed"
            await self._keeper.meet(session, batch.space)
            self._names[batch.space] = identity.network.stream(batch.space)
        item = window.add(
            batch.cursor,
            batch.space,
            identity.network.subject(batch.space, batch.account, batch.generation),
            layout.body(raw, signature),
            {layout.MESSAGE_ID: message_id, layout.CURSOR: str(batch.cursor)},
        )
        await self._send(publisher, item)

    async def _send(self, publisher: Publisher, item: Item) -> None:
        item.sent_s = asyncio.get_running_loop().time()
        self.sent_bytes += len(item.body)
        await publisher.send(item.number, item.subject, item.body, item.headers)

    def _acked(self, number: int, answer: Ack | BrokerError) -> None:
        assert self._window is not None, "begun before anything is sent"
        item = self._window.item(number)
        if item is None:
            return  # sent twice, and answered twice
        if not isinstance(answer, BrokerError) and answer.stream != self._names.get(
            item.space, answer.stream
        ):
            answer = StreamGone(f"another stream, {answer.stream}, takes what belongs to {item.space}")
        if isinstance(answer, BrokerError):
            if self._trouble is not None and not self._trouble.done():
                self._trouble.set_exception(answer)
            return
        if answer.duplicate:
            self.repeated += 1
        else:
            self.published += 1
        self._window.settle(number)
        self._room.set()

    async def _rewound(self, error: FeedRewound) -> None:
        """Batches of a space were taken away, which what lies in the stream does not tell."""
        assert self._keeper is not None, "made before the feed"
        assert self._window is not None, "begun before the feed"
        logger.warning("rows of %r were made anew at the node: a new snapshot of it is made", error.space)
        self._keeper.ask(error.space, "rows were made anew")
        await self._end_feed()
        if error.cursor:
            self._window.skip(Cursor.parse(error.cursor))

    async def _behind(self, error: FeedBehind) -> None:
        """What comes next is not kept: snapshots have it, and the feed goes on where it can."""
        window = self._window
        assert window is not None, "begun before the feed"
        logger.warning("%s: snapshots of all spaces are made", str(error).partition(":")[0])
        await self._end_feed()
        if isinstance(error, CursorForeign):
            while len(window):  # what was read of the old one still belongs into its streams
                self._room.clear()
                await self._room.wait()
            identity = self._identity = await self._source.identity()
            self._window = Window(Cursor(identity.generation, 0), WINDOW_MESSAGES, WINDOW_BYTES, WINDOW_SPAN)
            self._after = START
            return
        self._passed_over = "the feed does not reach back"
        self._after = Cursor.parse(error.cursor) if error.cursor else None
        self._from_now = self._after is None

    # --- beside it --------------------------------------------------------------------------------------

    async def _watch(self, session: Session) -> None:
        """Note the cursor, see that acknowledgements come, and that the servers stay as they were."""
        assert self._window is not None, "begun before it is watched"
        loop = asyncio.get_running_loop()
        began_s = checked_s = loop.time()
        while True:
            await asyncio.sleep(BRIDGE_TICK_S)
            if loop.time() - began_s > BRIDGE_CALM_S:
                self.problems.over(_NATS)
            if self._feed is not None and self._feed.cursor is not None and not len(self._window):
                self.newest = max(self.newest, self._feed.newest)
            oldest = self._window.oldest()
            if oldest is not None and loop.time() - oldest.sent_s > ACK_S:
                raise BrokerUnreachable(f"no acknowledgement for {ACK_S:.0f} s")
            await self._note(session, loop.time())
            if loop.time() - checked_s > BRIDGE_CHECK_S:
                await self._check(session)
                checked_s = loop.time()

    async def _note_trouble(self, session: Session) -> None:
        """Let others see what is wrong, and how far the feed has come meanwhile, as far as that can be done now."""
        newest = await self._source.newest()
        self.newest = max(self.newest, newest or 0)
        if session.alive and self._window is not None:
            try:
                await self._note(session, asyncio.get_running_loop().time())
            except BrokerUnreachable:
                return  # the session was lost, which is seen next

    async def _note(self, session: Session, now_s: float) -> None:
        assert self._window is not None, "begun before it is noted"
        assert self._identity is not None, "known before it is noted"
        mark = Mark(
            cursor=str(self._window.cursor),
            newest=self.newest,
            at_ms=self._now_ms(),
            started_ms=self._started_ms,
            published=self.published,
            repeated=self.repeated,
            problem="; ".join(self._lacks()),
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
        )
        await self._noter.note(session, self._identity, mark, now_s)


async def _lost(session: Session, trouble: asyncio.Future[None]) -> None:
    """Raise when the session ends, or a publish fails."""
    await asyncio.wait((session.lost, trouble), return_when=asyncio.FIRST_COMPLETED)
    session.check()
    trouble.result()
