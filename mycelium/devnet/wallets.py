"""Wallets in Bittensor's file layout for a development network: made once, found again, worth nothing.

    ROOT/NAME/coldkey    ROOT/NAME/coldkeypub.txt    ROOT/NAME/hotkeys/HOTKEY    ROOT/NAME/hotkeys/HOTKEYpub.txt

Directories have mode 0700 and secret files 0600, as Bittensor's own tools make them. Nothing is encrypted: who can read
a development network's directory may sign for it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mycelium import wholefile
from mycelium.identity import account as accounts
from mycelium.identity import wallet as wallets
from mycelium.identity.keys import Keypair

HOTKEY: Final = "default"
_SR25519: Final = 1


@dataclass(frozen=True, slots=True)
class Wallet:
    """One person's keys: the coldkey owns the stake, the hotkey is registered on the subnet and signs."""

    name: str
    coldkey: Keypair
    hotkey: Keypair

    @property
    def address(self) -> str:
        """The hotkey's account as SS58."""
        return accounts.format(self.hotkey.account)


def make(root: Path, name: str) -> Wallet:
    """The wallet of that name under `root`, made if it is not there. KeyFileError."""
    folder = root / name
    (folder / "hotkeys").mkdir(parents=True, exist_ok=True)
    for directory in (folder, folder / "hotkeys"):
        directory.chmod(0o700)
    coldkey = _key(folder / "coldkey", folder / "coldkeypub.txt")
    hotkey = _key(folder / "hotkeys" / HOTKEY, folder / "hotkeys" / f"{HOTKEY}pub.txt")
    return Wallet(name, coldkey, hotkey)


def _key(secret: Path, public: Path) -> Keypair:
    if not secret.exists():
        wallets.write_file(secret, Keypair.generate())
    keypair = wallets.load_file(secret)
    text = "0x" + keypair.account.hex()
    fields = {
        "accountId": text,
        "publicKey": text,
        "ss58Address": accounts.format(keypair.account),
        "cryptoType": _SR25519,
    }
    wholefile.write(public, json.dumps(fields).encode("ascii"))
    return keypair
