"""What is signed of a request, and how: nonces, messages, signatures as text. Pure but for the clock of a new nonce.

The protocol is Fiber's (2.1.0 to 2.5.0), so that either side may be an unmodified Fiber. A signature is sr25519 over
the UTF-8 text of a message; it covers no method, no path and, where the body is encrypted, no body.
"""

from __future__ import annotations

import secrets
import string
import time
from hashlib import sha256
from typing import Any, Final

from mycelium.chain.extrinsics import signature_of
from mycelium.errors import AccountRefused
from mycelium.identity import account as accounts
from mycelium.identity.keys import verify_preimage

VALIDATOR_HOTKEY: Final = "validator-hotkey"
MINER_HOTKEY: Final = "miner-hotkey"
NONCE: Final = "nonce"
SIGNATURE: Final = "signature"
SYMMETRIC_KEY_UUID: Final = "symmetric-key-uuid"

_LETTERS: Final = string.ascii_letters + string.digits
_RANDOM: Final = 10
_NONCE_CHARS_MAX: Final = 128
_DIGITS_MAX: Final = 20
_SIGNATURE_CHARS: Final = 2 + 2 * 64


def new_nonce() -> str:
    """The time in ns since 1970, an underscore, and ten random letters and digits: never the same twice."""
    # Of 62 letters some come a little more often than others, which helps nobody.
    letters = "".join([_LETTERS[byte % len(_LETTERS)] for byte in secrets.token_bytes(_RANDOM)])
    return f"{time.time_ns()}_{letters}"


def nonce_time_ns(nonce: str) -> int | None:
    """When a nonce says that it was made, ns since 1970; None for text that is none."""
    digits = nonce.split("_", 1)[0]
    if (
        len(nonce) > _NONCE_CHARS_MAX
        or not (digits.isascii() and digits.isdigit())
        or len(digits) > _DIGITS_MAX
    ):
        return None
    made_ns = int(digits)
    return made_ns if made_ns < 2**63 else None


def body_hash(body: bytes) -> str:
    """SHA-256 of the exact bytes that travel, as 64 lower-case hex digits."""
    return sha256(body).hexdigest()


def plain_message(nonce: str, miner: str, body_sha256: str | None) -> str:
    """Of a request whose body is not encrypted; without a hash, of one that has no body."""
    return f"{nonce}:{miner}" if body_sha256 is None else f"{nonce}:{miner}:{body_sha256}"


def encrypted_message(nonce: str, miner: str, uuid: str) -> str:
    """Of a request whose body is encrypted with the key of that uuid, and of the exchange of that key."""
    return f"{nonce}:{miner}:{uuid}"


def sign_text(keypair: Any, text: str) -> str:
    """0x and 128 hex digits. keypair: ours, substrate-interface's or Bittensor's. UsageError for one that cannot."""
    return f"0x{signature_of(keypair, text.encode()).hex()}"


def verify_text(address: str, text: str, signature: str) -> bool:
    """Whether the account of an SS58 address signed the text. False for whatever is malformed, never an error.

    Signatures of browser wallets, over the text between <Bytes> and </Bytes>, count too, as everywhere on Substrate.
    """
    if len(signature) != _SIGNATURE_CHARS or not signature.startswith("0x"):
        return False
    try:
        account, raw = accounts.parse(address), bytes.fromhex(signature[2:])
    except (AccountRefused, ValueError):
        return False
    message = text.encode("utf-8", "surrogatepass")
    return verify_preimage(account, message, raw) or verify_preimage(
        account, b"<Bytes>" + message + b"</Bytes>", raw
    )
