"""Shared by tests of the admin port: nodes with one, requests over raw sockets, and a node with many peers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import nodekit

from mycelium.admin.server import Admin, Place, open_admin
from mycelium.metagraph.membership import Epoch, Member
from mycelium.node.admin_settings import AdminSettings
from mycelium.node.node import Node

ANY = AdminSettings(port=0, chosen=True)
ANSWER_S = 20


class Answer(NamedTuple):
    """status 0: the connection was closed without an answer. headers: the last of each name. closed: after it."""

    status: int
    headers: dict[str, str]
    body: bytes
    closed: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@contextlib.asynccontextmanager
async def one(directory: Path, settings: AdminSettings = ANY) -> AsyncIterator[tuple[Node, Admin]]:
    """One node and its port."""
    async with nodekit.Mesh(nodekit.places(directory / "net", 1)) as mesh:
        node = await mesh.start()
        async with open_admin(node, Place(settings)) as admin:
            yield node, admin


def where(admin: Admin) -> tuple[str, int]:
    """Host and port."""
    parts = urlsplit(admin.url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def request(path: str = "/livez", method: str = "GET", host: str | None = "127.0.0.1", *lines: str) -> bytes:
    """The bytes of one. host: None leaves it out."""
    head = [f"{method} {path} HTTP/1.1", *([] if host is None else [f"Host: {host}"]), *lines]
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")


async def send(admin: Admin, raw: bytes) -> Answer:
    """Over a connection of its own."""
    reader, writer = await asyncio.open_connection(*where(admin))
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(raw)
            await writer.drain()
        async with asyncio.timeout(ANSWER_S):
            return await answer(reader, head=raw.startswith(b"HEAD "))
    finally:
        writer.transport.abort()


async def answer(reader: asyncio.StreamReader, *, head: bool = False) -> Answer:
    """The next answer, and whether the connection ends after it where it says that it does."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return Answer(0, {}, b"", True)
    first, *lines = raw.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    body = b"" if head else await reader.readexactly(int(headers.get("content-length", "0")))
    closed = headers.get("connection", "") == "close"
    if closed:
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    return Answer(int(first.split()[1]), headers, body, closed)


async def get(admin: Admin, path: str, *lines: str) -> Answer:
    return await send(admin, request(path, "GET", "127.0.0.1", *lines))


def crowd(node: Node, count: int) -> list[Any]:
    """Make a node believe in so many members that it has sessions with: all that the admin port asks about them."""
    assert node._ticker is not None
    node._ticker.cancel()  # the node itself would find out that nobody is there
    links = []
    members: dict[bytes, Member] = dict(node.source.epoch().members)
    own = node.node_status()
    for number in range(count):
        account = hashlib.sha256(f"peer {number}".encode()).digest()
        members[account] = Member(account, "validator", 10**12 + number, (), number, True)
        link = SimpleNamespace(
            id=1_000_000 + number,
            account=account,
            generation=1,
            role="validator",
            remote=f"192.0.2.{number % 250}:9090",
            inbound=bool(number % 2),
            rtt_ms=1.0 + number / 10,
            last_received_ns=node.around.clock_ns(),
            throttled=0,
        )
        node.hub.fanout.add_peer(link.id)
        node.hub._members[account] = {1: link}
        node.replicator._links[link.id] = link
        node.replicator.sync.peer_up(link.id, node.now_ms(), account)
        for space in node.database.spaces:
            digest = node.database.engine.vector_digest(space)
            node.replicator.sync.digest_seen(link.id, space, digest, node.now_ms())
        node.presence.statuses[account] = own
        links.append(link)
    epoch = Epoch(node.source.epoch().number, members)
    node.source.epoch = lambda: epoch
    return links


def disperse(node: Node, links: list[Any]) -> None:
    """Undo `crowd`, so that the node can close."""
    for link in links:
        node.hub.fanout.remove_peer(link.id)
        del node.hub._members[link.account]
        del node.replicator._links[link.id]
        node.replicator.sync.peer_down(link.id)


FLEET = {
    "id": "a",
    "serving": 3,
    "problem": "",
    "in_flight": 2,
    "changes": 10,
    "forwarded": 4,
    "members": {
        "a": {"url": "ws://10.0.0.1:9090", "shards": 3, "leaving": False, "gone": ""},
        "b": {"url": "ws://10.0.0.2:9090", "shards": 1, "leaving": True, "gone": ""},
        "c": {"url": "ws://10.0.0.3:9090", "shards": 0, "leaving": False, "gone": "no heartbeat for 2.5 s"},
    },
    "spaces": {"main": {"shards": 4, "owners": ["a", "b", "", "a"]}, "sys": {"shards": 1, "owners": ["a"]}},
}
"""The part of a fleet member's status that is drawn; a test holds it against what a member says."""
