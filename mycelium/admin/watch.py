"""Looks at a node once a second: judges its health, keeps its rates, and notes what changed as events.

The one place of this package that reads a node on its own account; everything else answers a request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mycelium.admin.health import Facts, Health
from mycelium.admin.history import History
from mycelium.admin.looplag import LoopLag
from mycelium.config.admin import LIVE_PERIOD_S
from mycelium.node import events

if TYPE_CHECKING:
    from mycelium.node.node import Node

log = logging.getLogger(__name__)


def facts(node: Node) -> Facts:
    """What `health` judges."""
    now_ms = node.now_ms()
    chain, epoch = node.source.status(now_ms), node.source.epoch()
    failure = node.database.committer.failure
    sync, links = node.replicator.sync, node.replicator.members()
    shared = {space for link in links for space in sync.compared(link.id)}
    last_ms = sync.last_sync_ms
    return Facts(
        chain_fresh=chain.writes_allowed,
        problems=chain.problems,
        epoch=epoch.number,
        epoch_due=max(epoch.number, chain.block // node.source.tempo),
        policy_missing=node.authority.policy_missing() is not None,
        store_failure=node.database.store.trouble or ("" if failure is None else str(failure)),
        clock_refusal=node.timekeeping.refusal() or "",
        others=sum(epoch.may_read(account) for account in epoch.members if account != node.account),
        sessions=len(links),
        in_step_ms={space: now_ms - last_ms[space] if space in last_ms else None for space in shared},
    )


class Watch:
    """health, history and lag of one node; `on_tick` is called after each look."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.health = Health(node.now_ms())
        self.history = History(time.monotonic())
        self.lag = LoopLag()
        self.on_tick: Callable[[], None] = lambda: None
        self._fetching_since_s: float | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.lag.start()
        self.look()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="admin-watch")

    async def close(self) -> None:
        self.lag.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LIVE_PERIOD_S)
            try:
                self.look()
                self.on_tick()
            except Exception:
                log.exception("looking at the node failed; the next look is in a second")

    def look(self) -> None:
        """One look."""
        node, now_s = self.node, time.monotonic()
        if self.health.look(facts(node), node.now_ms()):
            missing = "; ".join(f"{check.name}: {check.text}" for check in self.health.missing())
            node.events.add(events.NOT_READY if missing else events.READY, missing or "every check passes")
        self._note_sync(now_s)
        counts = node.metrics
        self.history.add(
            {
                "in_bytes": counts.received_bytes,
                "out_bytes": counts.sent_bytes,
                "written": counts.changes_written,
                "received": counts.changes_received,
                "messages": sum(counts.messages_in) + sum(counts.messages_out),
                "cpu": time.process_time(),
            },
            {"lag_ms": round(self.lag.worst_s() * 1000, 2), "peers": len(node.replicator.members())},
            now_s,
        )

    def _note_sync(self, now_s: float) -> None:
        """A fetch of a second or more, under load there are many short ones, is worth an event when it ends."""
        fetching = self.node.replicator.sync.fetching
        if fetching and self._fetching_since_s is None:
            self._fetching_since_s = now_s
        elif not fetching and self._fetching_since_s is not None:
            took_s = now_s - self._fetching_since_s
            self._fetching_since_s = None
            self.node.events.add(
                events.SYNCED, f"caught up, after {took_s:.0f} s" if took_s >= 2 else "caught up"
            )
