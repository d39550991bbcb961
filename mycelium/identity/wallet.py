"""Where hotkeys are kept: Bittensor wallets, key files, the environment. Finds them; `keys` reads them.

Nothing here looks at secret bytes: they go from the file to `keys` and back without a name of their own.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Final

from mycelium import wholefile
from mycelium.errors import KeyFileError
from mycelium.identity import keys
from mycelium.identity.keys import Keypair

WALLETS: Final = "~/.bittensor/wallets"
KEY_FILE_BYTES_MAX: Final = 64 * 1024

_log = logging.getLogger(__name__)


def load(wallet: str, hotkey: str, path: str | Path = WALLETS) -> Keypair:
    """The hotkey `<path>/<wallet>/hotkeys/<hotkey>`. KeyFileError names the file and the remedy."""
    for kind, name in (("wallet", wallet), ("hotkey", hotkey)):
        # A name with a separator would reach outside the wallet, to a coldkey for instance.
        if not name or name in (".", "..") or "/" in name or "\x00" in name:
            raise KeyFileError(
                f"{name!r} is not the name of a {kind}", "Give the name alone; set the path apart."
            )
    root = Path(path).expanduser()
    file = root / wallet / "hotkeys" / hotkey
    if not file.exists():
        raise KeyFileError(f"there is no hotkey at {file}", _what_exists(root, wallet))
    return load_file(file)


def load_file(path: str | Path) -> Keypair:
    """The hotkey in a key file. Raises KeyFileError; warns when other users can read the file."""
    file = Path(path).expanduser()
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileError(f"{file} is not a file", "Name the hotkey's own file.")
        if status.st_size > KEY_FILE_BYTES_MAX:
            raise KeyFileError(
                f"{file} is not a key file: it has {status.st_size} bytes", "Is it the right file?"
            )
        keypair = keys.from_key_file(file.read_bytes(), str(file))
    except FileNotFoundError:
        raise KeyFileError(
            f"there is no key file at {file}", "Create the hotkey, or mend the path."
        ) from None
    except OSError as error:
        raise KeyFileError(f"cannot read {file}: {error.strerror}", "Run as the user who owns it.") from None
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        _log.warning(
            "%s can be read or changed by other users of this machine; run: chmod 600 %s", file, file
        )
    return keypair


def from_env(name: str) -> Keypair:
    """The hotkey in an environment variable: a seed or a private key in hex, or a BIP39 phrase."""
    if not os.environ.get(name):
        raise KeyFileError(
            f"environment variable {name} is not set", f"Set {name} to the hotkey's seed in hex."
        )
    return keys.from_text(os.environ[name], f"environment variable {name}")


def write_file(path: str | Path, keypair: Keypair) -> None:
    """Write a key file, mode 0600, for development networks. KeyFileError if the path exists."""
    file = Path(path)
    try:
        wholefile.write(file, keypair.key_file(), private=True, replace=False)
    except FileExistsError:
        raise KeyFileError(f"{file} exists", "A key is never overwritten; remove the file first.") from None
    except OSError as error:
        raise KeyFileError(f"cannot write {file}: {error.strerror}") from None


def _what_exists(root: Path, wallet: str) -> str:
    """The remedy for a hotkey that is not there: name what is."""
    folder = root / wallet / "hotkeys"
    for place, kind in ((folder, f"Hotkeys of wallet {wallet}"), (root, "Wallets there")):
        try:
            names = sorted(entry.name for entry in place.iterdir() if not entry.name.endswith("pub.txt"))
        except OSError:
            continue
        return f"{kind}: {', '.join(names[:20]) or 'none'}."
    return f"{root} is no directory of wallets: set the wallet path, or create a wallet."
