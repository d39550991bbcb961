"""A table as people use it: get, put, delete, add, insert, remove, scan, watch.

Thin: encodes keys and values, refuses what the merge type has not, and hands on. Awaiting a write waits for its `ack`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, NoReturn

from mycelium.config import DOTS_PER_REMOVE_MAX
from mycelium.database import rows, value
from mycelium.database.originating import LocalChange
from mycelium.database.ranges import EVERYTHING, Ranges
from mycelium.database.rows import Row
from mycelium.database.schema import DOT_BYTES, TableSpec
from mycelium.database.validity import op_allowed, own_key
from mycelium.database.watch import Watch, check_cursor, cursor_at
from mycelium.errors import KeyRefused, WrongMergeType
from mycelium.identity.account import format as format_account
from mycelium.protocol.messages import MergeType, Op

if TYPE_CHECKING:
    from mycelium.database.database import Database
    from mycelium.database.writer import Ack

Key = str | bytes
# Plain integers: a member of an enum costs more to look up than the rest of a `put`.
PUT, DELETE, ADD, INSERT, REMOVE = (int(op) for op in Op)
_VERBS = {int(op): op.name.lower() for op in Op}


class Table:
    """One table of a node's database.

    Keys are text or bytes up to 1 KiB, values bytes or JSON-like objects up to 512 KiB. Writes raise KeyRefused,
    ValueRefused, WrongMergeType, Unauthorised or StoreFull, and then nothing was written.
    """

    def __init__(self, database: Database, spec: TableSpec) -> None:
        self.spec = spec
        self._database = database
        self._ops = frozenset(int(op) for op in Op if op_allowed(spec.merge, op))
        self._own = spec.merge is MergeType.OWN

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def merge(self) -> MergeType:
        return self.spec.merge

    async def get(self, key: Key) -> Any:
        """The value; None when there is none. A counter is an int, a set or append table's value a list."""
        return rows.read(self._database.store, self.spec, value.key_bytes(key))

    async def put(self, key: Key, value: Any, *, ack: Ack = "durable") -> None:
        """Set the key (lww, own), or add one more fact to it (append)."""
        await self._write(self.change(PUT, key, value), ack)

    async def delete(self, key: Key, *, ack: Ack = "durable") -> None:
        """Remove the key of an lww or own table. Deleting what is not there is a write too: it beats older puts."""
        await self._write(self.change(DELETE, key, None), ack)

    async def add(self, key: Key, amount: int = 1, *, ack: Ack = "durable") -> None:
        """Add to a counter; `amount` may be negative."""
        await self._write(self.change(ADD, key, amount), ack)

    async def insert(self, key: Key, element: Any, *, ack: Ack = "durable") -> None:
        """Put an element into the set at `key`."""
        await self._write(self.change(INSERT, key, element), ack)

    async def remove(self, key: Key, element: Any, *, ack: Ack = "durable") -> None:
        """Take an element out of the set at `key`: the insertions seen here, not those yet to arrive."""
        await self._database.writer.settle(self.spec.space)
        for change in self.removals(key, element):
            await self._write(change, ack)

    def scan(
        self,
        prefix: Key | None = None,
        start: Key | None = None,
        end: Key | None = None,
        limit: int | None = None,
        reverse: bool = False,
        *,
        within: Ranges = EVERYTHING,
    ) -> AsyncIterator[Row]:
        """Rows in key order with start <= key < end. Each page of 256 is consistent in itself.

        within: what the reader may see; other keys are not there for it.
        """
        parts = rows.spans(self.spec, _bound(prefix), _bound(start), _bound(end), within)
        return self._scan(parts[::-1] if reverse else parts, limit, reverse)

    async def _scan(
        self, parts: list[tuple[bytes, bytes | None]], limit: int | None, reverse: bool
    ) -> AsyncIterator[Row]:
        waiting = iter(parts)
        left: tuple[bytes, bytes | None] | None = next(waiting, None)
        given = 0
        while left is not None and (limit is None or given < limit):
            page, left = rows.page(self._database.store, self.spec, *left, reverse=reverse)
            for row in page:
                if limit is not None and given >= limit:
                    return
                given += 1
                yield row
            if left is None:
                left = next(waiting, None)
            # A long scan must not keep the loop from answering pings.
            await asyncio.sleep(0)

    async def count(self, *, within: Ranges = EVERYTHING) -> int:
        """The number of keys. Reads them all."""
        parts = rows.spans(self.spec, None, None, None, within)
        return sum([1 async for _ in self._scan(parts, None, False)])

    def watch(
        self,
        prefix: Key | None = None,
        after: int | None = None,
        *,
        within: Ranges | Callable[[], Ranges] = EVERYTHING,
    ) -> Watch:
        """Changes as they become durable here, from now or after a cursor, whoever wrote them.

        Each is shown once, in the order this node applied them; `change.cursor` resumes after it, across restarts.
        within: what the watcher may see, asked anew for each change when it is a function.
        """
        committer = self._database.committer
        if after is not None:
            check_cursor(after, self._database.engine.feed_last)
        begin = cursor_at(committer.durable) if after is None else after
        prefix_bytes = _bound(prefix) or b""

        def wanted(key: bytes) -> bool:
            return key.startswith(prefix_bytes) and key in (
                within if isinstance(within, Ranges) else within()
            )

        return Watch(self._database.store, committer, self.spec, begin, wanted)

    def change(self, op: int, key: Key, given: Any) -> LocalChange:
        """One operation, encoded. Raises what the write would."""
        if op not in self._ops:
            self._refuse(op)
        encoded = value.key_bytes(key)
        if self._own and not own_key(self._database.account, encoded):
            owner = format_account(self._database.account)
            raise KeyRefused(
                f"keys of {self.name!r} begin with their writer's account: {owner} or {owner}/..."
            )
        if op == ADD:
            payload = value.amount_bytes(given)
        elif op == DELETE:
            payload = b""
        else:
            payload = value.value_bytes(given)
        return self.spec, op, encoded, payload

    def removals(self, key: Key, element: Any) -> list[LocalChange]:
        """The changes that remove what is visible of `element` now; none when it is not in the set."""
        if REMOVE not in self._ops:
            self._refuse(REMOVE)
        encoded = value.key_bytes(key)
        dots = rows.observed(self._database.store, self.spec, encoded, value.value_bytes(element))
        size = DOTS_PER_REMOVE_MAX * DOT_BYTES
        return [(self.spec, REMOVE, encoded, dots[at : at + size]) for at in range(0, len(dots), size)]

    async def _write(self, change: LocalChange, ack: Ack) -> None:
        await self._database.writer.write(change, ack)

    def _refuse(self, op: int) -> NoReturn:
        have = ", ".join(_VERBS[known] for known in sorted(self._ops))
        merge = self.spec.merge.name.lower()
        raise WrongMergeType(
            f"table {self.name!r} merges as {merge}, which has no {_VERBS[op]}; it has {have}"
        )


def _bound(key: Key | None) -> bytes | None:
    """A bound of a range need not be a whole key: it may be empty."""
    return key.encode() if isinstance(key, str) else key
