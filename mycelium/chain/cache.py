"""Runtime metadata on disk, so that a program that starts again need not fetch it: by genesis, spec version and block.

Owns the files' names, their validity and their number. A file is believed only if it is whole and says what it is; one
that is damaged is told of and fetched again. Without a directory, or with one that cannot be written, all goes on.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from mycelium.config import CHAIN_METADATA_BYTES_MAX, CHAIN_METADATA_FILES_MAX

log = logging.getLogger(__name__)

MAGIC: Final = b"meta"
"""What runtime metadata begins with."""
_SUFFIX: Final = ".metadata"
_HEADER_BYTES_MAX: Final = 1_024


def default_directory() -> Path | None:
    """`$XDG_CACHE_HOME/mycelium/metadata`, or the same under ~/.cache; None where there is no home."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    return root / "mycelium" / "metadata"


class MetadataCache:
    """Files in one directory; None: nothing is kept. Safe from several threads and processes."""

    def __init__(self, directory: Path | None, *, files_max: int = CHAIN_METADATA_FILES_MAX) -> None:
        self.directory = directory
        self._files_max = files_max
        self._told = False

    def load(self, genesis: bytes, spec_version: int, code: str) -> bytes | None:
        """Metadata of a runtime, or None. code: hash of the runtime's code, "" where the node does not tell."""
        if self.directory is None:
            return None
        wanted = {"genesis": genesis.hex(), "spec_version": spec_version, "code": code}
        for path in self._files(f"{genesis.hex()[:16]}-{spec_version}-*{_SUFFIX}"):
            raw = self._read(path, wanted)
            if raw is not None:
                with contextlib.suppress(OSError):
                    os.utime(path)
                return raw
        return None

    def save(self, genesis: bytes, spec_version: int, code: str, block: int, raw: bytes) -> None:
        """Keep it, whole or not at all. block: of which number its runtime was asked for."""
        if self.directory is None:
            return
        header = {
            "genesis": genesis.hex(),
            "spec_version": spec_version,
            "code": code,
            "block": block,
            "digest": _digest(raw),
        }
        path = self.directory / f"{genesis.hex()[:16]}-{spec_version}-{block}{_SUFFIX}"
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.directory, suffix=".tmp", delete=False) as file:
                try:
                    file.write(json.dumps(header).encode() + b"\n" + raw)
                    file.close()
                    Path(file.name).replace(path)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
            self._prune()
        except OSError as error:
            # Said once: a file system that is read-only stays so, and costs nothing but time.
            log.log(
                logging.DEBUG if self._told else logging.INFO,
                "runtime metadata is not kept in %s: %s",
                self.directory,
                error.strerror or error,
            )
            self._told = True

    def _files(self, pattern: str) -> list[Path]:
        assert self.directory is not None, "asked only where there is one"
        try:
            found = [(path.stat().st_mtime, path) for path in self.directory.glob(pattern)]
        except OSError:
            return []
        return [path for _, path in sorted(found, reverse=True)]

    def _read(self, path: Path, wanted: dict[str, Any]) -> bytes | None:
        try:
            if path.stat().st_size > CHAIN_METADATA_BYTES_MAX + _HEADER_BYTES_MAX:
                raise ValueError("it is too large")
            head, _, raw = path.read_bytes().partition(b"\n")
            header = json.loads(head)
            if not isinstance(header, dict) or header.get("digest") != _digest(raw):
                raise ValueError("it is not what was written")
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s cannot be used (%s) and is fetched again", path, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        matches = all(header.get(key) == value for key, value in wanted.items())
        return raw if matches and raw.startswith(MAGIC) else None

    def _prune(self) -> None:
        for path in self._files(f"*{_SUFFIX}")[self._files_max :]:
            with contextlib.suppress(OSError):
                path.unlink()


def _digest(raw: bytes) -> str:
    return blake2b(raw, digest_size=32).hexdigest()
