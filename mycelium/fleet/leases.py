"""A member at work on NATS: the runtime of `placement`. It watches the bucket, carries out what the placement asks of
bucket and stream, and tells its node which slots to serve.

Decides nothing. What the node does of it is in `Node`, a protocol; all of it is called on the loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import Final, Protocol

from blake3 import blake3

from mycelium.config.fleet import FLEET_PAUSE_MAX_S, FLEET_PAUSE_S, FLEET_TICK_MS
from mycelium.errors import BrokerError, ConfigError
from mycelium.fleet import events
from mycelium.fleet.bucket import Bucket, Seen
from mycelium.fleet.events import Effect, Event
from mycelium.fleet.origin import Origins
from mycelium.fleet.placement import Placement
from mycelium.jetstream.client import Broker, Session
from mycelium.node.ratelimit import Quiet

log = logging.getLogger(__name__)

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock_ms() -> int:
    """The clock of leases: never goes back, and counts the time for which this machine slept, where the system can."""
    return time.clock_gettime_ns(_CLOCK) // 1_000_000


class Node(Protocol):
    """What a node does of what the placement says."""

    def serve(self, space: str, slot: int) -> None:
        """Requests to the slot are ours."""

    def drain(self, space: str, slot: int, ticket: int, to: str) -> None:
        """Take no new request to it; once nothing is in flight, tell `events.Drained`."""

    def stop(self, space: str, slot: int, why: str) -> None:
        """Requests to the slot are another's; those that wait are to be forwarded."""

    def changed(self) -> None:
        """Somebody else may have a slot now than before: whoever waits for an owner may look again."""

    def left(self) -> None:
        """No slot is ours, and we are no member any more."""


class Leases:
    """Of one process. `run` it as a task; `tell` it what the node knows: Applied, Drained, Leave."""

    def __init__(self, broker: Broker, bucket: Bucket, placement: Placement, node: Node) -> None:
        self.placement = placement
        self.problem = ""
        """Why the bucket cannot be read; "" while it can."""
        self._broker = broker
        self._bucket = bucket
        self._node = node
        self._origins: Origins | None = None
        self._id = ""
        """Which bucket it is."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._inbox: list[Event] = []
        self._telling = False
        self._quiet = Quiet(log, interval_s=60)

    async def run(self, origins: Origins) -> None:
        """Until it is cancelled; then whatever is under way is let go, as when the process is killed. ConfigError."""
        self._origins = origins
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tick())
                group.create_task(self._watch())
        except* ConfigError as errors:
            raise errors.exceptions[0] from None
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def tell(self, event: Event) -> None:
        """Something happened. What it leads to may make more happen at once: in its order."""
        self._inbox.append(event)
        if self._telling:
            return
        self._telling = True
        try:
            while self._inbox:
                version = self.placement.view.changes
                for effect in self.placement.handle(self._inbox.pop(0), clock_ms()):
                    self._carry_out(effect)
                if self.placement.view.changes != version:
                    self._node.changed()
        finally:
            self._telling = False

    def serves(self, space: str, slot: int) -> bool:
        """Whether a request to the slot may be answered here, now."""
        return self.placement.serves(space, slot, clock_ms())

    # --- inside -----------------------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> None:
        origins = self._origins
        match effect:
            case events.Serve():
                self._node.serve(*effect)
            case events.Drain():
                self._node.drain(*effect)
            case events.Stop():
                log.info(
                    "slot %d of %s is not served here any more: %s", effect.slot, effect.space, effect.why
                )
                self._node.stop(*effect)
            case events.Left():
                self._node.left()
            case events.Put():
                self._begin(self._put(effect))
            case events.Open() if origins is not None:
                self._begin(origins.open(*effect))
            case events.Close() if origins is not None:
                log.warning(
                    "taking over in %s: the term %s of generation %s is closed -- its member is gone or starts again; "
                    "see why where it runs",
                    effect.space,
                    effect.term,
                    effect.generation,
                )
                self._begin(origins.close(*effect))
            case events.CloseOthers() if origins is not None:
                self._begin(origins.close_others(*effect))
            case events.Look() if origins is not None:
                self._begin(origins.look(*effect))

    def _begin(self, work: Awaitable[None]) -> None:
        async def whole() -> None:
            await work

        task = asyncio.create_task(whole())
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the fleet failed", exc_info=task.exception())

    async def _put(self, put: events.Put) -> None:
        event: Event = events.Lost(put.call)
        try:
            revision = await self._bucket.put(self._broker.session, put.key, put.revision, put.value)
            event = events.Refused(put.call) if revision is None else events.Stored(put.call, revision)
        except BrokerError as error:
            self._quiet.warning(
                "the fleet's bucket cannot be written now: %s -- until it can, nothing is served: see to NATS",
                error,
            )
        self.tell(event)

    async def _tick(self) -> None:
        while True:
            self.tell(events.Tick())
            await asyncio.sleep(FLEET_TICK_MS / 1000)

    async def _watch(self) -> None:
        pause_s = FLEET_PAUSE_S
        while True:
            session = await self._broker.ready()
            whole = False

            def seen(entry: Seen | None) -> None:
                nonlocal whole
                if entry is not None:
                    self.tell(events.Entry(entry.key, entry.revision, entry.value))
                if not whole and (entry is None or entry.whole):
                    whole = True
                    self.problem = ""
                    self.tell(events.Watching(True, self._id))

            try:
                await self._same_bucket(session)
                self.tell(events.Watching(False, self._id))
                await self._bucket.watch(session, seen)
            except BrokerError as error:
                if isinstance(error, ConfigError):
                    raise
                self.problem = str(error)
                self._quiet.warning("%s -- it is made anew; where that goes on, see to NATS", error)
            self.tell(events.Watching(False, self._id))
            pause_s = FLEET_PAUSE_S if whole else min(2 * pause_s, FLEET_PAUSE_MAX_S)
            await asyncio.sleep(pause_s)

    async def _same_bucket(self, session: Session) -> None:
        birth = await self._bucket.ensure(session)
        which = blake3(birth.encode()).hexdigest(8)
        if self._id and which != self._id:
            log.warning(
                "the fleet's bucket %s is another one now -- somebody deleted it: slots are given out anew, and "
                "nothing is to be done",
                self._bucket.name,
            )
        self._id = which
