"""What a replica says of itself: a status like a node's, gauges, and the facts by which its health is judged."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from mycelium._version import __version__
from mycelium.config import PROTOCOL_VERSION
from mycelium.identity.account import format as format_account
from mycelium.node.status import resident_bytes

if TYPE_CHECKING:
    from mycelium.replica.replica import Replica
    from mycelium.replica.tail import Tail


def replica_status(replica: Replica) -> dict[str, Any]:
    """The whole status. Times in seconds, sizes in bytes, accounts as SS58. Keys that a node's has mean the same."""
    now_ms = replica.now_ms()
    chain = replica.source.status(now_ms)
    tails = [replica.tails[space].status() for space in sorted(replica.tails)]
    return {
        "account": format_account(replica.account),
        "version": __version__,
        "protocol": PROTOCOL_VERSION,
        "url": replica.url,
        "pid": os.getpid(),
        "uptime_s": round(time.monotonic() - replica.started_s, 1),
        "role": "replica",
        "epoch": replica.source.epoch().number,
        "netuid": replica.settings.netuid,
        "chain": {
            "block": chain.block,
            "head_age_s": None if chain.head_age_s is None else round(chain.head_age_s, 1),
            "ready": chain.writes_allowed,
            "members": len(replica.source.epoch().members),
            "problems": [*chain.problems, *_policy(replica)],
        },
        "lag_messages": sum(tail["lag_messages"] for tail in tails),
        "lag_s": max((tail["lag_s"] for tail in tails), default=0.0),
        "waiting": sum(tail["waiting"] for tail in tails),
        "refused": sum(sum(tail["refused"].values()) for tail in tails),
        "replica": {tail["space"]: tail for tail in tails},
        "clients": replica.hub.clients(),
        "problems": replica.incidents.problems,
        "incidents": replica.incidents.all(),
        "clock": replica.timekeeping.status(),
        "database": replica.database.status(),
        "rejects": dict(replica.metrics.rejects),
        "received_bytes": replica.metrics.received_bytes,
        "sent_bytes": replica.metrics.sent_bytes,
        "health": replica.health(),
        "log": replica.trimming.status(),
        "resident_bytes": resident_bytes(),
        "cpu_s": round(time.process_time(), 2),
    }


def _policy(replica: Replica) -> Iterator[str]:
    missing = replica.authority.policy_missing()
    if missing is not None:
        yield f"the policy in force, {missing.hex()}, is not here yet: it comes in the stream of `sys`"


def gauges(replica: Replica) -> Iterator[tuple[str, str, float]]:
    """What a scrape has beside the counts of `node.metrics` and `families`."""
    status = replica.source.status(replica.now_ms())
    yield "mycelium_epoch", "The present epoch.", status.epoch
    yield "mycelium_chain_ready", "1 while the chain is heard.", status.writes_allowed
    yield "mycelium_clients", "Programs that are connected.", replica.hub.clients()
    yield "mycelium_resident_memory_bytes", "Resident memory of the process.", resident_bytes()


def families(replica: Replica) -> Iterator[Metric]:
    """All that a scrape has. Labels are bounded: the spaces of the settings, and reasons, which are few."""
    yield from replica.metrics.collect()
    tails = [replica.tails[space] for space in sorted(replica.tails)]
    for name, text, value in (
        ("lag_messages", "Messages of the stream that are not settled here.", _lag),
        ("lag_seconds", "Age of the newest message that was read, while there are newer ones.", _lag_s),
        ("waiting_batches", "Batches that cannot be taken yet.", _waiting),
        ("position", "The message up to which all is settled.", _position),
    ):
        family = GaugeMetricFamily(f"mycelium_replica_{name}", text, labels=["space"])
        for tail in tails:
            family.add_metric([tail.space], value(tail))
        yield family
    for name, text, counts in (
        ("refused", "Messages that broke a rule.", _refused),
        ("passed_over", "Batches of origins that are frozen or sealed, or of other spaces.", _passed),
    ):
        counter = CounterMetricFamily(f"mycelium_replica_{name}", text, labels=["space", "reason"])
        for tail in tails:
            for reason, count in sorted(counts(tail).items()):
                counter.add_metric([tail.space, reason], count)
        yield counter


def _lag(tail: Tail) -> float:
    return tail.follower.lag


def _lag_s(tail: Tail) -> float:
    return tail.follower.lag_s()


def _waiting(tail: Tail) -> float:
    return tail.intake.waiting


def _position(tail: Tail) -> float:
    return max(0, tail.intake.position)


def _refused(tail: Tail) -> Mapping[str, int]:
    return tail.intake.refused


def _passed(tail: Tail) -> Mapping[str, int]:
    return tail.intake.passed
