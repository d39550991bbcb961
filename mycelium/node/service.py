"""The API that programs use a node through: handlers for `peer.callserver.CallServer` over a Database.

Who may call is decided here and nowhere else: the node's own account and the accounts that its settings list as clients
may do everything; any other account may read what the policy lets it, and sees no more. Nobody writes through a node
that is not theirs. Owns no socket; the errors it raises reach the caller by the name of their class (`remote` raises
them again).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, Protocol

from mycelium.config import CALL_BYTES_MAX
from mycelium.database import policy
from mycelium.database.access import POLICIES, Rights
from mycelium.database.database import Database
from mycelium.database.policy import Action
from mycelium.database.ranges import EVERYTHING, NOTHING, Ranges
from mycelium.database.table import Table
from mycelium.database.watch import Change, cursor_at
from mycelium.errors import StoreError, Unauthorised, UsageError
from mycelium.identity import account as accounts
from mycelium.identity.keys import digest
from mycelium.node import calls, feedcalls
from mycelium.node.feeding import Feeding

_WATCH_BUFFER_BYTES: Final = 4 * calls.STREAM_CHUNK_BYTES
"""Changes encoded ahead of a watcher that is slower than the feed."""


class Caller(Protocol):
    """What is asked of a link: whose it is."""

    @property
    def account(self) -> bytes: ...


Handler = Callable[[Any, bytes], Awaitable[bytes]]
Stream = Callable[[Any, bytes], AsyncIterator[bytes]]


class Service:
    """`handlers` and `streams` are what a CallServer takes: method name -> function(link, body)."""

    def __init__(
        self,
        database: Database,
        status: Callable[[], Mapping[str, Any]],
        clients: frozenset[bytes] = frozenset(),
        rights_now: Callable[[bytes], Rights | None] = lambda account: None,
        policy_now: Callable[[], tuple[int, bytes | None]] = lambda: (0, None),
        rotate: Callable[[], Awaitable[Mapping[str, Any]]] | None = None,
    ) -> None:
        self._database = database
        self._status = status
        self._allowed = clients | {database.account}
        self._rights_now = rights_now
        self._policy_now = policy_now
        self._rotate = rotate
        self.blacklist: Callable[[calls.Blacklist], Awaitable[Any]] | None = None
        """What answers calls about the blacklist, set by the node."""
        self.trim: Callable[[], Awaitable[Mapping[str, Any]]] | None = None
        """What drops superseded batches from the log, set by the node."""
        self.reach: Callable[[], Awaitable[Any]] | None = None
        """What asks members whether they reach this node, set by the node."""
        self.epoch: Callable[[], calls.EpochInfo] | None = None
        """What says which epoch it is, set by the node."""
        self.feeding: Feeding | None = None
        """Who may read the feed, and how; set by the node."""
        self.handlers: dict[str, Handler] = {
            calls.GET: self._get,
            calls.WRITE: self._guarded(self._write),
            calls.COUNT: self._count,
            calls.TABLES: self._tables,
            calls.STATUS: self._guarded(self._node_status),
            calls.DIGESTS: self._guarded(self._digests),
            calls.CHECKPOINT: self._checkpoint,
            calls.POLICY: self._guarded(self._policy),
            calls.ROTATE: self._rotated,
            calls.BLACKLIST: self._blacklisted,
            calls.TRIM: self._trimmed,
            calls.REACH: self._guarded(self._reached),
            calls.EPOCH: self._epoch,
            feedcalls.PROOFS: self._proofs,
        }
        self.streams: dict[str, Stream] = {
            calls.FETCH: _closing(self._fetch),
            calls.SCAN: _closing(self._scan),
            calls.WATCH: _closing(self._watch),
            calls.HISTORY: _closing(self._history),
            feedcalls.FEED: _closing(lambda link, body: self._fed().serve(link, body)),
            feedcalls.EXPORT: _closing(lambda link, body: self._fed().serve_export(link, body)),
            feedcalls.SIGNED_EXPORT: _closing(lambda link, body: self._fed().serve_signed(link, body)),
        }

    def allow(self, clients: frozenset[bytes]) -> None:
        """Let these accounts do everything, beside the node's own, and no others."""
        self._allowed = clients | {self._database.account}

    def may_everything(self, account: bytes) -> bool:
        """Whether this account may do everything, whatever the policy says: the node's own, and its clients."""
        return account in self._allowed

    def may_call(self, account: bytes) -> bool:
        """Whether this account may use the API, for reading at least."""
        if account in self._allowed:
            return True
        rights = self._rights_now(account)
        return rights is not None and rights.any(Action.READ)

    def _guarded(self, handler: Callable[[bytes], Awaitable[bytes]]) -> Handler:
        async def guarded(link: Caller, body: bytes) -> bytes:
            self._require(link)
            return await handler(body)

        return guarded

    def _table(self, link: Caller, name: str) -> tuple[Table, Ranges]:
        """A table, and what the caller may see of it. Unauthorised where that is nothing."""
        if link.account in self._allowed:
            return self._database.table(name), EVERYTHING
        rights = self._rights_now(link.account)
        spec = self._database.tables.get(name)
        found = (
            NOTHING if rights is None or spec is None else rights.ranges(Action.READ, spec.space, spec.name)
        )
        if not found:
            # Whether there is such a table is nothing that it may know.
            raise Unauthorised(f"{accounts.format(link.account)} may not read a table {name!r}")
        return self._database.table(name), found

    def _require(self, link: Caller) -> None:
        if link.account not in self._allowed:
            own, other = accounts.format(self._database.account), accounts.format(link.account)
            raise Unauthorised(
                f"{other} may not use the node of {own}: add it to [auth] clients of that node"
            )

    async def _read(self, link: Caller, body: bytes) -> Any:
        asked = calls.decode(body, calls.Get)
        table, within = self._table(link, asked.table)
        if asked.key not in within:
            raise Unauthorised(f"{accounts.format(link.account)} may not read this key of {asked.table!r}")
        return await table.get(asked.key)

    async def _get(self, link: Caller, body: bytes) -> bytes:
        value = await self._read(link, body)
        answer = calls.encode(calls.Got(calls.wire_value(value)))
        if len(answer) > CALL_BYTES_MAX:
            return calls.encode(calls.Got(None, large=True))
        return answer

    async def _fetch(self, link: Caller, body: bytes) -> AsyncGenerator[bytes, None]:
        value = await self._read(link, body)
        for message in calls.cut(calls.record(calls.Got(calls.wire_value(value)))):
            yield message

    async def _write(self, body: bytes) -> bytes:
        asked = calls.decode(body, calls.Write)
        for op, *_ in asked.changes:
            if op not in calls.OPS:
                raise UsageError(f"there is no operation {op!r}; there are {', '.join(calls.OPS)}")
        if len(asked.changes) == 1:
            # Single writes of many programs are gathered into one signed batch; an explicit batch is one already.
            await self._write_one(*asked.changes[0], asked.ack)
            return b""
        async with self._database.batch(ack=asked.ack) as batch:
            for op, table, key, value in asked.changes:
                if op == calls.DELETE:
                    batch.delete(table, key)
                else:
                    getattr(batch, op)(table, key, value)
        return b""

    async def _write_one(self, op: str, name: str, key: bytes, value: Any, ack: str | int) -> None:
        table = self._database.table(name)
        if op == calls.DELETE:
            await table.delete(key, ack=ack)
        else:
            await getattr(table, op)(key, value, ack=ack)

    async def _count(self, link: Caller, body: bytes) -> bytes:
        table, within = self._table(link, calls.decode(body, calls.Count).table)
        return calls.encode(await table.count(within=within))

    async def _tables(self, link: Caller, body: bytes) -> bytes:
        del body
        specs = list(self._database.tables.values())
        if link.account not in self._allowed:
            rights = self._rights_now(link.account)
            specs = [
                spec
                for spec in specs
                if rights is not None and rights.ranges(Action.READ, spec.space, spec.name)
            ]
            if not specs:
                self._require(link)
        return calls.encode(
            [calls.TableInfo(spec.name, spec.space, spec.merge.name.lower()) for spec in specs]
        )

    async def _node_status(self, body: bytes) -> bytes:
        del body
        return calls.encode(dict(self._status()))

    async def _digests(self, body: bytes) -> bytes:
        del body
        spaces = {}
        for space in self._database.spaces:
            digest, rows = await self._database.state_digest(space)
            spaces[space] = {"digest": digest, "rows": rows}
        return calls.encode(spaces)

    async def _policy(self, body: bytes) -> bytes:
        """Publish a policy, or say which one is in force. What puts it in force is the chain."""
        document = calls.decode(body, calls.Publish).document
        epoch, name = self._policy_now()
        if document is None:
            found = None if name is None else self._database.policy_document(name)
            return calls.encode(calls.PolicyInfo(epoch, name, found))
        policy.parse(document)
        name = digest(document)
        await self._database.system(POLICIES.name).put(name.hex(), document)
        return calls.encode(calls.PolicyInfo(epoch, name, document))

    async def _rotated(self, link: Caller, body: bytes) -> bytes:
        del body
        if link.account != self._database.account:
            raise Unauthorised("only the node's own account may make it listen elsewhere")
        if self._rotate is None:
            raise UsageError("this node does not rotate")
        return calls.encode(dict(await self._rotate()))

    async def _blacklisted(self, link: Caller, body: bytes) -> bytes:
        asked = calls.decode(body, calls.Blacklist)
        self._require(link)
        if asked.what in calls.BLACKLIST_CHANGES and link.account != self._database.account:
            raise Unauthorised("only the node's own account may change its blacklist")
        if self.blacklist is None:
            raise UsageError("this node keeps no blacklist")
        return calls.encode(await self.blacklist(asked))

    async def _trimmed(self, link: Caller, body: bytes) -> bytes:
        del body
        if link.account != self._database.account:
            raise Unauthorised("only the node's own account may drop what is in its log")
        if self.trim is None:
            raise UsageError("this node keeps its whole log")
        return calls.encode(dict(await self.trim()))

    async def _reached(self, body: bytes) -> bytes:
        del body
        return calls.encode([] if self.reach is None else await self.reach())

    async def _epoch(self, link: Caller, body: bytes) -> bytes:
        del link, body  # the chain says the same to everybody
        if self.epoch is None:
            raise UsageError("this node follows no epochs")
        return calls.encode(self.epoch())

    def _fed(self) -> Feeding:
        if self.feeding is None:
            raise UsageError("this node has no feed")
        return self.feeding

    async def _proofs(self, link: Caller, body: bytes) -> bytes:
        return await self._fed().serve_proofs(link, body)

    async def _checkpoint(self, link: Caller, body: bytes) -> bytes:
        # It writes where the node may write: for the operator, who holds the hotkey, and not for every client.
        if link.account != self._database.account:
            raise Unauthorised("only the node's own account may make a backup")
        path = Path(calls.decode(body, calls.Checkpoint).path)
        if not path.is_absolute():
            raise UsageError(f"{path} is not an absolute path")
        try:
            if path.exists():  # noqa: ASYNC240 - one stat
                raise StoreError(f"{path} exists; a backup is written to a new directory")
            await self._database.checkpoint(path)
        except (OSError, ValueError) as error:
            raise StoreError(f"{path!s:.200} cannot be written: {error}") from None
        return b""

    async def _scan(self, link: Caller, body: bytes) -> AsyncGenerator[bytes, None]:
        asked = calls.decode(body, calls.Scan)
        table, within = self._table(link, asked.table)
        rows = table.scan(asked.prefix, asked.start, asked.end, asked.limit, asked.reverse, within=within)
        buffer = bytearray()
        async for row in rows:
            buffer += calls.record(
                calls.Row(_key(row.key), calls.wire_value(row.value), row.account, row.hlc)
            )
            if len(buffer) >= calls.STREAM_CHUNK_BYTES:
                for message in calls.cut(buffer):
                    yield message
                buffer.clear()
        for message in calls.cut(buffer):
            yield message

    async def _history(self, link: Caller, body: bytes) -> AsyncGenerator[bytes, None]:
        asked = calls.decode(body, calls.History)
        rights = None if link.account in self._allowed else self._rights_now(link.account)
        if link.account not in self._allowed and (
            rights is None or not rights.whole(Action.READ, asked.space)
        ):
            # Batches are signed whole: a part of one could not be verified.
            raise Unauthorised(
                f"{accounts.format(link.account)} may not read all of the space {asked.space!r:.100}"
            )
        async for batch in self._database.history(asked.space, asked.account):
            for message in calls.cut(calls.record(calls.SignedBatch(*batch))):
                yield message

    async def _watch(self, link: Caller, body: bytes) -> AsyncGenerator[bytes, None]:
        asked = calls.decode(body, calls.Watch)
        table, _ = self._table(link, asked.table)

        def within() -> Ranges:
            # A watch lives for days: what its owner may see is asked with each change.
            return self._table(link, asked.table)[1]

        after = cursor_at(self._database.committer.durable) if asked.after is None else asked.after
        yield calls.record(calls.Started(after))
        async with _Pump(table.watch(asked.prefix, after, within=within)) as pump:
            async for records in pump:
                for message in calls.cut(records):
                    yield message


def _closing(stream: Callable[[Caller, bytes], AsyncGenerator[bytes, None]]) -> Stream:
    async def closing(link: Caller, body: bytes) -> AsyncIterator[bytes]:
        # Closed here and now, and not by the garbage collector, when the caller wants no more of it.
        async with aclosing(stream(link, body)) as messages:
            async for message in messages:
                yield message

    return closing


class _Pump:
    """Encodes the changes that are there now into one run of records; sends one change alone at once.

    A change a message would cost a call each; waiting for more would cost latency. So a task reads ahead, up to
    _WATCH_BUFFER_BYTES, and whatever it gathered while the last message was on its way goes next.
    """

    def __init__(self, changes: AsyncIterator[Change]) -> None:
        self._changes = changes
        self._buffer = bytearray()
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()

    async def __aenter__(self) -> _Pump:
        self._task = asyncio.ensure_future(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._take()

    async def _take(self) -> AsyncIterator[bytes]:
        while True:
            await self._filled.wait()
            self._filled.clear()
            records = bytes(self._buffer)
            self._buffer.clear()
            self._drained.set()
            if records:
                yield records
            if self._task.done() and not self._buffer:
                await self._task
                return

    async def _read(self) -> None:
        try:
            async for change in self._changes:
                self._buffer += calls.record(
                    calls.Change(
                        change.cursor,
                        change.table,
                        _key(change.key),
                        change.op,
                        calls.wire_value(change.value),
                        change.account,
                        change.hlc,
                    )
                )
                self._filled.set()
                if len(self._buffer) >= _WATCH_BUFFER_BYTES:
                    self._drained.clear()
                    await self._drained.wait()
        finally:
            self._filled.set()


def _key(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else key


__all__ = ["Handler", "Service", "Stream"]
