"""Counts of what a node does, and their export to Prometheus. No logic depends on them.

The hot path increments plain integers; prometheus-client reads them at a scrape, so that recording costs tens of
nanoseconds instead of a lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from mycelium.database.engine import Applied
from mycelium.protocol.messages import MessageType

_CLASSES = ("control", "repair", "push", "bulk")
_TYPES = [kind.name.lower() for kind in MessageType]


class Metrics(Collector):
    """Implements `peer.observer.Observer`. `gauges` are asked at each scrape: name, help and value."""

    def __init__(self, gauges: Callable[[], Iterator[tuple[str, str, float]]] | None = None) -> None:
        self.rejects: Counter[str] = Counter()
        self.handshakes: Counter[tuple[bool, bool]] = Counter()
        self.messages_in = [0] * len(MessageType)
        self.messages_out = [0] * len(MessageType)
        self.message_bytes_in = [0] * len(MessageType)
        self.message_bytes_out = [0] * len(MessageType)
        self.changes_written = self.changes_received = 0
        self.batches_written = self.batches_received = 0
        self.drops: Counter[int] = Counter()
        self.received_bytes = 0
        self.sent_bytes = 0
        self.sessions_opened = 0
        self.sessions_closed = 0
        self._gauges = gauges
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def rejected(self, reason: str) -> None:
        self.rejects[reason] += 1

    def handshake(self, ok: bool, inbound: bool) -> None:
        self.handshakes[ok, inbound] += 1

    def bytes_in(self, n: int) -> None:
        self.received_bytes += n

    def bytes_out(self, n: int) -> None:
        self.sent_bytes += n

    def message_in(self, type: int, size_bytes: int) -> None:
        self.messages_in[type] += 1
        self.message_bytes_in[type] += size_bytes

    def message_out(self, type: int, size_bytes: int) -> None:
        self.messages_out[type] += 1
        self.message_bytes_out[type] += size_bytes

    def applied(self, applied: Applied) -> None:
        """A batch was applied: this node's own, or another's."""
        if applied.own:
            self.batches_written += 1
            self.changes_written += applied.batch.count
        else:
            self.batches_received += 1
            self.changes_received += applied.batch.count

    def dropped(self, klass: int, n: int) -> None:
        self.drops[klass] += n

    def session_opened(self, inbound: bool) -> None:
        del inbound
        self.sessions_opened += 1

    def session_closed(self, inbound: bool) -> None:
        del inbound
        self.sessions_closed += 1

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """prometheus-client's Collector: one pass over the counts."""
        yield _labelled("mycelium_rejects", "Connections closed for a broken rule.", "reason", self.rejects)
        for name, text, counts in (
            ("mycelium_messages_received", "Messages by type.", self.messages_in),
            ("mycelium_messages_sent", "Messages by type.", self.messages_out),
            ("mycelium_message_received_bytes", "Bytes of messages by type.", self.message_bytes_in),
            ("mycelium_message_sent_bytes", "Bytes of messages by type.", self.message_bytes_out),
        ):
            yield _labelled(name, text, "type", dict(zip(_TYPES, counts, strict=True)))
        yield _labelled(
            "mycelium_queue_drops",
            "Messages that found a peer's queue full.",
            "class",
            {name: self.drops[klass] for klass, name in enumerate(_CLASSES)},
        )
        yield _labelled(
            "mycelium_handshakes",
            "Handshakes by outcome.",
            "outcome",
            {
                "ok": sum(n for (ok, _), n in self.handshakes.items() if ok),
                "failed": sum(n for (ok, _), n in self.handshakes.items() if not ok),
            },
        )
        for name, text, value in (
            ("mycelium_received_bytes", "Bytes read from peers.", self.received_bytes),
            ("mycelium_sent_bytes", "Bytes written to peers.", self.sent_bytes),
            ("mycelium_sessions_opened", "Sessions that were established.", self.sessions_opened),
            ("mycelium_sessions_closed", "Sessions that ended.", self.sessions_closed),
            (
                "mycelium_changes_written",
                "Changes that were written through this node.",
                self.changes_written,
            ),
            ("mycelium_changes_received", "Changes of others that were applied here.", self.changes_received),
            ("mycelium_batches_written", "Batches that this node signed.", self.batches_written),
            ("mycelium_batches_received", "Batches of others that were applied here.", self.batches_received),
        ):
            yield CounterMetricFamily(name, text, value=value)
        for name, text, gauge in self._gauges() if self._gauges else ():
            yield GaugeMetricFamily(name, text, value=gauge)


def _labelled(name: str, text: str, label: str, values: dict[str, int] | Counter[str]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family
