"""Files that are there whole or not at all, whenever the process or the machine ends. Knows not what is in them."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write(path: Path, data: bytes, *, private: bool = False, replace: bool = True) -> None:
    """Write a file, in the place of one that is there. Raises OSError; then nothing has changed.

    private: for its owner only (mode 0600, from its first byte on). replace: False raises FileExistsError instead.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
