"""The keys of a miner of encrypted requests: its own RSA key, and the symmetric ones that validators exchanged."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from pathlib import Path

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import rsa

from mycelium.encrypted.miner.core import miner_constants as mcst
from mycelium.encrypted.miner.core.models.encryption import SymmetricKeyInfo
from mycelium.http import exchange
from mycelium.http.keyring import Keyring
from mycelium.miner.security.nonce_management import NonceManager

__all__ = ["EncryptionKeysHandler", "Fernet", "NonceManager", "SymmetricKeyInfo", "logger", "mcst", "rsa"]

logger = logging.getLogger(__name__)


class EncryptionKeysHandler:
    """hotkey: the name in the file's name, in the working directory. storage_encryption_key: a Fernet key for it.

    older_keys: what else may open a file that is there already. Keys end with their time, and are bounded in number.
    """

    def __init__(
        self,
        nonce_manager: NonceManager,
        storage_encryption_key: str,
        hotkey: str,
        *,
        older_keys: tuple[str, ...] = (),
    ) -> None:
        self.hotkey = hotkey
        self.nonce_manager = nonce_manager
        self.asymmetric_fernet = Fernet(storage_encryption_key)
        self._older = tuple(Fernet(key) for key in older_keys)
        self._keys = Keyring()
        self.load_asymmetric_keys()
        self.load_symmetric_keys()

    @property
    def path(self) -> Path:
        """Where the symmetric keys are kept while the miner does not run."""
        return Path(f"{self.hotkey}_{mcst.SYMMETRIC_KEYS_FILENAME}")

    @property
    def symmetric_keys_fernets(self) -> dict[str, dict[str, SymmetricKeyInfo]]:
        """Validator -> uuid -> key, of those that are valid: a copy."""
        found: dict[str, dict[str, SymmetricKeyInfo]] = defaultdict(dict)
        for hotkey, uuid, info in self._keys:
            found[hotkey][uuid] = info
        return dict(found)

    def add_symmetric_key(self, uuid: str, hotkey_ss58_address: str, fernet: Fernet) -> None:
        """Keep a key for five hours; the oldest of its validator gives way where there are too many."""
        self._keys.add(hotkey_ss58_address, uuid, SymmetricKeyInfo.create(fernet))

    def get_symmetric_key(self, hotkey_ss58_address: str, uuid: str) -> SymmetricKeyInfo | None:
        """A key whose time is not over."""
        return self._keys.get(hotkey_ss58_address, uuid)

    def save_symmetric_keys(self) -> None:
        """Write them to `path`, for its owner only. OSError."""
        self._keys.save(self.path, self.asymmetric_fernet)

    def load_symmetric_keys(self) -> None:
        """Take in what `path` has; what cannot be read is logged, and validators exchange new keys."""
        self._keys.load(self.path, self.asymmetric_fernet, *self._older)

    def load_asymmetric_keys(self) -> None:
        """Make a new RSA key; validators ask for it in each handshake."""
        self.private_key = exchange.generate()
        self.public_key = self.private_key.public_key()
        self.public_bytes = exchange.pem_of(self.public_key).encode()

    def close(self) -> None:
        """Save the keys, and let go of the nonces' file. A disk that is full is logged: only handshakes are lost."""
        try:
            self.save_symmetric_keys()
        except OSError as error:
            logger.error("%s: %s; validators exchange new keys", self.path, os.strerror(error.errno or 0))
        self.nonce_manager.close()
