"""Calls over the session: the requests of validators to miners on the connection of the node's own protocol."""

from __future__ import annotations

import os
from typing import Final

SWITCH: Final = "MYCELIUM_SESSIONS"
_OFF: Final = ("0", "false", "no", "off")


def enabled() -> bool:
    """Whether the environment leaves sessions on: a miner offers them, a validator takes them."""
    return os.environ.get(SWITCH, "").strip().lower() not in _OFF
