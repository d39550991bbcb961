"""One space of a replica: its stream, what was read of it, and what is lacking all the same.

Joins a `Follower` with where a space begins (`beginning`), and says how far behind it is. Judges no batch.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from mycelium.config.replica import BLOCKED_MS, LACKING_KEPT, LACKING_LOOK_MS
from mycelium.database.database import Database
from mycelium.database.vector import Origin
from mycelium.identity.account import format as format_account
from mycelium.jetstream.beginning import Beginning, Used, prove
from mycelium.jetstream.following import FULL, NO_STREAM, READING, Connections, Follower, Stream
from mycelium.jetstream.intake import Intake, Taken

log = logging.getLogger(__name__)


class Tail:
    """Of one space. in_step_ms: when nothing was last lacking, None for never yet."""

    def __init__(
        self,
        database: Database,
        connections: Connections,
        name: str,
        space: str,
        now_ms: Callable[[], int],
        beginning: Beginning,
    ) -> None:
        self.space = space
        self.in_step_ms: int | None = None
        self.began: Used | None = None
        """The snapshot that it was begun with in this run."""
        self.damaged = 0
        """Snapshots that could not be read."""
        self._engine = database.engine
        self._now_ms = now_ms
        self._beginning = beginning
        self.intake = Intake(database.engine, space)
        self.follower = Follower(
            connections,
            name,
            self.intake,
            database.store,
            now_ms,
            behind=self._begin,
        )
        self._looked_ms = 0
        self._offered_ms = 0
        """When the newest snapshot was made that there was at the last look."""
        self._stands: str | None = None
        """The stream that was begun in this run; None where it only goes on."""
        self._blocked_ms: int | None = None
        self._searched: dict[Origin, int] = {}
        """Up to which number of an origin it was searched again for what a seal says there is."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follow from now on."""
        self._task = asyncio.get_running_loop().create_task(self.follower.run(), name=f"follow-{self.space}")

    async def close(self) -> None:
        """Stop; how far it is lies in the store."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def tick(self, *, hurry: bool = False) -> None:
        """About once a second. hurry: something became known that batches may wait for."""
        self.follower.tick(hurry=hurry)
        now_ms = self._now_ms()
        if self.follower.state == NO_STREAM and not self.follower.known:
            self.in_step_ms = now_ms  # nothing was ever written to this space
        if self.follower.state == READING and not self.follower.lag:
            self.in_step_ms = now_ms
            if not 0 < now_ms - self._looked_ms < LACKING_LOOK_MS:
                self._looked_ms = now_ms
                self._search()
        self._unblock(now_ms)

    def _search(self) -> None:
        """By a seal a log may end later than what is here: a word that came late let nodes have more of it.

        What had been passed over as sealed, or was given up, is read again; the nodes got it from each other.
        """
        for origin, head in self._engine.seals.ends(self.space):
            if self._engine.head(self.space, origin) < head and self._searched.get(origin, 0) < head:
                if len(self._searched) >= LACKING_KEPT:
                    self._searched.clear()
                self._searched[origin] = head
                name = format_account(origin.account)
                self.follower.again(
                    f"the log of {name} ends at {head} by its seal, and not all of it is here"
                )
                return

    def _unblock(self, now_ms: int) -> None:
        """Where what waits is more than is taken, a snapshot may have what it waits for."""
        if self.follower.state != FULL:
            self._blocked_ms = None
        elif self._blocked_ms is None:
            self._blocked_ms = now_ms
        elif now_ms - self._blocked_ms >= BLOCKED_MS:
            self._blocked_ms = now_ms
            self.follower.again("what waits is too much, and a snapshot may have what it waits for")

    async def _begin(self, stream: Stream, why: str) -> int:
        self.began = None
        position = await self._beginning.begin(self, stream, why)
        self._stands = stream.created
        return position

    async def look(self) -> None:
        """Now and then: see whether a snapshot has what is lacking here. BrokerError, StoreError."""
        if self.follower.state in (READING, FULL):
            await self._beginning.look(self)

    def offered(self, made_ms: int) -> None:
        """There is a snapshot of the stream that is followed, made then: begin with it where something is lacking."""
        if made_ms <= self._offered_ms:
            return
        before, self._offered_ms = self._offered_ms, made_ms
        if self.began is not None and self.began.made_ms >= made_ms:
            return
        if self._owed:
            self.follower.again("it was begun without a snapshot, and there is one now")
        elif before and any(held.ranges for held in self._engine.vector(self.space).values()):
            self.follower.again("there are gaps in what is here, and a newer snapshot")

    @property
    def _owed(self) -> bool:
        """Whether the stream was begun in this run without a snapshot of it: what was before it may be lacking."""
        return self._stands is not None and not (self.began is not None and self.began.whole)

    async def offer(self, raw: bytes, signature: bytes, void_first: int) -> Taken:
        """A batch that is of no stream."""
        return await self.follower.offer(
            lambda: self.intake.take(0, raw, signature, self._now_ms(), void_first=void_first)
        )

    def prove(self, proof: bytes) -> bool:
        """Freeze an origin by a proof; whether that is news. StoreError."""
        return prove(self._engine, self.space, proof)

    def status(self) -> dict[str, Any]:
        """For people: times in seconds, of the server's clock where they are of messages."""
        intake, follower = self.intake, self.follower
        oldest = intake.oldest()
        now_ms = self._now_ms()
        return {
            "space": self.space,
            "stream": follower.name,
            "state": follower.state,
            "position": max(0, intake.position),
            "read": intake.read,
            "last": None if follower.stream is None else follower.stream.last,
            "lag_messages": follower.lag,
            "lag_s": round(follower.lag_s(), 1),
            "in_step_s": None
            if self.in_step_ms is None
            else round(max(0, now_ms - self.in_step_ms) / 1000, 1),
            "waiting": intake.waiting,
            "waits": None
            if oldest is None
            else {
                "message": oldest[0],
                "account": oldest[1],
                "for_s": round(max(0, now_ms - oldest[2]) / 1000, 1),
            },
            "taken": {taken.value: count for taken, count in intake.counts.items()},
            "refused": dict(intake.refused),
            "passed_over": dict(intake.passed),
            "refusals": [
                {
                    "message": one.sequence,
                    "subject": one.subject,
                    "account": format_account(one.account) if one.account else "",
                    "reason": one.reason,
                    "text": one.text,
                    "ago_s": round(max(0, now_ms - one.at_ms) / 1000, 1),
                }
                for one in list(intake.refusals)[-8:]
            ],
            "snapshot": None if self.began is None else self.began._asdict(),
            "damaged_snapshots": self.damaged,
        }
