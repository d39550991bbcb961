"""A replica's own key: what its sessions are signed with, and its clients expect. No hotkey, on no chain.

It lies in the data directory, for its owner only, and is made at the first start.
"""

from __future__ import annotations

from pathlib import Path

from mycelium.database import rocks
from mycelium.database.backup import read_label
from mycelium.errors import StoreForeign
from mycelium.identity import wallet
from mycelium.identity.keys import Keypair
from mycelium.node.replica_settings import KEY_FILE


def open_key(data_dir: Path) -> Keypair:
    """The key of a data directory, made where there is none. StoreForeign, KeyFileError, StoreError."""
    path = data_dir / KEY_FILE
    if not path.exists():
        owner = read_label(data_dir).get("account")
        if owner is not None:
            raise StoreForeign(
                f"{data_dir} belongs to {owner} and has no {KEY_FILE}: it is a node's, or its key is lost",
                "set another data_dir",
            )
        rocks.inspect(data_dir)
        rocks.mark(data_dir)
        wallet.write_file(path, Keypair.generate())
    return wallet.load_file(path)
