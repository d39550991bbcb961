"""Keeps the streams of a network as they should be, and their snapshots so that a new replica lacks nothing.

Looks at each stream every few seconds: made where it is gone, changed back where it was changed, a snapshot where one
is due. Runs beside the bridge that publishes; what goes wrong with one space does not stop the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from mycelium.config.jetstream import (
    KEEPER_LOOK_S,
    SNAPSHOT_PAUSE_MIN_MS,
    SNAPSHOT_PUT_OFF_MS,
    SNAPSHOT_RETRY_MS,
    SNAPSHOT_SHARE,
    STREAM_SETTLED_MS,
)
from mycelium.errors import BrokerError, BrokerUnsafe, MyceliumError
from mycelium.jetstream import snapshots, streams
from mycelium.jetstream.client import Session
from mycelium.jetstream.layout import Network
from mycelium.jetstream.problems import Problems
from mycelium.jetstream.snapshots import Snapshot
from mycelium.jetstream.source import Source
from mycelium.jetstream.streams import StreamState
from mycelium.node.nats_settings import NatsSettings

logger = logging.getLogger(__name__)

_NEW: Final = "another stream stands in its place"


class Keeper:
    """Of the spaces that a bridge has met. now_ms: by the wall clock. busy: whether the bridge has better to do now
    than to read a whole space, where nobody lacks anything yet.
    """

    def __init__(
        self,
        network: Network,
        settings: NatsSettings,
        source: Source,
        problems: Problems,
        now_ms: Callable[[], int],
        busy: Callable[[], bool],
        look_s: float = KEEPER_LOOK_S,
        settled_ms: int = STREAM_SETTLED_MS,
    ) -> None:
        self.streams: dict[str, StreamState] = {}
        """As they were at the last look."""
        self.latest: dict[str, Snapshot | None] = {}
        self.made = 0
        self._network = network
        self._settings = settings
        self._source = source
        self._problems = problems
        self._now_ms = now_ms
        self._busy = busy
        self._look_s = look_s
        self._settled_ms = settled_ms
        self._ends: dict[str, list[tuple[int, int]]] = {}
        """When a stream was seen to end where, for those that may still be of use."""
        self._asked: dict[str, str] = {}
        self._due_since_ms: dict[str, int] = {}
        self._not_before_ms: dict[str, int] = {}
        """When the next snapshot of a space may begin: a large one, or one that failed, is not made all the time."""
        self._hurry = asyncio.Event()

    async def meet(self, session: Session, space: str) -> None:
        """A space whose stream must be there from now on. BrokerError."""
        if space not in self.streams:
            state = await streams.ensure(session, self._network, space, self._settings)
            self.streams[space] = state
            self._ends[space] = [self._end(state)]

    async def again(self, session: Session) -> None:
        """All streams that must be there, after they may have gone. BrokerError."""
        for space in self.streams:
            await self._look(session, space)

    def ask(self, space: str, why: str) -> None:
        """A snapshot of a space, soon, whatever the rules say."""
        self._asked[space] = why
        self._not_before_ms.pop(space, None)
        self._hurry.set()

    async def run(self, session: Session) -> None:
        """For as long as the session lives. BrokerUnsafe where a stream would lose what it acknowledged."""
        while True:
            for space in sorted(self.streams):
                session.check()
                try:
                    await self._snapshot(session, space, await self._look(session, space))
                except BrokerUnsafe:
                    raise
                except BrokerError as error:
                    self._problems.say(f"the stream of {space}", error)
                else:
                    self._problems.over(f"the stream of {space}")
            self._hurry.clear()
            try:
                async with asyncio.timeout(self._look_s):
                    await self._hurry.wait()
            except TimeoutError:
                continue

    async def _look(self, session: Session, space: str) -> StreamState:
        before = self.streams[space]
        state = await streams.ensure(session, self._network, space, self._settings)
        if state.created != before.created:
            logger.warning("the stream %s: %s, and what came before lies in a snapshot", state.name, _NEW)
            self.ask(space, _NEW)
            self._ends[space] = []
        self.streams[space] = state
        self._ends[space].append(self._end(state))
        self._covered(space, self._now_ms())  # lets go of those that are of no use any more
        return state

    def _end(self, state: StreamState) -> tuple[int, int]:
        # A stream that was empty has nothing that our node may lack, however new it is.
        return (self._now_ms() if state.messages else 0), state.last_seq

    def _covered(self, space: str, now_ms: int) -> int | None:
        """The message up to which a snapshot that begins now has everything; None where that is not known yet.

        Others may publish too, and what they published a moment ago may not have come to our node: so it is where the
        stream ended a while ago.
        """
        ends = self._ends[space]
        settled = [end for end in ends if end[0] + self._settled_ms <= now_ms]
        if not settled:
            return None
        del ends[: ends.index(settled[-1])]
        return settled[-1][1]

    async def _snapshot(self, session: Session, space: str, state: StreamState) -> None:
        latest = await snapshots.newest(session, self._network, space, state)
        self.latest[space] = latest
        now_ms = self._now_ms()
        why = self._asked.get(space) or snapshots.due(state, latest, now_ms, self._settings.snapshot_hours)
        subject = f"the snapshot of {space}"
        if not why:
            self._problems.over(subject)
            self._due_since_ms.pop(space, None)
        if not why or now_ms < self._not_before_ms.get(space, 0):
            return
        since_ms = self._due_since_ms.setdefault(space, now_ms)
        urgent = space in self._asked or why in snapshots.URGENT
        if not urgent and self._busy() and now_ms - since_ms < SNAPSHOT_PUT_OFF_MS:
            return
        covers = self._covered(space, now_ms)
        if covers is None:
            return
        self._not_before_ms[space] = now_ms + SNAPSHOT_RETRY_MS
        try:
            node = await self._source.node()
            covers = min(covers, await _followed(node, space, covers))
            if not covers and state.last_seq:
                return
            proofs = await node.proofs(space)
            export = node.signed_export(space)
            try:
                made = await snapshots.make(
                    session,
                    self._network,
                    export,
                    proofs,
                    state,
                    covers,
                    space,
                    now_ms,
                    self._settings.replicas,
                )
            finally:
                await export.aclose()
        except (MyceliumError, OSError, TimeoutError) as error:
            session.check()
            self._problems.say(subject, error)
            return
        took_ms = self._now_ms() - now_ms
        self._not_before_ms[space] = now_ms + max(SNAPSHOT_PAUSE_MIN_MS, SNAPSHOT_SHARE * took_ms)
        self._problems.over(subject)
        self._asked.pop(space, None)
        self._due_since_ms.pop(space, None)
        self.latest[space] = made
        self.made += 1
        logger.info(
            "made a snapshot of %s up to message %d: %d batches (%s)", space, covers, made.batches, why
        )


async def _followed(node: Any, space: str, otherwise: int) -> int:
    """How far a node has read the stream itself, as a fleet's member does: what others published after it may not be in
    its export. 0 where it lacks something; `otherwise` for a node that reads no stream."""
    fleet = (await node.status()).get("fleet")
    if fleet is None:
        return otherwise
    stream = fleet["streams"].get(space, {"lacking": "not held", "position": 0})
    return 0 if stream["lacking"] else int(stream["position"])
