"""What the development chain says of an extrinsic before it is in a block: valid and how, or why not.

Shared by the runtime, which judges, and by the pool and the RPC server, which act on it. The kinds and texts are
those of Substrate's `sp_runtime::transaction_validity`, because clients match on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FOREVER: Final = 2**64 - 1
"""The longevity of an immortal extrinsic."""

TEXTS: Final[dict[str, str]] = {
    "Call": "Transaction call is not expected",
    "Payment": "Inability to pay some fees (e.g. account balance too low)",
    "Future": "Transaction will be valid in the future",
    "Stale": "Transaction is outdated",
    "BadProof": "Transaction has a bad signature",
    "AncientBirthBlock": "Transaction has an ancient birth block",
    "ExhaustsResources": "Transaction would exhaust the block limits",
    "Custom": "InvalidTransaction custom error",
    "BadMandatory": "A call was labelled as mandatory, but resulted in an Error.",
    "MandatoryValidation": "Transaction dispatch is mandatory; transactions must not be validated.",
    "BadSigner": "Invalid signing address",
}
KINDS: Final = tuple(TEXTS)
"""In the order of the variants of `InvalidTransaction`: an index here is the SCALE discriminant."""


class InvalidTransaction(Exception):
    """An extrinsic that is refused. Internal to the development chain: clients get it as a JSON-RPC error.

    kind: one of KINDS, or "Undecodable": the bytes are no extrinsic of this runtime (a real runtime traps).
    custom: the number of a "Custom" one, as Subtensor's extension gives it.
    """

    def __init__(self, kind: str, custom: int | None = None) -> None:
        super().__init__(TEXTS.get(kind, kind) if custom is None else f"Custom error: {custom}")
        self.kind = kind
        self.custom = custom


@dataclass(frozen=True, slots=True)
class Validity:
    """An extrinsic that may go into a block: whose it is, what must come before it, and for how long.

    hash: blake2b-256 of its bytes. requires, provides: tags, (account, nonce) in SCALE; required ones are
    provided by other extrinsics that are not in a block yet. longevity: blocks until it is too old.
    """

    hash: bytes
    account: bytes
    nonce: int
    requires: tuple[bytes, ...] = ()
    provides: tuple[bytes, ...] = ()
    longevity: int = FOREVER
    priority: int = 0


@dataclass(frozen=True, slots=True)
class ChainContext:
    """What a runtime must know of the chain to judge an extrinsic.

    number: of the block that the extrinsic would be in. block_hash: of the block of that number on this
    chain, None where there is none or it is too old to be remembered.
    """

    genesis_hash: bytes
    number: int
    block_hash: Callable[[int], bytes | None]


class UnknownRuntimeApi(LookupError):
    """The runtime has no function of that name."""
