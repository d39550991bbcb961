"""The configuration of a miner of encrypted requests, from its environment. Importing it loads `.env`."""

from __future__ import annotations

import logging
import os
from base64 import urlsafe_b64encode
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeVar

import httpx
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from dotenv import load_dotenv
from pydantic import BaseModel

from mycelium import wholefile
from mycelium.chain import chain_utils, interface
from mycelium.chain.metagraph import Metagraph
from mycelium.encrypted.miner.core import miner_constants as mcst
from mycelium.encrypted.miner.core.models.config import Config
from mycelium.encrypted.miner.security import key_management, nonce_management
from mycelium.errors import ConfigError
from mycelium.miner.core import environment

__all__ = [
    "PBKDF2HMAC",
    "BaseModel",
    "Config",
    "Metagraph",
    "T",
    "chain_utils",
    "factory_config",
    "hashes",
    "httpx",
    "interface",
    "key_management",
    "load_dotenv",
    "mcst",
    "nonce_management",
]

log = logging.getLogger(__name__)
T = TypeVar("T", bound=BaseModel)

_STORAGE_KEY: Final = "STORAGE_ENCRYPTION_KEY"
_STORAGE_FILENAME: Final = "storage.key"

load_dotenv()


def _derive_key_from_string(input_string: str, salt: bytes = b"salt_") -> str:
    """A Fernet key from text, as Fiber derives it: PBKDF2-HMAC-SHA256, 100,000 rounds."""
    kdf = PBKDF2HMAC(algorithm=hashes.SHA256(), length=32, salt=salt, iterations=100_000)
    return urlsafe_b64encode(kdf.derive(input_string.encode())).decode()


def storage_key(hotkey_name: str) -> str:
    """The Fernet key of the file of symmetric keys: STORAGE_ENCRYPTION_KEY, or one of this miner's own.

    The latter is made once, and lies beside the file, for its owner only. ConfigError for one that is no key.
    """
    given = os.environ.get(_STORAGE_KEY)
    if given:
        return _checked(given, _STORAGE_KEY)
    path = Path(f"{hotkey_name}_{_STORAGE_FILENAME}")
    try:
        wholefile.write(path, Fernet.generate_key(), private=True, replace=False)
        log.info("%s is not set: %s is the key of the file of symmetric keys", _STORAGE_KEY, path)
    except FileExistsError:
        pass  # made at an earlier start, or by another worker
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}", f"make the directory writable, or set {_STORAGE_KEY}"
        ) from None
    return _checked(path.read_text(encoding="ascii", errors="replace").strip(), str(path))


def _checked(key: str, source: str) -> str:
    try:
        Fernet(key)
    except ValueError:
        raise ConfigError(
            f"{source} is no Fernet key",
            'make one: python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"',
        ) from None
    return key


@lru_cache
def factory_config() -> Config:
    """The one configuration of this process, made at the first call, which may take seconds: it connects to the chain.

    Raises ConfigError, ChainUnreachable, and ValueError for a hotkey that cannot be loaded.
    """
    settings = environment.read()
    keypair = chain_utils.load_hotkey_keypair(settings.wallet_name, settings.hotkey_name)
    handler = key_management.EncryptionKeysHandler(
        nonce_management.NonceManager(settings.nonces_path),
        storage_key(settings.hotkey_name),
        settings.hotkey_name,
        # What a Fiber that had no storage key set has left, so that validators need no new handshake.
        older_keys=(_derive_key_from_string(mcst.DEFAULT_ENCRYPTION_STRING),),
    )
    return Config(
        encryption_keys_handler=handler,
        keypair=keypair,
        metagraph=environment.open_metagraph(settings),
        min_stake_threshold=settings.stake_min,
        httpx_client=httpx.AsyncClient(),
    )
