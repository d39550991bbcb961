"""Who may read how much of a node's feed, and giving it out: handlers for `peer.callserver.CallServer`.

The node's own account and its clients read everything. Any other account reads what the policy of the present epoch
lets it, asked anew with each page: whole batches, as signed, of spaces that it may read whole; of others the changes of
the keys that it may see, which no signature covers; of what it may not see it learns that time passes. Decides by
`Rights.ranges` alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from typing import Any, NamedTuple, Protocol

from mycelium._core.codec import decode_batch
from mycelium.config.feed import FEED_PROGRESS_S
from mycelium.database.access import SYS, Rights
from mycelium.database.database import Database, wall_ms
from mycelium.database.feed import pruned_to
from mycelium.database.policy import Action
from mycelium.database.ranges import EVERYTHING, NOTHING, Ranges
from mycelium.database.validity import Authority
from mycelium.errors import CursorForeign, FeedBehind, FeedError, FeedRewound, Unauthorised, UsageError
from mycelium.feed.batch import changes_of
from mycelium.feed.cursor import Cursor
from mycelium.feed.export import Export, SignedExport
from mycelium.feed.reader import Entry, Feed, Reader
from mycelium.identity import account as accounts
from mycelium.identity.keys import digest
from mycelium.node import calls, feedcalls


class Caller(Protocol):
    """What is asked of a link: whose it is."""

    @property
    def account(self) -> bytes: ...


class Open(NamedTuple):
    """A feed that somebody reads over a session."""

    account: bytes
    spaces: list[str]
    since_ms: int
    reader: Reader


class Feeding:
    """Of one node. rights: of an account, in the present epoch; None for whom nothing is known. all_for: whether an
    account may read everything whatever the policy says."""

    def __init__(
        self,
        database: Database,
        authority: Authority,
        rights: Callable[[bytes], Rights | None],
        all_for: Callable[[bytes], bool],
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._database = database
        self._authority = authority
        self._rights = rights
        self._all_for = all_for
        self._now_ms = now_ms
        self._open: dict[int, Open] = {}

    def status(self) -> dict[str, Any]:
        """For people: how far the feed is, from where on it is kept, and who reads it."""
        newest, now_ms = self._database.committer.durable, self._now_ms()
        generation = self._database.generation
        return {
            "newest": str(Cursor(generation, newest)),
            "kept_from": str(Cursor(generation, pruned_to(self._database.store))),
            "readers": [
                {
                    "account": accounts.format(one.account),
                    "spaces": one.spaces,
                    "cursor": str(one.reader.cursor),
                    "behind": max(0, newest - one.reader.index),
                    "since_s": round(max(0, now_ms - one.since_ms) / 1000, 1),
                }
                for one in sorted(self._open.values(), key=lambda one: one.reader.index)
            ],
        }

    # --- for programs in the node's process -------------------------------------------------------------

    def feed(
        self,
        after: Cursor | str | None = None,
        spaces: Collection[str] | None = None,
        tables: Collection[str] | None = None,
    ) -> Feed:
        """See `Node.feed`."""
        return Feed(self._reader(after, self._held(spaces)), tables)

    def export(self, spaces: Collection[str] | None = None, tables: Collection[str] | None = None) -> Export:
        """See `Node.export`."""
        return Export(self._database, self._held(spaces), tables)

    def signed_export(self, space: str) -> SignedExport:
        """See `Node.signed_export`."""
        self._held([space])
        return SignedExport(self._database, self._authority, space)

    def proofs(self, space: str) -> list[bytes]:
        """The proofs by which origins of a space are frozen here, as they travel."""
        return [one.raw for one in self._database.engine.frozen.all() if one.space == space]

    def _reader(self, after: Cursor | str | None, spaces: Collection[str]) -> Reader:
        database = self._database
        return Reader(database.store, database.committer, database.generation, spaces, after)

    def _held(self, spaces: Collection[str] | None) -> list[str]:
        held = self._database.spaces
        unknown = sorted(set(spaces or ()) - set(held))
        if unknown:
            raise UsageError(f"this node has no space {unknown[0]!r:.100}; it has {', '.join(held)}")
        return held if spaces is None else sorted(set(spaces))

    # --- for others -------------------------------------------------------------------------------------

    async def serve(self, link: Caller, body: bytes) -> AsyncGenerator[bytes, None]:
        """A feed. Everything before Ended was given."""
        asked = calls.decode(body, feedcalls.Feed)
        spaces = self._readable(link, asked.spaces)
        tables = None if asked.tables is None else frozenset(asked.tables)
        reader: Reader | None = None
        try:
            reader = self._reader(asked.after or None, spaces)
            yield calls.record(_started(reader.cursor, reader.newest, spaces))
            self._open[id(reader)] = Open(link.account, spaces, self._now_ms(), reader)
            async for records in self._pages(link, reader, tables):
                for message in calls.cut(records):
                    yield message
        except FeedError as error:
            for message in calls.cut(calls.record(_ended(error))):
                yield message
        finally:
            self._open.pop(id(reader), None)

    async def _pages(
        self, link: Caller, reader: Reader, tables: frozenset[str] | None
    ) -> AsyncGenerator[bytearray, None]:
        loop = asyncio.get_running_loop()
        told_s, told = loop.time(), reader.index
        while True:
            page = await reader.page()
            # A feed lives for days: what its reader may see is asked with each page.
            sees = self._sees(link)
            records = bytearray()
            for entry in page:
                found = _seen(entry, reader.newest, sees, tables)
                if found is not None:
                    records += calls.record(found)
            if not records and reader.index > told and loop.time() - told_s >= FEED_PROGRESS_S:
                records += calls.record(feedcalls.Progress(reader.index, reader.newest))
            if records:
                told_s, told = loop.time(), reader.index
                yield records

    async def serve_export(self, link: Caller, body: bytes) -> AsyncGenerator[bytes, None]:
        """Rows as of one moment, and how many they were."""
        asked = calls.decode(body, feedcalls.Export)
        spaces = self._readable(link, asked.spaces)
        export = Export(self._database, spaces, asked.tables, self._ranges(link))
        yield calls.record(_started(export.cursor, self._database.committer.durable, spaces))
        count = 0
        async for page in export.pages():
            count += len(page)
            rows = [
                (
                    row.space,
                    row.table,
                    int(row.merge),
                    row.key,
                    row.part,
                    row.value,
                    row.hlc,
                    row.account,
                    row.generation,
                    row.seq,
                )
                for row in page
            ]
            for message in calls.cut(calls.record(feedcalls.Rows(rows))):
                yield message
        yield calls.record(feedcalls.Ended(count))

    async def serve_signed(self, link: Caller, body: bytes) -> AsyncGenerator[bytes, None]:
        """The batches of a space as of one moment, and how many they were."""
        space = calls.decode(body, feedcalls.SignedExport).space
        self._require_whole(link, space)
        export = self.signed_export(space)
        await export.prepare()
        yield calls.record(
            feedcalls.Started(
                export.cursor.generation,
                export.cursor.index,
                self._database.committer.durable,
                [space],
                export.batches,
                export.changes,
            )
        )
        count = 0
        async for page in export.pages():
            count += len(page)
            for message in calls.cut(
                calls.record(feedcalls.Signed([(one.void_first, one.raw, one.signature) for one in page]))
            ):
                yield message
        yield calls.record(feedcalls.Ended(count))

    async def serve_proofs(self, link: Caller, body: bytes) -> bytes:
        """See `proofs`."""
        space = calls.decode(body, feedcalls.Proofs).space
        self._require_whole(link, space)
        return calls.encode(self.proofs(space))

    # --- who may read what ------------------------------------------------------------------------------

    def _readable(self, link: Caller, spaces: list[str] | None) -> list[str]:
        """The spaces of which the caller may read something; of those that it named each must be."""
        if self._all_for(link.account):
            return self._held(spaces)
        rights = self._rights(link.account)
        found = [space for space in self._database.spaces if rights is not None and self._any(rights, space)]
        if spaces is not None and not set(spaces) <= set(found):
            # Whether there is such a space is nothing that it may know.
            name = accounts.format(link.account)
            raise Unauthorised(f"{name} may not read a space {sorted(set(spaces) - set(found))[0]!r:.100}")
        if not found:
            raise Unauthorised(f"{accounts.format(link.account)} may read nothing of this node")
        return found if spaces is None else sorted(set(spaces))

    def _any(self, rights: Rights, space: str) -> bool:
        if rights.whole(Action.READ, space):
            return True
        tables = (spec.name for spec in self._database.tables.values() if spec.space == space)
        return space != SYS and any(rights.ranges(Action.READ, space, name) for name in tables)

    def _require_whole(self, link: Caller, space: str) -> None:
        rights = None if self._all_for(link.account) else self._rights(link.account)
        if not self._all_for(link.account) and (rights is None or not rights.whole(Action.READ, space)):
            # Batches are signed whole: a part of one could not be verified.
            raise Unauthorised(
                f"{accounts.format(link.account)} may not read all of the space {space!r:.100}"
            )

    def _sees(self, link: Caller) -> Rights | None:
        """What the caller may see now; None for everything. Unauthorised where that is nothing any more."""
        if self._all_for(link.account):
            return None
        rights = self._rights(link.account)
        if rights is None:
            raise Unauthorised(f"{accounts.format(link.account)} may read nothing of this node any more")
        return rights

    def _ranges(self, link: Caller) -> Callable[[str, str], Ranges]:
        def ranges(space: str, table: str) -> Ranges:
            if self._all_for(link.account):
                return EVERYTHING
            rights = self._rights(link.account)
            return NOTHING if rights is None else rights.ranges(Action.READ, space, table)

        return ranges


def _seen(
    entry: Entry, newest: int, sees: Rights | None, tables: frozenset[str] | None
) -> feedcalls.Whole | feedcalls.Part | None:
    """What a reader with these rights is shown of a batch; None for nothing."""
    whole = sees is None or sees.whole(Action.READ, entry.space)
    if whole and tables is None:
        return feedcalls.Whole(entry.feed_index, newest, entry.raw, entry.signature, entry.winners)
    batch = decode_batch(entry.raw)
    named = {name for name, _ in batch.tables if tables is None or name in tables}
    if whole:
        if not named:
            return None
        return feedcalls.Whole(entry.feed_index, newest, entry.raw, entry.signature, entry.winners)
    assert sees is not None, "who sees everything sees whole batches"
    within = {name: sees.ranges(Action.READ, entry.space, name) for name in named}
    changes = [
        (one.place, one.table, int(one.merge), int(one.op), one.key, one.value, one.wins)
        for one in changes_of(batch, entry.winners, named)
        if one.key in within[one.table]
    ]
    if not changes:
        return None
    return feedcalls.Part(
        entry.feed_index,
        newest,
        digest(entry.raw),
        batch.space,
        batch.account,
        batch.generation,
        batch.seq_first,
        batch.count,
        batch.epoch,
        batch.hlc_first,
        changes,
    )


def _started(cursor: Cursor, newest: int, spaces: list[str]) -> feedcalls.Started:
    return feedcalls.Started(cursor.generation, cursor.index, newest, spaces)


def _ended(error: FeedError) -> feedcalls.Ended:
    if isinstance(error, FeedRewound):
        return feedcalls.Ended(0, feedcalls.REWOUND, str(error), error.cursor, error.space)
    kind = feedcalls.FOREIGN if isinstance(error, CursorForeign) else feedcalls.BEHIND
    assert isinstance(error, FeedBehind), "a feed ends behind or rewound"
    return feedcalls.Ended(0, kind, str(error), error.cursor)
