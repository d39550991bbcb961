"""What Prometheus reads beyond the counts of `node.metrics`: gauges and histograms of a node, made at each scrape.

Labels are bounded: peers are the members with a session (512 at most), spaces and reasons are few. Nothing here is
called on a hot path.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from mycelium._version import __version__
from mycelium.admin import views
from mycelium.admin.exposition import render
from mycelium.admin.watch import Watch
from mycelium.config import PROTOCOL_VERSION
from mycelium.database.latency import BOUNDS_S, Latency
from mycelium.metagraph.membership import BLOCK_MS, ROLES
from mycelium.peer.blacklist import Standing

if TYPE_CHECKING:
    from mycelium.admin.live import Live

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
_LES = [*(f"{bound:.6g}" for bound in BOUNDS_S), "+Inf"]


class NodeCollector(Collector):
    """Everything of one node that is not counted on its hot path."""

    def __init__(self, watch: Watch, live: Live) -> None:
        self._watch = watch
        self._node = watch.node
        self._live = live

    def collect(self) -> Iterator[Family]:
        """prometheus-client's Collector."""
        yield from self._health()
        yield from self._members()
        yield from self._peers()
        yield from self._spaces()
        yield from self._feed()
        yield from self._fleet()
        yield from self._store()
        yield from self._process()

    def _health(self) -> Iterator[Family]:
        info = GaugeMetricFamily("mycelium_info", "Always 1.", labels=["version", "protocol"])
        info.add_metric([__version__, str(PROTOCOL_VERSION)], 1)
        yield info
        health = self._watch.health
        yield _gauge("mycelium_ready", "1 while nothing keeps the node from being ready.", health.ready)
        checks = GaugeMetricFamily(
            "mycelium_ready_check", "1 where a check of readiness passes.", labels=["check"]
        )
        for check in health.checks.values():
            checks.add_metric([check.name], check.ok)
        yield checks
        age_s = views.epoch_age_s(self._node, self._node.now_ms())
        if age_s is not None:
            yield _gauge("mycelium_epoch_age_seconds", "Since the first block of the present epoch.", age_s)
        length_s = self._node.source.tempo * _block_s(self._node.source)
        yield _gauge("mycelium_epoch_length_seconds", "How long an epoch should take.", length_s)

        clock = self._node.timekeeping.status()
        yield _gauge(
            "mycelium_clock_ahead_seconds",
            "The node's clock against most members', 0 while too few have been heard.",
            clock["ahead_s"] or 0.0,
        )
        yield _gauge(
            "mycelium_clock_step_seconds", "The machine's clock against the node's.", clock["step_s"]
        )

    def _members(self) -> Iterator[Family]:
        node = self._node
        epoch, links = node.source.epoch(), node.replicator.members()
        roles = GaugeMetricFamily(
            "mycelium_members", "Accounts of the present epoch by role.", labels=["role"]
        )
        for role in ROLES:
            roles.add_metric([role], sum(member.role == role for member in epoch.members.values()))
        yield roles
        active = sum(epoch.may_write(link.account) for link in links) + epoch.may_write(node.account)
        yield _gauge(
            "mycelium_active_validators", "Those who may write and are connected, this node too.", active
        )
        yield _gauge("mycelium_peers", "Members with a session.", len(links))
        expected = sum(epoch.may_read(account) for account in epoch.members if account != node.account)
        yield _gauge("mycelium_peers_expected", "Other members that hold the store.", expected)
        yield _gauge("mycelium_clients", "Programs that are connected.", node.hub.clients())
        yield _gauge("mycelium_dashboards", "Dashboards that watch.", len(self._live))
        listed = GaugeMetricFamily(
            "mycelium_blacklist_accounts", "Accounts by standing.", labels=["standing"]
        )
        counts = node.blacklisting.status()
        for standing, key in (
            (Standing.GREYLISTED, "greylisted"),
            (Standing.CLAIMED, "greylisted_by_claims"),
            (Standing.BLACKLISTED, "blacklisted"),
        ):
            listed.add_metric([standing.value.replace(" ", "_")], counts[key])
        yield listed
        yield _gauge(
            "mycelium_frozen_origins", "Origins of which no more is taken: proofs exist.", counts["frozen"]
        )
        rotation = node.rotating.status()
        failures = rotation.get("failures", 0)
        yield CounterMetricFamily(
            "mycelium_rotation_failures", "Changes of port that failed.", value=failures
        )

    def _peers(self) -> Iterator[Family]:
        node = self._node
        rtt = GaugeMetricFamily("mycelium_peer_round_trip_seconds", "Of the last ping.", labels=["peer"])
        lag = GaugeMetricFamily(
            "mycelium_peer_lag_changes",
            "Changes of this node that the peer has not acknowledged.",
            labels=["peer"],
        )
        queued = GaugeMetricFamily("mycelium_peer_queued_bytes", "Waiting for its socket.", labels=["peer"])
        differs = GaugeMetricFamily(
            "mycelium_peer_differing_spaces", "Spaces in which it holds something else.", labels=["peer"]
        )
        total = 0
        lags = views.lags(node)
        for link in node.replicator.members():
            labels = [views.name_of(link.account)]
            if link.rtt_ms is not None:
                rtt.add_metric(labels, link.rtt_ms / 1000)
            lag.add_metric(labels, lags[link.account])
            waiting = node.hub.fanout.pending_bytes(link.id)
            total += waiting
            queued.add_metric(labels, waiting)
            compared = node.replicator.sync.compared(link.id)
            differs.add_metric(labels, sum(not same for same in compared.values()))
        yield from (rtt, lag, queued, differs)
        yield _gauge("mycelium_queued_bytes", "Waiting for the sockets of all peers.", total)
        said = node.node_status()
        yield _gauge("mycelium_serving_rate_bytes", "Bytes a second to peers.", said.serving_rate)
        median_s = views.round_trip_s(node)
        if median_s is not None:
            yield _gauge("mycelium_response_latency_seconds", "The median round trip to a peer.", median_s)

    def _spaces(self) -> Iterator[Family]:
        sync = self._node.replicator.sync
        yield _gauge(
            "mycelium_sync_progress_ratio", "Of its peers' spaces, those it agrees with.", sync.agreement()
        )
        yield _gauge("mycelium_sync_fetches", "Spaces that are being fetched.", sync.fetching)
        shown = views.spaces(self._node)
        for name, text, key in (
            ("mycelium_space_changes", "Changes that are held.", "changes"),
            ("mycelium_space_origins", "Origins that anything is held of.", "origins"),
            ("mycelium_space_agreeing_peers", "Peers that hold the same.", "agree"),
            ("mycelium_space_compared_peers", "Peers that said what they hold.", "compared"),
            ("mycelium_space_in_step_age_seconds", "Since nothing was lacking.", "in_step_s"),
        ):
            family = GaugeMetricFamily(name, text, labels=["space"])
            for space in shown:
                if space[key] is not None:
                    family.add_metric([space["space"]], space[key])
            yield family
        passed = CounterMetricFamily(
            "mycelium_batches_passed_over", "Of others' batches, those that break a rule.", labels=["reason"]
        )
        told = sync.passed_over + self._node.replicator.dissemination.passed_over
        for reason, count in sorted(told.items()):
            passed.add_metric([reason], count)
        yield passed
        engine = self._node.database.engine
        yield _gauge("mycelium_held_batches", "Batches that wait for others, or for the chain.", engine.held)
        yield CounterMetricFamily(
            "mycelium_batches_duplicate", "Batches that were here already.", value=engine.counts["duplicate"]
        )
        yield CounterMetricFamily(
            "mycelium_changes_pushed",
            "Own changes queued for peers, once for each peer.",
            value=self._node.replicator.dissemination.pushed_changes,
        )

    def _feed(self) -> Iterator[Family]:
        found = self._node.feeding.status()
        behind = GaugeMetricFamily(
            "mycelium_feed_behind_batches",
            "Batches that a reader of the feed has not been given.",
            labels=["reader"],
        )
        furthest: dict[str, int] = {}
        for reader in found["readers"]:
            furthest[reader["account"]] = max(furthest.get(reader["account"], 0), reader["behind"])
        for account, batches in sorted(furthest.items()):
            behind.add_metric([account], batches)
        yield behind
        yield _gauge("mycelium_feed_readers", "Feeds that are read over a session.", len(found["readers"]))
        yield CounterMetricFamily(
            "mycelium_feed_batches",
            "Entries that the feed has had.",
            value=self._node.database.committer.durable,
        )

    def _fleet(self) -> Iterator[Family]:
        """Of a member of a fleet; a node alone has none of these."""
        found = views.fleet(self._node)
        if found is None:
            return
        here = [one for one in found["members"].values() if not one["gone"]]
        yield _gauge("mycelium_fleet_members", "Members of the fleet that are there.", len(here))
        yield _gauge("mycelium_fleet_shards", "Shards that this member serves.", found["serving"])
        orphans = sum(not owner for space in found["spaces"].values() for owner in space["owners"])
        yield _gauge("mycelium_fleet_orphans", "Shards that nobody has, as far as is known here.", orphans)
        yield _gauge("mycelium_fleet_writes", "Writes whose fate is not known yet.", found["in_flight"])
        yield _gauge("mycelium_fleet_failing", "1 while nothing can be written.", bool(found["problem"]))
        yield CounterMetricFamily(
            "mycelium_fleet_changes", "Changes that this member published.", value=found["changes"]
        )
        yield CounterMetricFamily(
            "mycelium_fleet_forwarded", "Requests that were another member's.", value=found["forwarded"]
        )

    def _store(self) -> Iterator[Family]:
        database = self._node.database
        usage = database.store.usage()
        parts = GaugeMetricFamily("mycelium_store_bytes", "What the store holds, by part.", labels=["part"])
        for part in ("memtables", "files", "blobs"):
            parts.add_metric([part], usage.get(f"{part}_bytes", 0))
        yield parts
        yield _gauge(
            "mycelium_store_compaction_pending_bytes",
            "What compaction has still to rewrite.",
            usage.get("compaction_pending_bytes", 0),
        )
        yield _gauge("mycelium_store_disk_free_bytes", "Free on its disk.", usage.get("disk_free_bytes", 0))
        committer = database.committer
        waiting = database.engine.feed_last - committer.durable
        yield _gauge("mycelium_undurable_batches", "Applied, and not yet synced to disk.", waiting)
        yield _gauge("mycelium_store_failing", "1 while the last sync failed.", committer.failure is not None)
        yield _histogram("mycelium_fsync_seconds", "How long syncs of the log took.", committer.syncs)
        yield _histogram(
            "mycelium_commit_seconds",
            "From applied to durable, of the first batch of each sync.",
            committer.commits,
        )

    def _process(self) -> Iterator[Family]:
        yield _histogram("mycelium_loop_lag_seconds", "How late the event loop was.", self._watch.lag.lags)
        memory = self._node.around.resident_bytes()
        yield _gauge("mycelium_resident_memory_bytes", "Resident memory of the process.", memory)
        yield _gauge("mycelium_open_files", "File descriptors of the process.", _open_files())
        used_s = time.process_time()
        yield CounterMetricFamily("mycelium_cpu_seconds", "Processor time of the process.", value=used_s)
        uptime_s = time.monotonic() - self._node.started_s
        yield _gauge("mycelium_uptime_seconds", "Since the node started.", uptime_s)


class Exporter:
    """The text of one scrape: the counts of the hot path, and the rest."""

    def __init__(self, watch: Watch, live: Live) -> None:
        self._counts = watch.node.metrics
        self._rest = NodeCollector(watch, live)

    def text(self) -> bytes:
        return render(self.families())

    def families(self) -> Iterator[Family]:
        """All that a scrape has."""
        yield from self._counts.collect()
        yield from self._rest.collect()


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=float(value))


def _histogram(name: str, text: str, found: Latency) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text)
    buckets = list(zip(_LES, map(float, found.cumulative()), strict=True))
    family.add_metric([], buckets, found.total_ns / 1e9)
    return family


def _block_s(source: object) -> float:
    """What a block takes: a members file says it, and of a chain it is that of the real one."""
    return float(getattr(source, "block_ms", BLOCK_MS)) / 1000


def _open_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are enough
    except OSError:
        return 0
