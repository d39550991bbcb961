"""Shared by the tests of the bridge: a real node in this process, a bridge beside it, and what lies in the streams."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import kit
from jskit import Stored, connected, settings, stored
from nodekit import places, until

import mycelium
from mycelium.database import feed as feeds
from mycelium.database import schema
from mycelium.database.database import wall_ms
from mycelium.database.store import Column
from mycelium.jetstream import snapshots, streams
from mycelium.jetstream.bridge import Bridge
from mycelium.jetstream.layout import Network
from mycelium.node.node import Node

TABLES = '[tables.aside]\nmerge = "lww"\nspace = "other"\n'


class World:
    """A node in this process, a server, and bridges between them. task: of the bridge that was started last."""

    def __init__(self, place, nats) -> None:
        self.place = place
        self.nats = nats
        self.node: Node | None = None
        self.task: asyncio.Task | None = None

    async def start(self) -> None:
        self._opened = Node.open(self.place.config)
        self.node = await self._opened.__aenter__()
        self.network = Network(self.node.network.netuid, self.node.network.genesis)

    async def stop(self) -> None:
        await self._opened.__aexit__(None, None, None)

    @property
    def generation(self) -> int:
        return self.node.database.generation

    @asynccontextmanager
    async def bridge(self, *, stranger: bool = False, look_s: float = 0.2, **changed):
        keypair = kit.keypair("a stranger") if stranger else self.place.keypair

        async def connect():
            return await mycelium.connect(self.place.url, keypair, timeout_s=5)

        bridge = Bridge(settings(self.nats, **changed), connect, wall_ms, look_s=look_s, settled_ms=0)
        task = self.task = asyncio.create_task(bridge.run())
        try:
            yield bridge
            if task.done():
                task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def write(self, count: int, name: str = "k", table: str = "scores") -> None:
        for number in range(count):
            await self.node.database.table(table).put(f"{name}{number}", number)

    @asynccontextmanager
    async def writing(self):
        """Some 50 batches a second, for as long as the block lasts."""

        wanted = True

        async def work() -> None:
            number = 0
            while wanted:
                await self.node.database.table("scores").put(f"load{number}", number)
                number += 1
                await asyncio.sleep(0.02)

        task = asyncio.create_task(work())
        try:
            yield
        finally:
            # A put that is cancelled may still be applied, after whoever looks has looked.
            wanted = False
            await task

    async def caught_up(self, bridge: Bridge) -> None:
        def done() -> bool:
            if self.task.done():
                self.task.result()
            window = bridge._window
            return window is not None and window.cursor.index >= self.node.database.committer.durable

        await until(done, "the bridge lags", 15)

    async def wanted(self, space: str | None = None, *, history: bool = False) -> list:
        """The batches of the node's feed, or, where it does not reach back, of its log."""
        if history:
            return [one async for one in self.node.database.history(space)]
        feed = self.node.feed("start", None if space is None else [space])
        found = []
        while feed.cursor.index < self.node.database.committer.durable:
            try:
                async with asyncio.timeout(0.5):
                    found.append(await anext(feed))
            except TimeoutError:
                break
        return found

    async def stored(self, space: str = "main") -> Stored:
        return await stored(self.nats, self.network, space)

    async def snapshot(self, space: str = "main"):
        """The newest, read to its end; None where there is none."""
        async with connected(self.nats) as session:
            stream = await streams.look(session, self.network.stream(space))
            newest = await snapshots.newest(session, self.network, space, stream)
            if newest is None:
                return None
            reading = snapshots.Reading(session, self.network, newest)
            found = Stored()
            found.stream_seq = newest.stream_seq
            async for page in reading.pages():
                found.records += [(one.raw, one.signature) for one in page]
            return found

    def forget(self) -> None:
        """As if the whole feed was too old to be kept."""
        store = self.node.database.store
        write = store.batch()
        write.put(
            schema.META_FEED_PRUNED, feeds.last_index(store).to_bytes(8, "big"), store.column(Column.META)
        )
        store.commit(write)


@asynccontextmanager
async def world(path, nats):
    (place,) = places(path, 1)
    place.config.write_text(place.config.read_text() + TABLES)
    one = World(place, nats)
    await one.start()
    try:
        yield one
    finally:
        await one.stop()
