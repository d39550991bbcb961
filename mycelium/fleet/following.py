"""A member reads the streams of the spaces that it holds, whoever wrote what is in them, and says how far it is.

What it holds of a space is so the same as what every other member holds of it, a few milliseconds later: whoever takes
a slot over has everything. Its own batches come back this way too: so it learns of those that a kill left there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from blake3 import blake3

from mycelium.config.fleet import FLEET_SETTLE_S
from mycelium.database.engine import Engine
from mycelium.database.store import Store
from mycelium.fleet import events
from mycelium.jetstream.client import Broker
from mycelium.jetstream.following import Follower
from mycelium.jetstream.intake import Intake
from mycelium.jetstream.layout import Network

log = logging.getLogger(__name__)


class Following:
    """Of one member. tell: gets `events.Applied`."""

    def __init__(
        self,
        broker: Broker,
        network: Network,
        engine: Engine,
        store: Store,
        spaces: Iterable[str],
        now_ms: Callable[[], int],
        tell: Callable[[events.Applied], None],
    ) -> None:
        self._account = engine.identity.account
        self._tell = tell
        self._told: dict[str, tuple[int, str]] = {}
        self.followers = {
            space: Follower(broker, network.stream(space), Intake(engine, space), store, now_ms)
            for space in sorted(spaces)
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

    def _say(self, space: str, follower: Follower) -> None:
        if follower.stream is None:
            return
        reached = follower.intake.settled(self._account), stream_id(follower.stream.created)
        if reached[0] >= 0 and self._told.get(space) != reached:
            self._told[space] = reached
            self._tell(events.Applied(space, *reached))

    def status(self) -> dict[str, Any]:
        """Of each space: how far it is, what it lacks, and what it refused."""
        return {
            space: {
                "state": follower.state,
                "read": follower.intake.read,
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
