"""Looks once a second whether the node has what it needs: its disk, somebody to talk to, the chain.

What is wrong becomes an incident when it begins and when it ends, so that whoever comes later sees both. Repairs
nothing: everything here is tried again by who needs it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from mycelium.config import SILENCE_MS
from mycelium.database.store import Store
from mycelium.errors import StoreError
from mycelium.metagraph.membership import SourceStatus
from mycelium.node.incidents import Incidents

_PATIENCE: Final = 2
"""Alone for as many silences: a restart of the others is no incident."""


class Conditions:
    """wanted, connected: how many members there are to talk to, and with how many there is a session."""

    def __init__(
        self,
        incidents: Incidents,
        store: Store,
        wanted: Callable[[], int],
        connected: Callable[[], int],
        source: Callable[[], SourceStatus],
        clock_ns: Callable[[], int],
    ) -> None:
        self._incidents = incidents
        self._store = store
        self._wanted = wanted
        self._connected = connected
        self._source = source
        self._clock_ns = clock_ns
        self._met_ns = clock_ns()

    def tick(self) -> None:
        """Once every PING_INTERVAL_MS."""
        self._disk()
        self._members()
        problems = self._source().problems
        self._incidents.condition("chain", "; ".join(problems), over="the chain is heard again")

    def _disk(self) -> None:
        if self._store.trouble:
            # Where nobody writes, nobody else would find out that there is room again.
            with contextlib.suppress(StoreError):  # `trouble` has it
                self._store.commit(self._store.batch())
        trouble = self._store.trouble
        text = f"changes cannot be stored: {trouble}" if trouble else ""
        self._incidents.condition("disk", text, over="changes are stored again")

    def _members(self) -> None:
        now_ns, wanted = self._clock_ns(), self._wanted()
        if self._connected() or not wanted:
            self._met_ns = now_ns
        alone_s = (now_ns - self._met_ns) / 1e9
        text = ""
        if alone_s * 1000 > _PATIENCE * SILENCE_MS:
            text = (
                f"no session with any of {wanted} members: what is written here is kept, and sent when there is one. "
                "Look at the network, the firewall and `unreachable` in the status"
            )
        self._incidents.condition("alone", text, over="there is a session with a member again")
