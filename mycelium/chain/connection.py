"""A connection to the chain: what programs read from it and submit to it.

Owns nothing but the order of questions: endpoints are `access`'s, encodings `runtime`'s, submissions `submission`'s.
Values are plain Python as bittensor-core decodes them from the chain's own metadata; accounts are SS58 text.
"""

from __future__ import annotations

import random
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeVar

from mycelium.chain import networks
from mycelium.chain.access import Access
from mycelium.chain.cache import MetadataCache, default_directory
from mycelium.chain.extrinsics import Receipt, compose, timestamp_ms
from mycelium.chain.feeds import HeadFeed, Wanted
from mycelium.chain.header import Head, head_of, unhex
from mycelium.chain.inclusion import INCLUDED
from mycelium.chain.legacy import Substrate
from mycelium.chain.runtime import Codec, Runtimes
from mycelium.chain.socket import shown
from mycelium.chain.submission import Submitter
from mycelium.config import (
    CHAIN_BLOCKS_REMEMBERED_MAX,
    CHAIN_ERA_BLOCKS,
    CHAIN_INCLUSION_S,
    CHAIN_KEYS_PAGE,
    CHAIN_REQUEST_S,
    CHAIN_SCAN_S,
)
from mycelium.errors import ChainError, UnknownToChain, UsageError

T = TypeVar("T")
_DEFAULT: Final = Path()
"""Stands for the default directory, which is looked up when a connection is made."""


class Connection(Substrate):
    """A chain, over one or several endpoints. Opens nothing before it is asked; safe from several threads.

    endpoints: addresses (ws://, wss://), or the name of a network. timeout_s: of one question, with all endpoints
    tried for it. cache_dir: for runtime metadata, None for none. genesis: 32 bytes that the chain must have.
    archive: endpoints that are asked for blocks whose state the others have discarded. rng: for tests.

    Every method that asks may raise ChainUnreachable (nobody answered in time), ChainRefused (a node said no) and
    WrongChain; what it raises beside them, it says.
    """

    def __init__(
        self,
        endpoints: str | Sequence[str],
        *,
        ss58_format: int = 42,
        timeout_s: float = CHAIN_REQUEST_S,
        cache_dir: Path | None = _DEFAULT,
        genesis: bytes | None = None,
        archive: str | Sequence[str] = (),
        rng: random.Random | None = None,
        scan_s: float = CHAIN_SCAN_S,
    ) -> None:
        access = Access(
            _addresses(endpoints),
            archive=_addresses(archive),
            timeout_s=timeout_s,
            genesis=genesis,
            rng=rng,
        )
        super().__init__(access, ss58_format)
        cache = MetadataCache(default_directory() if cache_dir is _DEFAULT else cache_dir)
        self._runtimes = Runtimes(
            lambda calls, _: access.batch(calls),
            access.version,
            lambda: access.genesis,
            cache,
            ss58_format,
        )
        self._submitter = Submitter(access, self._runtimes, scan_s=scan_s)
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._numbers_lock = Lock()
        # A program that drops its connection without closing it leaves neither a socket nor a thread.
        self._closer = weakref.finalize(self, access.close)

    # --- which chain ------------------------------------------------------------------------------------

    @property
    def genesis(self) -> bytes:
        """Hash of block 0, 32 bytes."""
        return self._access.genesis

    @property
    def spec_version(self) -> int:
        """Of the runtime of the best block."""
        return self._access.version().spec

    @property
    def endpoint(self) -> str:
        """The address in use, or the preferred one while there is none."""
        return self._access.rpc.endpoint

    @property
    def access(self) -> Access:
        """For requests that no method here makes; `access.rpc.subscribe` for subscriptions."""
        return self._access

    def connect(self) -> Connection:
        """Itself, connected. Raises as every question does: to know at once whether the chain is there."""
        self._access.rpc.greeting()
        return self

    # --- state ------------------------------------------------------------------------------------------

    def read(self, pallet: str, item: str, params: Sequence[Any] = (), block_hash: str | None = None) -> Any:
        """One storage value; its default, or None, where the chain has none. UnknownToChain, UsageError."""
        return self.read_many([(pallet, item, params)], block_hash)[0]

    def read_many(self, wanted: Sequence[Wanted], block_hash: str | None = None) -> list[Any]:
        """Several storage values of one block in one request, each as `read` gives it."""
        if not wanted:
            return []

        def ask(codec: Codec) -> list[Any]:
            keys = [_key(codec, *one) for one in wanted]
            found = self._values(keys, block_hash)
            return [
                _value(codec, pallet, item, found.get(key))
                for (pallet, item, _), key in zip(wanted, keys, strict=True)
            ]

        return self._decoded(ask, block_hash, self._runtimes.made)

    def read_map(
        self, pallet: str, item: str, params: Sequence[Any] = (), block_hash: str | None = None
    ) -> dict[Any, Any]:
        """All entries of a map of one block: a key, or a tuple of keys, -> value. UnknownToChain, UsageError.

        params: the first keys, which then are not part of the answer's.
        """
        at = self.head().hash if block_hash is None else block_hash

        def ask(codec: Codec) -> dict[Any, Any]:
            prefix = _key(codec, pallet, item, params, whole=False)
            entries: dict[Any, Any] = {}
            start: str | None = None
            while True:
                page = self._access.request(
                    "state_getKeysPaged", [prefix, CHAIN_KEYS_PAGE, start or prefix, at]
                )
                if page:
                    changes = list(self._values(page, at).items())
                    entries.update(codec.runtime.decode_map_changes(pallet, item, changes, len(params)))
                if len(page) < CHAIN_KEYS_PAGE:
                    return entries
                start = page[-1]

        return self._decoded(ask, at, self._runtimes.made)

    def storage_keys(self, wanted: Sequence[Wanted]) -> list[str]:
        """The keys of storage values as hex, for the best block's runtime. UnknownToChain, UsageError."""
        codec = self._runtimes.best()
        return [_key(codec, *one) for one in wanted]

    def decode_value(self, one: Wanted, value: str | None) -> Any:
        """A value that a subscription told of, as `read` gives it."""
        pallet, item, _ = one
        return self._decoded(lambda codec: _value(codec, pallet, item, value), None, self._runtimes.made)

    def heads(self, finalised: bool = True) -> Iterator[Head]:
        """New heads, beginning with the present one, until the connection is closed: then ChainUnreachable.

        Finalised ones only grow in number; after a lost connection some may be left out.
        """
        return HeadFeed(finalised).blocking(self._access)

    def runtime_api(
        self,
        api: str,
        method: str,
        params: Sequence[Any] | Mapping[str, Any] = (),
        block_hash: str | None = None,
    ) -> Any:
        """What a function of the runtime returns, as in ("SubnetInfoRuntimeApi", "get_metagraph", [1]).

        UnknownToChain where this runtime has not the function, UsageError for arguments that do not fit.
        """

        def ask(codec: Codec) -> Any:
            declared = _declared(codec, api, method)
            arguments = _arguments(codec, f"{api}.{method}", declared["inputs"], params)
            answer = self._access.request(
                "state_call",
                [f"{api}_{method}", f"0x{arguments.hex()}", *([] if block_hash is None else [block_hash])],
            )
            return codec.runtime.decode(declared["output"], unhex(answer))

        return self._decoded(ask, block_hash, self._runtimes.in_force)

    def constant(self, pallet: str, name: str) -> Any:
        """A constant of the best block's runtime. UnknownToChain."""
        codec = self._runtimes.best()
        if not codec.has(pallet, "constants", name):
            raise codec.unknown(f"constant {pallet}.{name}")
        return codec.runtime.constant(pallet, name)

    def has_call(self, pallet: str, name: str) -> bool:
        """Whether the best block's runtime has that call."""
        return self._runtimes.best().has(pallet, "calls", name)

    def has_storage(self, pallet: str, item: str) -> bool:
        """Whether the best block's runtime has that storage item."""
        return self._runtimes.best().has(pallet, "storage", item)

    def has_api(self, api: str, method: str) -> bool:
        """Whether the best block's runtime has that function."""
        return method in self._runtimes.best().apis.get(api, {})

    def call_parameters(self, pallet: str, name: str) -> list[str]:
        """Names of a call's parameters, in order. UnknownToChain."""
        return self._runtimes.best().parameters(pallet, name)

    # --- blocks -----------------------------------------------------------------------------------------

    def head(self) -> Head:
        """The best block."""
        return head_of(self._access.request("chain_getHeader", []))

    def finalised_head(self) -> Head:
        """The newest block that no reorganisation can take away."""
        block_hash = str(self._access.request("chain_getFinalizedHead"))
        return Head(self.number_of(block_hash), block_hash)

    def hash_of(self, number: int) -> str | None:
        """Hash of a block of the best chain; None where there is none yet."""
        found = self._access.request("chain_getBlockHash", [number])
        return None if found is None else str(found)

    def number_of(self, block_hash: str) -> int:
        """Number of a block. ChainError when no node knows it."""
        with self._numbers_lock:
            number = self._numbers.get(block_hash)
        if number is None:
            number = head_of(self._access.request("chain_getHeader", [block_hash])).number
            with self._numbers_lock:
                self._numbers[block_hash] = number
                if len(self._numbers) > CHAIN_BLOCKS_REMEMBERED_MAX:
                    self._numbers.popitem(last=False)
        return number

    def timestamp_ms(self, block_hash: str) -> int:
        """A block's time, ms since 1970: from the block itself, so also where its state was discarded.

        ChainError for block 0, which has none, and for a block that no node knows.
        """
        block = self._access.request("chain_getBlock", [block_hash])
        try:
            extrinsics = [unhex(text) for text in block["block"]["extrinsics"]]
        except (KeyError, TypeError):
            raise ChainError(f"no node knows the block {block_hash}") from None
        # The call's index has been the same in every runtime; the best one's is at hand.
        return timestamp_ms(self._runtimes.best(), extrinsics)

    # --- submitting -------------------------------------------------------------------------------------

    def compose(self, pallet: str, function: str, params: Mapping[str, Any]) -> bytes:
        """A call's bytes, for the best block's runtime. UnknownToChain, UsageError."""
        return compose(self._runtimes.best(), pallet, function, params)

    def submit(
        self,
        call: bytes,
        keypair: Any,
        *,
        wait: str = INCLUDED,
        timeout_s: float = CHAIN_INCLUSION_S,
        era_blocks: int | None = CHAIN_ERA_BLOCKS,
        nonce: int | None = None,
        dry_run: bool = False,
    ) -> Receipt:
        """Sign a call and submit it; what became of it. A call that failed is a Receipt without success.

        wait: "submitted" (a node has taken it), "included" (in a block), "finalised". era_blocks: after how many it
        is void, None for never. nonce: by default the next free one. dry_run: nothing is submitted; the fee, and
        what a node says of it. keypair: ours, substrate-interface's or Bittensor's.
        Raises ExtrinsicInvalid (refused, with the node's code), ExtrinsicTimeout (submitted, and in no block in
        time), ChainUnreachable (not submitted), UsageError.
        """
        return self._submitter.submit(
            call,
            keypair,
            wait=wait,
            timeout_s=timeout_s,
            era_blocks=era_blocks,
            nonce=nonce,
            dry_run=dry_run,
        )

    def close(self) -> None:
        """End all connections; whatever waits raises ChainUnreachable. `connect_websocket` opens them again."""
        super().close()

    # --- inside -----------------------------------------------------------------------------------------

    def _decoded(
        self, ask: Callable[[Codec], T], block_hash: str | None, find: Callable[[str | None], Codec]
    ) -> T:
        """The answer, decoded by its block's runtime; once more if the runtime was changed under it."""
        codec = find(block_hash)
        try:
            return ask(codec)
        except ValueError as error:
            newer = self._runtimes.newer(codec) if block_hash is None else None
            if newer is None:
                where, spec = shown(self.endpoint), codec.version.spec
                raise ChainError(
                    f"an answer of {where} cannot be decoded (spec version {spec}): {error}",
                    "try another endpoint",
                ) from None
            return ask(newer)

    def _values(self, keys: Sequence[str], block_hash: str | None) -> dict[str, str | None]:
        sets = self._access.request(
            "state_queryStorageAt", [list(keys), *([] if block_hash is None else [block_hash])]
        )
        try:
            return {key: value for changes in sets for key, value in changes["changes"]}
        except (KeyError, TypeError, ValueError):
            raise ChainError("the node answered what are no storage values", "try another endpoint") from None


def _addresses(endpoints: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(endpoints, str):
        return networks.resolve(endpoints)
    return tuple(address for one in endpoints for address in networks.resolve(one))


def _key(codec: Codec, pallet: str, item: str, params: Sequence[Any], whole: bool = True) -> str:
    """A storage key, or the prefix of several. UnknownToChain, UsageError."""
    name = f"{pallet}.{item}"
    try:
        count = len(codec.runtime.storage_entry(pallet, item).param_types)
    except KeyError:
        raise codec.unknown(f"storage item {name}") from None
    if len(params) != count if whole else not len(params) < count:
        takes = f"{count} keys" if whole else f"fewer than {count} keys" if count else "no map"
        raise UsageError(f"{name} is read by {takes}, not {len(params)}")
    try:
        return f"0x{bytes(codec.runtime.storage_key(pallet, item, list(params))).hex()}"
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"{name} cannot be read by {list(params)!r}: {error}") from None


def _value(codec: Codec, pallet: str, item: str, value: str | None) -> Any:
    entry = codec.runtime.storage_entry(pallet, item)
    if value is not None:
        return codec.runtime.decode(entry.value_type, unhex(value))
    if entry.modifier == "Default":
        return codec.runtime.decode(entry.value_type, bytes(entry.default_bytes))
    return None


def _declared(codec: Codec, api: str, method: str) -> dict[str, Any]:
    if not codec.apis:
        raise UnknownToChain(
            "the node gives no metadata of version 15, without which runtime APIs cannot be called",
            "name an endpoint with a newer node",
        )
    declared: dict[str, Any] | None = codec.apis.get(api, {}).get(method)
    if declared is None:
        raise codec.unknown(f"runtime API {api}.{method}")
    return declared


def _arguments(
    codec: Codec, name: str, inputs: Sequence[tuple[str, str]], params: Sequence[Any] | Mapping[str, Any]
) -> bytes:
    names = [one for one, _ in inputs]
    values = [params.get(one) for one in names] if isinstance(params, Mapping) else list(params)
    given = sorted(params) == sorted(names) if isinstance(params, Mapping) else len(values) == len(names)
    if not given:
        raise UsageError(f"{name} takes ({', '.join(names)}), not {params!r}")
    try:
        return b"".join(
            bytes(codec.runtime.encode(kind, value)) for (_, kind), value in zip(inputs, values, strict=True)
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"{name} cannot be called with {params!r}: {error}") from None
