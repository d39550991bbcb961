"""Small questions and operations on a chain, under the names that programs know, over any connection they hold.

Owns the way from the connections of other libraries to ours, and from floats and version texts of older programs to
what the chain takes. Amounts are TAO as floats here and only here; inside they are whole rao.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from typing import Any, Dict, Final, List, Optional, Union  # noqa: UP035 - names kept for programs

from substrateinterface import SubstrateInterface
from substrateinterface.utils.ss58 import ss58_decode, ss58_encode

from mycelium.chain import registration, serving, staking
from mycelium.chain.balance import RAO_PER_TAO
from mycelium.chain.connection import Connection
from mycelium.chain.networks import DEFAULT
from mycelium.chain.signer import signer
from mycelium.errors import (
    AccountRefused,
    ChainError,
    MyceliumError,
    SubstrateConnectionError,
    UsageError,
)
from mycelium.identity import account as accounts
from mycelium.identity import keys

log = logging.getLogger(__name__)

__all__ = [
    "Any",
    "Dict",
    "List",
    "Optional",
    "SubstrateConnectionError",
    "SubstrateInterface",
    "Union",
    "as_connection",
    "get_current_block",
    "get_stake",
    "get_substrate_connection",
    "is_hotkey_registered",
    "query_subtensor",
    "serve_axon",
    "ss58_decode",
    "ss58_encode",
    "verify_signature",
    "version_number",
]

_U32: Final = 2**32 - 1
_ours: weakref.WeakKeyDictionary[Any, Connection] = weakref.WeakKeyDictionary()
"""A connection of another library -> ours to the same endpoint, for as long as the other is there."""


def as_connection(substrate: Any) -> Connection:
    """Our connection behind what a program holds: ours itself, one that wraps it, an address, or another library's.

    For another library's, one of ours is opened to its endpoint, and closed when it is gone. UsageError.
    """
    if isinstance(substrate, Connection):
        return substrate
    for name in ("connection", "substrate"):
        inner = getattr(substrate, name, None)
        if isinstance(inner, Connection):
            return inner
    if isinstance(substrate, str):
        return Connection(substrate)
    url = getattr(substrate, "url", None)
    if not isinstance(url, str):
        raise UsageError(f"a {type(substrate).__name__} is no connection to a chain")
    try:
        known = _ours.get(substrate)
        if known is None:
            known = _ours[substrate] = Connection(url)
    except TypeError:
        raise UsageError(f"a {type(substrate).__name__} cannot be kept; give its address") from None
    return known


def get_substrate_connection(url: str, ss58_format: int = 42) -> SubstrateInterface:
    """A connection, opened: an instance of substrate-interface's class. url: an address, or a network's name.

    SubstrateConnectionError when nobody answers there.
    """
    try:
        return Connection(url or DEFAULT, ss58_format=ss58_format).connect()
    except MyceliumError as error:
        raise SubstrateConnectionError(
            f"Failed to connect to {url}: {_what(error)}", _remedy(error)
        ) from error


def query_subtensor(
    substrate: SubstrateInterface, module: str, function: str, params: list[Any] | None = None
) -> Any:
    """A storage value in plain Python, by pallet and item. SubstrateConnectionError."""
    try:
        return as_connection(substrate).read(module, function, params or [])
    except MyceliumError as error:
        raise SubstrateConnectionError(f"Query failed: {_what(error)}", _remedy(error)) from error


def get_stake(substrate: SubstrateInterface, hotkey: str, coldkey: str) -> float:
    """What a coldkey has staked to a hotkey on all subnets, in TAO at the prices of now. ChainError."""
    return staking.total_staked(as_connection(substrate), hotkey, coldkey) / RAO_PER_TAO


def verify_signature(
    substrate: SubstrateInterface, hotkey: str, signature: bytes | str, message: bytes | str
) -> bool:
    """Whether the hotkey signed exactly the message (sr25519). The connection is not asked. False for what is none."""
    del substrate
    try:
        account = accounts.parse(hotkey)
        given = signature if isinstance(signature, bytes) else bytes.fromhex(signature.removeprefix("0x"))
    except (AccountRefused, ValueError):
        return False
    return keys.verify_preimage(account, message if isinstance(message, bytes) else message.encode(), given)


def serve_axon(
    substrate: SubstrateInterface, hotkey: Any, ip: str, port: int, netuid: int, version: str = "1.0.0"
) -> bool:
    """Publish a hotkey's axon, if it is another than the chain has; whether the chain has it now.

    hotkey: what signs - a keypair, wallet/hotkey, a key file or //Alice; an address cannot sign, and is a UsageError.
    Why the chain refused is logged; `mycelium.chain.serving.serve_axon` returns it.
    """
    done = serving.serve_axon(
        as_connection(substrate), signer(hotkey), netuid, ip, port, version=version_number(version)
    )
    if not done.success:
        log.warning("the axon was not published: %s", done.refusal)
    return done.success


def is_hotkey_registered(substrate: SubstrateInterface, hotkey: str, netuid: int) -> bool:
    """Whether a hotkey has a uid on a subnet. ChainError."""
    return registration.is_registered(as_connection(substrate), netuid, hotkey)


def get_current_block(substrate: SubstrateInterface) -> int:
    """Number of the best block. ChainError."""
    return as_connection(substrate).head().number


def version_number(version: str | int) -> int:
    """A version as the chain keeps it: "1.2.3" is 1_002_003, as Bittensor counts; a number is itself. UsageError."""
    if isinstance(version, int) and not isinstance(version, bool):
        found = version
    else:
        parts: Sequence[str] = str(version).strip().removeprefix("v").split(".")
        plain = isinstance(version, str) and all(part.isascii() and part.isdigit() for part in parts)
        if not plain or len(parts) > 3:
            raise UsageError(f"{version!r} is no version: write it as 1.2.3, or as a number")
        if len(parts) > 1 and any(int(part) > 999 for part in parts[1:]):
            raise UsageError(f"{version!r} is no version that fits: each part behind a dot is at most 999")
        scale = 1 if len(parts) == 1 else 1000**2
        found = sum(int(part) * scale // 1000**place for place, part in enumerate(parts))
    if not 0 <= found <= _U32:
        raise UsageError(f"{version!r} is no version that fits into 32 bits")
    return found


def _what(error: MyceliumError) -> str:
    return error.what if isinstance(error, ChainError) else str(error)


def _remedy(error: MyceliumError) -> str:
    return error.remedy if isinstance(error, ChainError) else ""
