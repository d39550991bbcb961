"""Whether a signed request is let in: the checks of both wire versions, in Fiber's order, with Fiber's answers.

Sans-IO. Owns no header parsing and no framework; a missing header is the framework's 422. Raises RequestRefused, which
carries the status and the text that Fiber's clients know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cryptography.fernet import Fernet, InvalidToken

from mycelium.errors import AccountRefused, RequestRefused
from mycelium.http.signing import body_hash, encrypted_message, plain_message, verify_text
from mycelium.identity import account as accounts

NONCE_REFUSED: Final = "Oi, that nonce is not valid!"
SIGNATURE_REFUSED: Final = "Oi, invalid signature, you're not who you said you were!"
MINER_REFUSED: Final = "Oi, invalid miner hotkey - that's not me!"
KEY_REFUSED: Final = "Oi, I can't decrypt that symmetric key, sorry"
KEY_UNKNOWN: Final = "No symmetric key found for that hotkey and uuid"
NODE_UNKNOWN: Final = "Hotkey not found in metagraph"


class Nonces(Protocol):
    """Which nonces were used; see `nonces.NonceBook`."""

    def check(self, account: bytes, nonce: str) -> bool: ...
    def commit(self, account: bytes, nonce: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Claim:
    """What the headers of a request say. uuid: of the key that its body is encrypted with, None for a plain one."""

    validator: str
    miner: str
    nonce: str
    signature: str
    uuid: str | None = None


def message_of(claim: Claim, body: bytes | None) -> str:
    """What must have been signed. body: of a plain request; None where it has none, or is encrypted."""
    if claim.uuid is not None:
        return encrypted_message(claim.nonce, claim.miner, claim.uuid)
    return plain_message(claim.nonce, claim.miner, None if body is None else body_hash(body))


def check_stake(nodes: Mapping[str, Any], validator: str, least: float) -> None:
    """403 for who is not in the metagraph, or has less than `least` TAO of stake."""
    node = nodes.get(validator)
    if node is None:
        raise RequestRefused(403, NODE_UNKNOWN)
    if node.stake < least:
        raise RequestRefused(403, f"Insufficient stake of {node.stake} ")


def check_signed(claim: Claim, message: str, me: str, nonces: Nonces) -> None:
    """401 for a nonce that is used or not of now, a signature that is none, and a request to another miner.

    Only of a request that is all right is the nonce used up.
    """
    try:
        account = accounts.parse(claim.validator)
    except AccountRefused:
        raise RequestRefused(401, SIGNATURE_REFUSED) from None
    if not nonces.check(account, claim.nonce):
        raise RequestRefused(401, NONCE_REFUSED)
    if not verify_text(claim.validator, message, claim.signature):
        raise RequestRefused(401, SIGNATURE_REFUSED)
    # Also of encrypted ones, as Fiber does not: another miner could pass on what was signed for it.
    if claim.miner != me:
        raise RequestRefused(401, MINER_REFUSED)
    if not nonces.commit(account, claim.nonce):
        raise RequestRefused(401, NONCE_REFUSED)


def decrypt(fernet: Fernet | None, body: bytes) -> bytes:
    """The plain text of an encrypted body. 400 where the key is unknown or its time is over, 401 for another's."""
    if fernet is None:
        raise RequestRefused(400, KEY_UNKNOWN)
    try:
        return fernet.decrypt(body)
    except InvalidToken:
        raise RequestRefused(401, "Oi, that was not encrypted with the key of that uuid") from None
