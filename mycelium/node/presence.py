"""Whom this node has, and what they say of themselves: liveness of members, and their statuses, exchanged in Sync.

Joins `peer.liveness` with links and with calls between members: a suspect is asked for at three others. Owns the
statuses that members have sent, one each. Must not decide about membership or data: what a member says of itself is
shown to people, and is believed for nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import statistics
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

from mycelium._core import fanout
from mycelium._version import __version__
from mycelium.config import LIVENESS_PROBE_MS, STATUS_INTERVAL_MS, STATUS_TEXT_CHARS_MAX
from mycelium.errors import MalformedMessage, MyceliumError
from mycelium.identity.account import ACCOUNT_BYTES
from mycelium.identity.account import format as format_account
from mycelium.node.peercalls import PeerCalls
from mycelium.peer.hub import UNPAIRED, Hub
from mycelium.peer.link import Link
from mycelium.peer.liveness import Changed, Effect, Liveness, Probe, Reconnect, Standing
from mycelium.protocol.messages import MessageType, NodeStatus, Sync

if TYPE_CHECKING:
    from mycelium.node.node import Node

log = logging.getLogger(__name__)

PROBE: Final = "presence.probe"
_NEVER: Final = b""
_AGO_BYTES: Final = 8
_FRESH_MS: Final = 1_000


class Presence:
    """One node's view of its members. `tick` once every PING_INTERVAL_MS."""

    def __init__(
        self,
        hub: Hub,
        peercalls: PeerCalls,
        own_status: Callable[[], NodeStatus],
        now_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
        rng: random.Random | None = None,
    ) -> None:
        self._hub = hub
        self._peercalls = peercalls
        self._own_status = own_status
        self._now_ms = now_ms
        self._probes: set[asyncio.Task[None]] = set()
        self._told_ms: dict[int, int] = {}
        self._payload: tuple[int, bytes] = (-_FRESH_MS, b"")
        """When the own status was last made, and what was made of it."""
        self.liveness = Liveness(rng or random.Random(os.urandom(16)))  # noqa: S311 - whom to ask, not a secret
        self.statuses: dict[bytes, NodeStatus] = {}
        peercalls.on(PROBE, self._probed)

    # --- links ------------------------------------------------------------------------------------------

    def link_opened(self, link: Link) -> None:
        """A member's session is up: it is heard, and told how this node is."""
        now_ms = self._now_ms()
        self.liveness.watch(link.account, now_ms)
        self._act(self.liveness.heard(link.account, now_ms))
        self._tell(link, now_ms)

    def link_closed(self, link: Link) -> None:
        """Its silence is counted from what was heard last."""
        self._told_ms.pop(link.id, None)

    def keep(self, accounts: Collection[bytes]) -> None:
        """The members of the present epoch; of others nothing is kept."""
        self.liveness.keep(accounts)
        for account in sorted(self.statuses.keys() - set(accounts)):
            del self.statuses[account]

    def said(self, link: Link, status: NodeStatus) -> None:
        """A member's status, of several nodes one's. Its texts end in terminals: they are cut, and printable."""
        if self._hub.link_of(link.account) is not link:
            return
        self.statuses[link.account] = status._replace(
            software=_clean(status.software), status=_clean(status.status)
        )

    def tick(self) -> None:
        """Time has passed."""
        now_ms = self._now_ms()
        for link in self._members():
            self._act(self.liveness.heard(link.account, link.last_received_ns // 1_000_000))
            if now_ms - self._told_ms.get(link.id, 0) >= STATUS_INTERVAL_MS:
                self._tell(link, now_ms)
        self._act(self.liveness.tick(now_ms))

    def _members(self) -> list[Link]:
        return [link for link in self._hub.links() if link.role not in UNPAIRED]

    def _tell(self, link: Link, now_ms: int) -> None:
        self._told_ms[link.id] = now_ms
        if not 0 <= now_ms - self._payload[0] < _FRESH_MS:
            # Reading what the process uses takes as long as half a handshake: not for each session that opens.
            self._payload = now_ms, Sync([], self._own_status()).encode()
        link.post(MessageType.SYNC, self._payload[1], fanout.CONTROL)

    # --- probes -----------------------------------------------------------------------------------------

    def _act(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Probe):
                task = asyncio.get_running_loop().create_task(self._probe(effect))
                self._probes.add(task)
                task.add_done_callback(self._probes.discard)
            elif isinstance(effect, Reconnect):
                self._reconnect(effect.target)
            elif isinstance(effect, Changed):
                self._changed(effect)

    async def _probe(self, probe: Probe) -> None:
        ago_ms: int | None = None
        try:
            answer = await self._peercalls.call(probe.via, PROBE, probe.target, LIVENESS_PROBE_MS / 1000)
            if len(answer) == _AGO_BYTES:
                ago_ms = int.from_bytes(answer, "big")
        except MyceliumError as error:
            log.debug("no word of %s from %s: %s", probe.target.hex()[:16], probe.via.hex()[:16], error)
        self._act(self.liveness.answered(probe.via, probe.target, ago_ms, self._now_ms()))

    async def _probed(self, link: Link, body: bytes) -> bytes:
        """Another member asks how long ago this node heard a third."""
        del link
        if len(body) != ACCOUNT_BYTES:
            raise MalformedMessage("a probe names no account")
        ago_ms = self.liveness.heard_ago_ms(body, self._now_ms())
        if ago_ms is None or self.liveness.standing(body) is not Standing.ALIVE:
            return _NEVER
        return ago_ms.to_bytes(_AGO_BYTES, "big")

    def _reconnect(self, account: bytes) -> None:
        links = self._hub.links_of(account)
        if links:
            log.warning(
                "%s is heard by others and not here: its session is made anew", format_account(account)
            )
        for link in links:
            link.close(text="silent here, and heard by others")

    def _changed(self, change: Changed) -> None:
        name = format_account(change.target)
        if change.standing is Standing.ALIVE:
            log.info("%s is heard again", name)
        elif change.standing is Standing.SUSPECT:
            log.info("%s is silent; others are asked for it", name)
        else:
            log.warning("%s is silent, and nobody that was asked hears it", name)

    async def close(self) -> None:
        """Ask no more."""
        tasks = list(self._probes)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Meter:
    """What a node's status needs of the past: rates between one look and the next."""

    def __init__(
        self,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        used_cpu_s: Callable[[], float] = time.process_time,
    ) -> None:
        self._clock_ns = clock_ns
        self._used_cpu_s = used_cpu_s
        self._looked_s = clock_ns() / 1e9
        self._sent_bytes = 0
        self._cpu_s = used_cpu_s()
        self.serving_rate = 0
        self.cpu_usage = 0

    def look(self, sent_bytes: int) -> None:
        """Bytes a second to peers, and thousandths of a core, since the last look; not more often than each second."""
        now_s, cpu_s = self._clock_ns() / 1e9, self._used_cpu_s()
        passed_s = now_s - self._looked_s
        if passed_s < 1.0:
            return
        self.serving_rate = int((sent_bytes - self._sent_bytes) / passed_s)
        self.cpu_usage = min(65_535, int(1000 * (cpu_s - self._cpu_s) / passed_s))
        self._looked_s, self._sent_bytes, self._cpu_s = now_s, sent_bytes, cpu_s


def own_status(node: Node, meter: Meter, started_ns: int, resident_bytes: int) -> NodeStatus:
    """What a node says of itself to members and people: the specification's fields."""
    now_ms = node.now_ms()
    links = node.replicator.members()
    meter.look(node.metrics.sent_bytes)
    round_trips = [link.rtt_ms for link in links if link.rtt_ms is not None]
    heard_ns = max((link.last_received_ns for link in links), default=0)
    last_sync_ms = max(node.replicator.sync.last_sync_ms.values(), default=0)
    ready = node.source.status(now_ms).writes_allowed
    fetching = node.replicator.sync.fetching
    return NodeStatus(
        software=f"mycelium/{__version__}",
        started=started_ns,
        last_sync=last_sync_ms * 1_000_000,
        last_heartbeat=0
        if not heard_ns
        else node.around.now_ns() - max(0, node.around.clock_ns() - heard_ns),
        active=ready,
        status=node.snapshotting.word
        or ("catching up" if fetching else "ready" if ready else "waiting for the chain"),
        peer_count=len({link.account for link in links}),
        serving_rate=meter.serving_rate,
        sync_progress=int(1000 * node.replicator.sync.agreement()),
        response_latency=0 if not round_trips else min(2**32 - 1, int(1000 * statistics.median(round_trips))),
        memory_usage=resident_bytes,
        cpu_usage=meter.cpu_usage,
    )


def shown(account: bytes, status: NodeStatus) -> dict[str, Any]:
    """The specification's thirteen fields, in base units, for JSON."""
    return {
        "id": format_account(account),
        "version": status.software,
        "start_time_s": status.started / 1e9,
        "last_sync_s": status.last_sync / 1e9,
        "last_heartbeat_s": status.last_heartbeat / 1e9,
        "is_active": status.active,
        "status": status.status,
        "peer_count": status.peer_count,
        "serving_rate_bytes_s": status.serving_rate,
        "sync_progress": min(1.0, status.sync_progress / 1000),
        "response_latency_s": status.response_latency / 1e6,
        "memory_usage_bytes": status.memory_usage,
        "cpu_usage_cores": status.cpu_usage / 1000,
    }


def _clean(text: str) -> str:
    text = text[:STATUS_TEXT_CHARS_MAX]
    return "".join(letter if letter.isprintable() else "?" for letter in text)
