"""Compares the rows of this node with those of its members, and has what differs made anew from the log.

The runtime around `database.fingerprint` and `database.repair`, over calls between members. Believes nobody: a member
can only name ranges and keys, and what a row must be is decided by the signed batches that are here. Where the log has
voids, batches that rows are from are asked for first (`fill`). Owns when and with whom.

| method | body | answer |
|---|---|---|
| fingerprint.fold | Asked: space, cutoff, low, high | Folded: count and total of the range |
| fingerprint.split | the same | Parts: ranges of it, or its rows |
| fingerprint.suspect | Suspects: space and row keys | nothing; they are made anew when their turn comes |
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

import msgspec

from mycelium.config import (
    FINGERPRINT_CALL_S,
    FINGERPRINT_FRESH_MS,
    FINGERPRINT_KEYS_MAX,
    FINGERPRINT_PARTS,
    FINGERPRINT_PERIOD_MS,
    FINGERPRINT_RANGES_MAX,
    FINGERPRINT_ROWS_MAX,
    FINGERPRINT_SERVE_MS,
    KEY_BYTES_MAX,
)
from mycelium.database import fingerprint
from mycelium.database.database import Database
from mycelium.database.fingerprint import Range, RowMark
from mycelium.database.schema import space_prefix
from mycelium.database.store import after_prefix
from mycelium.errors import LinkError, MalformedMessage, Overloaded, StoreError, Unauthorised
from mycelium.node import calls
from mycelium.node.peercalls import PeerCalls
from mycelium.peer.link import Link

log = logging.getLogger(__name__)

FOLD: Final = "fingerprint.fold"
SPLIT: Final = "fingerprint.split"
SUSPECT: Final = "fingerprint.suspect"
_BUDGET: Final = 8
_BUDGET_ROWS: Final = 10_000
"""Rows that may be read for a member between two comparisons: so many times those that there are, and some more."""
_ROW_KEY_MAX: Final = 2 * KEY_BYTES_MAX + 512


class Asked(msgspec.Struct, array_like=True, frozen=True):
    space: str
    cutoff_ms: int
    low: bytes
    high: bytes | None


class Folded(msgspec.Struct, array_like=True, frozen=True):
    count: int
    total: bytes


class Parts(msgspec.Struct, array_like=True, frozen=True):
    """ranges: (low, high, count, total). rows: (key, column, digest). One of the two."""

    ranges: list[tuple[bytes, bytes | None, int, bytes]]
    rows: list[tuple[bytes, int, bytes]]


class Suspects(msgspec.Struct, array_like=True, frozen=True):
    space: str
    keys: list[bytes]


class Fingerprinting:
    """One node's share. counts: comparisons, differences, repaired rows, for people."""

    def __init__(
        self,
        database: Database,
        peercalls: PeerCalls,
        links: Callable[[], list[Link]],
        may_read: Callable[[int, str], bool],
        now_ms: Callable[[], int],
        rng: random.Random,
    ) -> None:
        self.counts = {"compared": 0, "differed": 0, "repaired": 0}
        self._database = database
        self._peercalls = peercalls
        self._links = links
        self._may_read = may_read
        self._now_ms = now_ms
        self._rng = rng
        self._task: asyncio.Task[None] | None = None
        self._due_ms: int | None = None
        self._served_ms: dict[bytes, int] = {}
        self._budgets: dict[bytes, int] = {}
        self._suspects: dict[str, set[bytes]] = {}
        self._accusers: dict[str, bytes] = {}
        self.fill: Callable[[bytes, str, Collection[bytes]], Awaitable[int]] | None = None
        """Fetches the batches that rows are from, from a member: (account, space, row keys)."""
        peercalls.on(FOLD, self._fold)
        peercalls.on(SPLIT, self._split)
        peercalls.on(SUSPECT, self._suspect)

    def tick(self) -> None:
        """Now and then: begin what is due, one thing at a time."""
        now_ms = self._now_ms()
        if self._due_ms is None or not 0 <= self._due_ms - now_ms <= 2 * FINGERPRINT_PERIOD_MS:
            first = self._due_ms is None
            if self._task is None and not first and self._links():
                self._task = asyncio.get_running_loop().create_task(
                    self._round(self._rng.choice(self._links()))
                )
                self._task.add_done_callback(self._done)
            self._due_ms = now_ms + int(FINGERPRINT_PERIOD_MS * self._rng.uniform(0.5, 1.5))
        elif self._task is None and self._suspects:
            self._task = asyncio.get_running_loop().create_task(self._repair())
            self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("comparing rows failed", exc_info=error)

    def keep(self, accounts: Collection[bytes]) -> None:
        """Forget who has left."""
        for account in self._served_ms.keys() - set(accounts):
            del self._served_ms[account]
            self._budgets.pop(account, None)

    async def close(self) -> None:
        """Stop comparing. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # --- asking -------------------------------------------------------------------------------------------

    async def _round(self, link: Link) -> None:
        for space in self._database.spaces:
            if self._may_read(link.id, space):
                try:
                    await self.compare(link.account, space)
                except (LinkError, StoreError, MalformedMessage) as error:
                    log.info("the rows of %r were not compared with %s: %s", space, link.remote, error)
                    return
        await self._repair()

    async def compare(self, account: bytes, space: str) -> set[bytes]:
        """Compare one space with a member; the row keys that differ, which both sides make anew then.

        LinkError, StoreError, MalformedMessage.
        """
        cutoff_ms = self._now_ms() - FINGERPRINT_FRESH_MS
        low, high = space_prefix(space), after_prefix(space_prefix(space))
        asked = Asked(space, cutoff_ms, low, high)
        theirs = calls.decode(await self._call(account, FOLD, asked), Folded)
        ours = await fingerprint.fold(self._database.store, low, high, cutoff_ms)
        self.counts["compared"] += 1
        if (theirs.count, theirs.total) == (ours.rows, ours.total):
            return set()
        found = await self._descend(account, space, cutoff_ms, ours)
        if found:
            self.counts["differed"] += len(found)
            log.warning(
                "%d rows of %r differ from a member's: they are made anew from the log", len(found), space
            )
            await self._fill(account, space, found)
            self._suspects.setdefault(space, set()).update(found)
            await self._call(account, SUSPECT, Suspects(space, sorted(found)))
        return found

    async def _descend(self, account: bytes, space: str, cutoff_ms: int, whole: Range) -> set[bytes]:
        found: set[bytes] = set()
        waiting, looked = [whole], 0
        while waiting and len(found) < FINGERPRINT_KEYS_MAX and looked < FINGERPRINT_RANGES_MAX:
            ours, looked = waiting.pop(), looked + 1
            asked = Asked(space, cutoff_ms, ours.low, ours.high)
            parts = _checked(calls.decode(await self._call(account, SPLIT, asked), Parts), ours)
            if not parts.ranges:
                mine = await fingerprint.split(self._database.store, ours.low, ours.high, 0, cutoff_ms)
                marks = [RowMark(*row) for row in parts.rows]
                found |= fingerprint.differing([one for one in mine if isinstance(one, RowMark)], marks)
                continue
            for low, high, count, total in parts.ranges:
                own = await fingerprint.fold(self._database.store, low, high, cutoff_ms)
                if (own.rows, own.total) != (count, total):
                    waiting.append(own)
        return set(sorted(found)[:FINGERPRINT_KEYS_MAX])

    async def _call(self, account: bytes, method: str, body: Any) -> bytes:
        return await self._peercalls.call(account, method, calls.encode(body), FINGERPRINT_CALL_S)

    async def _fill(self, account: bytes, space: str, keys: Collection[bytes]) -> None:
        """Have a member give what rows are from. Where it does not, the log that is here must do."""
        if self.fill is not None:
            try:
                await self.fill(account, space, keys)
            except LinkError as error:
                log.info("the batches of rows of %r could not be had: %s", space, error)

    async def _repair(self) -> None:
        while self._suspects:
            space, keys = self._suspects.popitem()
            accuser = self._accusers.pop(space, None)
            if accuser is not None:
                await self._fill(accuser, space, keys)
            engine = self._database.engine
            wrong = await engine.rederive(space, keys)
            if wrong:
                self.counts["repaired"] += wrong
                log.error(
                    "%d rows of %r were not what the signed log says, and are now: check disk and memory",
                    wrong,
                    space,
                )

    # --- answering ----------------------------------------------------------------------------------------

    async def _fold(self, link: Link, body: bytes) -> bytes:
        asked = self._let_in(link, calls.decode(body, Asked))
        now_ms, account = self._now_ms(), link.account
        if 0 <= now_ms - self._served_ms.get(account, -FINGERPRINT_SERVE_MS) < FINGERPRINT_SERVE_MS:
            raise Overloaded("rows were compared a short while ago")
        self._served_ms[account] = now_ms
        found = await fingerprint.fold(self._database.store, asked.low, asked.high, asked.cutoff_ms)
        self._budgets[account] = _BUDGET * found.rows + _BUDGET_ROWS
        return calls.encode(Folded(found.rows, found.total))

    async def _split(self, link: Link, body: bytes) -> bytes:
        asked = self._let_in(link, calls.decode(body, Asked))
        store, low, high = self._database.store, asked.low, asked.high
        if self._budgets.get(link.account, 0) <= 0:
            raise Overloaded("more of the rows was asked for than one comparison needs")
        self._budgets[link.account] -= 1
        count = (await fingerprint.fold(store, low, high, asked.cutoff_ms)).rows
        self._budgets[link.account] -= 2 * count
        found = await fingerprint.split(store, low, high, count, asked.cutoff_ms)
        ranges = [(*one,) for one in found if isinstance(one, Range)]
        rows = [(*one,) for one in found if isinstance(one, RowMark)]
        return calls.encode(Parts(ranges, rows))

    async def _suspect(self, link: Link, body: bytes) -> bytes:
        suspects = calls.decode(body, Suspects)
        self._let_in(link, Asked(suspects.space, 0, space_prefix(suspects.space), None))
        prefix = space_prefix(suspects.space)
        if len(suspects.keys) > FINGERPRINT_KEYS_MAX or any(
            len(key) > _ROW_KEY_MAX or not key.startswith(prefix) for key in suspects.keys
        ):
            raise MalformedMessage("suspects that are too many, too long, or of another space")
        kept = self._suspects.setdefault(suspects.space, set())
        kept.update(suspects.keys[: max(0, FINGERPRINT_KEYS_MAX - len(kept))])
        self._accusers[suspects.space] = link.account
        return b""

    def _let_in(self, link: Link, asked: Asked) -> Asked:
        """What a member may ask about: spaces that it may read whole, within their bounds."""
        if asked.space not in self._database.spaces or not self._may_read(link.id, asked.space):
            raise Unauthorised(f"may not read the space {asked.space[:64]!r}")
        prefix = space_prefix(asked.space)
        end = after_prefix(prefix)
        assert end is not None, "a space's prefix ends with 00"
        high = end if asked.high is None else min(asked.high, end)
        if not asked.low.startswith(prefix) or len(asked.low) > _ROW_KEY_MAX or len(high) > _ROW_KEY_MAX:
            raise MalformedMessage("a range that is not of its space")
        cutoff_ms = min(asked.cutoff_ms, self._now_ms() - FINGERPRINT_FRESH_MS // 2)
        return Asked(asked.space, cutoff_ms, asked.low, high)


def _checked(parts: Parts, whole: Range) -> Parts:
    """A member's answer: parts that lie end to end in the range that was asked for. MalformedMessage."""
    if len(parts.ranges) > FINGERPRINT_PARTS or len(parts.rows) > 2 * FINGERPRINT_ROWS_MAX:
        raise MalformedMessage("more parts than a range is cut into")
    at: bytes | None = whole.low
    for low, high, _, _ in parts.ranges:
        if at is None or low != at or (high is not None and high <= low):
            raise MalformedMessage("parts that do not lie end to end")
        at = high
    if parts.ranges and at != whole.high:
        raise MalformedMessage("parts that do not end where the range does")
    if parts.ranges and len(parts.ranges) == 1:
        raise MalformedMessage("a range that was cut into itself")
    prefix = whole.low[: whole.low.index(0) + 1]
    if any(len(key) > _ROW_KEY_MAX or not key.startswith(prefix) for key, _, _ in parts.rows):
        raise MalformedMessage("rows of another space")
    return parts
