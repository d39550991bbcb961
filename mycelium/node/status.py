"""What a node says of itself: one JSON-like object, cheap enough for every second."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mycelium._version import __version__
from mycelium.config import PROTOCOL_VERSION
from mycelium.identity.account import format as format_account
from mycelium.metagraph.statistics import statistics
from mycelium.node.presence import shown
from mycelium.peer.pushmode import Mode

if TYPE_CHECKING:
    from mycelium.node.node import Node

_EVENTS = 10
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Resident memory of this process; 0 where /proc does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def unreachable(node: Node) -> dict[bytes, str]:
    """Members that it dials and has no session with, and why. One that it cannot dial may have dialled it."""
    return {
        account: str(error)
        for account, error in sorted(node.dialer.failures.items())
        if node.hub.link_of(account) is None
    }


def node_status(node: Node) -> dict[str, Any]:
    """The whole status. Times in seconds, sizes in bytes, accounts as SS58."""
    metrics = node.metrics
    database = node.database
    now_ms = node.now_ms()
    return {
        "account": format_account(node.account),
        "version": __version__,
        "protocol": PROTOCOL_VERSION,
        "url": node.url,
        "pid": os.getpid(),
        "uptime_s": round(time.monotonic() - node.started_s, 1),
        "role": node.source.epoch().role(node.account),
        "epoch": node.source.epoch().number,
        "chain": _chain(node, now_ms),
        "network": asdict(statistics(node.source.epoch())),
        "netuid": node.settings.netuid,
        "genesis": node.network.genesis.hex(),
        "peers": _peers(node),
        "unreachable": {format_account(account): why for account, why in unreachable(node).items()}
        | {
            url: str(error)
            for url, error in sorted(node.bootstrap.failures.items())
            if node.bootstrap.alone()
        },
        "clients": node.hub.clients(),
        "endpoints": {"announced": list(node.discovery.announced or ()), "known": len(node.discovery.book)},
        "rotation": node.rotating.status(),
        "blacklist": node.blacklisting.status(),
        "clock": node.timekeeping.status(),
        "problems": node.incidents.problems,
        "incidents": node.incidents.all(),
        "sync": {
            "fetching": node.replicator.sync.fetching,
            "last_s": {
                space: round((now_ms - at_ms) / 1000, 1)
                for space, at_ms in node.replicator.sync.last_sync_ms.items()
            },
        },
        "database": database.status(),
        "rejects": dict(metrics.rejects),
        "passed_over": dict(node.replicator.sync.passed_over + node.replicator.dissemination.passed_over),
        "dissemination": node.replicator.dissemination.status(),
        "received_bytes": metrics.received_bytes,
        "sent_bytes": metrics.sent_bytes,
        "health": node.health(),
        "events": [
            {
                "ago_s": round(max(0, now_ms - event.at_ms) / 1000, 1),
                "kind": event.kind,
                "text": event.text,
                "account": format_account(event.account) if event.account else "",
            }
            for event in node.events.newest(_EVENTS)
        ],
        "fingerprints": dict(node.fingerprinting.counts),
        "snapshots": node.snapshotting.status() | {"served": dict(node.snapshotserving.counts)},
        "feed": node.feeding.status(),
        "log": node.trimming.status(),
        "node": shown(node.account, node.node_status()),
        "members": [
            {"standing": standing.value, **shown(account, status)}
            for account, standing in sorted(node.presence.liveness.standings().items())
            if (status := node.presence.statuses.get(account)) is not None
        ],
        "resident_bytes": resident_bytes(),
        "cpu_s": round(time.process_time(), 2),
    } | {name: said() for name, said in node.parts.items()}


def _chain(node: Node, now_ms: int) -> dict[str, Any]:
    """`ready`: whether this node writes and is written with; `problems`: what an operator should do something about."""
    status = node.source.status(now_ms)
    problems = list(status.problems)
    why = node.source.explain(node.account)
    if why is not None:
        problems.append(why)
    missing = node.authority.policy_missing()
    policy = node.source.epoch().policy
    if missing is not None:
        problems.append(
            f"the policy in force, {missing.hex()}, is not here yet: nothing is taken or shown until a peer sends it; "
            "if nobody has it, publish it again (mycelium policy publish)"
        )
    return {
        "policy": None if policy is None else policy.hex(),
        "block": status.block,
        "epoch_blocks": node.source.tempo,
        "head_age_s": None if status.head_age_s is None else round(status.head_age_s, 1),
        "ready": status.writes_allowed,
        "members": len(node.source.epoch().members),
        "problems": problems,
    }


def _standing(node: Node, account: bytes) -> str | None:
    standing = node.presence.liveness.standing(account)
    return None if standing is None else standing.value


def _peers(node: Node) -> list[dict[str, Any]]:
    spaces = node.database.spaces
    return [
        {
            "account": format_account(link.account),
            "generation": f"{link.generation:016x}",
            "role": link.role,
            "remote": link.remote,
            "inbound": link.inbound,
            "standing": _standing(node, link.account),
            "score": node.blacklisting.machine.scores.score(link.account, node.now_ms()),
            "rtt_ms": None if link.rtt_ms is None else round(link.rtt_ms, 2),
            "queued_bytes": node.hub.fanout.pending_bytes(link.id),
            "throttled": link.throttled,
            "dropped": node.hub.fanout.dropped(link.id),
            "acknowledged": {space: node.database.acks.heads(space).get(link.account, 0) for space in spaces},
        }
        for link in node.replicator.members()
    ]


def gauges(node: Node) -> Iterator[tuple[str, str, float]]:
    """What a scrape of metrics asks a node at that moment: name, help and value."""
    status = node.source.status(node.now_ms())
    yield "mycelium_epoch", "The present epoch.", status.epoch
    tree = node.replicator.dissemination.pushmode.mode is Mode.TREE
    yield "mycelium_push_tree", "1 while this node pushes its batches along a tree.", tree
    yield (
        "mycelium_chain_ready",
        "1 while the chain is heard and new batches can refer to it.",
        status.writes_allowed,
    )
    # A file of members is always as recent as it can be.
    age_s = 0.0 if status.head_age_s is None else status.head_age_s
    yield "mycelium_chain_head_age_seconds", "Age of the newest finalised block known.", age_s
