"""A member reads the streams of the spaces that it holds, whoever wrote what is in them, and says how far it is.

What it holds of a space is so the same as what every other member holds of it, a few milliseconds later: whoever takes
a slot over has everything. Its own batches come back this way too: so it learns of those that a kill left there.

A member that was away for longer than a stream keeps, or is new, lacks what was there before. It begins with the newest
snapshot; where there is none that the stream goes on behind, it says of no slot that it could serve it until some
member of the mesh has nothing that is not here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

from blake3 import blake3

from mycelium.config.fleet import FLEET_SETTLE_S
from mycelium.database.engine import Engine
from mycelium.database.schema import META_LACKING
from mycelium.database.store import Column, Store
from mycelium.fleet import events
from mycelium.jetstream.beginning import Beginning, Used, prove
from mycelium.jetstream.client import Broker
from mycelium.jetstream.following import Follower, Stream
from mycelium.jetstream.intake import Intake, Taken
from mycelium.jetstream.layout import Network

log = logging.getLogger(__name__)


class _Begun:
    """A space, as `beginning` gives it what a snapshot has."""

    def __init__(self, space: str, engine: Engine, follower: Follower, now_ms: Callable[[], int]) -> None:
        self.space = space
        self.began: Used | None = None
        self.damaged = 0
        self._engine = engine
        self._follower = follower
        self._now_ms = now_ms

    async def offer(self, raw: bytes, signature: bytes, void_first: int) -> Taken:
        intake = self._follower.intake
        return await self._follower.offer(
            lambda: intake.take(0, raw, signature, self._now_ms(), void_first=void_first)
        )

    def prove(self, proof: bytes) -> bool:
        return prove(self._engine, self.space, proof)


class Following:
    """Of one member. tell: gets `events.Applied`. synced_ms: when a space was last seen to lack nothing of a peer's.

    lacking: spaces of which something is missing, and why.
    """

    def __init__(
        self,
        broker: Broker,
        network: Network,
        engine: Engine,
        store: Store,
        spaces: Collection[str],
        now_ms: Callable[[], int],
        tell: Callable[[events.Applied], None],
        synced_ms: Callable[[str], int],
        directory: Path,
    ) -> None:
        self._account = engine.identity.account
        self._tell = tell
        self._store = store
        self._now_ms = now_ms
        self._synced_ms = synced_ms
        self._told: dict[str, tuple[int, str]] = {}
        self.lacking: dict[str, str] = {}
        self._since_ms: dict[str, int] = {}
        for space in spaces:
            kept = store.get(Column.META, META_LACKING + space.encode())
            if kept is not None:
                self._lacks(space, kept.decode())
        self._beginning = Beginning(broker, network, directory)
        self.followers = {
            space: Follower(
                broker,
                network.stream(space),
                Intake(engine, space),
                store,
                now_ms,
                behind=partial(self._behind, space),
            )
            for space in sorted(spaces)
        }
        self._begun = {
            space: _Begun(space, engine, follower, now_ms) for space, follower in self.followers.items()
        }

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for space, follower in self.followers.items():
                group.create_task(follower.run(), name=f"follow {space}")
                group.create_task(self._report(space, follower), name=f"report {space}")
            group.create_task(self._tick())

    def tick(self, *, hurry: bool = False) -> None:
        """Try again what waits. hurry: an epoch or a policy has become known."""
        for space, follower in self.followers.items():
            follower.tick(hurry=hurry)
            self._say(space, follower)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(FLEET_SETTLE_S)
            self.tick()

    async def _report(self, space: str, follower: Follower) -> None:
        while True:
            self._say(space, follower)
            await follower.reached(follower.intake.read + 1)

    async def _behind(self, space: str, stream: Stream, why: str) -> int:
        """What comes next is not in the stream: a snapshot has what was before, or else the mesh must give it."""
        begun = self._begun[space]
        begun.began = None
        position = await self._beginning.begin(begun, stream, why)
        # `begin` is of the type's word only: the field is set in between.
        used: Used | None = begun.began
        if used is not None and used.whole and position + 1 >= stream.first:
            self._has(space, "a snapshot had it")
        elif stream.first > 1:
            self._lacks(space, f"its stream keeps message {stream.first} and later ones; here, {why}")
            self._note(space, self.lacking[space].encode())
            log.warning("no shard of %s is served here: %s", space, self.lacking[space])
        return position

    def _lacks(self, space: str, why: str) -> None:
        self.lacking[space] = why
        self._since_ms[space] = self._now_ms()

    def _look(self, space: str) -> None:
        """Whether what is missing has come by way of the mesh."""
        if space in self.lacking and self._synced_ms(space) > self._since_ms[space]:
            self._has(space, "the mesh had it")

    def _has(self, space: str, why: str) -> None:
        if space in self.lacking:
            del self.lacking[space], self._since_ms[space]
            self._note(space, None)
            log.info("nothing of %s is missing here any more: %s", space, why)

    def _note(self, space: str, why: bytes | None) -> None:
        write, column = self._store.batch(), self._store.column(Column.META)
        key = META_LACKING + space.encode()
        if why is None:
            write.delete(key, column)
        else:
            write.put(key, why, column)
        self._store.commit(write)

    def _say(self, space: str, follower: Follower) -> None:
        self._look(space)
        # Of the stream that was read: the one that is there by now may have numbers of its own.
        if not follower.created or space in self.lacking:
            return
        reached = follower.intake.settled(self._account), stream_id(follower.created)
        if reached[0] >= 0 and self._told.get(space) != reached:
            self._told[space] = reached
            self._tell(events.Applied(space, *reached))

    def status(self) -> dict[str, Any]:
        """Of each space: how far it is, what it lacks, and what it refused."""
        return {
            space: {
                "state": follower.state,
                "lacking": self.lacking.get(space, ""),
                "read": follower.intake.read,
                "position": max(0, follower.intake.position),
                "lag": follower.lag,
                "lag_s": round(follower.lag_s(), 1),
                "waiting": follower.intake.waiting,
                "refused": dict(follower.intake.refused),
            }
            for space, follower in self.followers.items()
        }


def stream_id(created: str) -> str:
    """Which of the streams of one name it is, as the placement tells them apart."""
    return blake3(created.encode()).hexdigest(8)
