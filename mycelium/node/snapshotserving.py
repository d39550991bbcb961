"""Gives snapshots of its spaces to members: the serving half of `node.snapshotting`, over calls between members.

The runtime around `database.snapshot`. Owns the surveys, when they are made, and how much a member may have: pages and
bytes a second, and how many members are served at once. Only who may read a whole space is served any of it.

| method | body | answer |
|---|---|---|
| snapshot.offer | OfferAsked: space, whether a snapshot is wanted | Offered: what is held, and if one is ready |
| snapshot.page | PageAsked: space, origin, first, last | Paged: signed batches, and where to go on |
| snapshot.rows | RowsAsked: space, row keys | Rowed: the signed batches they are from, and for how many keys |
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from mycelium.config import KEY_BYTES_MAX
from mycelium.config.database import (
    SNAPSHOT_OFFERS_BURST,
    SNAPSHOT_OFFERS_PER_S,
    SNAPSHOT_ORIGINS_MAX,
    SNAPSHOT_PAGE_BYTES,
    SNAPSHOT_PAGES_BURST,
    SNAPSHOT_PAGES_PER_S,
    SNAPSHOT_ROWS_MAX,
    SNAPSHOT_SERVE_BYTES_BURST,
    SNAPSHOT_SERVE_BYTES_PER_S,
    SNAPSHOT_SERVED_MS,
    SNAPSHOT_SERVERS_MAX,
    SNAPSHOT_SURVEY_BATCHES_MAX,
    SNAPSHOT_SURVEY_MS,
)
from mycelium.database import snapshot
from mycelium.database.access import SYS
from mycelium.database.database import Database
from mycelium.database.schema import space_prefix
from mycelium.database.snapshot import Survey
from mycelium.database.validity import Authority
from mycelium.database.vector import Origin, Vector
from mycelium.errors import MalformedMessage, MyceliumError, Overloaded, Unauthorised
from mycelium.node import calls
from mycelium.node.peercalls import PeerCalls
from mycelium.peer.bucket import Bucket
from mycelium.peer.link import Link

if TYPE_CHECKING:
    from mycelium.node.node import Node

log = logging.getLogger(__name__)

OFFER: Final = "snapshot.offer"
PAGE: Final = "snapshot.page"
ROWS: Final = "snapshot.rows"
ROW_KEY_MAX: Final = 2 * KEY_BYTES_MAX + 512
_SECOND_NS: Final = 10**9


class OfferAsked(msgspec.Struct, array_like=True, frozen=True):
    """survey: whether the asker wants a snapshot, which is then made."""

    space: str
    survey: bool


class Offered(msgspec.Struct, array_like=True, frozen=True):
    """heads: (account, generation, head) of what is held, or of the snapshot that is ready. voids: whether batches of
    the space were dropped here."""

    ready: bool
    voids: bool
    heads: list[tuple[bytes, int, int]]


class PageAsked(msgspec.Struct, array_like=True, frozen=True):
    space: str
    account: bytes
    generation: int
    first: int
    last: int


class Paged(msgspec.Struct, array_like=True, frozen=True):
    """batches: (bytes, signature). following: 0 where there are no more."""

    batches: list[tuple[bytes, bytes]]
    following: int


class RowsAsked(msgspec.Struct, array_like=True, frozen=True):
    space: str
    keys: list[bytes]


class Rowed(msgspec.Struct, array_like=True, frozen=True):
    batches: list[tuple[bytes, bytes]]
    keys: int


class _Kept(NamedTuple):
    survey: Survey
    made_ms: int
    given_up: int


class _Meters:
    """What one member may have."""

    def __init__(self) -> None:
        self.offers = Bucket(SNAPSHOT_OFFERS_PER_S, SNAPSHOT_OFFERS_BURST)
        self.pages = Bucket(SNAPSHOT_PAGES_PER_S, SNAPSHOT_PAGES_BURST)
        self.bytes = Bucket(SNAPSHOT_SERVE_BYTES_PER_S, SNAPSHOT_SERVE_BYTES_BURST)
        self.wait_until_ns = 0


class SnapshotServing:
    """One node's. counts: pages, bytes and surveys, for people."""

    def __init__(
        self,
        database: Database,
        authority: Authority,
        peercalls: PeerCalls,
        may_read: Callable[[int, str], bool],
        now_ms: Callable[[], int],
        clock_ns: Callable[[], int],
    ) -> None:
        self.counts = {"pages": 0, "bytes": 0, "surveys": 0, "refused": 0}
        self._database = database
        self._authority = authority
        self._may_read = may_read
        self._now_ms = now_ms
        self._clock_ns = clock_ns
        self._surveys: dict[str, _Kept] = {}
        self._making: dict[str, asyncio.Task[None]] = {}
        self._one = asyncio.Lock()
        """One survey at a time: what room the others leave is known when they are made."""
        self._meters: dict[bytes, _Meters] = {}
        self._served_ms: dict[bytes, int] = {}
        peercalls.on(OFFER, self._offer)
        peercalls.on(PAGE, self._page)
        peercalls.on(ROWS, self._rows)

    def tick(self) -> None:
        """Time has passed: forget surveys that are too old, and who has enough."""
        now_ms, now_ns = self._now_ms(), self._clock_ns()
        for space in list(self._surveys):
            self._survey_of(space)
        for account, ms in list(self._served_ms.items()):
            if not 0 <= now_ms - ms < SNAPSHOT_SERVED_MS:
                del self._served_ms[account]
        for account, meters in list(self._meters.items()):
            if all(one.is_full(now_ns) for one in (meters.offers, meters.pages, meters.bytes)):
                del self._meters[account]

    async def close(self) -> None:
        """Make no more surveys."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- surveys ------------------------------------------------------------------------------------------

    def _survey_of(self, space: str) -> Survey | None:
        kept = self._surveys.get(space)
        if kept is None:
            return None
        if (
            not 0 <= self._now_ms() - kept.made_ms < SNAPSHOT_SURVEY_MS
            # What a seal or a proof took away may have been what stood in the place of others.
            or kept.given_up != self._database.engine.counts["given-up"]
        ):
            del self._surveys[space]
            return None
        return kept.survey

    def _make(self, space: str) -> None:
        if space not in self._making:
            task = asyncio.get_running_loop().create_task(self._survey(space), name=f"survey-{space}")
            self._making[space] = task
            task.add_done_callback(lambda _: self._making.pop(space, None))

    async def _survey(self, space: str) -> None:
        engine = self._database.engine
        async with self._one:
            given_up = engine.counts["given-up"]
            room = SNAPSHOT_SURVEY_BATCHES_MAX - sum(one.survey.size for one in self._surveys.values())
            try:
                found = await snapshot.survey(self._database.store, engine, self._authority, space, room)
            except MyceliumError as error:
                log.warning("no snapshot of %r can be made: %s", space, error)
                return
            self.counts["surveys"] += 1
            self._surveys[space] = _Kept(found, self._now_ms(), given_up)
        log.info("a snapshot of %r is ready: %d batches, %d changes", space, found.size, found.changes)

    # --- answering ----------------------------------------------------------------------------------------

    async def _offer(self, link: Link, body: bytes) -> bytes:
        asked = calls.decode(body, OfferAsked)
        self._let_in(link, asked.space)
        self._paced(self._meters_of(link).offers.take(1, self._clock_ns()))
        found = self._survey_of(asked.space) if asked.survey else None
        if asked.survey and found is None and asked.space != SYS:
            self._make(asked.space)
        engine = self._database.engine
        vector = engine.vector(asked.space) if found is None else found.vector
        return calls.encode(Offered(found is not None, asked.space in engine.voided, _heads(vector)))

    async def _page(self, link: Link, body: bytes) -> bytes:
        asked = calls.decode(body, PageAsked)
        self._let_in(link, asked.space)
        now_ms, meters = self._now_ms(), self._meters_of(link)
        if link.account not in self._served_ms and len(self._served_ms) >= SNAPSHOT_SERVERS_MAX:
            self.counts["refused"] += 1
            raise Overloaded("enough members are being served a snapshot: ask another")
        self._served_ms[link.account] = now_ms
        found = self._survey_of(asked.space)
        if found is None:
            raise Overloaded("there is no snapshot ready")
        self._paced(meters.pages.take(1, self._clock_ns()))
        if meters.wait_until_ns > self._clock_ns():
            await asyncio.sleep(min(1.0, (meters.wait_until_ns - self._clock_ns()) / _SECOND_NS))
        origin = Origin(asked.account, asked.generation)
        page = snapshot.page(
            self._database.store, found, origin, asked.first, asked.last, SNAPSHOT_PAGE_BYTES
        )
        answer = calls.encode(Paged(page.batches, page.following))
        self.counts["pages"] += 1
        self.counts["bytes"] += len(answer)
        # A page is given and then paid for: the next one waits.
        meters.wait_until_ns = self._clock_ns() + meters.bytes.take(len(answer), self._clock_ns())
        return answer

    async def _rows(self, link: Link, body: bytes) -> bytes:
        asked = calls.decode(body, RowsAsked)
        self._let_in(link, asked.space)
        prefix = space_prefix(asked.space)
        if not 0 < len(asked.keys) <= SNAPSHOT_ROWS_MAX or any(
            len(key) > ROW_KEY_MAX or not key.startswith(prefix) for key in asked.keys
        ):
            raise MalformedMessage("row keys that are none, too many, too long, or of another space")
        self._paced(self._meters_of(link).pages.take(1, self._clock_ns()))
        batches, done = snapshot.sources(self._database.store, asked.space, asked.keys, SNAPSHOT_PAGE_BYTES)
        return calls.encode(Rowed(batches, done))

    def _let_in(self, link: Link, space: str) -> None:
        if space not in self._database.spaces or not self._may_read(link.id, space):
            raise Unauthorised(f"may not read the space {space[:64]!r}")

    def _meters_of(self, link: Link) -> _Meters:
        found = self._meters.get(link.account)
        if found is None:
            found = self._meters[link.account] = _Meters()
        return found

    def _paced(self, wait_ns: int) -> None:
        if wait_ns > 0:
            self.counts["refused"] += 1
            raise Overloaded("more of a snapshot was asked for than a member may have in this time")


def _heads(vector: Vector) -> list[tuple[bytes, int, int]]:
    found = [(origin.account, origin.generation, held.head) for origin, held in vector.items() if held.head]
    return found[:SNAPSHOT_ORIGINS_MAX]


def of(node: Node) -> SnapshotServing:
    """The serving of a node whose other parts exist."""
    return SnapshotServing(
        node.database,
        node.authority,
        node.peercalls,
        node.replicator.may_read,
        lambda: node.now_ms(),  # a test may set another clock
        node.around.clock_ns,
    )
