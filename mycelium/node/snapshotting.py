"""Fetches snapshots of spaces that this node lacks much of, from several members, and has their rows compared after.

The runtime around `database.fetching`, over the calls that `node.snapshotserving` answers. Owns when a snapshot is
fetched, from whom, and what is still to be compared.

A space is fetched so when members say that they hold many changes more than this node (`snapshot_lack`), or when each
that has what is missing has said to ordinary sync that the batches were dropped. Ordinary sync of the space stands
still meanwhile, and brings the tail then. The vector is the cursor: a node that was killed goes on from what it holds.

Voids are taken on the word of those who gave the snapshot. Before the first is, the store notes that the space is to be
compared (META_SNAPSHOT), with members that it did not come from as long as there are any: each row that they have
otherwise names a batch, and batches prove themselves. Until SNAPSHOT_COMPARE have agreed, the status says so. Where a
batch had been withheld, all of the space is walked through once more, at the one that had it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mycelium.config.database import (
    HORIZON_SLICE_MS,
    SNAPSHOT_AVOID_MS,
    SNAPSHOT_COMPARE,
    SNAPSHOT_COMPARE_MS,
    SNAPSHOT_LACK_MIN,
    SNAPSHOT_OFFER_MS,
    SNAPSHOT_OFFERERS,
    SNAPSHOT_PAGE_S,
    SNAPSHOT_RECRUIT_S,
    SNAPSHOT_REPORT_MS,
    SNAPSHOT_SURVEY_S,
    SNAPSHOT_SURVEY_WAIT_S,
)
from mycelium.database import schema
from mycelium.database.access import SYS
from mycelium.database.database import Database
from mycelium.database.fetching import Ask, Fetch
from mycelium.database.snapshot import Page
from mycelium.database.store import Column, after_prefix
from mycelium.database.sync import SyncMachine
from mycelium.database.vector import Held, Origin, Vector, lacking
from mycelium.errors import (
    LinkError,
    MalformedMessage,
    ProtocolError,
    StoreError,
)
from mycelium.identity.account import format as format_account
from mycelium.node import calls
from mycelium.node.filling import Filling
from mycelium.node.fingerprinting import Fingerprinting
from mycelium.node.peercalls import PeerCalls
from mycelium.node.snapshotserving import (
    OFFER,
    PAGE,
    OfferAsked,
    Offered,
    PageAsked,
    Paged,
)
from mycelium.peer.link import Link

if TYPE_CHECKING:
    from mycelium.node.node import Node

log = logging.getLogger(__name__)

_POLL_S: Final = 0.25
_SURVEY_POLL_S: Final = 2.0
"""Between two questions whether a survey is ready, once it is clear that it takes its time."""


class Mark(msgspec.Struct, array_like=True):
    """What is noted of a space that was fetched: whom it came from, and who was compared with and found equal."""

    sources: list[bytes]
    compared: list[bytes]


class Snapshotting:
    """One node's. counts: fetches, comparisons and batches that had been withheld, for people."""

    def __init__(
        self,
        database: Database,
        peercalls: PeerCalls,
        sync: SyncMachine,
        fingerprinting: Fingerprinting,
        links: Callable[[], list[Link]],
        may_read: Callable[[int, str], bool],
        now_ms: Callable[[], int],
        clock_ns: Callable[[], int],
        rng: random.Random,
        lack_min: int = SNAPSHOT_LACK_MIN,
    ) -> None:
        self._counts = {"fetches": 0, "compared": 0}
        self._lack_min = lack_min
        self._database = database
        self._engine = database.engine
        self._peercalls = peercalls
        self._sync = sync
        self._fingerprinting = fingerprinting
        self._links = links
        self._may_read = may_read
        self._now_ms = now_ms
        self._clock_ns = clock_ns
        self._rng = rng
        self._fetches: dict[str, Fetch] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._offer_ms: dict[str, int] = {}
        self._compare_ms: dict[str, int] = {}
        self._avoided: dict[bytes, int] = {}
        self._marks = self._load()
        self._filling = Filling(database, peercalls, self._misbehaved, now_ms)
        fingerprinting.fill = self._filling.fill

    # --- what is noted ------------------------------------------------------------------------------------

    def _load(self) -> dict[str, Mark]:
        prefix = schema.META_SNAPSHOT
        found = {}
        for key, data in list(self._database.store.scan(Column.META, prefix, after_prefix(prefix))):
            space = key[len(prefix) :].decode()
            try:
                found[space] = msgspec.msgpack.decode(data, type=Mark)
            except msgspec.DecodeError:
                log.warning("what was noted of the snapshot of %r is unreadable: it is compared anew", space)
                found[space] = Mark([], [])
        return found

    def _note(self, space: str, mark: Mark | None) -> None:
        """StoreError."""
        store = self._database.store
        write = store.batch()
        key, column = schema.META_SNAPSHOT + space.encode(), store.column(Column.META)
        if mark is None:
            write.delete(key, column)
            self._marks.pop(space, None)
        else:
            write.put(key, msgspec.msgpack.encode(mark), column)
            self._marks[space] = mark
        store.commit(write)

    @property
    def counts(self) -> dict[str, int]:
        return self._counts | {"withheld": self._filling.withheld}

    @property
    def word(self) -> str | None:
        """What this node is at, in a word for others; None: nothing of all this."""
        return "fetching a snapshot" if self._fetches else "comparing a snapshot" if self._marks else None

    def _note_sources(self, space: str, sources: Collection[bytes]) -> None:
        mark = self._marks.get(space) or Mark([], [])
        known = {*mark.sources, *sources}
        self._note(space, Mark(sorted(known), [one for one in mark.compared if one not in known]))

    def status(self) -> dict[str, Any]:
        """For people: by space what is under way, or still to be compared; and counts."""
        now_ms = self._now_ms()
        found: dict[str, Any] = {space: asdict(one.progress(now_ms)) for space, one in self._fetches.items()}
        for space, mark in self._marks.items():
            said = found.setdefault(space, {"space": space})
            said["compared_with"] = len(mark.compared)
            said["compare_with"] = SNAPSHOT_COMPARE
        return {"spaces": found, "voided": sorted(self._engine.voided)} | self.counts

    # --- when ---------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Once a second: begin what is due, one thing at a time for each space."""
        now_ms = self._now_ms()
        self._avoided = {one: until for one, until in self._avoided.items() if until > now_ms}
        for space in self._database.spaces:
            if space == SYS or space in self._tasks:
                continue
            if self._is_due(self._offer_ms, space) and self._sync.differs(space):
                self._offer_ms[space] = now_ms + SNAPSHOT_OFFER_MS
                self._start(space, self._consider(space))
            elif space in self._marks and self._is_due(self._compare_ms, space) and self._links():
                self._start(space, self._verify(space))

    def _is_due(self, when: dict[str, int], space: str) -> bool:
        # A clock that was set back must not put it off for long.
        return not 0 < when.get(space, 0) - self._now_ms() <= SNAPSHOT_AVOID_MS

    def _start(self, space: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=f"snapshot-{space}")
        self._tasks[space] = task

        def done(ended: asyncio.Task[None]) -> None:
            self._tasks.pop(space, None)
            if not ended.cancelled() and (error := ended.exception()) is not None:
                if isinstance(error, (StoreError, LinkError)):
                    log.warning("the snapshot of %r stopped: %s", space, error)
                else:
                    log.error("the snapshot of %r failed", space, exc_info=error)

        task.add_done_callback(done)

    async def close(self) -> None:
        """Stop fetching; what is here stays, and it goes on from there."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- whether, and from whom ---------------------------------------------------------------------------

    def _members(self, space: str) -> list[bytes]:
        found = [link.account for link in self._links() if self._may_read(link.id, space)]
        return sorted(set(found) - self._avoided.keys())

    async def _consider(self, space: str) -> None:
        members = self._members(space)
        some = self._rng.sample(members, min(SNAPSHOT_OFFERERS, len(members)))
        offers = await self._offers(space, some, survey=False)
        lacks = {one: self._lack(space, _vector(offer)) for one, offer in offers.items()}
        lacks = {one: lack for one, lack in lacks.items() if lack}
        if not lacks:
            return
        # One alone may say what it likes.
        much = 0 < self._lack_min <= sorted(lacks.values())[-min(2, len(lacks))]
        gone = lacks.keys() <= self._sync.voids_said.get(space, {}).keys()
        if not (much or gone):
            return
        # From here on: what the log would bring now, a snapshot would for the most part leave out.
        self._sync.suspended.add(space)
        try:
            sources = await self._surveyed(space, list(lacks))
            if sources:
                await self._fetch(space, sources)
        finally:
            self._sync.suspended.discard(space)

    def _lack(self, space: str, vector: Vector) -> int:
        mine = self._engine.vector(space)
        return sum(last - first + 1 for _, first, last in lacking(vector, mine))

    async def _offers(self, space: str, members: Sequence[bytes], *, survey: bool) -> dict[bytes, Offered]:
        body = calls.encode(OfferAsked(space, survey))
        answers = await asyncio.gather(*(self._asked(one, OFFER, body, Offered) for one in members))
        return {one: answer for one, answer in zip(members, answers, strict=True) if answer is not None}

    async def _asked(self, account: bytes, method: str, body: bytes, kind: type[Any]) -> Any:
        """A member's answer; None where there is none to be had."""
        try:
            answer = await self._peercalls.call(account, method, body, SNAPSHOT_PAGE_S)
            return calls.decode(answer, kind)
        except ProtocolError as error:
            self._misbehaved(account, error)
        except LinkError as error:
            log.debug("%s of %s: %s", method, format_account(account), error)
        return None

    async def _surveyed(self, space: str, members: Sequence[bytes]) -> dict[bytes, Vector]:
        """Those of the members whose snapshot is ready within a while, with what is in it."""
        ready: dict[bytes, Vector] = {}
        until_ns = self._clock_ns() + int(SNAPSHOT_SURVEY_S * 1e9)
        waiting, pause_s = list(members), _POLL_S
        while waiting:
            offers = await self._offers(space, waiting, survey=True)
            ready |= {one: _vector(offer) for one, offer in offers.items() if offer.ready}
            waiting = [one for one, offer in offers.items() if not offer.ready]
            if len(ready) > 1:
                until_ns = min(until_ns, self._clock_ns() + int(SNAPSHOT_SURVEY_WAIT_S * 1e9))
            if self._clock_ns() > until_ns:
                break
            if waiting:
                await asyncio.sleep(pause_s)
                # A member that is asked more often than SNAPSHOT_OFFERS_PER_S refuses, and would be lost as a source.
                pause_s = min(2 * pause_s, _SURVEY_POLL_S)
        return ready

    def _misbehaved(self, account: bytes, error: ProtocolError) -> None:
        log.warning("%s gives a snapshot that breaks a rule: %s", format_account(account), error)
        self._avoided[account] = self._now_ms() + SNAPSHOT_AVOID_MS
        for link in self._links():
            if link.account == account:
                link.close(error)

    # --- fetching -----------------------------------------------------------------------------------------

    async def _fetch(self, space: str, sources: dict[bytes, Vector], *, again: bool = False) -> None:
        fetch = Fetch(space, self._engine, sources, self._now_ms(), self._limit(space), again=again)
        if not again:
            self._note_sources(space, sources)
        self._counts["fetches"] += 1
        self._fetches[space] = fetch
        log.info("a snapshot of %r is fetched from %d members", space, len(sources))
        more = asyncio.get_running_loop().create_task(self._recruit(fetch, {*sources})) if not again else None
        try:
            await self._run(fetch)
        finally:
            if more is not None:
                more.cancel()
                await asyncio.gather(more, return_exceptions=True)
            self._sync.voids_said.pop(space, None)
            self._compare_ms[space] = 0
            del self._fetches[space]
        said = fetch.progress(self._now_ms())
        log.info(
            "the snapshot of %r %s: %d of %d changes, %d MiB",
            space,
            "is here" if fetch.complete else "stopped",
            said.done,
            said.total,
            said.fetched_bytes >> 20,
        )
        if not fetch.news:
            # What stands in its way will do so for a while.
            self._offer_ms[space] = self._now_ms() + SNAPSHOT_AVOID_MS // 2

    def _limit(self, space: str) -> Callable[[Origin], int | None]:
        def limit(origin: Origin) -> int | None:
            proven = self._engine.frozen.get(space, origin)
            return None if proven is None else proven.at

        return limit

    async def _run(self, fetch: Fetch) -> None:
        flying: dict[asyncio.Task[Paged | ProtocolError | None], Ask] = {}
        said_ms = self._now_ms()
        try:
            while not fetch.done:
                now_ms = self._now_ms()
                here = {link.account for link in self._links()}
                for peer in fetch.sources:
                    if peer not in here:
                        fetch.gone(peer)
                for ask in fetch.asks(now_ms):
                    task = asyncio.get_running_loop().create_task(self._page(fetch.space, ask))
                    flying[task] = ask
                for ask in fetch.overdue(now_ms):
                    log.info("%s is slow: another is asked", format_account(ask.peer))
                if now_ms - said_ms >= SNAPSHOT_REPORT_MS:
                    said_ms = now_ms
                    _report(fetch, now_ms)
                if not flying:
                    await asyncio.sleep(_POLL_S)
                    continue
                ended, _ = await asyncio.wait(flying, timeout=_POLL_S, return_when=asyncio.FIRST_COMPLETED)
                for task in [one for one in flying if one in ended]:
                    await self._landed(fetch, flying.pop(task), task.result())
        finally:
            for task in flying:
                task.cancel()
            await asyncio.gather(*flying, return_exceptions=True)

    async def _recruit(self, fetch: Fetch, known: set[bytes]) -> None:
        """Members that come while a fetch is under way give their share of it: at first there is often but one."""
        while len(known) < SNAPSHOT_OFFERERS:
            await asyncio.sleep(SNAPSHOT_RECRUIT_S)
            fresh = [one for one in self._members(fetch.space) if one not in known]
            offers = await self._offers(fetch.space, fresh[: SNAPSHOT_OFFERERS - len(known)], survey=True)
            for account, offer in offers.items():
                if offer.ready:
                    self._note_sources(fetch.space, [account])
                    fetch.add(account, _vector(offer))
                    known.add(account)

    async def _page(self, space: str, ask: Ask) -> Paged | ProtocolError | None:
        body = calls.encode(PageAsked(space, *ask.origin, ask.first, ask.last))
        try:
            answer = await self._peercalls.call(ask.peer, PAGE, body, SNAPSHOT_PAGE_S)
            return calls.decode(answer, Paged)
        except ProtocolError as error:
            return error
        except LinkError as error:
            log.debug("no page from %s: %s", format_account(ask.peer), error)
            return None

    async def _landed(self, fetch: Fetch, ask: Ask, paged: Paged | ProtocolError | None) -> None:
        try:
            if isinstance(paged, ProtocolError):
                raise paged
            if paged is None:
                fetch.failed(ask, self._now_ms())
                return
            began_ns = self._clock_ns()
            for _ in fetch.take(ask, Page(paged.batches, paged.following), self._now_ms()):
                if self._clock_ns() - began_ns > HORIZON_SLICE_MS * 1e6:
                    await asyncio.sleep(0)
                    began_ns = self._clock_ns()
        except ProtocolError as error:
            fetch.gone(ask.peer)
            fetch.failed(ask, self._now_ms())
            self._misbehaved(ask.peer, error)

    # --- comparing ----------------------------------------------------------------------------------------

    async def _verify(self, space: str) -> None:
        """Compare with one member that was not compared with yet, and fetch what was withheld."""
        mark, now_ms = self._marks[space], self._now_ms()
        able = [
            link.account
            for link in self._links()
            if self._may_read(link.id, space) and link.account not in mark.compared
        ]
        # Who has more or less than we have would only show us the tail that is under way.
        level = [one for one in able if not self._differs(space, one)] or able
        others = [one for one in level if one not in mark.sources]
        self._compare_ms[space] = now_ms + SNAPSHOT_COMPARE_MS
        if not able:
            return
        account = self._rng.choice(sorted(others or level))
        before = self._filling.withheld
        try:
            found = await self._fingerprinting.compare(account, space)
        except MalformedMessage as error:
            self._misbehaved(account, error)
            return
        self._counts["compared"] += 1
        if self._filling.withheld > before:
            await self._refill(space, account)
        elif not found:
            compared = [*mark.compared, account]
            log.info("the rows of %r equal those of %s", space, format_account(account))
            self._note(space, None if len(compared) >= SNAPSHOT_COMPARE else Mark(mark.sources, compared))
            self._compare_ms[space] = 0

    def _differs(self, space: str, account: bytes) -> bool:
        return any(self._sync.differs(space, link.id) for link in self._links() if link.account == account)

    async def _refill(self, space: str, account: bytes) -> None:
        """Walk once more through all that a member has, after others withheld some of it."""
        mark = self._marks[space]
        until_ms = self._now_ms() + SNAPSHOT_AVOID_MS
        self._avoided |= {one: until_ms for one in mark.sources if one != account}
        log.warning(
            "batches of %r had been withheld: it is fetched again from %s", space, format_account(account)
        )
        sources = await self._surveyed(space, [account])
        if sources:
            await self._fetch(space, sources, again=True)


def _vector(offer: Offered) -> Vector:
    return {Origin(account, generation): Held(head, ()) for account, generation, head in offer.heads}


def _report(fetch: Fetch, now_ms: int) -> None:
    said = fetch.progress(now_ms)
    log.info(
        "the snapshot of %r: %d of %d changes, %d a second%s",
        said.space,
        said.done,
        said.total,
        said.rate_s,
        "" if said.remaining_s is None else f", {said.remaining_s:.0f} s left",
    )


def of(node: Node, rng: random.Random) -> Snapshotting:
    """The fetching of a node whose other parts exist."""
    return Snapshotting(
        node.database,
        node.peercalls,
        node.replicator.sync,
        node.fingerprinting,
        node.replicator.members,
        node.replicator.may_read,
        lambda: node.now_ms(),  # a test may set another clock
        node.around.clock_ns,
        rng,
        node.settings.store.snapshot_lack,
    )
