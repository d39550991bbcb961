"""Where a bridge goes on: after the cursor that was noted, or, where none was, by what lies in the streams themselves.

A bridge has at most a span of its feed under way. So all that comes a span before the newest batch in any stream is in
its stream; and of what is beyond the cursor, the ends of the streams tell which is there already. Only reads.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from mycelium.config.jetstream import REQUEST_S
from mycelium.errors import StreamGone, UsageError
from mycelium.extras import load
from mycelium.feed.cursor import Cursor
from mycelium.jetstream import layout, marks
from mycelium.jetstream.client import Session, broker_errors
from mycelium.jetstream.source import Identity
from mycelium.jetstream.streams import StreamState

logger = logging.getLogger(__name__)


class Found(NamedTuple):
    """cursor: None where nothing tells. known: ids, in hex, that are in their streams though they are beyond it."""

    cursor: Cursor | None
    known: set[str]


async def find(session: Session, identity: Identity, streams: Mapping[str, StreamState], span: int) -> Found:
    """Where to go on. span: how much of the feed may have been under way, in entries. BrokerError."""
    mark = await marks.load(session, identity.network, marks.key_of(identity.account, identity.generation))
    cursor = None if mark is None else _of(mark.cursor, identity.generation)
    if cursor is None:
        newest = [
            await _newest(session, state, identity.generation) for state in streams.values() if state.messages
        ]
        index = max((one.index for one in newest if one is not None), default=0)
        if not index:
            return Found(None, set())
        cursor = Cursor(identity.generation, max(0, index - span))
        logger.info("no cursor is noted: the streams tell that everything up to %s is in them", cursor)
    known: set[str] = set()
    for state in streams.values():
        if state.messages:
            known |= await _beyond(session, state, cursor, span)
    return Found(cursor, known)


def _of(text: str | None, generation: int) -> Cursor | None:
    """A cursor of this data directory; None for anything else."""
    try:
        cursor = Cursor.parse(text or "")
    except UsageError:
        return None
    return cursor if cursor.generation == generation else None


async def _newest(session: Session, state: StreamState, generation: int) -> Cursor | None:
    """The cursor on the last message of a stream, where this node's bridge published it."""
    try:
        answer = await session.api(f"STREAM.MSG.GET.{state.name}", {"seq": state.last_seq})
        raw = base64.b64decode((answer.get("message") or {}).get("hdrs") or "")
    except (StreamGone, ValueError):
        return None
    return _of(_header(raw.decode("utf-8", "replace"), layout.CURSOR), generation)


def _header(raw: str, name: str) -> str | None:
    for line in raw.split("\r\n"):
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return None


async def _beyond(session: Session, state: StreamState, cursor: Cursor, span: int) -> set[str]:
    """The ids among the last messages of a stream whose cursor is beyond this one. Reads headers alone."""
    api: Any = load("nats.js.api", "nats")
    known: set[str] = set()
    first = max(state.first_seq, state.last_seq - span + 1)
    config = api.ConsumerConfig(
        deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=first,
        ack_policy=api.AckPolicy.NONE,
        headers_only=True,
        mem_storage=True,
        inactive_threshold=30,
    )
    with broker_errors(state.name):
        subscription = await session.held(
            session.js.pull_subscribe("", stream=state.name, durable=None, config=config)
        )
        left = state.last_seq - first + 1
        while left > 0:
            asked = min(left, 512)
            for message in await session.held(subscription.fetch(asked, timeout=REQUEST_S)):
                headers = message.headers or {}
                found = _of(headers.get(layout.CURSOR), cursor.generation)
                if found is not None and found.index > cursor.index:
                    known.add(headers.get(layout.MESSAGE_ID, ""))
                left = min(left - 1, message.metadata.num_pending)
        await session.held(subscription.unsubscribe())
    return known
