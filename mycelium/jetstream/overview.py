"""What lies on NATS for a network, for people: servers, streams, snapshots, and how far bridges are. Only reads."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from mycelium.config.jetstream import BRIDGE_NOTE_S
from mycelium.errors import UsageError
from mycelium.feed.cursor import Cursor
from mycelium.jetstream import durability, marks, snapshots, streams
from mycelium.jetstream.client import Session
from mycelium.jetstream.layout import Network
from mycelium.jetstream.marks import Mark
from mycelium.jetstream.streams import StreamState
from mycelium.node.nats_settings import NatsSettings


async def gather(
    session: Session, network: Network, settings: NatsSettings, now_ms: int, newest: dict[str, int]
) -> dict[str, Any]:
    """Everything. newest: by a bridge's key, the newest index of its node's feed, where that is known. BrokerError."""
    verdict, found, noted = await asyncio.gather(
        durability.ask(settings, session),
        streams.of_network(session, network),
        marks.all_of(session, network),
    )
    return {
        "connected_to": session.server,
        "safe": verdict.safe,
        "problem": verdict.problem,
        "remedy": verdict.remedy,
        "servers": verdict.shown(),
        "streams": {
            space: await _stream(session, network, space, state, settings, now_ms)
            for space, state in sorted(found.items())
        },
        "bridges": [_bridge(key, mark, now_ms, newest.get(key)) for key, mark in sorted(noted.items())],
    }


async def _stream(
    session: Session,
    network: Network,
    space: str,
    state: StreamState,
    settings: NatsSettings,
    now_ms: int,
) -> dict[str, Any]:
    latest = await snapshots.newest(session, network, space, state)
    return {
        "name": state.name,
        "first": state.first_seq,
        "last": state.last_seq,
        "messages": state.messages,
        "bytes": state.size_bytes,
        "first_age_s": age_s(state.first_time, now_ms),
        "last_age_s": age_s(state.last_time, now_ms),
        "replicas": state.replicas,
        "servers": [{"name": name, "current": current} for name, current in state.peers],
        "differs": streams.differences(state.config, streams.wanted(network, space, settings)),
        "snapshot": None if latest is None else snapshots.shown(latest, now_ms),
        "complete": latest is not None and latest.stream_seq + 1 >= state.first_seq,
    }


def _bridge(key: str, mark: Mark, now_ms: int, newest: int | None) -> dict[str, Any]:
    account, _, generation = key.partition(".")
    ago_s = round(max(0, now_ms - mark.at_ms) / 1000, 1)
    try:
        index = Cursor.parse(mark.cursor).index
    except UsageError:
        index = 0
    return {
        "account": account,
        "generation": generation,
        "cursor": mark.cursor,
        "lag": max(0, (mark.newest if newest is None else newest) - index),
        # It notes itself every few seconds, whether anything moves or not.
        "running": ago_s < 3 * BRIDGE_NOTE_S,
        "ago_s": ago_s,
        "up_s": round(max(0, mark.at_ms - mark.started_ms) / 1000, 1),
        "published": mark.published,
        "repeated": mark.repeated,
        "problem": mark.problem,
        "host": mark.host,
        "pid": mark.pid,
        "version": mark.version,
    }


def age_s(text: str, now_ms: int) -> float | None:
    """Seconds since a time as the server writes it; None where there is none."""
    try:
        return round(max(0.0, now_ms / 1000 - datetime.fromisoformat(text).timestamp()), 1)
    except ValueError:
        return None
