"""Shared by tests of whole members: nodes of one hotkey in this process, over a real nats-server."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from pathlib import Path

import nodekit
from natskit import Servers
from nodekit import Place

from mycelium.fleet import plans
from mycelium.fleet.layout import slot_of
from mycelium.fleet.member import open_member
from mycelium.jetstream.client import Broker
from mycelium.jetstream.layout import Network
from mycelium.node.node import Node
from mycelium.node.settings import Settings

LEASE_MS = 1_000


def members(
    path: Path,
    nats: Servers,
    names: str,
    *,
    third: bool = False,
    unsynced: bool = True,
    lease: int = LEASE_MS,
    **fleet: str,
) -> list[Place]:
    """The files of members of one hotkey, and, if `third`, of another validator of their network.

    fleet: more lines of the [fleet] of a member, by its name.
    """
    found = nodekit.places(path, len(names) + third)
    one = found[0]
    listed = [place for place in found if place is one or (third and place is found[-1])]
    made = []
    for place in found:
        text = (place.directory / "members.toml").read_text()
        head, *parts = text.split("[[member]]")
        own = [part for part in parts if any(other.address in part for other in listed)]
        (place.directory / "members.toml").write_text("[[member]]".join([head, *own]))
        if third and place is found[-1]:
            made.append(place)
            continue
        (place.directory / "hotkey.json").write_bytes((one.directory / "hotkey.json").read_bytes())
        made.append(dataclasses.replace(place, keypair=one.keypair))
    for name, place in zip(names, made, strict=False):
        place.config.write_text(
            place.config.read_text()
            + f"[nats]\nurls = {json.dumps(nats.urls)}\nmonitors = {json.dumps(nats.monitors)}\n"
            + f"replicas = {len(nats.servers)}\naccept_unsynced = {str(unsynced).lower()}\n"
            + f'[fleet]\nid = "{name}"\nlease_ms = {lease}\n{fleet.get(name, "")}'
        )
    return made


class Fleet:
    """Members that are started and stopped on their own."""

    def __init__(self, places: list[Place]) -> None:
        self.places = places
        self._running: dict[int, tuple[contextlib.AsyncExitStack, Node]] = {}

    async def __aenter__(self) -> Fleet:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.gather(*(self.stop(number) for number in list(self._running)))

    async def start(self, number: int) -> Node:
        stack = contextlib.AsyncExitStack()
        settings = Settings.load(self.places[number].config)
        opened = open_member(settings) if settings.fleet is not None else Node.open(settings)
        node = await stack.enter_async_context(opened)
        self._running[number] = stack, node
        return node

    async def lose(self, number: int) -> None:
        """End a member as a kill does: it gives nothing away."""
        _, node = self._running[number]
        member = node.parts["fleet"].__closure__[0].cell_contents
        member.leaves = False
        await self.stop(number)

    async def stop(self, number: int) -> None:
        stack, _ = self._running.pop(number)
        await stack.aclose()


def served(*nodes: Node) -> bool:
    """Whether every slot of every space is served by one of them."""
    status = [node.status()["fleet"] for node in nodes]
    if any(not one["spaces"] or one["problem"] for one in status):
        return False
    total = sum(space["shards"] for space in status[0]["spaces"].values())
    return sum(one["serving"] for one in status) == total


def spread(*nodes: Node) -> bool:
    """`served`, and everybody has what is meant for it."""
    return served(*nodes) and all(node.status()["fleet"]["serving"] for node in nodes)


def serving(*nodes: Node) -> int:
    """How many slots they serve together."""
    return sum(node.status()["fleet"]["serving"] for node in nodes)


def keys_of(node: Node, count: int, table: str = "scores") -> list[str]:
    """Keys of a table whose shards that member has."""
    status = node.status()["fleet"]
    owners = status["spaces"]["main"]["owners"]
    mine = (
        key for key in map("k{}".format, range(10_000)) if owners[_slot(table, key, owners)] == status["id"]
    )
    return [next(mine) for _ in range(count)]


def _slot(table: str, key: str, owners: list[str]) -> int:
    return slot_of(table, key.encode(), len(owners))


async def state(*nodes: Node) -> set[object]:
    """Wait until they hold the same batches; the digests of their states."""
    await nodekit.until(
        lambda: len({node.database.engine.vector_digest("main") for node in nodes}) == 1, "the same batches"
    )
    return {await node.database.state_digest("main") for node in nodes}


async def move(node: Node, wanted: dict[int, str]) -> None:
    """As `mycelium fleet move`."""
    async with Broker(node.settings.nats, "test") as broker:
        await plans.move(
            await broker.ready(5), Network(7, node.network.genesis).fleet(node.account), "main", wanted
        )
