"""What a node says when it does not take an extrinsic, in words and with a remedy.

Owns the codes of `author_*` (sc-rpc-api) and the kinds of `InvalidTransaction` (sp_runtime), in both spellings that
nodes use. A number that a pallet gave ("Custom error: 6") is passed on as it is. Pure functions.
"""

from __future__ import annotations

import re
from typing import Any, Final

from mycelium.errors import ChainRefused, ExtrinsicInvalid

CALL: Final = "call"
PAYMENT: Final = "payment"
FUTURE: Final = "future"
STALE: Final = "stale"
BAD_PROOF: Final = "badProof"
ANCIENT: Final = "ancientBirthBlock"
EXHAUSTS: Final = "exhaustsResources"
CUSTOM: Final = "custom"
BAD_SIGNER: Final = "badSigner"
BANNED: Final = "banned"
IMPORTED: Final = "imported"
PRIORITY: Final = "priority"
FULL: Final = "full"
FORMAT: Final = "format"
TRAPPED: Final = "trapped"
UNKNOWN: Final = ""

_TEXTS: Final = {
    "call is not expected": CALL,
    "inability to pay": PAYMENT,
    "valid in the future": FUTURE,
    "is outdated": STALE,
    "bad signature": BAD_PROOF,
    "ancient birth block": ANCIENT,
    "exhaust the block limits": EXHAUSTS,
    "invalid signing address": BAD_SIGNER,
}
_CODES: Final = {
    1001: FORMAT,
    1002: TRAPPED,
    1012: BANNED,
    1013: IMPORTED,
    1014: PRIORITY,
    1016: FULL,
    1040: FORMAT,
}
_CUSTOM: Final = re.compile(r"custom error:?\s*(\d+)", re.I)

_MEANINGS: Final = {
    CALL: ("the chain does not take this call from outside", "check which call it is"),
    PAYMENT: ("the account cannot pay the fee", "transfer TAO to it, or sign with an account that has some"),
    FUTURE: ("its nonce is too high", "wait for what was submitted before, or give no nonce"),
    STALE: ("its nonce was used before", "give no nonce; or another program signs with the same key"),
    BAD_PROOF: (
        "its signature does not fit the chain: another key, another genesis or another spec version",
        "check that the keypair is the account's and sr25519; after a runtime upgrade, sign anew",
    ),
    ANCIENT: (
        "it was signed too long ago for its era",
        "sign it anew; if it recurs, check the machine's load",
    ),
    EXHAUSTS: ("the block is full", "try again in the next block"),
    BAD_SIGNER: ("the account must not sign this", "sign with another account"),
    CUSTOM: ("a rule of the chain's own forbids it", "see the rule that the number names"),
    BANNED: (
        "the node refused the same bytes a short while ago",
        "remove the cause of the first refusal, wait for the next block and sign anew",
    ),
    IMPORTED: ("the node has it already", "wait for its inclusion"),
    PRIORITY: (
        "another one with the same nonce waits in the node's pool",
        "wait for it; or another program signs with the same key",
    ),
    FULL: ("the node's pool is full", "try again later, or at another endpoint"),
    FORMAT: ("the node cannot read it", "compose it for this chain's runtime"),
    TRAPPED: ("the runtime failed on it", "compose it for this chain's runtime"),
    UNKNOWN: ("the node does not take it", "see what the node says"),
}


def custom_of(error: ChainRefused) -> int | None:
    """The number that a rule of the chain's own gave, if it was one."""
    found = _variant(error.data)
    if found is not None and found[0] == CUSTOM and isinstance(found[1], int):
        return found[1]
    match = _CUSTOM.search(f"{error.what} {error.data}")
    return int(match[1]) if match else None


def kind_of(error: ChainRefused) -> str:
    """One of the kinds above."""
    if error.code in _CODES:
        return _CODES[error.code]
    if custom_of(error) is not None:
        return CUSTOM
    found = _variant(error.data)
    if found is not None:
        return next((kind for kind in _MEANINGS if kind.lower() == found[0].lower()), UNKNOWN)
    said = f"{error.what} {error.data}".lower()
    return next((kind for text, kind in _TEXTS.items() if text in said), UNKNOWN)


def invalid(error: ChainRefused) -> ExtrinsicInvalid:
    """The node's refusal of an extrinsic."""
    kind = kind_of(error)
    meaning, remedy = _MEANINGS[kind]
    number = custom_of(error)
    if number is not None:
        meaning = f"{meaning} (custom error {number})"
    what = f"the extrinsic was refused: {meaning}"
    if kind in (UNKNOWN, TRAPPED, FORMAT):
        what = f"{what} ({error.what})"
    return ExtrinsicInvalid(what, remedy, code=error.code, data=error.data)


def _variant(data: Any) -> tuple[str, Any] | None:
    """The kind in `{"invalid": {"payment": null}}`, as some nodes and gateways give it."""
    if isinstance(data, dict):
        inner = data.get("invalid", data.get("Invalid", data))
        if isinstance(inner, str):
            return inner, None
        if isinstance(inner, dict) and inner:
            name, value = next(iter(inner.items()))
            return str(name), value
    return None
