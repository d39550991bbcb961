"""Where bridges note how far they are, for their next start and for people: a key-value bucket, one key for each feed.

A key is the node's account and generation. What is noted is a few hundred bytes of JSON. Reads and writes; decides
nothing.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mycelium.config.jetstream import MARKS_MAX
from mycelium.errors import BrokerError, StreamGone
from mycelium.jetstream.client import Session, broker_errors
from mycelium.jetstream.layout import Network
from mycelium.node.nats_settings import NatsSettings

logger = logging.getLogger(__name__)

_TEXT_CHARS_MAX: Final = 300


class Mark(msgspec.Struct, frozen=True):
    """cursor: everything up to it is in its stream. newest: of the feed when it was written, at_ms. problem: what keeps
    the bridge from going on, "" where nothing does. host and pid: where it runs; node: the address it reads from.
    """

    cursor: str
    newest: int = 0
    at_ms: int = 0
    started_ms: int = 0
    published: int = 0
    repeated: int = 0
    problem: str = ""
    host: str = ""
    pid: int = 0
    node: str = ""
    version: str = ""


def key_of(account: bytes, generation: int) -> str:
    """The key of a node's feed."""
    return f"{account.hex()[:16]}.{generation:016x}"


def _subject(network: Network, key: str) -> str:
    return f"$KV.{network.cursors()}.{key}"


async def ensure(session: Session, network: Network, settings: NatsSettings) -> None:
    """Make the bucket where there is none. BrokerError."""
    bucket = network.cursors()
    try:
        await session.api(f"STREAM.INFO.KV_{bucket}")
    except StreamGone:
        await session.api(f"STREAM.CREATE.KV_{bucket}", _config(bucket, settings))
        logger.info("made the bucket %s", bucket)


def _config(bucket: str, settings: NatsSettings) -> dict[str, Any]:
    """As every NATS client makes a key-value bucket (ADR-8), so that their tools show it."""
    return {
        "name": f"KV_{bucket}",
        "description": "Mycelium: how far bridges are",
        "subjects": [f"$KV.{bucket}.>"],
        "storage": "file",
        "num_replicas": settings.replicas,
        "max_msgs_per_subject": 1,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "allow_direct": True,
    }


async def load(session: Session, network: Network, key: str) -> Mark | None:
    """What is noted under a key. BrokerError."""
    try:
        answer = await session.api(
            f"STREAM.MSG.GET.KV_{network.cursors()}", {"last_by_subj": _subject(network, key)}
        )
    except StreamGone:
        return None
    return _parsed(answer.get("message") or {})


async def save(session: Session, network: Network, key: str, mark: Mark) -> None:
    """Note it, durably. BrokerError."""
    if len(mark.problem) > _TEXT_CHARS_MAX:
        mark = msgspec.structs.replace(mark, problem=mark.problem[:_TEXT_CHARS_MAX])
    subject = _subject(network, key)
    with broker_errors(subject):
        await session.held(session.js.publish(subject, msgspec.json.encode(mark)))


async def all_of(session: Session, network: Network) -> Mapping[str, Mark]:
    """Every key and what is noted. BrokerError."""
    stream = f"KV_{network.cursors()}"
    prefix = _subject(network, "")
    try:
        answer = await session.api(f"STREAM.INFO.{stream}", {"subjects_filter": f"{prefix}>"})
    except StreamGone:
        return {}
    found = {}
    for subject in sorted((answer.get("state") or {}).get("subjects") or {})[:MARKS_MAX]:
        key = str(subject).removeprefix(prefix)
        mark = await load(session, network, key)
        if mark is not None:
            found[key] = mark
    return found


def _parsed(message: Mapping[str, Any]) -> Mark | None:
    try:
        return msgspec.json.decode(base64.b64decode(message.get("data") or ""), type=Mark)
    except (msgspec.DecodeError, ValueError, TypeError):
        # Someone else wrote there: as if nothing was noted, which costs repeats and loses nothing.
        logger.warning("what is noted of a bridge does not parse, and counts as nothing")
        return None


__all__ = ["BrokerError", "Mark", "all_of", "ensure", "key_of", "load", "save"]
