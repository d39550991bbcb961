"""A validator's operations as functions over a `SubstrateClient`, under the names that older programs know.
Its encrypted requests to miners, which are `requests`' work, have their names here too.

Owns the errors: everything that goes wrong is a `ValidatorError` that says which rule refused and when to try again.
The work is done by the client's methods; keys and amounts are spelled as there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Dict, List, Optional, TypeVar, Union  # noqa: UP035 - names kept for programs

from mycelium.encrypted.validator.requests import (
    _get_headers,
    construct_server_address,
    get_headers_with_nonce,
    make_non_streamed_get,
    make_non_streamed_post,
    make_streamed_post,
)
from mycelium.errors import ChainError, MyceliumError, ValidatorError
from mycelium.substrate import SubstrateClient, SubstrateError

T = TypeVar("T")

__all__ = [
    "Dict",
    "List",
    "Optional",
    "SubstrateClient",
    "SubstrateError",
    "Union",
    "ValidatorError",
    "_get_headers",
    "add_stake",
    "construct_server_address",
    "get_headers_with_nonce",
    "get_prometheus_info",
    "get_stake",
    "is_hotkey_registered",
    "make_non_streamed_get",
    "make_non_streamed_post",
    "make_streamed_post",
    "remove_stake",
    "serve_axon",
    "set_weights",
    "time",
]


def set_weights(
    substrate: SubstrateClient,
    netuid: int,
    weights: dict[str, float],
    keypair: Any,
    version: str = "1.0.0",
    wait_for_inclusion: bool = True,
    wait_for_finalization: bool = False,
) -> bool:
    """Set a hotkey's weights, hotkey -> weight; True. version: of the subnet's code, its weights version key."""
    return _do(
        "Error setting weights",
        lambda: substrate.set_weights(
            netuid, weights, keypair, wait_for_inclusion, wait_for_finalization, version
        ),
    )


def serve_axon(
    substrate: SubstrateClient, netuid: int, ip: str, port: int, keypair: Any, version: str = "1.0.0"
) -> bool:
    """Publish a hotkey's axon, if it is another than the chain has; True."""
    return _do("Error registering axon", lambda: substrate.serve_axon(netuid, ip, port, keypair, version))


def get_stake(substrate: SubstrateClient, hotkey: str, coldkey: str) -> float:
    """What a coldkey has staked to a hotkey on all subnets, in TAO at the prices of now."""
    return _do("Error getting stake", lambda: substrate.get_stake(hotkey, coldkey))


def add_stake(
    substrate: SubstrateClient,
    amount: float,
    hotkey: str,
    coldkeypair: Any,
    wait_for_inclusion: bool = True,
    wait_for_finalization: bool = False,
) -> bool:
    """Stake so many TAO to a hotkey; True."""
    return _do(
        "Error adding stake",
        lambda: substrate.add_stake(amount, hotkey, coldkeypair, wait_for_inclusion, wait_for_finalization),
    )


def remove_stake(
    substrate: SubstrateClient,
    amount: float,
    hotkey: str,
    coldkeypair: Any,
    wait_for_inclusion: bool = True,
    wait_for_finalization: bool = False,
) -> bool:
    """Take so much stake back; True."""
    return _do(
        "Error removing stake",
        lambda: substrate.remove_stake(
            amount, hotkey, coldkeypair, wait_for_inclusion, wait_for_finalization
        ),
    )


def is_hotkey_registered(substrate: SubstrateClient, hotkey: str, netuid: int) -> bool:
    """Whether a hotkey has a uid on a subnet."""
    return _do("Error checking registration", lambda: substrate.is_registered(hotkey, netuid))


def get_prometheus_info(substrate: SubstrateClient, hotkey: str, netuid: int) -> dict[str, str] | None:
    """A hotkey's Prometheus endpoint: ip, port and version as text; None for none."""
    return _do("Error getting prometheus info", lambda: substrate.get_prometheus_info(hotkey, netuid))


def _do(what: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except MyceliumError as error:
        text, remedy = str(error), ""
        if isinstance(error, ChainError):
            text, remedy = error.what, error.remedy
        raise ValidatorError(f"{what}: {text}", remedy) from error
