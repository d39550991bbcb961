"""Which slots this node serves, what of each is in flight, and who waits for that to change. No IO, no decisions.

What the placement says (`serve`, `drain`, `stop`) is remembered here, and asked at every request. A write is counted
from when it is taken until its fate is known, so that a slot is given away only when nothing of it can come any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable

from mycelium.fleet import events

log = logging.getLogger(__name__)

Place = tuple[str, int]
"""A space and a slot of it."""


class Slots:
    """tell: gets `events.Drained`. last: of a space, the number of this node's newest message in its stream."""

    def __init__(self, tell: Callable[[events.Drained], None], last: Callable[[str], int]) -> None:
        self.on_serve: list[Callable[[str, int], None]] = []
        self.on_stop: list[Callable[[str, int], None]] = []
        self.gone = False
        """Whether this node is no member any more."""
        self._tell = tell
        self._last = last
        self._draining: dict[Place, int | None] = {}
        """The slots that are this node's; of one that is being given away, the ticket."""
        self._flying: Counter[Place] = Counter()
        self._waiting: set[asyncio.Future[None]] = set()

    # --- what the placement says ------------------------------------------------------------------------

    def serve(self, space: str, slot: int) -> None:
        """Requests to the slot are ours."""
        self._draining[space, slot] = None
        for callback in self.on_serve:
            callback(space, slot)
        self._wake()

    def drain(self, space: str, slot: int, ticket: int, to: str) -> None:
        """Take no new write to it; once nothing is in flight, that is told."""
        log.info("slot %d of %s goes to %s", slot, space, to or "nobody")
        self._draining[space, slot] = ticket
        self._settle((space, slot))

    def stop(self, space: str, slot: int, why: str) -> None:
        """Requests to the slot are another's."""
        del why  # the placement's runtime has said it
        self._draining.pop((space, slot), None)
        for callback in self.on_stop:
            callback(space, slot)
        self._wake()

    def changed(self) -> None:
        """Somebody else may have a slot now than before."""
        self._wake()

    def left(self) -> None:
        """No slot is ours, and we are no member any more."""
        self.gone = True
        self._wake()

    # --- writes -----------------------------------------------------------------------------------------

    def mine(self, place: Place) -> bool:
        """Whether the slot is this node's, be it that it is being given away."""
        return place in self._draining

    def takes(self, places: Iterable[Place]) -> bool:
        """Whether a new write to all of these slots is taken."""
        return all(self._draining.get(place, 0) is None for place in places)

    def begin(self, places: Iterable[Place]) -> None:
        """A write to these slots was taken."""
        self._flying.update(places)

    def end(self, places: Iterable[Place]) -> None:
        """Its fate is known."""
        for place in places:
            self._flying[place] -= 1
            if not self._flying[place]:
                del self._flying[place]
                self._settle(place)

    def _settle(self, place: Place) -> None:
        ticket = self._draining.get(place)
        if ticket is not None and not self._flying[place]:
            self._tell(events.Drained(*place, ticket, self._last(place[0])))

    @property
    def flying(self) -> int:
        """Writes whose fate is not known yet."""
        return self._flying.total()

    # --- waiting ----------------------------------------------------------------------------------------

    async def until_changed(self, timeout_s: float) -> None:
        """Return when somebody may have another slot than before, or after so long."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await asyncio.wait((future,), timeout=timeout_s)
        finally:
            self._waiting.discard(future)

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
