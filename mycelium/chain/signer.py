"""Who signs, and whom a call names: keypairs and addresses from what programs have at hand.

Owns the spellings that are accepted. Secrets are read by `identity.wallet`, and are never taken from an argument's
text: what is given is a keypair, or where one is kept.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from mycelium.chain.extrinsics import account_of
from mycelium.errors import AccountRefused, KeyFileError, UsageError
from mycelium.identity import account as accounts
from mycelium.identity import wallet
from mycelium.identity.keys import Keypair

_REMEDY: Final = (
    "Give a keypair, a wallet as wallet/hotkey, the path of a key file, or on a development chain //Alice."
)

_SECRET: Final = re.compile(r"(?:0x)?[0-9a-fA-F]{64,}|(?:[a-z]+\s+){11,}[a-z]+")
"""A seed or private key in hex, or a phrase of twelve words and more."""


def signer(key: Any, *, coldkey: bool = False) -> Any:
    """A keypair that signs. key: a keypair (ours, substrate-interface's, Bittensor's), or text that says where it is:

    `//Alice` is a development key, `wallet/hotkey` a hotkey of a Bittensor wallet, anything else a key file. coldkey:
    a name alone is the wallet whose coldkey is meant. UsageError for an address, which cannot sign; KeyFileError.
    """
    if not isinstance(key, str | Path):
        account_of(key)
        return key
    text = str(key)
    if text.startswith("//"):
        return Keypair.development(text)
    if _is_address(text):
        raise UsageError(f"{text} is an address, and an address cannot sign\n  {_REMEDY}")
    if isinstance(key, str) and _SECRET.fullmatch(text.strip()):
        # It is not repeated: somebody put a secret in the wrong place.
        raise KeyFileError("what was given for a key looks like a secret itself", _REMEDY)
    file = Path(text).expanduser()
    if isinstance(key, Path) or file.is_file():
        return wallet.load_file(file)
    parts = text.split("/")
    if len(parts) == 2 and all(parts) and parts[0] not in (".", "..", "~"):
        return wallet.load(*parts)
    if len(parts) == 1 and coldkey and text not in ("", ".", ".."):
        return wallet.load_file(Path(wallet.WALLETS).expanduser() / text / "coldkey")
    if len(parts) > 2:
        return wallet.load_file(file)
    raise KeyFileError(f"{text!r} names no wallet and no file", _REMEDY)


def address(who: Any) -> str:
    """The SS58 address of an address, of 32 bytes, or of a keypair. AccountRefused, UsageError."""
    if isinstance(who, str):
        accounts.parse(who)
        return who
    if isinstance(who, bytes | bytearray):
        if len(who) != accounts.ACCOUNT_BYTES:
            raise UsageError(f"an account has {accounts.ACCOUNT_BYTES} bytes, not {len(who)}")
        return accounts.format(bytes(who))
    return accounts.format(account_of(who))


def _is_address(text: str) -> bool:
    try:
        accounts.parse(text)
    except AccountRefused:
        return False
    return True
