"""Runtimes of the chain: how its values are encoded, at each block by the runtime that made it.

Owns which runtime belongs to which block, and the decoders in memory. Metadata is asked for as version 15, which knows
runtime APIs; a node that has only version 14 is served without them. Values are bittensor-core's: plain Python.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

import bittensor_core

from mycelium.chain.cache import MAGIC, MetadataCache
from mycelium.chain.header import head_of, uncompact, unhex
from mycelium.chain.socket import Socket
from mycelium.chain.subscription import NOTHING, Subscription
from mycelium.config import (
    CHAIN_BLOCKS_REMEMBERED_MAX,
    CHAIN_METADATA_BYTES_MAX,
    CHAIN_RUNTIMES_MAX,
)
from mycelium.errors import ChainError, ChainRefused, ChainUnreachable, UnknownToChain

log = logging.getLogger(__name__)

Ask = Callable[[Sequence[tuple[str, Sequence[Any]]], str | None], list[Any]]
"""Several requests about one block (None: the best) at once; their results."""
CODE_KEY: Final = "0x3a636f6465"
_METADATA_15: Final = "0x0f000000"
_NO_PARENT: Final = "0x" + "00" * 32
_POLL_S: Final = 6.0
"""How often the version is asked for where a node has no subscription to it."""


class Version(NamedTuple):
    """Of a runtime, as `state_getRuntimeVersion` answers."""

    spec: int
    transaction: int


def version_of(answer: Any) -> Version:
    """The answer's version. ChainError when it is none."""
    try:
        return Version(int(answer["specVersion"]), int(answer["transactionVersion"]))
    except (KeyError, TypeError, ValueError):
        raise ChainError(f"the node answered {str(answer)[:80]!r} where a runtime version belongs") from None


class VersionWatch:
    """The runtime version of the best block, over one connection: told by the node as soon as it changes."""

    def __init__(self, socket: Socket, timeout_s: float) -> None:
        self._socket = socket
        self._lock = threading.Lock()
        self._subscription: Subscription | None = None
        self._asked_s = time.monotonic()
        try:
            self._subscription = socket.subscribe("state_subscribeRuntimeVersion", [], timeout_s)
            self._version = version_of(self._subscription.next(timeout_s))
        except ChainRefused:
            self._version = version_of(socket.request("state_getRuntimeVersion", [], timeout_s))
        except TimeoutError as error:
            raise ChainUnreachable(f"{socket.name}: {error}") from None

    def now(self, timeout_s: float) -> Version:
        """The version known now. ChainUnreachable when the connection is gone."""
        with self._lock:
            if self._subscription is not None:
                while (notice := self._subscription.poll()) is not NOTHING:
                    self._version = version_of(notice)
            elif time.monotonic() - self._asked_s > _POLL_S:
                self._asked_s = time.monotonic()
                self._version = version_of(self._socket.request("state_getRuntimeVersion", [], timeout_s))
            return self._version


class Codec:
    """One runtime's encoding. `runtime` is bittensor-core's object. ChainError for metadata that cannot be read."""

    def __init__(self, raw: bytes, version: Version, ss58_format: int = 42) -> None:
        self.version = version
        try:
            self.runtime = bittensor_core.Runtime(raw, version.spec, version.transaction, ss58_format)
        except ValueError as error:
            why = str(error).splitlines()[0]
            raise ChainError(f"the chain's metadata (spec {version.spec}) cannot be read: {why}") from None

    @cached_property
    def _pallets(self) -> dict[str, dict[str, Any]]:
        return {
            pallet["name"]: {
                "index": pallet["index"],
                "calls": {
                    call["name"]: [argument["name"] for argument in call["args"]] for call in pallet["calls"]
                },
                "storage": {item["name"] for item in pallet["storage"]},
                "constants": set(pallet["constants"]),
            }
            for pallet in self.runtime.metadata_ir()["pallets"]
        }

    @cached_property
    def apis(self) -> dict[str, dict[str, Any]]:
        """API -> method -> {"inputs": [(name, type)], "output": type}. Empty for metadata of version 14."""
        return dict(self.runtime.runtime_api_map())

    @cached_property
    def events_key(self) -> str:
        return f"0x{bytes(self.runtime.storage_key('System', 'Events', [])).hex()}"

    def type_of(self, *path: str) -> str:
        """The name by which a type is decoded, from its path, as in ("sp_runtime", "DispatchError"). UnknownToChain."""
        for entry in json.loads(self.runtime.registry_json())["types"]:
            if entry["type"].get("path") == list(path):
                return f"scale_info::{entry['id']}"
        raise self.unknown(f"type {'::'.join(path)}")

    def has(self, pallet: str, kind: str, name: str) -> bool:
        """kind: calls, storage or constants."""
        return name in self._pallets.get(pallet, {}).get(kind, ())

    def pallet_name(self, index: int) -> str:
        """Of the pallet of that index. ValueError."""
        for name, pallet in self._pallets.items():
            if pallet["index"] == index:
                return name
        raise ValueError(f"no pallet has the index {index}")

    def parameters(self, pallet: str, call: str) -> list[str]:
        """Names of a call's parameters, in order. UnknownToChain."""
        if not self.has(pallet, "calls", call):
            raise self.unknown(f"call {pallet}.{call}")
        names: list[str] = self._pallets[pallet]["calls"][call]
        return list(names)

    def unknown(self, what: str) -> UnknownToChain:
        return UnknownToChain(
            f"the chain (spec version {self.version.spec}) has no {what}",
            "check its spelling, or whether this chain's runtime is older or newer than it",
        )


class Runtimes:
    """All runtimes that one connection met. Safe from several threads."""

    def __init__(
        self,
        ask: Ask,
        now: Callable[[], Version],
        genesis: Callable[[], bytes],
        cache: MetadataCache,
        ss58_format: int = 42,
    ) -> None:
        self._ask = ask
        self._now = now
        self._genesis = genesis
        self._cache = cache
        self._ss58_format = ss58_format
        self._lock = threading.Lock()
        """Held for an instant: what is remembered."""
        self._loading = threading.Lock()
        """Held while metadata is fetched: one thread fetches, the others find it in memory."""
        self._codecs: OrderedDict[Version, Codec] = OrderedDict()
        self._made_by: OrderedDict[str, Version] = OrderedDict()
        self._in_force: OrderedDict[str, Version] = OrderedDict()
        self._since: dict[Version, int] = {}
        """The lowest block known to have it in force."""

    def best(self) -> Codec:
        """Of the best block: for its state, its API calls, and new extrinsics."""
        return self._codec(self._now(), None)

    def in_force(self, block_hash: str | None) -> Codec:
        """The one that answers API calls at a block: after an upgrade in that block, the new one."""
        if block_hash is None:
            return self.best()
        version = self._recall(self._in_force, block_hash)
        if version is None:
            (answer,) = self._ask([("state_getRuntimeVersion", [block_hash])], block_hash)
            version = version_of(answer)
            self._remember(self._in_force, block_hash, version)
        return self._codec(version, block_hash)

    def made(self, block_hash: str | None) -> Codec:
        """The one that executed a block, and so wrote its state, extrinsics and events: in force at its parent."""
        if block_hash is None:
            return self.best()
        version = self._recall(self._made_by, block_hash)
        if version is None:
            version = self._find_maker(block_hash)
            self._remember(self._made_by, block_hash, version)
        return self._codec(version, block_hash)

    def newer(self, codec: Codec) -> Codec | None:
        """After the best block's state could not be decoded: the runtime by now, None when it is the same."""
        (answer,) = self._ask([("state_getRuntimeVersion", [])], None)
        version = version_of(answer)
        return None if version == codec.version else self._codec(version, None)

    # --- inside -----------------------------------------------------------------------------------------

    def _find_maker(self, block_hash: str) -> Version:
        answer, header = self._ask(
            [("state_getRuntimeVersion", [block_hash]), ("chain_getHeader", [block_hash])], block_hash
        )
        version, number = version_of(answer), head_of(header).number
        self._remember(self._in_force, block_hash, version)
        parent = str(header["parentHash"])
        with self._lock:
            since = self._since.get(version)
        # Spec versions only grow: where an earlier block has this one in force, so has the parent.
        if parent == _NO_PARENT or (since is not None and since < number):
            return version
        try:
            (answer,) = self._ask([("state_getRuntimeVersion", [parent])], parent)
        except ChainRefused:
            return version  # the oldest block whose state is kept: its parent's is not
        before = version_of(answer)
        with self._lock:
            self._since[version] = number if before != version else number - 1
        self._remember(self._in_force, parent, before)
        return before

    def _recall(self, table: OrderedDict[str, Version], block_hash: str) -> Version | None:
        with self._lock:
            version = table.get(block_hash)
            if version is not None:
                table.move_to_end(block_hash)
            return version

    def _remember(self, table: OrderedDict[str, Version], block_hash: str, version: Version) -> None:
        with self._lock:
            table[block_hash] = version
            if len(table) > CHAIN_BLOCKS_REMEMBERED_MAX:
                table.popitem(last=False)

    def _known(self, version: Version) -> Codec | None:
        with self._lock:
            codec = self._codecs.get(version)
            if codec is not None:
                self._codecs.move_to_end(version)
            return codec

    def _codec(self, version: Version, block_hash: str | None) -> Codec:
        codec = self._known(version)
        if codec is not None:
            return codec
        with self._loading:
            codec = self._known(version)
            if codec is None:
                codec = self._load(version, block_hash)
                with self._lock:
                    self._codecs[codec.version] = codec
                    while len(self._codecs) > CHAIN_RUNTIMES_MAX:
                        self._codecs.popitem(last=False)
            return codec

    def _load(self, version: Version, block_hash: str | None) -> Codec:
        """From disk or from the node; for the best block, of whatever runtime that has by now."""
        if block_hash is None:
            (at,) = self._ask([("chain_getBlockHash", [])], None)
        else:
            at = block_hash
        answer, header = self._ask([("state_getRuntimeVersion", [at]), ("chain_getHeader", [at])], at)
        if block_hash is None:
            version = version_of(answer)
        elif version_of(answer) != version:
            # The block made an upgrade: its state has the new runtime, what it wrote was the old one's.
            at = str(header["parentHash"])
        genesis, code = self._genesis(), self._code(at)
        raw = self._cache.load(genesis, version.spec, code)
        if raw is not None:
            try:
                return Codec(raw, version, self._ss58_format)
            except ChainError as error:
                log.warning("cached metadata of spec version %d is fetched again: %s", version.spec, error)
        raw = self._fetch(at)
        codec = Codec(raw, version, self._ss58_format)
        self._cache.save(genesis, version.spec, code, head_of(header).number, raw)
        return codec

    def _code(self, block_hash: str) -> str:
        """Hash of the runtime's code: two runtimes of one spec version, as on development chains, are told apart."""
        try:
            (answer,) = self._ask([("state_getStorageHash", [CODE_KEY, block_hash])], block_hash)
        except ChainRefused:
            return ""
        return str(answer or "")

    def _fetch(self, block_hash: str) -> bytes:
        """Metadata of the runtime in force at a block."""
        try:
            (answer,) = self._ask(
                [("state_call", ["Metadata_metadata_at_version", _METADATA_15, block_hash])], block_hash
            )
            raw = _unwrap(unhex(answer))
            if raw is not None:
                return raw
        except ChainRefused as refused:
            log.info("the node has no metadata of version 15 (%s); version 14 is asked for", refused.what)
        (answer,) = self._ask([("state_getMetadata", [block_hash])], block_hash)
        raw = unhex(answer)
        if len(raw) > CHAIN_METADATA_BYTES_MAX or not raw.startswith(MAGIC):
            raise ChainError("the node answered what is no runtime metadata", "try another endpoint")
        return raw


def _unwrap(data: bytes) -> bytes | None:
    """Metadata out of `Option<OpaqueMetadata>`; None where the runtime has not that version."""
    if data == b"\0":
        return None
    try:
        length, width = uncompact(data[1:])
    except ValueError:
        length, width = -1, 0
    raw = data[1 + width :]
    if (
        data[:1] != b"\1"
        or len(raw) != length
        or not raw.startswith(MAGIC)
        or length > CHAIN_METADATA_BYTES_MAX
    ):
        raise ChainError("the node answered what is no runtime metadata", "try another endpoint")
    return raw
