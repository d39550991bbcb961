"""The `state_*` methods: storage, metadata, runtime version, runtime calls.

Owns how the state is shown, not what is in it. Errors are those of polkadot-sdk's `sc-rpc-api::state`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from mycelium.config import DEVCHAIN_KEYS_PAGE_MAX
from mycelium.devnet.chain.blocks import UnknownBlock, digest
from mycelium.devnet.chain.rpc import (
    RpcError,
    Table,
    add,
    anything,
    block_hash,
    hex_bytes,
    hex_list,
    parameter,
    text,
    unsigned,
)
from mycelium.devnet.chain.storage import View
from mycelium.devnet.chain.subscriptions import RUNTIME, STORAGE, Session, changes_json
from mycelium.devnet.chain.validity import UnknownRuntimeApi

if TYPE_CHECKING:
    from mycelium.devnet.chain.runtime import Runtime

log = logging.getLogger(__name__)

_INVALID_RANGE = 4001
_INVALID_COUNT = 4002
_CLIENT = 4003


def hexed(data: bytes) -> str:
    return f"0x{data.hex()}"


def client_error(text: str) -> RpcError:
    return RpcError(_CLIENT, f"Client error: {text}")


def state_of(session: Session, at: bytes | None) -> View:
    """The state after a block. Raises RpcError as a node that has pruned it."""
    try:
        return session.core.chain.state(at)
    except UnknownBlock as error:
        raise client_error(f"UnknownBlock: {error}") from None


def runtime_at(session: Session, at: bytes | None) -> Runtime:
    try:
        return session.core.runtime_of(at)
    except UnknownBlock as error:
        raise client_error(f"UnknownBlock: {error}") from None


def call(session: Session, method: str, data: bytes, at: bytes | None) -> bytes:
    """A runtime API call. Raises RpcError as a node does for an unknown function or bad arguments."""
    state = state_of(session, at)
    try:
        return runtime_at(session, at).call(state, method, data)
    except UnknownRuntimeApi:
        raise client_error(f"Execution failed: Other: Exported method {method} is not found") from None
    except ValueError as error:
        # What a runtime does with arguments that it cannot decode.
        log.info("%s trapped: %s", method, error)
        trap = "Execution aborted due to trap: wasm trap: wasm `unreachable` instruction executed"
        raise client_error(f"Execution failed: {trap}") from None


def get_storage(session: Session, key: bytes, at: bytes | None) -> str | None:
    value = state_of(session, at).get(key)
    return None if value is None else f"0x{value.hex()}"


def get_storage_hash(session: Session, key: bytes, at: bytes | None) -> str | None:
    value = state_of(session, at).get(key)
    return None if value is None else hexed(digest(value))


def get_storage_size(session: Session, key: bytes, at: bytes | None) -> int | None:
    """Of one value; where there is none, of all whose keys begin so."""
    state = state_of(session, at)
    value = state.get(key)
    if value is not None:
        return len(value)
    sizes = [len(value) for _, value in _pairs(state, key)]
    return sum(sizes) if sizes else None


def get_keys(session: Session, prefix: bytes, at: bytes | None) -> list[str]:
    return [hexed(key) for key in state_of(session, at).keys(prefix)]


def get_pairs(session: Session, prefix: bytes, at: bytes | None) -> list[list[str]]:
    return [[hexed(key), hexed(value)] for key, value in _pairs(state_of(session, at), prefix)]


def get_keys_paged(
    session: Session, prefix: bytes | None, count: int, start: bytes | None, at: bytes | None
) -> list[str]:
    if count > DEVCHAIN_KEYS_PAGE_MAX:
        raise RpcError(
            _INVALID_COUNT,
            f"count exceeds maximum value. value: {count}, max: {DEVCHAIN_KEYS_PAGE_MAX}",
        )
    keys = state_of(session, at).keys(prefix or b"", start)
    return [hexed(key) for key in islice(keys, count)]


def query_storage_at(session: Session, keys: list[bytes], at: bytes | None) -> list[dict[str, Any]]:
    state = state_of(session, at)
    block = session.core.chain.best.hash if at is None else at
    return [changes_json(block, [(key, state.get(key)) for key in keys])]


def query_storage(
    session: Session, keys: list[bytes], since: bytes, to: bytes | None
) -> list[dict[str, Any]]:
    """The values after block `since`, then what each block up to `to` changed of them."""
    chain = session.core.chain
    last = chain.best.hash if to is None else to
    try:
        first_number, last_number = chain.number_of(since), chain.number_of(last)
    except UnknownBlock as error:
        raise _bad_range(since, last, str(error)) from None
    if first_number > last_number:
        raise _bad_range(since, last, "from is after to")
    sets = []
    known: dict[bytes, bytes | None] = {}
    for number in range(first_number, last_number + 1):
        block = chain.hash_of(number)
        assert block is not None, "both ends are on the chain"
        state = state_of(session, block)
        now = {key: state.get(key) for key in keys}
        changed = [(key, value) for key, value in now.items() if key not in known or known[key] != value]
        if changed:
            sets.append(changes_json(block, changed))
        known = now
    return sets


def get_metadata(session: Session, at: bytes | None) -> str:
    try:
        runtime = session.core.runtime_of(at)
    except UnknownBlock as error:
        # By way of the runtime API `Metadata`, which words it differently than storage does.
        raise client_error(f"Api called for an unknown Block: {error}") from None
    return _metadata_hex(runtime)


@lru_cache(maxsize=2)
def _metadata_hex(runtime: Runtime) -> str:
    """Version 14, as `state_getMetadata` always gives; half a megabyte of text made once for a runtime."""
    metadata = runtime.metadata(14)
    assert metadata is not None, "every runtime has metadata of version 14"
    return hexed(metadata)


def get_runtime_version(session: Session, at: bytes | None) -> Any:
    return runtime_at(session, at).version


def state_call(session: Session, method: str, data: bytes, at: bytes | None) -> str:
    return hexed(call(session, method, data, at))


def subscribe_storage(session: Session, keys: list[bytes] | None) -> str:
    return session.hub.add(session, STORAGE, keys=keys or ())


def unsubscribe_storage(session: Session, id: Any) -> bool:
    return session.hub.remove(session, (STORAGE,), id)


def subscribe_runtime_version(session: Session) -> str:
    return session.hub.add(session, RUNTIME)


def unsubscribe_runtime_version(session: Session, id: Any) -> bool:
    return session.hub.remove(session, (RUNTIME,), id)


def register(table: Table) -> None:
    """Add the methods."""
    key, prefix = parameter("key", hex_bytes), parameter("prefix", hex_bytes)
    keys, at = parameter("keys", hex_list), parameter("hash", block_hash, True)
    add(table, ["state_getStorage", "state_getStorageAt"], get_storage, key, at)
    add(table, ["state_getStorageHash", "state_getStorageHashAt"], get_storage_hash, key, at)
    add(table, ["state_getStorageSize", "state_getStorageSizeAt"], get_storage_size, key, at)
    add(table, ["state_getKeys"], get_keys, prefix, at)
    add(table, ["state_getPairs"], get_pairs, prefix, at)
    add(
        table,
        ["state_getKeysPaged", "state_getKeysPagedAt"],
        get_keys_paged,
        parameter("prefix", hex_bytes, True),
        parameter("count", unsigned),
        parameter("start_key", hex_bytes, True),
        at,
    )
    add(table, ["state_queryStorageAt"], query_storage_at, keys, parameter("at", block_hash, True))
    add(
        table,
        ["state_queryStorage"],
        query_storage,
        keys,
        parameter("block", block_hash),
        parameter("hash", block_hash, True),
    )
    add(table, ["state_getMetadata"], get_metadata, at)
    add(table, ["state_getRuntimeVersion", "chain_getRuntimeVersion"], get_runtime_version, at)
    add(
        table,
        ["state_call", "state_callAt"],
        state_call,
        parameter("name", text),
        parameter("bytes", hex_bytes),
        at,
    )
    subscription = parameter("subscription", anything)
    add(table, ["state_subscribeStorage"], subscribe_storage, parameter("keys", hex_list, True))
    add(table, ["state_unsubscribeStorage"], unsubscribe_storage, subscription)
    names = ["state_subscribeRuntimeVersion", "chain_subscribeRuntimeVersion"]
    add(table, names, subscribe_runtime_version)
    names = ["state_unsubscribeRuntimeVersion", "chain_unsubscribeRuntimeVersion"]
    add(table, names, unsubscribe_runtime_version, subscription)


def _pairs(state: View, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    for key in state.keys(prefix):
        value = state.get(key)
        assert value is not None, "a listed key has a value"
        yield key, value


def _bad_range(since: bytes, to: bytes, why: str) -> RpcError:
    return RpcError(
        _INVALID_RANGE, f"Cannot resolve a block range ['{hexed(since)}' ... '{hexed(to)}]. {why}"
    )
