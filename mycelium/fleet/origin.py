"""This member's origin in the streams of its spaces: opens its terms, publishes its batches, closes those of others.

The runtime of `publishing`: it carries each question to a server, again and again until there is an answer. A stream
that was deleted is made anew, under a new name of its own (`stream`), and whatever was under way ends there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final, TypeVar

from blake3 import blake3

from mycelium.config.fleet import FLEET_CLOSED_MAX, FLEET_PAUSE_MAX_S, FLEET_PAUSE_S, FLEET_PUBLISH_S
from mycelium.errors import BrokerError, BrokerFull, BrokerUnreachable, Fenced, StreamGone
from mycelium.extras import load
from mycelium.fleet import bucket, events, publishing
from mycelium.fleet.events import Event
from mycelium.fleet.publishing import (
    Accepted,
    Answer,
    Ask,
    Conflict,
    Found,
    Nothing,
    Procedure,
    Send,
    Unknown,
)
from mycelium.jetstream import layout
from mycelium.jetstream.client import Broker, Session, broker_errors
from mycelium.jetstream.layout import Network
from mycelium.jetstream.streams import StreamState
from mycelium.node.ratelimit import Quiet

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Ensure = Callable[[Session, str], Awaitable[StreamState]]
"""Make the stream of a space, or find it. BrokerError."""
_NO_MESSAGE: Final = 10037
_MESSAGE_DELETED: Final = 10043


class Replaced(Exception):
    """Another stream stands in place of the one that was asked."""


class _Origin:
    """What is known of one space."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.session = 0
        """The connection on which the stream was looked at last."""
        self.term: publishing.Term | None = None
        self.last = 0
        self.opened = asyncio.Event()
        self.publishing = asyncio.Lock()


class Origins:
    """Of one member. tell: gets Opened, Closed and Fenced. opened: awaited before a term is told to be open.

    A publish and an open may run at once: the open ends the term in which the publish is, which so learns its fate.
    """

    def __init__(
        self,
        broker: Broker,
        network: Network,
        account: bytes,
        generation: int,
        incarnation: str,
        ensure: Ensure,
        tell: Callable[[Event], None],
        opened: Callable[[str, str, str], Awaitable[None]] | None = None,
    ) -> None:
        self.problem = ""
        """Why something waits; "" while nothing does."""
        self._broker = broker
        self._network = network
        self._account = account
        self._generation = generation
        self._incarnation = incarnation
        self._ensure = ensure
        self._tell = tell
        self._opened = opened
        self._spaces: dict[str, _Origin] = {}
        self._looking: dict[str, asyncio.Lock] = {}
        self._quiet = Quiet(log, interval_s=60)

    # --- what a member does -----------------------------------------------------------------------------

    def last(self, space: str) -> int:
        """The sequence number of this member's newest message in the space's stream, in this run; 0 for none."""
        found = self._spaces.get(space)
        return found.last if found is not None else 0

    def stream(self, space: str) -> str:
        """Which stream the space has, 16 hex digits; "" while that is not known."""
        found = self._spaces.get(space)
        return found.stream if found is not None else ""

    async def open(self, space: str, token: str) -> None:
        """Open a term, however long it takes."""
        while True:
            # Where nothing was under way, nobody has noticed yet that the stream is another one.
            one = await self._origin(space, anew=True)
            term = publishing.Term(self._subject(space, self._generation), token, self._incarnation)
            try:
                seq = await self._run(space, one, term.open())
                one.term, one.last = term, max(one.last, seq)
                one.opened.set()
                if self._opened is not None:
                    await self._opened(space, token, one.stream)
            except Replaced:
                continue
            except Fenced:
                # What is closed is never opened again: the next term has another token.
                self._tell(events.Opened(space, token, seq, one.stream))
                self._tell(events.Fenced(space, token))
                return
            self._tell(events.Opened(space, token, seq, one.stream))
            return

    async def close(self, space: str, generation: str, token: str, opened: int) -> None:
        """Close a term of any origin of the account, however long it takes."""
        one = await self._origin(space, anew=True)
        subject = self._subject(space, int(generation, 16))
        try:
            seq = await self._run(space, one, publishing.close(subject, token, opened, self._incarnation))
        except Replaced:
            seq = 0
        self._tell(events.Closed(space, generation, token, seq, one.stream if seq else self.stream(space)))

    async def close_others(self, space: str, but: Collection[tuple[str, str]]) -> None:
        """Close the terms of all other origins of this account, but for some, however long it takes."""
        while True:
            one = await self._origin(space, anew=True)
            try:
                seq = 0
                for subject in await self._others(space, one):
                    seq = max(
                        seq,
                        await self._run(space, one, publishing.close_unless(subject, but, self._incarnation)),
                    )
            except Replaced:
                continue
            self._tell(events.OthersClosed(space, seq, one.stream))
            return

    async def look(self, space: str, past: str) -> None:
        """See which stream there is, however long it takes. past: one that is asked about."""
        one = await self._origin(space, anew=True)
        self._tell(events.Looked(space, past, one.stream))

    async def _others(self, space: str, one: _Origin) -> list[str]:
        """The subjects that the stream has of this account, without this member's own."""
        own = self._subject(space, self._generation)
        pattern = f"{own.rpartition('.')[0]}.*"
        while await self._origin(space) is one:
            try:
                session = await self._broker.ready()
                name = self._network.stream(space)
                answer = await session.api(f"STREAM.INFO.{name}", {"subjects_filter": pattern})
                subjects = answer["state"].get("subjects") or {}
                return sorted(set(subjects) - {own})[:FLEET_CLOSED_MAX]
            except BrokerError as error:
                one.session = 0
                self._say(space, error)
                await asyncio.sleep(FLEET_PAUSE_MAX_S)
        raise Replaced

    async def publish(
        self, space: str, raw: bytes, signature: bytes, batch_id: bytes, *, carry: bool = True
    ) -> int:
        """Publish a batch of this member's own. Its sequence number, once the server has it on disk.

        Fenced: it is not in the stream, and will not be. Until one of the two is certain it waits, whatever happens,
        and nothing else is published in the space. Cancel it only when the process ends: then the next one, by its
        `open`, finds out. carry: where the stream is deleted meanwhile, publish to the one that takes its place, once a
        term is open in it; else Replaced, as for who publishes while a term is being opened.
        """
        one = await self._origin(space)
        carried = False
        async with one.publishing:
            while True:
                one = await (self._origin(space) if not carried else self._open_origin(space))
                term = one.term
                if term is None:
                    raise Fenced(
                        "this member has no term in the space at the moment; nothing was written: try again"
                    )
                try:
                    seq = await self._run(space, one, term.publish(raw, signature, batch_id))
                except Fenced:
                    self._ended(space, one, term)
                    if carried:
                        continue
                    raise
                except Replaced:
                    self._ended(space, one, term)
                    if not carry:
                        raise
                    # It may have been in the stream that is gone, and others may have applied it: it is not undone.
                    carried = True
                    continue
                one.last = max(one.last, seq)
                return seq

    # --- inside -----------------------------------------------------------------------------------------

    def _ended(self, space: str, one: _Origin, term: publishing.Term) -> None:
        if one.term is term:
            one.term = None
            one.opened.clear()
        self._tell(events.Fenced(space, term.token))

    def _subject(self, space: str, generation: int) -> str:
        return self._network.subject(space, self._account, generation)

    async def _origin(self, space: str, *, anew: bool = False) -> _Origin:
        """The space's stream as of now, made if it is not there. anew: whatever was seen before."""
        pause_s = FLEET_PAUSE_S
        while True:
            try:
                session = await self._broker.ready()
                found = self._spaces.get(space)
                if found is not None and found.session == session.number and not anew:
                    return found
                # One look at a time: an older answer must not take the place of a newer one.
                async with self._looking.setdefault(space, asyncio.Lock()):
                    return await self._look(space, session)
            except BrokerError as error:
                self._say(space, error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, FLEET_PAUSE_MAX_S)

    async def _open_origin(self, space: str) -> _Origin:
        """The space's stream, once this member has a term in it."""
        while True:
            one = await self._origin(space)
            if one.term is not None:
                return one
            with contextlib.suppress(TimeoutError):  # it may be another stream's term that is opened next
                async with asyncio.timeout(FLEET_PAUSE_MAX_S):
                    await one.opened.wait()

    async def _look(self, space: str, session: Session) -> _Origin:
        """Which stream it is: asked once for each connection, and after what may have come of another."""
        stream = blake3((await self._ensure(session, space)).created.encode()).hexdigest(8)
        found = self._spaces.get(space)
        if found is None or found.stream != stream:
            fresh = _Origin(stream)
            if found is not None:
                log.warning(
                    "the stream of %s is another one now -- somebody deleted it: what this node wrote is published "
                    "again, and nothing is to be done",
                    space,
                )
                fresh.publishing = found.publishing
                if found.term is not None:
                    self._tell(events.Fenced(space, found.term.token))
            found = self._spaces[space] = fresh
        found.session = session.number
        return found

    async def _run(self, space: str, one: _Origin, procedure: Procedure[Result]) -> Result:
        """Carry a procedure out. Replaced when the stream is not the one with which it began."""
        answer: Any = None
        pause_s = FLEET_PAUSE_S
        while True:
            try:
                ask = procedure.send(answer)
            except StopIteration as end:
                result: Result = end.value
                return result
            if await self._origin(space) is not one:
                raise Replaced
            answer = await self._ask(space, one, ask)
            if isinstance(answer, Unknown):
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, FLEET_PAUSE_MAX_S)
            else:
                pause_s = FLEET_PAUSE_S

    async def _ask(self, space: str, one: _Origin, ask: Ask) -> Answer:
        try:
            session = await self._broker.ready()
            answer = await (
                self._send(session, ask) if isinstance(ask, Send) else self._read(session, space, ask)
            )
        except BrokerError as error:
            if not isinstance(error, BrokerFull):
                one.session = 0  # look again which stream it is
            self._say(space, error)
            return Unknown()
        self.problem = ""
        if isinstance(answer, Nothing):
            # What was refused for another message is in another stream, perhaps.
            one.session = 0
        return answer

    async def _send(self, session: Session, ask: Send) -> Answer:
        message = ask.message
        headers = {**message.headers, layout.EXPECTED: str(ask.expected)}
        ack = await bucket.publish(session, message.subject, message.body, headers, FLEET_PUBLISH_S)
        return Accepted(ack.seq, ack.duplicate) if ack.seq else Conflict()

    async def _read(self, session: Session, space: str, ask: publishing.First | publishing.Last) -> Answer:
        """Asked of the stream's leader: any other copy may be behind."""
        errors = load("nats.js.errors", "nats")
        name = self._network.stream(space)
        try:
            with broker_errors(name):
                if isinstance(ask, publishing.Last):
                    work = session.js.get_msg(name, subject=ask.subject)
                else:
                    work = session.js.get_msg(name, seq=ask.after + 1, subject=ask.subject, next=True)
                found = await session.held(_missing_as_none(work, errors.NotFoundError))
        except StreamGone as error:
            raise BrokerUnreachable(str(error)) from None
        if found is None:
            return Nothing()
        headers: Mapping[str, str] = found.headers or {}
        return Found(int(found.seq), headers)

    def _say(self, space: str, error: BrokerError) -> None:
        self.problem = str(error)
        self._quiet.warning(
            "nothing can be published to %s at the moment: %s -- it is tried until it can: see to NATS",
            space,
            error,
        )


async def _missing_as_none(work: Awaitable[Any], missing: type[Exception]) -> Any:
    """The message, or None where there is none. A missing stream is an error as before."""
    try:
        return await work
    except missing as error:
        if getattr(error, "err_code", None) in (_NO_MESSAGE, _MESSAGE_DELETED):
            return None
        raise
