"""Small questions and operations on a chain, under the names that programs know, over any connection they hold.

Owns the way from the connections of other libraries to ours, and from floats and version texts of older programs to
what the chain takes. Amounts are TAO as floats here and only here; inside they are whole rao. Key files are read by
`identity.wallet`.
"""

from __future__ import annotations

import json
import logging
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Final, List, Optional, Union  # noqa: UP035 - names kept for programs

from substrateinterface import Keypair, SubstrateInterface
from substrateinterface.utils.ss58 import ss58_decode, ss58_encode

from mycelium import constants
from mycelium.chain import registration, serving, staking, type_registries
from mycelium.chain.answers import plain
from mycelium.chain.balance import RAO_PER_TAO
from mycelium.chain.connection import Connection
from mycelium.chain.inclusion import FINALISED, INCLUDED
from mycelium.chain.networks import DEFAULT
from mycelium.chain.signatures import sign_message
from mycelium.chain.signer import signer
from mycelium.chain.submission import SUBMITTED
from mycelium.errors import (
    AccountRefused,
    ChainError,
    MyceliumError,
    SubstrateConnectionError,
    UsageError,
)
from mycelium.identity import account as accounts
from mycelium.identity import keys, wallet

if TYPE_CHECKING:
    from mycelium.chain.legacy_scale import (
        create_scale_object_from_scale_bytes,
        create_scale_object_from_scale_encoding,
    )

logger = log = logging.getLogger(__name__)

__all__ = [
    "Any",
    "Dict",
    "Keypair",
    "List",
    "Optional",
    "Path",
    "SubstrateConnectionError",
    "SubstrateInterface",
    "Union",
    "as_connection",
    "block_hash",
    "create_scale_object_from_scale_bytes",
    "create_scale_object_from_scale_encoding",
    "format_error_message",
    "get_coldkeypub_file_path",
    "get_current_block",
    "get_hotkey_file_path",
    "get_stake",
    "get_substrate_connection",
    "is_hotkey_registered",
    "json",
    "load_coldkeypub_keypair",
    "load_hotkey_keypair",
    "logger",
    "query_substrate",
    "query_subtensor",
    "serve_axon",
    "sign_message",
    "ss58_decode",
    "ss58_encode",
    "type_registries",
    "verify_signature",
    "version_number",
    "wait_for",
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


def wait_for(inclusion: bool, finalization: bool) -> str:
    """What a submission waits for, of the two switches that programs know."""
    return FINALISED if finalization else INCLUDED if inclusion else SUBMITTED


def block_hash(connection: Connection, block: int) -> str:
    """The hash of a block by its number. ChainError where there is none yet."""
    found = connection.hash_of(int(plain(block)))
    if found is None:
        raise ChainError(f"there is no block {block} yet")
    return found


def query_substrate(
    substrate: SubstrateInterface,
    module: str,
    method: str,
    params: list[Any],
    return_value: bool = True,
    block: int | None = None,
) -> tuple[SubstrateInterface, Any]:
    """A storage value by pallet and item, at the best block or at a given one; and the same connection.

    return_value: plain Python; else an object whose `.value` that is. What is repeated over other endpoints, and how
    long, is the connection's business: none is opened or closed here. ChainError, UsageError.
    """
    connection = as_connection(substrate)
    at = None if block is None else block_hash(connection, block)
    keys_of = [plain(param) for param in params or ()]
    if return_value:
        return substrate, connection.read(module, method, keys_of, at)
    return substrate, connection.query(module, method, keys_of, block_hash=at)


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


# --- keys -------------------------------------------------------------------------------------------------


def get_hotkey_file_path(wallet_name: str, hotkey_name: str) -> Path:
    """Where Bittensor keeps a hotkey."""
    return Path(wallet.WALLETS).expanduser() / wallet_name / "hotkeys" / hotkey_name


def get_coldkeypub_file_path(wallet_name: str) -> Path:
    """Where Bittensor keeps the public half of a wallet's coldkey."""
    return Path(wallet.WALLETS).expanduser() / wallet_name / "coldkeypub.txt"


def load_hotkey_keypair(wallet_name: str, hotkey_name: str) -> Keypair:
    """A wallet's hotkey as substrate-interface's keypair. ValueError, which says what to do and shows no secret."""
    path = get_hotkey_file_path(wallet_name, hotkey_name)
    try:
        keypair: Keypair = wallet.load_file(path).as_substrate()
    except (MyceliumError, OSError, ValueError, TypeError) as error:
        raise ValueError(f"Failed to load keypair: {error}") from None
    logger.info("Loaded keypair from %s", path)
    return keypair


def load_coldkeypub_keypair(wallet_name: str) -> Keypair:
    """The public half of a wallet's coldkey as substrate-interface's keypair. ValueError."""
    path = get_coldkeypub_file_path(wallet_name)
    try:
        fields = json.loads(path.read_bytes())
        address = fields.get("ss58Address") if isinstance(fields, dict) else None
        if not isinstance(address, str):
            raise UsageError(f"{path} has no ss58Address")
        accounts.parse(address)
        keypair = Keypair(ss58_address=address, ss58_format=constants.SS58_FORMAT)
    except (MyceliumError, OSError, ValueError, TypeError) as error:
        raise ValueError(f"Failed to load keypair: {error}") from None
    logger.info("Loaded keypair from %s", path)
    return keypair


def format_error_message(error_message: Mapping[str, Any] | None) -> str:
    """A module error in one line. error_message: its type, name and docs, as substrate-interface gives them."""
    told = error_message or {}
    docs = told.get("docs") or "Unknown Description"
    first = docs if isinstance(docs, str) else docs[0]
    kind, name = told.get("type", "UnknownType"), told.get("name", "UnknownError")
    return f"substrate returned `{name} ({kind})` error. Description: `{first}`"


if not TYPE_CHECKING:  # which would take any name for one of them

    def __getattr__(name: str) -> Any:
        # Loaded when they are asked for: scalecodec's types of 2024 are of use to almost nobody.
        if name in ("create_scale_object_from_scale_bytes", "create_scale_object_from_scale_encoding"):
            from mycelium.chain import legacy_scale

            return getattr(legacy_scale, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
