"""Who is told what: the subscriptions of all connections, and the notifications that an event makes. Sans-IO.

An event is encoded once and sent to everyone who asked. Owns no sockets: a `Peer` takes bytes, and drops its
connection when its reader is too slow for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from mycelium.config import DEVCHAIN_SUBSCRIPTIONS_MAX
from mycelium.devnet.chain.blocks import Block
from mycelium.devnet.chain.core import Core, Event, Finalised, NewHead, Upgraded
from mycelium.devnet.chain.pool import Status
from mycelium.devnet.chain.rpc import TOO_MANY_SUBSCRIPTIONS, RpcError

ALL_HEADS: Final = "chain_allHead"
NEW_HEADS: Final = "chain_newHead"
FINALIZED_HEADS: Final = "chain_finalizedHead"
STORAGE: Final = "state_storage"
RUNTIME: Final = "state_runtimeVersion"
EXTRINSIC: Final = "author_extrinsicUpdate"
"""Kinds of subscriptions; each is the `method` of its notifications."""

_encode: Final = msgspec.json.Encoder().encode


class Peer(Protocol):
    """One connection, as far as subscriptions go."""

    def push(self, data: bytes) -> None:
        """Send a notification after what was sent before."""
        ...


class Session(Peer, Protocol):
    """One connection, as the RPC methods see it."""

    @property
    def core(self) -> Core: ...
    @property
    def hub(self) -> Hub: ...


@dataclass(slots=True, eq=False)
class Subscription:
    """One subscription. keys: of STORAGE, in the client's order, empty for all. watched: of EXTRINSIC, the hash."""

    id: str
    kind: str
    peer: Peer
    keys: Sequence[bytes] = ()
    watched: bytes = b""


def header_json(block: Block) -> dict[str, Any]:
    """A header as `chain_getHeader` gives it."""
    header = block.header
    return {
        "parentHash": f"0x{header.parent.hex()}",
        "number": hex(header.number),
        "stateRoot": f"0x{header.state_root.hex()}",
        "extrinsicsRoot": f"0x{header.extrinsics_root.hex()}",
        "digest": {"logs": [f"0x{log.hex()}" for log in header.logs]},
    }


def changes_json(block: bytes, changes: Iterable[tuple[bytes, bytes | None]]) -> dict[str, Any]:
    """A `StorageChangeSet`."""
    pairs = [[f"0x{key.hex()}", None if value is None else f"0x{value.hex()}"] for key, value in changes]
    return {"block": f"0x{block.hex()}", "changes": pairs}


class Hub:
    """All subscriptions of one server. An observer of its core."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._by_peer: dict[Peer, dict[str, Subscription]] = {}
        self._by_kind: dict[str, dict[str, Subscription]] = {}
        self._watchers: dict[bytes, list[Subscription]] = {}
        self._count = 0
        self.muted: Callable[[], bool] = lambda: False
        """Whether news are kept back now."""
        core.observers.append(self.notice)

    def __len__(self) -> int:
        return sum(map(len, self._by_kind.values()))

    def reserve(self, peer: Peer) -> None:
        """Raise RpcError when the peer may not have one more."""
        if len(self._by_peer.get(peer, ())) >= DEVCHAIN_SUBSCRIPTIONS_MAX:
            raise RpcError(
                TOO_MANY_SUBSCRIPTIONS,
                "Too many subscriptions on the connection",
                f"Exceeded max limit of {DEVCHAIN_SUBSCRIPTIONS_MAX}",
            )

    def add(self, peer: Peer, kind: str, *, keys: Sequence[bytes] = (), watched: bytes = b"") -> str:
        """Begin a subscription and send it what stands now; its id. Raises RpcError."""
        self.reserve(peer)
        self._count += 1
        subscription = Subscription(f"{self._count:016x}", kind, peer, keys, watched)
        self._by_peer.setdefault(peer, {})[subscription.id] = subscription
        self._by_kind.setdefault(kind, {})[subscription.id] = subscription
        if kind == EXTRINSIC:
            self._watchers.setdefault(watched, []).append(subscription)
        else:
            peer.push(_frame(subscription, _encode(self._present(subscription))))
        return subscription.id

    def remove(self, peer: Peer, kinds: Sequence[str], id: Any) -> bool:
        """End a subscription of one of these kinds; False if the peer has none of that id."""
        subscription = self._by_peer.get(peer, {}).get(id) if isinstance(id, str) else None
        if subscription is None or subscription.kind not in kinds:
            return False
        self._end(subscription)
        return True

    def forget(self, peer: Peer) -> None:
        """The connection is gone."""
        for subscription in list(self._by_peer.get(peer, {}).values()):
            self._end(subscription)

    def notice(self, event: Event) -> None:
        """Tell whoever asked for it."""
        if self.muted():
            return
        match event:
            case NewHead(block=block):
                body = _encode(header_json(block))
                self._send(NEW_HEADS, lambda _: body)
                self._send(ALL_HEADS, lambda _: body)
                self._send(STORAGE, lambda subscription: self._changed(subscription, event))
            case Finalised(block=block):
                body = _encode(header_json(block))
                self._send(FINALIZED_HEADS, lambda _: body)
            case Upgraded(runtime=runtime):
                body = _encode(runtime.version)
                self._send(RUNTIME, lambda _: body)
            case Status():
                self._tell_watchers(event)
            case _:
                pass  # a restart ends all connections, and the subscriptions with them

    def watch(self, peer: Peer, extrinsic: bytes, hash: bytes) -> str:
        """Submit, and watch what becomes of it; the id of the subscription. Raises PoolRefusal, RpcError."""
        subscription = self.add(peer, EXTRINSIC, watched=hash)
        try:
            self._core.submit(extrinsic)
        except BaseException:
            self.remove(peer, (EXTRINSIC,), subscription)
            raise
        return subscription

    # --- inside ---------------------------------------------------------------------------------------------

    def _present(self, subscription: Subscription) -> Any:
        chain = self._core.chain
        match subscription.kind:
            case kind if kind == FINALIZED_HEADS:
                return header_json(chain.finalised)
            case kind if kind == RUNTIME:
                return self._core.runtime.version
            case kind if kind == STORAGE:
                values = [(key, chain.storage.get(key)) for key in subscription.keys]
                return changes_json(chain.best.hash, values)
            case _:
                return header_json(chain.best)

    def _changed(self, subscription: Subscription, event: NewHead) -> bytes | None:
        storage = self._core.chain.storage
        changes: list[tuple[bytes, bytes | None]]
        if not subscription.keys:
            changes = list(event.changes.items())
        elif event.reorganised:
            changes = [(key, storage.get(key)) for key in subscription.keys]
        else:
            changes = [(key, event.changes[key]) for key in subscription.keys if key in event.changes]
        return _encode(changes_json(event.block.hash, changes)) if changes else None

    def _tell_watchers(self, status: Status) -> None:
        for subscription in list(self._watchers.get(status.hash, ())):
            subscription.peer.push(_frame(subscription, _encode(status.json())))
            if status.last:
                self._end(subscription)

    def _send(self, kind: str, body: Callable[[Subscription], bytes | None]) -> None:
        for subscription in list(self._by_kind.get(kind, {}).values()):
            data = body(subscription)
            if data is not None:
                subscription.peer.push(_frame(subscription, data))

    def _end(self, subscription: Subscription) -> None:
        of_peer = self._by_peer[subscription.peer]
        del of_peer[subscription.id]
        if not of_peer:
            del self._by_peer[subscription.peer]
        del self._by_kind[subscription.kind][subscription.id]
        if subscription.kind == EXTRINSIC:
            watching = self._watchers[subscription.watched]
            watching.remove(subscription)
            if not watching:
                del self._watchers[subscription.watched]


def _frame(subscription: Subscription, result: bytes) -> bytes:
    """A notification around a result that is encoded already."""
    head = b'{"jsonrpc":"2.0","method":"%s","params":{"subscription":"%s","result":' % (
        subscription.kind.encode(),
        subscription.id.encode(),
    )
    return head + result + b"}}"
