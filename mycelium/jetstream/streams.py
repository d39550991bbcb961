"""The stream of a space: made as the settings say, kept so, and looked at. Publishes nothing; reads no messages.

A stream that is gone is made again, one whose settings were changed is changed back, and one that would lose what it
acknowledged (in memory, or written later) is refused. `created` tells a stream from another that took its name.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mycelium.config.jetstream import STREAMS_MAX
from mycelium.errors import BrokerError, BrokerUnsafe, StreamGone
from mycelium.jetstream.client import Session
from mycelium.jetstream.layout import Network
from mycelium.node.nats_settings import NatsSettings

logger = logging.getLogger(__name__)

_NS: Final = 10**9
_NO_LIMIT: Final = -1


@dataclass(frozen=True, slots=True)
class StreamState:
    """What the server says of a stream. created: its birth, as the server writes it. first_seq, last_seq: last_seq is
    first_seq - 1 where it is empty. first_time, last_time: of the messages, as the server writes them; "" for none.
    peers: every server that holds it, and whether it is up to date; the leader first.
    """

    name: str
    created: str
    messages: int
    size_bytes: int
    first_seq: int
    last_seq: int
    first_time: str
    last_time: str
    replicas: int
    peers: tuple[tuple[str, bool], ...]
    config: Mapping[str, Any]

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> StreamState:
        """From the answer of STREAM.INFO, CREATE or UPDATE. BrokerError."""
        try:
            config, state = answer["config"], answer["state"]
            cluster = answer.get("cluster") or {}
            peers = [(str(cluster["leader"]), True)] if cluster.get("leader") else []
            peers += [
                (str(peer["name"]), bool(peer.get("current")) and not peer.get("offline"))
                for peer in cluster.get("replicas") or ()
            ]
            messages = int(state["messages"])
            return cls(
                name=str(config["name"]),
                created=str(answer["created"]),
                messages=messages,
                size_bytes=int(state["bytes"]),
                first_seq=int(state["first_seq"]) or 1,
                last_seq=int(state["last_seq"]),
                first_time=str(state.get("first_ts", "")) if messages else "",
                last_time=str(state.get("last_ts", "")) if messages else "",
                replicas=int(config["num_replicas"]),
                peers=tuple(peers),
                config=config,
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise BrokerError("what the server says of a stream does not parse") from None


def wanted(network: Network, space: str, settings: NatsSettings) -> dict[str, Any]:
    """The configuration that a space's stream is to have, as the server writes it."""
    return {
        "name": network.stream(space),
        "subjects": [network.subjects(space)],
        "storage": "file",
        "retention": "limits",
        "discard": settings.discard,
        "num_replicas": settings.replicas,
        "max_age": 0 if settings.keep_hours is None else settings.keep_hours * 3600 * _NS,
        "max_bytes": settings.keep_bytes or _NO_LIMIT,
        "max_msgs": settings.keep_messages or _NO_LIMIT,
        "duplicate_window": settings.duplicate_window_s * _NS,
        "allow_direct": True,
    }


def differences(have: Mapping[str, Any], want: Mapping[str, Any]) -> list[str]:
    """The names of settings that are not as wanted."""
    return [name for name, value in want.items() if have.get(name) != value]


def check_kept(config: Mapping[str, Any]) -> None:
    """BrokerUnsafe for a stream that acknowledges what is not on disk, whatever the server syncs."""
    name, remedy = config.get("name", ""), "delete it, so that it is made anew, or name another NATS account"
    if config.get("storage") != "file":
        raise BrokerUnsafe(f"the stream {name} is in memory", remedy)
    if config.get("persist_mode") not in (None, "", "default"):
        raise BrokerUnsafe(f"the stream {name} acknowledges before it is written (persist_mode)", remedy)


async def ensure(session: Session, network: Network, space: str, settings: NatsSettings) -> StreamState:
    """The stream of a space, made or changed to what is wanted. BrokerError."""
    want = wanted(network, space, settings)
    name = want["name"]
    try:
        state = await look(session, name)
    except StreamGone:
        made = await session.api(f"STREAM.CREATE.{name}", {**want, "description": f"Mycelium: space {space}"})
        logger.info("made the stream %s", name)
        return StreamState.parse(made)
    if not settings.accept_unsynced:
        check_kept(state.config)
    differing = differences(state.config, want)
    if not differing:
        return state
    logger.warning(
        "the stream %s has other settings than [nats] says (%s): changed", name, ", ".join(differing)
    )
    # What is not ours to say, as a description or placement, stays as it is.
    return StreamState.parse(await session.api(f"STREAM.UPDATE.{name}", {**state.config, **want}))


async def look(session: Session, name: str) -> StreamState:
    """A stream's state. StreamGone."""
    return StreamState.parse(await session.api(f"STREAM.INFO.{name}"))


async def of_network(session: Session, network: Network) -> dict[str, StreamState]:
    """The streams of a network's spaces, by space. BrokerError."""
    found: dict[str, StreamState] = {}
    offset = 0
    while True:
        answer = await session.api("STREAM.LIST", {"offset": offset, "subject": network.every_subject()})
        page = answer.get("streams") or []
        for state in map(StreamState.parse, page):
            space = network.space_of(state.name)
            if space is not None:
                found[space] = state
        offset += len(page)
        if not page or offset >= min(int(answer.get("total", 0)), STREAMS_MAX):
            return found
