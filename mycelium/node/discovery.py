"""Spreads signed endpoint records between nodes: the runtime around `peer.endpoints`, over calls between members.

Owns when books are compared and records passed on, and the copy of the book in the store. Must not decide which record
counts, which the book does, nor whom to dial, which the roster does.

| method | body | answer |
|---|---|---|
| endpoints.compare | Compare: digest of the caller's book | Compared: None if equal, else the heads of the other's |
| endpoints.offer | Offer: records; fresh: said by somebody who learnt them just now | nothing |
| endpoints.fetch | Fetch: accounts | Offer: their records |

A new record of our own goes to all sessions at once, and whoever learns one in this way hands it on to ENDPOINT_RELAYS
others. What that misses is found by comparing: when a session opens (its dialler does it), and with a peer drawn at
random every ENDPOINT_COMPARE_MS.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Iterable, Sequence

import msgspec

from mycelium.config import (
    ENDPOINT_ANNOUNCE_S,
    ENDPOINT_COMPARE_MS,
    ENDPOINT_LIFETIME_MS,
    ENDPOINT_RELAYS,
    ENDPOINTS_MAX,
    ENDPOINTS_PER_CALL_MAX,
)
from mycelium.database import schema
from mycelium.database.store import Column, Store, after_prefix
from mycelium.errors import LinkError, MalformedMessage, MyceliumError, ProtocolError, StoreError
from mycelium.identity.account import format as format_account
from mycelium.identity.signing import Signer
from mycelium.node import calls
from mycelium.node.peercalls import PeerCalls
from mycelium.node.ratelimit import Quiet
from mycelium.peer.endpoints import EndpointBook, Head, Signed, Verdict
from mycelium.peer.link import Link

log = logging.getLogger(__name__)

COMPARE = "endpoints.compare"
OFFER = "endpoints.offer"
FETCH = "endpoints.fetch"

_REANNOUNCE_MS = 30_000
"""Between two records by which we go above one that somebody else signed with our key."""
_TASKS_MAX = 1_024
"""Calls under way, of all sessions; the comparison makes up for what is left out beyond it."""


class Compare(msgspec.Struct, array_like=True, frozen=True):
    digest: bytes


class Compared(msgspec.Struct, array_like=True, frozen=True):
    heads: list[tuple[bytes, int, bytes]] | None


class Offer(msgspec.Struct, array_like=True, frozen=True):
    """Records as (bytes, signature)."""

    records: list[tuple[bytes, bytes]]
    fresh: bool = False


class Fetch(msgspec.Struct, array_like=True, frozen=True):
    accounts: list[bytes]


class Discovery:
    """One node's share in the spreading of endpoint records.

    announced: what our record says, None before there is one of this run. speaks: whether it is this node that says
    where its account listens; None for one that is alone with its hotkey.
    links: the sessions with members. changed: called when a record of somebody else was learnt or forgotten.
    """

    def __init__(
        self,
        book: EndpointBook,
        signer: Signer,
        generation: int,
        store: Store,
        peercalls: PeerCalls,
        links: Callable[[], Sequence[Link]],
        now_ms: Callable[[], int],
        rng: random.Random,
        changed: Callable[[], None],
    ) -> None:
        self.book = book
        self.announced: tuple[str, ...] | None = None
        self.speaks: Callable[[], bool] | None = None
        self._signer = signer
        self._generation = generation
        self._store = store
        self._peercalls = peercalls
        self._links = links
        self._now_ms = now_ms
        self._rng = rng
        self._changed = changed
        self._tasks: set[asyncio.Task[None]] = set()
        self._compare_ms = 0
        self._spoken_ms: int | None = None
        self._outdone = False
        self._quiet = Quiet(log, interval_s=60)
        peercalls.on(COMPARE, self._compared)
        peercalls.on(OFFER, self._offered)
        peercalls.on(FETCH, self._fetched)
        self._load()

    async def close(self) -> None:
        """Stop passing on. Idempotent."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- our own record -----------------------------------------------------------------------------------

    async def announce(self, addresses: Sequence[str]) -> int:
        """Sign a new record of ours and give it to all sessions there are; how many took it within ENDPOINT_ANNOUNCE_S.

        Raises UsageError if there can be no such record; then nobody has heard anything.
        """
        if self._silent:
            return 0
        signed = self._sign(addresses)
        sent = [self._send(link, [signed], fresh=True) for link in self._links()]
        return sum(await asyncio.gather(*sent))

    def _sign(self, addresses: Sequence[str]) -> Signed:
        now_ms = self._now_ms()
        signed = self.book.make(self._signer, self._generation, addresses, now_ms)
        self.announced = tuple(addresses)
        self._spoken_ms = now_ms
        self._outdone = False
        self._save([signed])
        return signed

    @property
    def _silent(self) -> bool:
        return self.speaks is not None and not self.speaks()

    def say(self, addresses: Sequence[str]) -> None:
        """`announce` in the background, for a record that nobody waits for."""
        if self._silent:
            return
        try:
            signed = self._sign(addresses)
        except MyceliumError as error:
            self._quiet.error("this node cannot say where it listens: %s", error)
            return
        for link in self._links():
            self._later(self._pass_on(link, [signed], fresh=True))

    def tick(self) -> None:
        """Often: renew our record when it is due, and compare with somebody now and then."""
        now_ms = self._now_ms()
        if self._spoken_ms is not None:
            age_ms = now_ms - self._spoken_ms
            # A clock that was set back makes its age negative: the record could be too early for others.
            due = not -_REANNOUNCE_MS <= age_ms < ENDPOINT_LIFETIME_MS // 2
            if due or (self._outdone and age_ms >= _REANNOUNCE_MS):
                self.say(self.announced or ())
        if not 0 <= self._compare_ms - now_ms <= 2 * ENDPOINT_COMPARE_MS:
            self._compare_ms = now_ms + int(ENDPOINT_COMPARE_MS * self._rng.uniform(0.5, 1.5))
            links = self._links()
            if links:
                self._later(self._compare(self._rng.choice(links)))

    def members_changed(self) -> None:
        """Forget the records of who has left."""
        gone = self.book.retain()
        if not gone:
            return
        write = self._store.batch()
        for account in gone:
            write.delete(schema.META_ENDPOINTS + account, self._store.column(Column.META))
        self._commit(write)

    # --- sessions -----------------------------------------------------------------------------------------

    def link_opened(self, link: Link) -> None:
        """A member's session is up: see what each of us lacks."""
        if not link.inbound:
            self._later(self._compare(link))

    async def _compare(self, link: Link) -> None:
        answer = await self._call(link, COMPARE, Compare(self.book.digest()))
        if answer is None:
            return
        try:
            heads = _heads(calls.decode(answer, Compared))
            if heads is None:
                return
            newer, wanted = self.book.beyond(heads)
            for at in range(0, len(newer), ENDPOINTS_PER_CALL_MAX):
                if not await self._send(link, newer[at : at + ENDPOINTS_PER_CALL_MAX], fresh=False):
                    return
            for at in range(0, len(wanted), ENDPOINTS_PER_CALL_MAX):
                some = wanted[at : at + ENDPOINTS_PER_CALL_MAX]
                answer = await self._call(link, FETCH, Fetch(some))
                if answer is None:
                    return
                self._take(link, calls.decode(answer, Offer))
        except ProtocolError as error:
            link.close(error)

    async def _send(self, link: Link, records: Sequence[Signed], *, fresh: bool) -> bool:
        offer = Offer([(signed.raw, signed.signature) for signed in records], fresh)
        return await self._call(link, OFFER, offer) is not None

    async def _pass_on(self, link: Link, records: Sequence[Signed], *, fresh: bool) -> None:
        await self._send(link, records, fresh=fresh)

    async def _call(self, link: Link, method: str, body: msgspec.Struct) -> bytes | None:
        """The answer; None if there is none, which a later comparison makes up for."""
        try:
            return await self._peercalls.call(link, method, calls.encode(body), ENDPOINT_ANNOUNCE_S)
        except LinkError as error:
            log.debug("%s at %s: %s", method, link.remote, error)
            return None

    def _later(self, work: Coroutine[None, None, None]) -> None:
        if len(self._tasks) >= _TASKS_MAX:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("passing on endpoint records failed", exc_info=error)

    # --- what peers ask -----------------------------------------------------------------------------------

    async def _compared(self, link: Link, body: bytes) -> bytes:
        del link
        theirs = calls.decode(body, Compare).digest
        equal = theirs == self.book.digest()
        heads = None if equal else [(*head,) for head in self.book.heads()]
        return calls.encode(Compared(heads))

    async def _offered(self, link: Link, body: bytes) -> bytes:
        try:
            self._take(link, calls.decode(body, Offer))
        except ProtocolError as error:
            # Whoever passes on a record has verified it: this one lies.
            link.close(error)
            raise
        return b""

    async def _fetched(self, link: Link, body: bytes) -> bytes:
        del link
        accounts = calls.decode(body, Fetch).accounts
        if len(accounts) > ENDPOINTS_PER_CALL_MAX:
            raise MalformedMessage(f"{len(accounts)} records asked for, at most {ENDPOINTS_PER_CALL_MAX}")
        found = [signed for account in accounts if (signed := self.book.get(account)) is not None]
        return calls.encode(Offer([(signed.raw, signed.signature) for signed in found]))

    def _take(self, link: Link, offer: Offer) -> None:
        """Look at records that a peer sent. ProtocolError for one that it should not have sent."""
        if len(offer.records) > ENDPOINTS_PER_CALL_MAX:
            raise MalformedMessage(
                f"{len(offer.records)} endpoint records, at most {ENDPOINTS_PER_CALL_MAX} go together"
            )
        now_ms = self._now_ms()
        learnt: list[Signed] = []
        try:
            for raw, signature in offer.records:
                signed, verdict = self.book.offer(raw, signature, now_ms)
                if verdict is Verdict.NEW:
                    learnt.append(signed)
        finally:
            self._learnt(link, learnt, fresh=offer.fresh)

    def _learnt(self, link: Link, records: list[Signed], *, fresh: bool) -> None:
        if not records:
            return
        self._save(records)
        own = self._signer.account
        for signed in records:
            if signed.record.account == own and not self._silent:
                self._outdone = True
                if signed.record.generation != self._generation and self.speaks is None:
                    self._quiet.warning(
                        "a record of this account (%s) was signed by another database of it, generation %d: a restored "
                        "backup, or another node that runs with this hotkey",
                        format_account(own),
                        signed.record.generation,
                    )
        if fresh:
            others = [other for other in self._links() if other is not link]
            for other in self._rng.sample(others, min(ENDPOINT_RELAYS, len(others))):
                self._later(self._pass_on(other, records, fresh=True))
        self._changed()

    # --- the store ----------------------------------------------------------------------------------------

    def _load(self) -> None:
        prefix = schema.META_ENDPOINTS
        for key, value in self._store.scan(Column.META, prefix, after_prefix(prefix)):
            raw, signature = value[64:], value[:64]
            if not self.book.load(raw, signature):
                log.warning("a stored endpoint record is damaged and left out: %s", key[len(prefix) :].hex())

    def _save(self, records: Iterable[Signed]) -> None:
        write = self._store.batch()
        for signed in records:
            key = schema.META_ENDPOINTS + signed.record.account
            write.put(key, signed.signature + signed.raw, self._store.column(Column.META))
        self._commit(write)

    def _commit(self, write: object) -> None:
        try:
            self._store.commit(write)
        except StoreError as error:
            # Peers tell it again, our own record too: nothing is lost by it.
            self._quiet.error("cannot store endpoint records: %s", error)


def _heads(compared: Compared) -> list[Head] | None:
    """Checked. MalformedMessage."""
    if compared.heads is None:
        return None
    if len(compared.heads) > ENDPOINTS_MAX:
        raise MalformedMessage(f"{len(compared.heads)} endpoint records, at most {ENDPOINTS_MAX} are kept")
    return [Head(*head) for head in compared.heads]
