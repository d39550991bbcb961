"""The symmetric keys that validators have exchanged: each for its time, so many a validator, and no more in all.

Owns what is kept and for how long; Fernet itself is `cryptography`'s. No thread: what is over is dropped when it is
asked for, or gives way to what is new.
"""

from __future__ import annotations

import json
import logging
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

from cryptography.fernet import Fernet, InvalidToken

from mycelium import wholefile
from mycelium.config import HTTP_KEY_TTL_S, HTTP_KEYS_MAX, HTTP_KEYS_PER_VALIDATOR_MAX

log = logging.getLogger(__name__)

KEY_BYTES: Final = 32


@dataclass
class SymmetricKeyInfo:
    """A key and when it ends, in local time without a zone, as Fiber keeps it."""

    fernet: Fernet
    expiration_time: datetime

    @classmethod
    def create(cls, fernet: Fernet, ttl_seconds: int = HTTP_KEY_TTL_S) -> Self:
        """A key that is valid from now on for so many seconds."""
        return cls(fernet, _now() + timedelta(seconds=ttl_seconds))

    def is_expired(self) -> bool:
        """Whether its time is over."""
        return _now() > self.expiration_time


def _now() -> datetime:
    # Local and without a zone, as what Fiber wrote and what programs compare with.
    return datetime.now()  # noqa: DTZ005


def key_of(fernet: Fernet) -> str:
    """The 32 bytes of a key as URL-safe base64, by which `Fernet(...)` makes it again."""
    # `Fernet` gives its key back to nobody.
    return urlsafe_b64encode(fernet._signing_key + fernet._encryption_key).decode()  # noqa: SLF001


class Keyring:
    """Keys by validator and uuid. Used by one thread."""

    def __init__(
        self, *, total_max: int = HTTP_KEYS_MAX, per_validator_max: int = HTTP_KEYS_PER_VALIDATOR_MAX
    ) -> None:
        self._total_max = total_max
        self._per_validator_max = per_validator_max
        self._keys: OrderedDict[tuple[str, str], SymmetricKeyInfo] = OrderedDict()
        """The one that was not used for longest first, as in `_of`."""
        self._of: dict[str, OrderedDict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[tuple[str, str, SymmetricKeyInfo]]:
        """(validator, uuid, key) of those whose time is not over."""
        for (hotkey, uuid), info in list(self._keys.items()):
            if not info.is_expired():
                yield hotkey, uuid, info

    def add(self, hotkey: str, uuid: str, info: SymmetricKeyInfo) -> None:
        """Keep a key, in the place of one of the same uuid; the one not used for longest gives way to it."""
        self.drop(hotkey, uuid)
        self._keys[hotkey, uuid] = info
        own = self._of.setdefault(hotkey, OrderedDict())
        own[uuid] = None
        if len(own) > self._per_validator_max:
            self.drop(hotkey, next(iter(own)))
        if len(self._keys) > self._total_max:
            self.drop(*next(iter(self._keys)))

    def get(self, hotkey: str, uuid: str) -> SymmetricKeyInfo | None:
        """A key that is valid now."""
        info = self._keys.get((hotkey, uuid))
        if info is not None and info.is_expired():
            self.drop(hotkey, uuid)
            return None
        if info is not None:
            self._keys.move_to_end((hotkey, uuid))
            self._of[hotkey].move_to_end(uuid)
        return info

    def drop(self, hotkey: str, uuid: str) -> None:
        """Forget a key, if it is there."""
        if self._keys.pop((hotkey, uuid), None) is not None:
            own = self._of[hotkey]
            del own[uuid]
            if not own:
                del self._of[hotkey]

    def prune(self) -> None:
        """Forget all whose time is over."""
        for hotkey, uuid in [name for name, info in self._keys.items() if info.is_expired()]:
            self.drop(hotkey, uuid)

    # --- on disk ----------------------------------------------------------------------------------------

    def save(self, path: Path, storage: Fernet) -> None:
        """Write those that are valid, encrypted, for their owner only. OSError."""
        found: dict[str, dict[str, dict[str, str]]] = {}
        for hotkey, uuid, info in self:
            entry = {"key": key_of(info.fernet), "expiration_time": info.expiration_time.isoformat()}
            found.setdefault(hotkey, {})[uuid] = entry
        wholefile.write(path, storage.encrypt(json.dumps(found).encode()), private=True)

    def load(self, path: Path, *storages: Fernet) -> None:
        """Take in what `save` or Fiber wrote, with the first storage key that opens it.

        A file that no key opens is logged and left alone: validators exchange new keys.
        """
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("%s: %s; validators exchange new keys", path, error.strerror or error)
            return
        for storage in storages:
            try:
                found = json.loads(storage.decrypt(data))
                break
            except (InvalidToken, ValueError):
                continue
        else:
            log.warning(
                "%s cannot be read with this STORAGE_ENCRYPTION_KEY; validators exchange new keys", path
            )
            return
        try:
            for hotkey, keys in found.items():
                for uuid, entry in keys.items():
                    info = SymmetricKeyInfo(
                        Fernet(entry["key"]), datetime.fromisoformat(entry["expiration_time"])
                    )
                    if not info.is_expired():
                        self.add(hotkey, uuid, info)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s holds what are no keys (%s); validators exchange new ones", path, error)
