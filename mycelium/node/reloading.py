"""SIGHUP: the configuration is read again, and what a running node can take over is; the rest is named.

A configuration with a mistake changes nothing. Which settings can be taken over says the table of `options`; how, this
module. Must not touch what a session or the store was opened with.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mycelium.errors import MyceliumError, Unauthorised
from mycelium.identity.account import format as format_account
from mycelium.node import options
from mycelium.node.configuration import Configuration
from mycelium.node.node import Node
from mycelium.node.preflight import check_clients
from mycelium.node.settings import Settings
from mycelium.peer.hub import CLIENT

if TYPE_CHECKING:
    from mycelium.node.logs import Log

log = logging.getLogger(__name__)


class Reloader:
    """node: set when it has started; until then only the level of the log can change."""

    def __init__(self, now: Configuration, daemon_log: Log | None, read: Callable[[], Configuration]) -> None:
        self.node: Node | None = None
        self._raw = now.raw()
        self._log = daemon_log
        self._read = read

    def reload(self) -> tuple[list[str], list[str]]:
        """Read again; the settings that changed now, and those that need a restart. Never raises for a mistake."""
        try:
            found = self._read()
            settings = found.settings()
            if self.node is not None:
                apply(self.node, settings)
        except MyceliumError as error:
            log.error("the configuration was read again and nothing is changed: %s", error)
            return [], []
        raw = found.raw()
        changed = sorted(path for path in {*self._raw, *raw} if self._raw.get(path) != raw.get(path))
        taken = [path for path in changed if self._reloads(path)]
        left = [path for path in changed if not self._reloads(path)]
        if self._log is not None:
            self._log.set_level(settings.log.level)
            self._log.redact.add(found.secrets())
        # What needs a restart is said again at each reload until then.
        self._raw = self._those(raw, reload=True) | self._those(self._raw, reload=False)
        if taken or not left:
            log.warning("the configuration was read again: changed are %s", ", ".join(taken) or "none")
        if left:
            log.warning(
                "changed settings of a running node stay as they were: %s -- restart it", ", ".join(left)
            )
        return taken, left

    def _reloads(self, path: str) -> bool:
        option = options.find(path)
        return option is not None and option.reload and (self.node is not None or path == "log.level")

    def _those(self, raw: Mapping[str, Any], *, reload: bool) -> dict[str, Any]:
        return {path: value for path, value in raw.items() if self._reloads(path) is reload}


def apply(node: Node, settings: Settings) -> None:
    """Let a node go on under the reloadable part of `settings`. ConfigError, with nothing changed."""
    check_clients(settings, node.source.epoch())
    node.settings = dataclasses.replace(
        node.settings,
        blacklist=settings.blacklist,
        peers=settings.peers,
        clients=settings.clients,
        bootstrap=settings.bootstrap,
        uplink_mbit=settings.uplink_mbit,
        log=settings.log,
    )
    node.service.allow(settings.clients)
    for link in node.hub.links():
        if link.role == CLIENT and link.account != node.account and not node.service.may_call(link.account):
            link.close(Unauthorised(f"{format_account(link.account)} may not use this node any more"))
    node.blacklisting.follow(settings.blacklist)
    node.roster.dial(settings.peers)
    node.replicator.dissemination.allow(settings.uplink_mbit)
    node.bootstrap.dial(settings.bootstrap)
    node.reconsider()
