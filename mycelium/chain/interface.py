"""The low-level interface to a Substrate node under its known names: queries, submissions, blocks, subscriptions.

Owns how often a program's question is repeated, and turns what goes wrong into `SubstrateError`. The work is done by
`connection.Connection`, which is `.substrate`: an instance of substrate-interface's class with everything it has.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Dict, Final, List, Optional, Self, Tuple, TypeVar, Union  # noqa: UP035 - programs ask for them

from substrateinterface.base import QueryMapResult, StorageKey
from substrateinterface.exceptions import BlockNotFound, SubstrateRequestException
from substrateinterface.utils.ss58 import ss58_decode, ss58_encode

from mycelium import constants as fcst
from mycelium.chain import networks, type_registries
from mycelium.chain.connection import Connection
from mycelium.chain.inclusion import FINALISED, INCLUDED
from mycelium.chain.socket import shown
from mycelium.chain.submission import SUBMITTED
from mycelium.errors import ChainError, ChainUnreachable, MyceliumError

logger = logging.getLogger(__name__)

T = TypeVar("T")
_REPEATED: Final = (ChainUnreachable, SubstrateRequestException)
"""What may be otherwise a moment later."""
_DEFINITE: Final = (MyceliumError, BlockNotFound, ValueError, TypeError, LookupError, RuntimeError)

__all__ = [
    "Any",
    "Dict",
    "List",
    "Optional",
    "QueryMapResult",
    "StorageKey",
    "SubstrateError",
    "SubstrateInterface",
    "SubstrateRequestException",
    "Tuple",
    "Union",
    "fcst",
    "get_substrate",
    "logger",
    "ss58_decode",
    "ss58_encode",
    "time",
    "type_registries",
]


def get_substrate(
    subtensor_network: str | None = fcst.FINNEY_NETWORK, subtensor_address: str | None = None
) -> Connection:
    """A connection, opened: an instance of substrate-interface's class, over all endpoints of a network.

    subtensor_address: instead of a network's. What it answers is usable by `.value` and without. ValueError for a
    network that is not known; ChainUnreachable when nobody answers.
    """
    address = _get_chain_endpoint(subtensor_network, subtensor_address)
    known = networks.NETWORKS.get(subtensor_network or "") if not subtensor_address else None
    endpoints = known.endpoints if known is not None else ()
    # A program may have put another address in the public one's place: then that one alone is meant.
    spread = address.rstrip("/") in endpoints
    return Connection(endpoints if spread else address, ss58_format=fcst.SS58_FORMAT).connect()


def _get_chain_endpoint(subtensor_network: str | None, subtensor_address: str | None) -> str:
    """The address; of a network by name, its first one. ValueError."""
    if subtensor_address:
        logger.info("Using the chain's endpoint %s", shown(subtensor_address))
        return subtensor_address
    if subtensor_network is None:
        raise ValueError("subtensor_network and subtensor_address cannot both be None")
    found = fcst.SUBTENSOR_NETWORK_TO_SUBTENSOR_ADDRESS.get(subtensor_network)
    if found is None and subtensor_network in networks.NETWORKS:
        found = networks.endpoints(subtensor_network)[0]
    if found is None:
        raise ValueError(f"Unrecognized chain network: {subtensor_network}")
    logger.info("Using the network %s, at %s", subtensor_network, shown(found))
    return found


class SubstrateError(ChainError):
    """What went wrong with a question or a submission; its cause is `__cause__`."""


class SubstrateInterface:
    """A node by its address. SubstrateError when it cannot be reached.

    max_retries: how often a question is asked in all, retry_delay: seconds in between. A submission is repeated only
    if it never left this machine.
    """

    def __init__(self, url: str, ss58_format: int = 42) -> None:
        self.url = url
        self.ss58_format = ss58_format
        try:
            self.substrate = Connection(url, ss58_format=ss58_format).connect()
        except MyceliumError as error:
            raise SubstrateError(
                f"Failed to connect to {shown(url)}: {_text(error)}", _remedy(error)
            ) from error

    def query_map(
        self,
        module: str,
        storage_function: str,
        params: list[Any] | None = None,
        block_hash: str | None = None,
        max_retries: int = 3,
        retry_delay: float = 1.0,
    ) -> QueryMapResult:
        """The entries of a storage map, as substrate-interface gives them: it can be iterated over."""
        return self._ask(
            "Query map failed",
            lambda: self.substrate.query_map(module, storage_function, params or [], block_hash=block_hash),
            max_retries,
            retry_delay,
        )

    def query(
        self,
        module: str,
        storage_function: str,
        params: list[Any] | None = None,
        block_hash: str | None = None,
        max_retries: int = 3,
        retry_delay: float = 1.0,
    ) -> Any:
        """A storage value, as substrate-interface gives it: `.value` is plain Python."""
        return self._ask(
            "Query failed",
            lambda: self.substrate.query(module, storage_function, params or [], block_hash=block_hash),
            max_retries,
            retry_delay,
        )

    def submit_extrinsic(
        self,
        call_module: str,
        call_function: str,
        params: dict[str, Any],
        keypair: Any,
        wait_for_inclusion: bool = True,
        wait_for_finalization: bool = False,
        max_retries: int = 3,
        retry_delay: float = 1.0,
    ) -> str:
        """Sign and submit a call; the extrinsic's hash. SubstrateError, too, when it is in a block and failed."""
        wait = FINALISED if wait_for_finalization else INCLUDED if wait_for_inclusion else SUBMITTED

        def submit() -> str:
            call = self.substrate.compose(call_module, call_function, params)
            return self.substrate.submit(call, keypair, wait=wait).check().hash

        return self._ask("Extrinsic submission failed", submit, max_retries, retry_delay)

    def get_block(
        self, block_hash: str | None = None, max_retries: int = 3, retry_delay: float = 1.0
    ) -> dict[str, Any]:
        """A block, by default the best one: {"header": ..., "extrinsics": [...]}, as substrate-interface gives it."""

        def get() -> dict[str, Any]:
            block = self.substrate.get_block(block_hash=block_hash)
            if block is None:
                raise ChainError(f"no node knows the block {block_hash}")
            return dict(block)

        return self._ask("Get block failed", get, max_retries, retry_delay)

    def get_block_number(
        self, block_hash: str | None = None, max_retries: int = 3, retry_delay: float = 1.0
    ) -> int:
        """Number of a block, by default of the best one."""

        def get() -> int:
            if block_hash is None:
                return self.substrate.head().number
            return self.substrate.number_of(block_hash)

        return self._ask("Get block number failed", get, max_retries, retry_delay)

    def get_account_info(
        self, address: str, block_hash: str | None = None, max_retries: int = 3, retry_delay: float = 1.0
    ) -> dict[str, Any]:
        """Nonce, and under "data" the free, reserved and frozen balances in rao."""
        return self._ask(
            "Get account info failed",
            lambda: dict(self.substrate.read("System", "Account", [address], block_hash)),
            max_retries,
            retry_delay,
        )

    def get_storage_key(
        self, module: str, storage_function: str, params: list[Any] | None = None
    ) -> StorageKey:
        """A storage key, for `subscribe_storage_changes`."""
        return self._ask(
            "Create storage key failed",
            lambda: self.substrate.create_storage_key(module, storage_function, params or []),
            1,
            0.0,
        )

    def subscribe_storage_changes(
        self,
        keys: list[StorageKey],
        callback: Callable[..., Any],
        max_retries: int = 3,
        retry_delay: float = 1.0,
    ) -> None:
        """Call `callback(storage_key, obj, update_nr, subscription_id)` at first and at each change.

        Until it returns something other than None, or the connection is closed. A lost subscription is begun again.
        """
        self._ask(
            "Subscribe storage failed",
            lambda: self.substrate.subscribe_storage(keys, callback),
            max_retries,
            retry_delay,
        )

    def close(self) -> None:
        """Close the connection."""
        self.substrate.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, failed: str, ask: Callable[[], T], tries: int, delay_s: float) -> T:
        for number in range(1, max(1, tries) + 1):
            try:
                return ask()
            except _REPEATED as error:
                if number >= tries or self.substrate.access.rpc.closed:
                    raise SubstrateError(f"{failed}: {_text(error)}", _remedy(error)) from error
            except _DEFINITE as error:
                raise SubstrateError(f"{failed}: {_text(error)}", _remedy(error)) from error
            time.sleep(delay_s)
        raise AssertionError("the last try returns or raises")


def _text(error: Exception) -> str:
    return str(getattr(error, "what", error))


def _remedy(error: Exception) -> str:
    return str(getattr(error, "remedy", ""))
