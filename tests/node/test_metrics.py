"""The counts of a node as Prometheus reads them, and the logger that does not repeat itself."""

from __future__ import annotations

import logging

import pytest
from prometheus_client import generate_latest

from mycelium._core import fanout
from mycelium.node import ratelimit
from mycelium.node.metrics import Metrics
from mycelium.node.ratelimit import Quiet
from mycelium.protocol.messages import MessageType


def exported(metrics: Metrics) -> dict[str, float]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")
    }


def test_what_a_link_reports_is_exported() -> None:
    metrics = Metrics(lambda: iter([("mycelium_feed", "Batches applied.", 7.0)]))
    metrics.rejected("bad-signature")
    metrics.rejected("bad-signature")
    metrics.handshake(True, True)
    metrics.handshake(True, False)
    metrics.handshake(False, True)
    metrics.message_in(MessageType.PING, 100)
    metrics.message_out(MessageType.DB_SYNC_REQ, 200)
    metrics.dropped(fanout.PUSH, 3)
    metrics.bytes_in(10)
    metrics.bytes_out(20)
    metrics.session_opened(True)
    metrics.session_closed(True)
    found = exported(metrics)
    assert found['mycelium_rejects_total{reason="bad-signature"}'] == 2
    assert found['mycelium_handshakes_total{outcome="ok"}'] == 2
    assert found['mycelium_handshakes_total{outcome="failed"}'] == 1
    assert found['mycelium_messages_received_total{type="ping"}'] == 1
    assert found['mycelium_messages_sent_total{type="db_sync_req"}'] == 1
    assert found['mycelium_message_received_bytes_total{type="ping"}'] == 100
    assert found['mycelium_message_sent_bytes_total{type="db_sync_req"}'] == 200
    assert found['mycelium_queue_drops_total{class="push"}'] == 3
    assert found["mycelium_received_bytes_total"] == 10
    assert found["mycelium_sent_bytes_total"] == 20
    assert found["mycelium_sessions_opened_total"] == found["mycelium_sessions_closed_total"] == 1
    assert found["mycelium_feed"] == 7


def test_a_fresh_node_exports_zeros() -> None:
    assert exported(Metrics())["mycelium_received_bytes_total"] == 0


def test_the_same_is_said_once_in_a_while_and_then_how_often(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(ratelimit.time, "monotonic", lambda: now[0])
    quiet = Quiet(logging.getLogger("test"), interval_s=10)
    with caplog.at_level(logging.WARNING):
        for turn in range(4):
            quiet.error("the disk is full: %s", turn)
        quiet.warning("something else")
        now[0] += 10
        quiet.error("the disk is full: %s", "again")
        quiet.error("the disk is full: %s", "and again")
    assert caplog.messages == [
        "the disk is full: 0",
        "something else",
        "the disk is full: again (3 more like it were not logged)",
    ]
