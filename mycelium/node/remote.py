"""A running node as another process uses it: `connect`, then the same tables as in the node's own process.

```python
async with mycelium.connect("ws://127.0.0.1:9090", keypair) as node:
    scores = node.database.table("scores")
    await scores.put("5F3s...", {"score": 0.93}, ack="durable")
```

One connection, no reconnecting: when it is lost, what waits raises LinkClosed, and a watch WatchBroken with the
cursor to resume from. A write whose answer did not come may have happened or not. Errors of the node are raised
here as the same classes; one that has no such class as CallFailed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Generator, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Protocol, cast
from urllib.parse import urlsplit

from mycelium import errors
from mycelium._core import codec
from mycelium.config import CALL_TIMEOUT_MS, DIAL_TIMEOUT_MS, STREAM_WINDOW_BYTES
from mycelium.config.feed import FEED_WINDOW_BYTES
from mycelium.database.history import SignedBatch
from mycelium.database.rows import Row
from mycelium.database.schema import TableSpec
from mycelium.database.value import amount_bytes, key_bytes, key_of, value_bytes
from mycelium.database.writer import Ack, check_ack
from mycelium.errors import BadSignature, CallFailed, LinkClosed, MalformedMessage, UnknownTable, UsageError
from mycelium.feed.cursor import Cursor
from mycelium.identity import account as accounts
from mycelium.identity.keys import Keypair
from mycelium.node import calls, feedcalls
from mycelium.node.remotefeed import RemoteExport, RemoteFeed, RemoteSignedExport
from mycelium.node.remotewatch import RemoteWatch
from mycelium.peer.caller import Caller
from mycelium.peer.dialer import dial_once
from mycelium.peer.envelope import AuthMode
from mycelium.peer.greeting import Local
from mycelium.peer.hub import Hub
from mycelium.peer.link import Link
from mycelium.peer.network import ANY_NETWORK, Network
from mycelium.protocol.messages import MergeType, MessageType

Key = str | bytes

_ANSWERS: Final = frozenset({MessageType.RESPONSE, MessageType.STREAM})
_GOODBYE_S: Final = 1.0
_ROTATE_S: Final = 60.0
"""A self-test may wait for its own time limit, and peers for theirs."""
_SAME: Final[Mapping[str, type[errors.MyceliumError]]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type)
    and issubclass(
        kind,
        errors.UsageError
        | errors.StoreError
        | errors.FeedError
        | errors.FleetError
        | errors.BrokerError
        | errors.Unauthorised
        | MalformedMessage,
    )
}


class Channel(Protocol):
    """What is asked of `peer.caller.Caller`."""

    async def call(self, method: str, body: bytes, timeout_s: float) -> bytes: ...

    def stream(self, method: str, body: bytes, window_bytes: int = ...) -> AsyncIterator[bytes]:
        """An async generator: it is closed when its reader wants no more."""
        ...


class RemoteNode:
    """A connection to a running node. account: the node's, proved by the handshake. url: where it was dialled."""

    def __init__(self, hub: Hub, link: Link, database: RemoteDatabase, url: str) -> None:
        self.database = database
        self.account = link.account
        self.generation = link.session.peer_generation
        self.url = url
        self._hub = hub
        self._link = link
        # Who reads everything gains by reading far ahead: of a small window each round trip brings little.
        self._ahead = partial(database.messages, window_bytes=FEED_WINDOW_BYTES)

    @property
    def address(self) -> str:
        """The node's account as SS58."""
        return accounts.format(self.account)

    @property
    def connected(self) -> bool:
        """Whether the connection lives."""
        return not self._link.closed.done()

    async def status(self) -> dict[str, Any]:
        """What the node says of itself; see `mycelium.node.status`."""
        found: dict[str, Any] = await self.database.ask(calls.STATUS, b"", dict[str, Any])
        return found

    async def epoch(self) -> calls.EpochInfo:
        """The present epoch: its number, its block, and its members with their stakes."""
        found: calls.EpochInfo = await self.database.ask(calls.EPOCH, b"", calls.EpochInfo)
        return found

    def feed(
        self,
        after: Cursor | str | None = None,
        spaces: Collection[str] | None = None,
        tables: Collection[str] | None = None,
    ) -> RemoteFeed:
        """Every batch that the node applies; see `Node.feed`. Of a space that this account may not read whole come the
        changes that it may see, without a signature. Unauthorised where that is nothing."""
        return RemoteFeed(self._ahead, after, spaces, tables)

    def export(
        self, spaces: Collection[str] | None = None, tables: Collection[str] | None = None
    ) -> RemoteExport:
        """The visible rows of some spaces as of one moment; see `Node.export`."""
        return RemoteExport(self._ahead, spaces, tables)

    def signed_export(self, space: str) -> RemoteSignedExport:
        """The signed batches of a space as of one moment; see `Node.signed_export`. Unauthorised."""
        return RemoteSignedExport(self._ahead, space)

    async def proofs(self, space: str) -> list[bytes]:
        """The proofs by which origins of a space are frozen at the node. Unauthorised."""
        found: list[bytes] = await self.database.ask(
            feedcalls.PROOFS, calls.request(feedcalls.Proofs(space)), list[bytes]
        )
        return found

    async def rotate(self) -> dict[str, Any]:
        """Let the node listen on another port of its range now; its `rotation` status, once that is announced.

        Only for the node's own account. UsageError where it does not rotate, or does so already; CallFailed where it
        failed, and the port stays.
        """
        found: dict[str, Any] = await self.database.ask(
            calls.ROTATE, b"", dict[str, Any], timeout_s=_ROTATE_S
        )
        return found

    async def blacklist(self, asked: calls.Blacklist) -> Any:
        """See `calls.Blacklist`. UsageError where it cannot be done, Unauthorised where not by this account."""
        return await self.database.ask(calls.BLACKLIST, calls.encode(asked), Any)

    async def policy(self) -> calls.PolicyInfo:
        """The policy in force, and the present epoch."""
        found: calls.PolicyInfo = await self.database.ask(
            calls.POLICY, calls.encode(calls.Publish(None)), calls.PolicyInfo
        )
        return found

    async def publish_policy(self, document: bytes) -> calls.PolicyInfo:
        """Put a policy into the store, for all nodes to have when the chain names it. PolicyRefused, Unauthorised."""
        found: calls.PolicyInfo = await self.database.ask(
            calls.POLICY, calls.request(calls.Publish(document)), calls.PolicyInfo
        )
        return found

    async def close(self) -> None:
        """End the connection."""
        await self._hub.close(drain_s=_GOODBYE_S)


class connect:  # noqa: N801 - it reads as the function it is used as
    """Connect to a running node: `node = await connect(...)`, or `async with connect(...) as node`.

    url: `ws://HOST:PORT`; without a keypair, the `node.toml` of the node, which names its address and its hotkey.
    keypair: the node's own hotkey, one that its settings list in [auth] clients, or one that the policy lets read.
    account: whom to expect there, 32 bytes or SS58. Without it, the keypair's own node; on this machine, whoever
    answers. network: netuid and genesis, if they are to be checked too. auth_mode: the node's; None finds out.
    timeout_s: for the connection and then for each call.

    Raises ConfigError for bad settings, Unreachable, and the ProtocolError by which either side refused: WrongPeer,
    Unauthorised, ...
    """

    def __init__(
        self,
        url: str | Path,
        keypair: Keypair | None = None,
        account: bytes | str | None = None,
        *,
        network: Network = ANY_NETWORK,
        auth_mode: AuthMode | None = None,
        timeout_s: float = CALL_TIMEOUT_MS / 1000,
    ) -> None:
        if keypair is None:
            if str(url).startswith(("ws://", "wss://")):
                raise UsageError("an address needs a keypair; without one, name the node's own node.toml")
            # Only here: a program that brings its own keypair has no use for settings.
            from mycelium.node.settings import Settings

            settings = Settings.load(url)
            url, keypair = settings.url, settings.keypair()
            account = account or keypair.account
        url = str(url)
        self._url = url
        self._keypair = keypair
        self._expected = accounts.parse(account) if isinstance(account, str) else account
        if self._expected is None and not _on_this_machine(url):
            self._expected = keypair.account
        self._network = network
        self._auth_mode = auth_mode
        self._timeout_s = timeout_s
        self._node: RemoteNode | None = None

    def __await__(self) -> Generator[Any, None, RemoteNode]:
        return self._open().__await__()

    async def __aenter__(self) -> RemoteNode:
        self._node = await self._open()
        return self._node

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._node is not None:
            await self._node.close()

    async def _open(self) -> RemoteNode:
        modes: tuple[AuthMode, ...] = ("session", "signed") if self._auth_mode is None else (self._auth_mode,)
        for mode in modes[:-1]:
            try:
                return await self._open_in(mode)
            except BadSignature:
                # The node wants every message signed. It says so only to the first one that is not.
                continue
        return await self._open_in(modes[-1])

    async def _open_in(self, mode: AuthMode) -> RemoteNode:
        callers: dict[int, Caller] = {}

        def receive(link: Link, message: codec.Message, size_bytes: int) -> None:
            del size_bytes
            if message.type in _ANSWERS and link.id in callers:
                callers[link.id].receive(message)

        hub = Hub(Local(self._keypair, self._network, 0, _nobody), receive, auth_mode=mode)
        try:
            timeout_ms = min(DIAL_TIMEOUT_MS, int(self._timeout_s * 1000))
            link = await dial_once(hub, self._url, self._expected, timeout_ms=timeout_ms)
            caller = callers[link.id] = Caller(link)
            try:
                specs = await _declared(RemoteDatabase(caller, {}, self._timeout_s))
            except LinkClosed:
                reason = link.closed.result() if link.closed.done() else None
                if reason is None or isinstance(reason, LinkClosed):
                    raise
                raise reason from None
            return RemoteNode(hub, link, RemoteDatabase(caller, specs, self._timeout_s), self._url)
        except BaseException:
            await hub.close()
            raise


async def _declared(database: RemoteDatabase) -> dict[str, TableSpec]:
    found: list[calls.TableInfo] = await database.ask(calls.TABLES, b"", list[calls.TableInfo])
    return {info.name: TableSpec(info.name, info.space, _merge(info.merge)) for info in found}


def _nobody(account: bytes) -> None:
    """A program takes no sessions: everyone is a stranger."""
    del account


def _merge(name: str) -> MergeType:
    try:
        return MergeType[name.upper()]
    except KeyError:
        raise MalformedMessage(f"the node has a table of the unknown merge type {name!r}") from None


def _on_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def raised_here(error: CallFailed) -> errors.MyceliumError:
    """The node's error as the class it has there, or `error` itself when that says nothing to a caller."""
    kind = _SAME.get(error.kind)
    return error if kind is None else kind(str(error))


class RemoteDatabase:
    """The node's database. Its declared tables were read when the connection was made."""

    def __init__(self, channel: Channel, specs: Mapping[str, TableSpec], timeout_s: float) -> None:
        self.tables = MappingProxyType(dict(specs))
        self._channel = channel
        self._timeout_s = timeout_s
        self._tables = {name: RemoteTable(self, spec) for name, spec in specs.items()}

    def table(self, name: str) -> RemoteTable:
        """The declared table of that name. UnknownTable."""
        table = self._tables.get(name)
        if table is None:
            known = ", ".join(sorted(self._tables)) or "none"
            raise UnknownTable(f"no table {name!r} is declared; declared: {known}")
        return table

    @asynccontextmanager
    async def batch(self, ack: Ack = "durable") -> AsyncIterator[RemoteBatch]:
        """Changes of one space, sent and applied together at the end of the block; an exception in it sends nothing.

        All of them together fit one call: ValueRefused above 768 KiB.
        """
        check_ack(ack)
        batch = RemoteBatch(self)
        yield batch
        if batch.changes:
            await self.write(batch.changes, ack)

    async def state_digests(self) -> dict[str, str]:
        """For each space, the digest of the node's state: equal on all nodes that hold the same batches."""
        return {space: found["digest"] for space, found in (await self.state()).items()}

    async def state(self) -> dict[str, dict[str, Any]]:
        """For each space, `digest` and `rows` of the node's state as of now. Reads it all."""
        found: dict[str, dict[str, Any]] = await self.ask(
            calls.DIGESTS, b"", dict[str, dict[str, Any]], timeout_s=max(self._timeout_s, 300)
        )
        return found

    async def history(self, space: str, account: bytes | None = None) -> AsyncGenerator[SignedBatch, None]:
        """See `Database.history`. Unauthorised for who may not read all of the space."""
        asked = calls.request(calls.History(space, account))
        async with aclosing(self.records(calls.HISTORY, asked)) as records:
            async for record in records:
                found = calls.decode(record, calls.SignedBatch)
                yield SignedBatch(found.raw, found.signature)

    async def checkpoint(self, path: Path) -> None:
        """A backup at `path`, an absolute path on the node's machine. Only for the node's own account."""
        await self.ask(calls.CHECKPOINT, calls.request(calls.Checkpoint(str(path))), None)

    async def write(self, changes: list[tuple[str, str, bytes, Any]], ack: Ack) -> None:
        """Send one WRITE call and wait for its acknowledgement."""
        check_ack(ack)
        await self.ask(calls.WRITE, calls.request(calls.Write(changes, ack)), None)

    async def ask(self, method: str, body: bytes, kind: Any, *, timeout_s: float | None = None) -> Any:
        """One call; its answer decoded as `kind` (None: there is none)."""
        try:
            answer = await self._channel.call(method, body, timeout_s or self._timeout_s)
        except CallFailed as error:
            raise raised_here(error) from None
        return None if kind is None else calls.decode(answer, kind)

    async def messages(
        self, method: str, body: bytes, window_bytes: int = STREAM_WINDOW_BYTES
    ) -> AsyncGenerator[bytes, None]:
        """The messages of one stream."""
        stream = cast("AsyncGenerator[bytes, None]", self._channel.stream(method, body, window_bytes))
        try:
            async with aclosing(stream) as messages:
                async for message in messages:
                    yield message
        except CallFailed as error:
            raise raised_here(error) from None

    async def records(self, method: str, body: bytes) -> AsyncGenerator[bytes, None]:
        """The records of one stream that has an end."""
        gathered = calls.Records(calls.RECORD_BYTES_MAX)
        async with aclosing(self.messages(method, body)) as messages:
            async for message in messages:
                for record in gathered.feed(message):
                    yield record
        if not gathered.whole:
            raise MalformedMessage(f"the stream of {method!r} ended inside a record")


class RemoteBatch:
    """What `async with database.batch() as b` gives."""

    def __init__(self, database: RemoteDatabase) -> None:
        self.changes: list[tuple[str, str, bytes, Any]] = []
        self._database = database

    def put(self, table: str, key: Key, value: Any) -> None:
        self._add(calls.PUT, table, key, value)

    def delete(self, table: str, key: Key) -> None:
        self._add(calls.DELETE, table, key, None)

    def add(self, table: str, key: Key, amount: int = 1) -> None:
        self._add(calls.ADD, table, key, amount)

    def insert(self, table: str, key: Key, element: Any) -> None:
        self._add(calls.INSERT, table, key, element)

    def remove(self, table: str, key: Key, element: Any) -> None:
        """Removes what was inserted before this batch; an insertion of the batch itself stays."""
        self._add(calls.REMOVE, table, key, element)

    def _add(self, op: str, table: str, key: Key, value: Any) -> None:
        self.changes.append(self._database.table(table).change(op, key, value))


class RemoteTable:
    """One table of a remote node; `mycelium.database.table.Table` says what each method does and raises."""

    def __init__(self, database: RemoteDatabase, spec: TableSpec) -> None:
        self.spec = spec
        self._database = database

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def merge(self) -> MergeType:
        return self.spec.merge

    async def get(self, key: Key) -> Any:
        """The value; None when there is none. A counter is an int, a set or append table's value a list."""
        body = calls.request(calls.Get(self.name, key_bytes(key)))
        got: calls.Got = await self._database.ask(calls.GET, body, calls.Got)
        if got.large:
            async for record in self._database.records(calls.FETCH, body):
                got = calls.decode(record, calls.Got)
        return got.value

    async def put(self, key: Key, value: Any, *, ack: Ack = "durable") -> None:
        """Set the key (lww, own), or add one more fact to it (append)."""
        await self._write(calls.PUT, key, value, ack)

    async def delete(self, key: Key, *, ack: Ack = "durable") -> None:
        """Remove the key of an lww or own table."""
        await self._write(calls.DELETE, key, None, ack)

    async def add(self, key: Key, amount: int = 1, *, ack: Ack = "durable") -> None:
        """Add to a counter; `amount` may be negative."""
        await self._write(calls.ADD, key, amount, ack)

    async def insert(self, key: Key, element: Any, *, ack: Ack = "durable") -> None:
        """Put an element into the set at `key`."""
        await self._write(calls.INSERT, key, element, ack)

    async def remove(self, key: Key, element: Any, *, ack: Ack = "durable") -> None:
        """Take an element out of the set at `key`: the insertions seen by the node, not those yet to arrive."""
        await self._write(calls.REMOVE, key, element, ack)

    async def count(self) -> int:
        """The number of keys. The node reads them all."""
        answer: int = await self._database.ask(calls.COUNT, calls.request(calls.Count(self.name)), int)
        return answer

    async def scan(
        self,
        prefix: Key | None = None,
        start: Key | None = None,
        end: Key | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> AsyncGenerator[Row, None]:
        """Rows in key order with start <= key < end."""
        asked = calls.Scan(self.name, _bound(prefix), _bound(start), _bound(end), limit, reverse)
        async with aclosing(self._database.records(calls.SCAN, calls.request(asked))) as records:
            async for record in records:
                row = calls.decode(record, calls.Row)
                yield Row(key_of(row.key), row.value, row.account, row.hlc)

    def watch(self, prefix: Key | None = None, after: int | None = None) -> RemoteWatch:
        """Changes as they become durable at the node, from now or after a cursor, whoever wrote them."""
        return RemoteWatch(self._database.messages, calls.Watch(self.name, _bound(prefix), after))

    def change(self, op: str, key: Key, value: Any) -> tuple[str, str, bytes, Any]:
        """One operation, checked here as the node checks it, so that a mistake costs no call."""
        if op == calls.ADD:
            amount_bytes(value)
        elif op != calls.DELETE:
            value_bytes(value)
        return op, self.name, key_bytes(key), value

    async def _write(self, op: str, key: Key, value: Any, ack: Ack) -> None:
        await self._database.write([self.change(op, key, value)], ack)


def _bound(key: Key | None) -> bytes | None:
    return key.encode() if isinstance(key, str) else key
